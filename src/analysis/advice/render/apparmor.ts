import type { Advice, SeenPath } from '../../../event/advice.js';
import { profileName, shortCapability } from './name.js';

/** Files below one directory above which the directory stands for all of them. */
const MANY_FILES = 20;

/** An AppArmor profile (`apparmor_parser -r`, `--security-opt apparmor=NAME`): files by what was done with them. */
export function apparmor(advice: Advice): string {
  const { rights, observation } = advice;
  const programs = new Set(observation.programs.filter(({ runtime }) => !runtime).map(({ path }) => path));
  const own = observation.paths.filter(({ runtime }) => !runtime);
  const files = [...accessOf(own)].map(([path, access]) => `${quoted(path)} ${access},`);
  const directories = [...rights.tmpfs, ...rights.volumes.filter(({ writable }) => writable)];
  return [
    'abi <abi/3.0>,',
    '#include <tunables/global>',
    '',
    `profile eunomia-${profileName(advice)} flags=(attach_disconnected,mediate_deleted) {`,
    ...[
      '#include <abstractions/base>',
      ...rights.capabilities.map((name) => `capability ${shortCapability(name).toLowerCase()},`),
      ...(rights.ports.length + rights.peers.length ? ['network inet,', 'network inet6,'] : []),
      'network unix,',
      'signal (send, receive) peer=@{profile_name},',
      'signal (receive) peer=unconfined,',
      'ptrace (trace, read) peer=@{profile_name},',
      '@{PROC}/@{pid}/** r,',
      '/dev/{null,zero,full,random,urandom,tty,pts/*,shm/**} rw,',
      ...[...programs].sort().map((path) => `${quoted(path)} mrix,`),
      ...directories.map(({ path }) => `${quoted(`${path}/`)} rw,`),
      ...directories.map(({ path }) => `${quoted(`${path}/**`, '/**')} rwkl,`),
      ...(rights.readOnlyRoot ? [] : ['# The root is written to: see advice.md.']),
      ...files,
    ].map((line) => `  ${line}`),
    '}',
    '',
  ].join('\n');
}

/** What was done with each file; one entry for a directory of which many were read. */
function accessOf(paths: readonly SeenPath[]): Map<string, string> {
  const byDirectory = new Map<string, Set<string>>();
  const folder = (path: string): string => path.slice(0, path.lastIndexOf('/'));
  for (const { path } of paths)
    byDirectory.set(folder(path), (byDirectory.get(folder(path)) ?? new Set<string>()).add(path));
  const found = new Map<string, string>();
  for (const { path, access } of paths) {
    if (path === '/' || path.startsWith('/proc/')) continue;
    const many = (byDirectory.get(folder(path))?.size ?? 0) > MANY_FILES && folder(path) !== '';
    const shown = many ? `${folder(path)}/*` : path;
    const writes = access !== 'READ' || found.get(shown)?.includes('w');
    // Libraries are opened, then mapped.
    found.set(shown, writes ? 'rwkl' : /\.so(\.|$)/.test(path) || found.get(shown) === 'mr' ? 'mr' : 'r');
  }
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A path as a profile has it: special characters escaped, but for a pattern at its end. */
function quoted(path: string, pattern = path.endsWith('/*') ? '/*' : ''): string {
  const plain = path.slice(0, path.length - pattern.length).replace(/[\\"*?[\]{}^@]/g, (character) => `\\${character}`);
  return `"${plain}${pattern}"`;
}
