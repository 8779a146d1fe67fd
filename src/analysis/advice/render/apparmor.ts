import type { Advice, SeenPath } from '../../../event/advice.js';
import { isNames } from '../names.js';
import { profileName, shortCapability } from './name.js';

/** Files below one directory above which the directory stands for all of them. */
const MANY_FILES = 20;
/** As their octal numbers: the parser takes `\"` for a quote, also where the backslash is escaped. */
const NUMBERED = /[\p{Cc}"\\]/gu;

/** An AppArmor profile (`apparmor_parser -r`, `--security-opt apparmor=NAME`): files by what was done with them. */
export function apparmor(advice: Advice): string {
  const { rights, observation } = advice;
  // What was executed from memory has no path.
  const programs = new Set(
    observation.programs.filter(({ path, runtime }) => !runtime && path.startsWith('/')).map(({ path }) => path),
  );
  const own = observation.paths.filter(({ runtime }) => !runtime);
  // A rule for a directory, to list or to make it, ends with a slash; which paths are directories is not observed.
  const files = accessOf(own).map(({ path, pattern, access }) => `${quoted(path, `${pattern}{,/}`)} ${access},`);
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
      ...directories.map(({ path }) => `${quoted(path, '/**')} rwkl,`),
      ...(rights.readOnlyRoot ? [] : ['# The root is written to: see advice.md.']),
      ...files,
    ].map((line) => `  ${line}`),
    '}',
    '',
  ].join('\n');
}

interface FileAccess {
  readonly path: string;
  /** Behind the path: no character of it stands for itself. */
  readonly pattern: '' | '/*';
  readonly access: string;
}

/** What was done with each file; one entry for a directory of which many were used. */
function accessOf(paths: readonly SeenPath[]): FileAccess[] {
  const byDirectory = new Map<string, Set<string>>();
  const folder = (path: string): string => path.slice(0, path.lastIndexOf('/'));
  for (const { path } of paths)
    byDirectory.set(folder(path), (byDirectory.get(folder(path)) ?? new Set<string>()).add(path));
  const found = new Map<string, FileAccess>();
  for (const { path, access } of paths) {
    if (path === '/' || path.startsWith('/proc/')) continue;
    const many = isNames(path) || ((byDirectory.get(folder(path))?.size ?? 0) > MANY_FILES && folder(path) !== '');
    const shown = many ? ({ path: folder(path), pattern: '/*' } as const) : ({ path, pattern: '' } as const);
    const key = `${shown.path}\0${shown.pattern}`;
    const known = found.get(key)?.access;
    const writes = access !== 'READ' || known?.includes('w');
    // Libraries are opened, then mapped.
    const maps = (access === 'READ' && (isNames(path) || /\.so(\.|$)/.test(path))) || known?.includes('m');
    found.set(key, { ...shown, access: `${maps ? 'm' : ''}${writes ? 'rwkl' : 'r'}` });
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
}

/** A path as a profile has it: special characters escaped, but for a pattern at its end. */
function quoted(path: string, pattern = ''): string {
  const plain = path.replace(NUMBERED, numbersOf).replace(/[*?[\]{}^@]/g, '\\$&');
  return `"${plain}${pattern}"`;
}

function numbersOf(character: string): string {
  return [...Buffer.from(character)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
}
