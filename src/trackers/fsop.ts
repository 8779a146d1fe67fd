import { absolutePath } from '../tracker/absolute-path.js';
import { defineReport, ifListed, ifSet } from '../tracker/define-report.js';
import type { Constant } from '../tracker/define.js';
import { defineTracker, pushedErrno } from '../tracker/define.js';
import { flagNames, type Flags } from '../tracker/flag.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';
import { watchedCalls } from '../tracker/watched-calls.js';

const operations = [
  'UNLINK',
  'RMDIR',
  'RENAME',
  'LINK',
  'SYMLINK',
  'MKDIR',
  'MKNOD',
  'CHMOD',
  'CHOWN',
  'TRUNCATE',
  'SETXATTR',
  'REMOVEXATTR',
] as const;
type Operation = (typeof operations)[number];

/** CALL_… of the object: where a call's arguments are. */
interface Shape {
  /** The argument that is the path; without it the first one is a descriptor. */
  readonly path?: number;
  /** The argument before the path is a directory's descriptor. */
  readonly at?: true;
  /** A second path follows: right behind, or behind a descriptor. */
  readonly two?: 'plain' | 'at';
  /** The argument that has flags. */
  readonly flags?: number;
  readonly nofollow?: true;
  /** 32-bit calls: a length in two arguments, ids of 16 bits. */
  readonly wide?: true;
  readonly short?: true;
}

function callOf(operation: Operation, { path, at, two, flags = 0, nofollow, wide, short }: Shape): number {
  return (
    (operations.indexOf(operation) + 1) |
    ((path ?? 0) << 4) |
    (at ? 1 << 6 : 0) |
    (path === undefined ? 1 << 7 : 0) |
    (two ? 1 << 8 : 0) |
    (two === 'at' ? 1 << 9 : 0) |
    (flags << 10) |
    (nofollow ? 1 << 13 : 0) |
    (wide ? 1 << 14 : 0) |
    (short ? 1 << 15 : 0)
  );
}

const calls: Readonly<Record<string, number>> = {
  unlink: callOf('UNLINK', { path: 0 }),
  unlinkat: callOf('UNLINK', { path: 1, at: true, flags: 2 }),
  rmdir: callOf('RMDIR', { path: 0 }),
  rename: callOf('RENAME', { path: 0, two: 'plain' }),
  renameat: callOf('RENAME', { path: 1, at: true, two: 'at' }),
  renameat2: callOf('RENAME', { path: 1, at: true, two: 'at', flags: 4 }),
  link: callOf('LINK', { path: 0, two: 'plain' }),
  linkat: callOf('LINK', { path: 1, at: true, two: 'at', flags: 4 }),
  symlink: callOf('SYMLINK', { path: 0, two: 'plain' }),
  symlinkat: callOf('SYMLINK', { path: 0, two: 'at' }),
  mkdir: callOf('MKDIR', { path: 0 }),
  mkdirat: callOf('MKDIR', { path: 1, at: true }),
  mknod: callOf('MKNOD', { path: 0 }),
  mknodat: callOf('MKNOD', { path: 1, at: true }),
  chmod: callOf('CHMOD', { path: 0 }),
  fchmod: callOf('CHMOD', {}),
  fchmodat: callOf('CHMOD', { path: 1, at: true }),
  fchmodat2: callOf('CHMOD', { path: 1, at: true, flags: 3 }),
  chown: callOf('CHOWN', { path: 0 }),
  lchown: callOf('CHOWN', { path: 0, nofollow: true }),
  fchown: callOf('CHOWN', {}),
  fchownat: callOf('CHOWN', { path: 1, at: true, flags: 4 }),
  truncate: callOf('TRUNCATE', { path: 0 }),
  ftruncate: callOf('TRUNCATE', {}),
  setxattr: callOf('SETXATTR', { path: 0, flags: 4 }),
  lsetxattr: callOf('SETXATTR', { path: 0, flags: 4, nofollow: true }),
  fsetxattr: callOf('SETXATTR', { flags: 4 }),
  setxattrat: callOf('SETXATTR', { path: 1, at: true, flags: 2 }),
  removexattr: callOf('REMOVEXATTR', { path: 0 }),
  lremovexattr: callOf('REMOVEXATTR', { path: 0, nofollow: true }),
  fremovexattr: callOf('REMOVEXATTR', {}),
  removexattrat: callOf('REMOVEXATTR', { path: 1, at: true, flags: 2 }),
};
/** Of i386: what the old names mean there, and what only it has. */
const compat: Readonly<Record<string, number>> = {
  chown: callOf('CHOWN', { path: 0, short: true }),
  lchown: callOf('CHOWN', { path: 0, nofollow: true, short: true }),
  fchown: callOf('CHOWN', { short: true }),
  chown32: callOf('CHOWN', { path: 0 }),
  lchown32: callOf('CHOWN', { path: 0, nofollow: true }),
  fchown32: callOf('CHOWN', {}),
  truncate64: callOf('TRUNCATE', { path: 0, wide: true }),
  ftruncate64: callOf('TRUNCATE', { wide: true }),
};

// include/uapi/linux/fcntl.h, fs.h, xattr.h
const atFlags: Flags = [
  [0x100, 'AT_SYMLINK_NOFOLLOW'],
  [0x200, 'AT_REMOVEDIR'],
  [0x400, 'AT_SYMLINK_FOLLOW'],
  [0x1000, 'AT_EMPTY_PATH'],
];
const flagsOf: Readonly<Partial<Record<Operation, Flags>>> = {
  RENAME: [
    [1, 'RENAME_NOREPLACE'],
    [2, 'RENAME_EXCHANGE'],
    [4, 'RENAME_WHITEOUT'],
  ],
  SETXATTR: [[1, 'XATTR_CREATE'], [2, 'XATTR_REPLACE'], ...atFlags],
};

/** Names the flags of a call; bits without a name are one hexadecimal number. */
export function fsopFlags(operation: Operation, flags: number): string[] {
  return flagNames(flags, flagsOf[operation] ?? atFlags);
}

/** As ls writes it, without the type: 0o4755 → "rwsr-xr-x". */
export function modeText(mode: number): string {
  const letters = [...'rwxrwxrwx'].map((letter, i) => (mode & (0o400 >> i) ? letter : '-'));
  const special = (bit: number, at: number, letter: string): void => {
    if (mode & bit) letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase();
  };
  special(0o4000, 2, 's');
  special(0o2000, 5, 's');
  special(0o1000, 8, 't');
  return letters.join('');
}

const MODES: ReadonlySet<string> = new Set(['MKDIR', 'MKNOD', 'CHMOD']);
const TYPES: Readonly<Record<number, string>> = {
  0: 'REGULAR', // mknod takes it for a regular file
  0o100000: 'REGULAR',
  0o010000: 'FIFO',
  0o020000: 'CHARACTER_DEVICE',
  0o060000: 'BLOCK_DEVICE',
  0o140000: 'SOCKET',
};
const fileType = (operation: string, mode: number) =>
  operation === 'MKNOD' ? (TYPES[mode & 0o170000] ?? 'OTHER') : null;
const isDevice = (operation: string, mode: number) => fileType(operation, mode)?.endsWith('_DEVICE') ?? false;
/** What is made under the new name, what is gone, and what is only changed. */
const NEW_NAME: ReadonlySet<Operation> = new Set(['RENAME', 'LINK', 'SYMLINK']);
const MAKES: ReadonlySet<Operation> = new Set(['MKDIR', 'MKNOD']);
const REMOVES: ReadonlySet<Operation> = new Set(['UNLINK', 'RMDIR', 'RENAME']);
const UNCHANGED = 0xffffffff;
const ownerOf = (operation: string, id: number) => (operation === 'CHOWN' && id !== UNCHANGED ? id : null);

export default defineTracker({
  name: 'fsop',
  minimumKernel: '5.17',
  watches:
    "unlink, rename, link, mkdir, mknod, chmod, chown, truncate, extended attributes, io_uring's too: paths as " +
    'passed with their base directories, the path of a descriptor, flags, mode, error',
  details: '{fsopOperation} {resolved|path} [> {newPath}] [{modeText}] [= {errno}]',
  blindSpots: [
    'What a path leads to: `path` is what the caller passed, and `directory` where it starts. Symbolic ' +
      'links, ".." and mounts on the way are not resolved, and `path` is read when the call ends, so that ' +
      'another thread may have changed it by then.',
    'Changes without one of these calls: open with O_CREAT or O_TRUNC (see the tracker open), writes, ' +
      'fallocate, FICLONE and other ioctls, file_setattr, utimensat, bind of a Unix socket, mq_unlink, ' +
      'what the kernel does by itself.',
    "A file server's changes are those of its own process: NFS, 9P, FUSE.",
    'The value of an extended attribute, and the flags that setxattrat has in its structure.',
    'Through io_uring: with IOSQE_CQE_SKIP_SUCCESS the kernel reports no success: such a request is ' +
      'reported when it is submitted, with `errno` null, and again if it fails. Where the completion queue ' +
      'is full, requests with equal user_data may get the result of each other.',
    'On arm64, calls of 32-bit programs.',
  ],
  formerNames: { fsopOperation: 'operation' },
  columns: ['fsopOperation', 'errno', 'directory', 'path', 'newPath', 'resolved', 'modeText', 'flags'],
  example: '{ operations: [UNLINK, RENAME, CHMOD] }',
  trigger: 'f=$(mktemp) && chmod 600 "$f" && mv "$f" "$f.old" && rm "$f.old"',
  atCallExit: { fsop_exit: null },
  optional: uring('fsop'),
  blindWithout: blindWithoutUring('fsop', 'Changes through io_uring'),
  constants: (options): Record<string, Constant> => ({
    ...watchedCalls(calls, compat),
    failed_only: options.failedOnly === true,
    operations: operationMask(operations, options.operations),
  }),
  pushed: {
    fsopOperation: pushedOperation(operations),
    errno: pushedErrno,
    path: { kind: 'text', stem: 'path', bytes: 64 },
    newPath: { kind: 'text', stem: 'new_path', bytes: 64 },
  },
  fields: {
    flags: { from: ['fsopOperation', 'flags'], read: fsopFlags },
    mode: {
      from: ['fsopOperation', 'mode'],
      read: (operation: string, mode: number) => (MODES.has(operation) ? mode & 0o7777 : null),
    },
    modeText: {
      from: ['fsopOperation', 'mode'],
      read: (operation: string, mode: number) => (MODES.has(operation) ? modeText(mode) : null),
    },
    fileType: { from: ['fsopOperation', 'mode'], read: fileType },
    // include/linux/kdev_t.h: new_decode_dev
    deviceMajor: {
      from: ['fsopOperation', 'mode', 'device'],
      read: (operation: string, mode: number, device: number) =>
        isDevice(operation, mode) ? (device >>> 8) & 0xfff : null,
    },
    deviceMinor: {
      from: ['fsopOperation', 'mode', 'device'],
      read: (operation: string, mode: number, device: number) =>
        isDevice(operation, mode) ? (device & 0xff) | ((device >>> 12) & 0xfff00) : null,
    },
    owner: { from: ['fsopOperation', 'owner'], read: ownerOf },
    group: { from: ['fsopOperation', 'group'], read: ownerOf },
    length: {
      from: ['fsopOperation', 'length'],
      read: (operation: string, length: string) => (operation === 'TRUNCATE' ? length : null),
    },
  },
  report: defineReport<'fsop'>({
    feeds: 'changes',
    demand: ['path', 'directory', 'newPath', 'newDirectory', 'resolved'],
    alike: [
      ...['fsopOperation', 'directory', 'newPath', 'newDirectory', 'resolved', 'errno'],
      { field: 'path', names: true, start: 'directory' },
    ],
    read: ({ fsopOperation: operation, path, directory, newPath, newDirectory, resolved, errno }) => {
      const at = absolutePath(directory, path);
      const made = NEW_NAME.has(operation) ? absolutePath(newDirectory, newPath) : MAKES.has(operation) ? at : null;
      const removed = REMOVES.has(operation) ? at : null;
      const changes = !NEW_NAME.has(operation) && !MAKES.has(operation) && !REMOVES.has(operation);
      return { made, removed, changed: changes ? (resolved ?? at) : null, errno };
    },
    restricting: [
      ifSet('failedOnly', 'changes that succeed are excluded'),
      ifListed('operations', 'operations that are not listed are excluded'),
    ],
  }),
});
