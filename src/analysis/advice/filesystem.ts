import type { CurrentRights, Observation, SeenPath, TmpfsRight, VolumeRight } from '../../event/advice.js';

/** Size of a tmpfs: how much was written is not observed. */
export const TMPFS_BYTES = 64 << 20;

/** Where a container writes that has nothing of its image: a tmpfs serves. */
const SCRATCH = ['/tmp', '/run', '/var/run', '/var/tmp', '/var/lock', '/var/cache', '/var/log'];
/** What every container has mounted for itself, or what no disk keeps. */
const KERNEL = ['/proc', '/sys', '/dev'];
/** What a program needs to run: where a container writes here, its root cannot be read-only. */
const SYSTEM = ['/bin', '/boot', '/etc', '/lib', '/lib32', '/lib64', '/libx32', '/sbin', '/usr'];
/** Directories that hold one directory for each program. */
const SHELVES = ['/var/lib', '/var/cache', '/var/log', '/var/spool', '/var/opt', '/home', '/opt', '/srv', '/var'];

/** A directory that is written to, and the paths in it. */
export interface WrittenDirectory {
  readonly path: string;
  readonly written: readonly SeenPath[];
}

export interface FileRights {
  readonly readOnlyRoot: boolean;
  readonly tmpfs: readonly (TmpfsRight & WrittenDirectory)[];
  readonly volumes: readonly (VolumeRight & WrittenDirectory)[];
  /** Why the root cannot be read-only. */
  readonly system: readonly SeenPath[];
}

export function isBelow(path: string, directory: string): boolean {
  return path === directory || directory === '/' || path.startsWith(`${directory}/`);
}

const isBelowOne = (path: string, directories: readonly string[]): boolean =>
  directories.some((directory) => isBelow(path, directory));

/** What has to be writable, in the fewest sensible directories. */
export function fileRights(observation: Observation, current: CurrentRights | null): FileRights {
  const { paths, programs } = observation;
  const mounts = current?.mounts ?? [];
  const own = paths.filter(({ runtime }) => !runtime);
  const written = own.filter(({ path, access }) => access !== 'READ' && !isBelowOne(path, KERNEL));
  const inMount = (path: string): boolean =>
    isBelowOne(
      path,
      mounts.map((mount) => mount.path),
    );
  // Engines mount these three as files; a program that changes them changes no image.
  const loose = written.filter(({ path }) => !inMount(path) && !/^\/etc\/(hosts|hostname|resolv\.conf)$/.test(path));
  const system = loose.filter(({ path }) => isBelowOne(path, SYSTEM) || directoryOf(path) === '/');
  const directories = fewest(loose.filter((one) => !system.includes(one)));
  const made = new Set(own.filter(({ access }) => access === 'MAKE' || access === 'WRITE').map(({ path }) => path));
  const hides = ({ path }: WrittenDirectory): boolean =>
    // What it reads here and has not written is of the image, and a tmpfs would cover it; engines mount them noexec.
    own.some((one) => one.access === 'READ' && one.path !== path && isBelow(one.path, path) && !made.has(one.path)) ||
    programs.some((program) => !program.runtime && isBelow(program.path, path));
  const isTmpfs = (directory: WrittenDirectory): boolean => isBelowOne(directory.path, SCRATCH) && !hides(directory);
  return {
    readOnlyRoot: system.length === 0 && !observation.unobserved.includes('files'),
    tmpfs: directories.filter(isTmpfs).map((directory) => ({ ...directory, sizeBytes: TMPFS_BYTES })),
    volumes: [
      ...directories.filter((one) => !isTmpfs(one)).map((directory) => ({ ...directory, writable: true })),
      ...mounts.map(({ path }) => {
        const inside = written.filter((one) => isBelow(one.path, path));
        return { path, written: inside, writable: inside.length > 0 };
      }),
    ].sort((a, b) => (a.path < b.path ? -1 : 1)),
    system,
  };
}

/** The directories to mount for these paths: none inside of another. */
function fewest(written: readonly SeenPath[]): WrittenDirectory[] {
  const byDirectory = new Map<string, SeenPath[]>();
  for (const one of written) {
    const directory = mountPointOf(one.path);
    byDirectory.set(directory, [...(byDirectory.get(directory) ?? []), one]);
  }
  const directories = [...byDirectory.keys()].sort();
  const outermost = directories.filter((path) => !directories.some((other) => other !== path && isBelow(path, other)));
  return outermost.map((path) => ({ path, written: written.filter((one) => isBelow(one.path, path)) }));
}

/** A whole scratch directory, a program's own below a shelf, else the first two names. */
function mountPointOf(path: string): string {
  const directory = directoryOf(path);
  for (const scratch of ['/tmp', '/run', '/var/run', '/var/tmp', '/var/lock'])
    if (isBelow(path, scratch)) return scratch;
  const shelf = SHELVES.find((one) => isBelow(directory, one));
  const depth = shelf === undefined ? 2 : shelf.split('/').length;
  return directory
    .split('/')
    .slice(0, depth + 1)
    .join('/');
}

/** Where a path can be made writable: by a mount, or only with the whole root. A volume has what the image has there; a tmpfs hides it. */
export function roomFor(path: string): { readonly kind: 'ROOT' | 'TMPFS' | 'VOLUME'; readonly path: string } {
  if (isBelowOne(path, SYSTEM) || directoryOf(path) === '/') return { kind: 'ROOT', path: '/' };
  const at = mountPointOf(path);
  return { kind: isBelowOne(at, SCRATCH) ? 'TMPFS' : 'VOLUME', path: at };
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}
