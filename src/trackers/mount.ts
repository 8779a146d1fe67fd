import { defineTracker, pushedErrno } from '../tracker/define.js';
import { flagNames, type Flags } from '../tracker/flag.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';
import { watchedCalls } from '../tracker/watched-calls.js';

const operations = [
  'MOUNT',
  'BIND',
  'REMOUNT',
  'MOVE',
  'SET_PROPAGATION',
  'ATTACH',
  'SET_ATTRIBUTES',
  'UNMOUNT',
  'PIVOT_ROOT',
] as const;
type Operation = (typeof operations)[number];

/** `enum call` of the object. */
const calls = { mount: 1, umount2: 2, pivot_root: 4, move_mount: 5, mount_setattr: 6 };
/** i386 has a call without flags too. */
const compat = { umount: 3 };

// include/uapi/linux/mount.h, include/uapi/linux/fcntl.h, include/linux/fs.h
const propagation: Flags = [
  [1 << 17, 'MS_UNBINDABLE'],
  [1 << 18, 'MS_PRIVATE'],
  [1 << 19, 'MS_SLAVE'],
  [1 << 20, 'MS_SHARED'],
];
const mountFlags: Flags = [
  [1, 'MS_RDONLY'],
  [2, 'MS_NOSUID'],
  [4, 'MS_NODEV'],
  [8, 'MS_NOEXEC'],
  [1 << 4, 'MS_SYNCHRONOUS'],
  [1 << 5, 'MS_REMOUNT'],
  [1 << 6, 'MS_MANDLOCK'],
  [1 << 7, 'MS_DIRSYNC'],
  [1 << 8, 'MS_NOSYMFOLLOW'],
  [1 << 10, 'MS_NOATIME'],
  [1 << 11, 'MS_NODIRATIME'],
  [1 << 12, 'MS_BIND'],
  [1 << 13, 'MS_MOVE'],
  [1 << 14, 'MS_REC'],
  [1 << 15, 'MS_SILENT'],
  [1 << 16, 'MS_POSIXACL'],
  ...propagation,
  [1 << 21, 'MS_RELATIME'],
  [1 << 23, 'MS_I_VERSION'],
  [1 << 24, 'MS_STRICTATIME'],
  [1 << 25, 'MS_LAZYTIME'],
];
const flagsOf: Readonly<Partial<Record<Operation, Flags>>> = {
  UNMOUNT: [
    [1, 'MNT_FORCE'],
    [2, 'MNT_DETACH'],
    [4, 'MNT_EXPIRE'],
    [8, 'UMOUNT_NOFOLLOW'],
  ],
  ATTACH: [
    [0x1, 'MOVE_MOUNT_F_SYMLINKS'],
    [0x2, 'MOVE_MOUNT_F_AUTOMOUNTS'],
    [0x4, 'MOVE_MOUNT_F_EMPTY_PATH'],
    [0x10, 'MOVE_MOUNT_T_SYMLINKS'],
    [0x20, 'MOVE_MOUNT_T_AUTOMOUNTS'],
    [0x40, 'MOVE_MOUNT_T_EMPTY_PATH'],
    [0x100, 'MOVE_MOUNT_SET_GROUP'],
    [0x200, 'MOVE_MOUNT_BENEATH'],
  ],
  SET_ATTRIBUTES: [
    [0x100, 'AT_SYMLINK_NOFOLLOW'],
    [0x800, 'AT_NO_AUTOMOUNT'],
    [0x1000, 'AT_EMPTY_PATH'],
    [0x8000, 'AT_RECURSIVE'],
  ],
};
const attributes: Flags = [
  [0x1, 'MOUNT_ATTR_RDONLY'],
  [0x2, 'MOUNT_ATTR_NOSUID'],
  [0x4, 'MOUNT_ATTR_NODEV'],
  [0x8, 'MOUNT_ATTR_NOEXEC'],
  [0x70, 'MOUNT_ATTR__ATIME'],
  [0x10, 'MOUNT_ATTR_NOATIME'],
  [0x20, 'MOUNT_ATTR_STRICTATIME'],
  [0x80, 'MOUNT_ATTR_NODIRATIME'],
  [0x100000, 'MOUNT_ATTR_IDMAP'],
  [0x200000, 'MOUNT_ATTR_NOSYMFOLLOW'],
];

/** Names the flags of a call. */
export function mountFlagNames(operation: Operation, flags: number): string[] {
  return flagNames(flags, flagsOf[operation] ?? mountFlags);
}

const ifKnown = (known: boolean, bits: number) => (known ? flagNames(bits, attributes) : null);

export default defineTracker({
  name: 'mount',
  minimumKernel: '5.17',
  watches:
    'mounts, bind mounts, moves, changes, unmounts and pivot_root, by the older and the newer calls: source, ' +
    'target, the path behind a descriptor, type, options, flags, attributes, error',
  details: '{mountOperation} {resolved|target} [{fsType}] [from {source}] [{flags}] [= {errno}]',
  blindSpots: [
    'What is not attached is not mounted: fsopen, fsconfig, fsmount, fspick, open_tree and open_tree_attr have no event. ' +
      'move_mount, which attaches it, has one; the options that fsconfig set are not in it.',
    'Mounts that come and go without a call of their own: automounts, those that are propagated to other namespaces, ' +
      'copied with a new namespace (unshare, clone), and removed with its last process.',
    'Paths are as passed, read when the call ends: symbolic links, ".." and other mounts on the way are ' +
      'not resolved, and another thread may have changed them by then.',
    'The target of a MOUNT, BIND or MOVE that succeeded is covered by what is mounted there: `resolved` ' +
      'is the path of the descriptor, not of the new mount.',
    '`options` of a file system with binary options (NFS, SMB through older tools) end at their first NUL.',
    'On arm64, calls of 32-bit programs.',
  ],
  formerNames: { mountOperation: 'operation' },
  columns: ['mountOperation', 'errno', 'source', 'targetDirectory', 'target', 'resolved', 'fsType', 'flags'],
  indexed: ['fsType'],
  example: '{ operations: [MOUNT, BIND, ATTACH, UNMOUNT] }',
  trigger: 'd=$(mktemp -d); mount -t tmpfs -o size=1M tmpfs $d && umount $d; rmdir $d',
  atCallExit: { mount_exit: null },
  constants: (options) => ({
    ...watchedCalls(calls, process.arch === 'x64' ? compat : {}),
    failed_only: options.failedOnly === true,
    operations: operationMask(operations, options.operations),
  }),
  pushed: {
    mountOperation: pushedOperation(operations),
    errno: pushedErrno,
    source: { kind: 'text', stem: 'source', bytes: 64 },
    target: { kind: 'text', stem: 'target', bytes: 64 },
    fsType: { kind: 'text', stem: 'fs_type', bytes: 64 },
  },
  fields: {
    flags: { from: ['mountOperation', 'flags'], read: mountFlagNames },
    attributesSet: { from: ['attributesKnown', 'attributesSet'], read: ifKnown },
    attributesCleared: { from: ['attributesKnown', 'attributesCleared'], read: ifKnown },
    propagation: {
      from: ['mountOperation', 'flags', 'propagation'],
      read: (operation: Operation, flags: number, passed: number) => {
        const bits = operation === 'SET_PROPAGATION' ? flags : operation === 'SET_ATTRIBUTES' ? passed : 0;
        return propagation.find(([bit]) => bits & bit)?.[1] ?? null;
      },
    },
  },
});
