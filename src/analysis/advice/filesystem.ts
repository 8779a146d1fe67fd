import type { CurrentRights, Observation, SeenPath, TmpfsRight, VolumeRight } from '../../event/advice.js';
import { add } from './group.js';
import { isNames, namesIn } from './names.js';

/** Size of a tmpfs: how much was written is not observed. */
export const TMPFS_BYTES = 64 << 20;

/** Where a container writes that has nothing of its image: a tmpfs serves. */
const SCRATCH = ['/tmp', '/run', '/var/run', '/var/tmp', '/var/lock', '/var/cache', '/var/log'];
const TEMPORARY = ['/tmp', '/var/tmp', '/var/lock'];
/** Of the same, where images have next to nothing: one of many names that were made there was made too. */
const EMPTY = [...TEMPORARY, '/run', '/var/run'];
/** What every container has mounted for itself, or what no disk keeps. */
const KERNEL = ['/proc', '/sys', '/dev'];
/** What a program needs to run: where a container writes here, its root cannot be read-only. */
const SYSTEM = ['/bin', '/boot', '/etc', '/lib', '/lib32', '/lib64', '/libx32', '/sbin', '/usr'];
/** Directories that hold one directory for each program. */
const SHELVES = ['/var/lib', '/var/cache', '/var/log', '/var/spool', '/var/opt', '/home', '/opt', '/srv', '/var'];

/** More mounts than this serve nobody: the root is left writable. */
const MOST_MOUNTS = 100;
/** A name that means nothing else in the options of engines, where a colon or a comma ends a path. */
const PLAIN = /^[^:,"\\\p{Cc}]+$/u;

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

/** The innermost of some directories that a path is, or is in; null for none. Takes as long for many of them as for one. */
function innermostOf(directories: Iterable<string>): (path: string) => string | null {
  const all = new Set(directories);
  let longest = 0;
  for (const { length } of all) longest = Math.max(longest, length);
  return (path) => {
    let found = all.has('/') ? '/' : null;
    for (let end = 0; end >= 0 && end <= longest;) {
      end = path.indexOf('/', end + 1);
      const head = end < 0 ? path : path.slice(0, end);
      if (all.has(head)) found = head;
    }
    return found;
  };
}

/** What has to be writable, in the fewest sensible directories. */
export function fileRights(observation: Observation, current: CurrentRights | null): FileRights {
  const mounts = current?.mounts ?? [];
  const own = observation.paths.filter(({ runtime }) => !runtime);
  const written = own.filter(({ path, access }) => access !== 'READ' && !isBelowOne(path, KERNEL));
  const mountOf = innermostOf(mounts.map(({ path }) => path));
  const inMounts = new Map<string | null, SeenPath[]>();
  for (const one of written) add(inMounts, mountOf(one.path), one);
  // Engines mount these three as files; a program that changes them changes no image.
  const loose = (inMounts.get(null) ?? []).filter(({ path }) => !/^\/etc\/(hosts|hostname|resolv\.conf)$/.test(path));
  const apart = fewest(loose.filter(({ path }) => !isOfRoot(path)));
  const directories = apart.length > MOST_MOUNTS ? [] : apart;
  const system = apart.length > MOST_MOUNTS ? loose : loose.filter(({ path }) => isOfRoot(path));
  const hiding = hidingImage(directories, own, observation);
  const isTmpfs = ({ path }: WrittenDirectory): boolean => isBelowOne(path, SCRATCH) && !hiding.has(path);
  return {
    readOnlyRoot: system.length === 0 && !observation.unobserved.includes('files'),
    tmpfs: directories.filter(isTmpfs).map((directory) => ({ ...directory, sizeBytes: TMPFS_BYTES })),
    volumes: [
      ...directories.filter((one) => !isTmpfs(one)).map((directory) => ({ ...directory, writable: true })),
      ...mounts.map(({ path }) => {
        const inside = inMounts.get(path) ?? [];
        return { path, written: inside, writable: inside.length > 0 };
      }),
    ].sort((a, b) => (a.path < b.path ? -1 : 1)),
    system,
  };
}

/** The directories in which the image has something that a tmpfs would cover; engines also mount it noexec. */
function hidingImage(
  directories: readonly WrittenDirectory[],
  own: readonly SeenPath[],
  { programs, containers }: Observation,
): ReadonlySet<string> {
  const directoryFor = innermostOf(directories.map(({ path }) => path));
  const hiding = new Set<string>();
  const hides = (directory: string | null): unknown => directory !== null && hiding.add(directory);
  for (const { path, runtime } of programs) if (!runtime) hides(directoryFor(path));
  const made = new Map<string, string>();
  const read = new Map<string, string>();
  for (const { path, access, first } of own)
    if (access === 'READ') read.set(path, first);
    else if (access === 'MAKE' || (access === 'WRITE' && first < (made.get(path) ?? '~'))) made.set(path, first);
  // Of many names, nobody knows which were made and which were there. In a directory for temporary files, they were made.
  const amongMany = (path: string): boolean => made.has(namesIn(path)) && isBelowOne(path, TEMPORARY);
  // What it has read and not written before is of the image.
  for (const [path, first] of read) {
    const directory = directoryFor(path);
    const before = isNames(path) || first < (made.get(path) ?? '~');
    if (directory !== path && before && !amongMany(path)) hides(directory);
  }
  const isMade = (path: string): boolean => made.has(path) || (made.has(namesIn(path)) && isBelowOne(path, EMPTY));
  // So is a directory that it writes to and has not made. Of what was made before anybody watched, /tmp holds most.
  const before = containers.some(({ started }) => started === null);
  for (const { path, written } of directories) {
    if (before && isBelowOne(path, TEMPORARY)) continue;
    const parents = written.map((one) => directoryOf(one.path));
    if (parents.some((parent) => parent !== path && isBelow(parent, path) && !isMade(parent))) hides(path);
  }
  return hiding;
}

/** Where only a writable root makes a path writable. */
function isOfRoot(path: string): boolean {
  return isBelowOne(path, SYSTEM) || mountPointOf(path) === '/';
}

/** The directories to mount for these paths: none inside of another. */
function fewest(written: readonly SeenPath[]): WrittenDirectory[] {
  const all = new Set(written.map(({ path }) => mountPointOf(path)));
  const around = innermostOf(all);
  const outermost = [...all].filter((path) => around(directoryOf(path)) === null).sort();
  const directoryFor = innermostOf(outermost);
  const found = new Map<string | null, SeenPath[]>(outermost.map((path) => [path, []]));
  for (const one of written) add(found, directoryFor(one.path), one);
  return outermost.map((path) => ({ path, written: found.get(path) ?? [] }));
}

/** A whole scratch directory, a program's own below a shelf, else the first two names; less where a name is no plain one. */
function mountPointOf(path: string): string {
  const directory = directoryOf(path);
  for (const scratch of ['/tmp', '/run', '/var/run', '/var/tmp', '/var/lock'])
    if (isBelow(path, scratch)) return scratch;
  const shelf = SHELVES.find((one) => isBelow(directory, one));
  const depth = shelf === undefined ? 2 : shelf.split('/').length;
  const names = directory.split('/', depth + 1).slice(1);
  const odd = names.findIndex((name) => !PLAIN.test(name));
  return `/${names.slice(0, odd < 0 ? depth : odd).join('/')}`;
}

/** Where a path can be made writable: by a mount, or only with the whole root. A volume has what the image has there; a tmpfs hides it. */
export function roomFor(path: string): { readonly kind: 'ROOT' | 'TMPFS' | 'VOLUME'; readonly path: string } {
  if (isOfRoot(path)) return { kind: 'ROOT', path: '/' };
  const at = mountPointOf(path);
  return { kind: isBelowOne(at, SCRATCH) ? 'TMPFS' : 'VOLUME', path: at };
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}
