import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(import.meta.url);

/** The package's top folder. No other module of src/, bench/ or test/ works out where the package lies. */
export const root = packageFolder(dirname(here));

/** The folder that this code runs from: dist/, where this is part of a bundle; build/ in a benchmark; src/ in a test. */
const running = join(root, relative(root, here).split(sep)[0] ?? '');

function packageFolder(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error(`${here} is in no package`);
  return packageFolder(parent);
}

/** A file or folder of the package, by its path below the top. */
export function packageFile(...path: readonly string[]): string {
  return join(root, ...path);
}

/** A folder of the running code, "trackers" for one, for what is found there instead of imported. */
export function codeFolder(name: string): string {
  return join(running, name);
}

/** The modules of all trackers by their names, sorted: each is a file of src/trackers/. */
export function trackerModules(): ReadonlyMap<string, string> {
  const folder = codeFolder('trackers');
  const named = readdirSync(folder).flatMap((file) => {
    const [, name] = /^([a-z][a-z0-9_]*)\.[jt]s$/.exec(file) ?? [];
    return name === undefined ? [] : [[name, join(folder, file)] as const];
  });
  return new Map(named.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The compiled entry of a worker thread, "kernel/worker" for one. Tests, which run from src/, start it from dist/ too. */
export function workerFile(name: string): string {
  return join(root, 'dist', `${name}.js`);
}

/** The compiled BPF object for this machine: "session", or "trackers/open". */
export function objectPath(name: string): string {
  return join(root, 'dist/bpf', process.arch, `${name}.bpf.o`);
}

/** The name of a compiled BPF object of ours, "trackers/open"; null for a file that is none. */
export function objectName(path: string): string | null {
  const [, name] = /^(.+)\.bpf\.o$/.exec(relative(join(root, 'dist/bpf', process.arch), path)) ?? [];
  return name === undefined || name.startsWith('..') ? null : name;
}

/**
 * What a boot, or the end of a login, empties: systemd's folder for a service (RuntimeDirectory=), /run's for root, that of the login for
 * others. Null where there is none.
 */
export function runtimeFolder(): string | null {
  const { RUNTIME_DIRECTORY: service, XDG_RUNTIME_DIR: login } = process.env;
  if (service) return service.split(':')[0] ?? null;
  if (process.getuid?.() === 0) return '/run/eunomia';
  return login ? join(login, 'eunomia') : null;
}

/** As package.json has it. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return version;
}
