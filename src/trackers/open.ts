import { defineReport, ifSet } from '../tracker/define-report.js';
import { defineTracker, ifPath, pushedErrno } from '../tracker/define.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';

// include/uapi/asm-generic/fcntl.h; x86 has the same. O_SYNC holds O_DSYNC's bit, O_TMPFILE O_DIRECTORY's: longer ones first.
const accessModes = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE'] as const;
const bits: readonly (readonly [name: string, bits: number])[] = [
  ['O_CREAT', 0o100],
  ['O_EXCL', 0o200],
  ['O_NOCTTY', 0o400],
  ['O_TRUNC', 0o1000],
  ['O_APPEND', 0o2000],
  ['O_NONBLOCK', 0o4000],
  ['O_SYNC', 0o4010000],
  ['O_DSYNC', 0o10000],
  ['FASYNC', 0o20000],
  ...(process.arch === 'arm64'
    ? ([
        ['O_DIRECT', 0o200000],
        ['O_LARGEFILE', 0o400000],
        ['O_TMPFILE', 0o20040000],
        ['O_DIRECTORY', 0o40000],
        ['O_NOFOLLOW', 0o100000],
      ] as const)
    : ([
        ['O_DIRECT', 0o40000],
        ['O_LARGEFILE', 0o100000],
        ['O_TMPFILE', 0o20200000],
        ['O_DIRECTORY', 0o200000],
        ['O_NOFOLLOW', 0o400000],
      ] as const)),
  ['O_NOATIME', 0o1000000],
  ['O_CLOEXEC', 0o2000000],
  ['O_PATH', 0o10000000],
];
const CREATES = 0o100n | 0o20000000n; // O_CREAT, or the bit of O_TMPFILE that is its own

// include/uapi/linux/openat2.h
const resolveBits: typeof bits = [
  ['RESOLVE_NO_XDEV', 0x01],
  ['RESOLVE_NO_MAGICLINKS', 0x02],
  ['RESOLVE_NO_SYMLINKS', 0x04],
  ['RESOLVE_BENEATH', 0x08],
  ['RESOLVE_IN_ROOT', 0x10],
  ['RESOLVE_CACHED', 0x20],
];
const LOW = 0xffffffffn;
/** UNKNOWN_FLAGS: openat2's flags could not be read. */
const unknown = 2n ** 64n - 1n;

/** Names bits of an unsigned 64-bit number; those without a name are one hexadecimal number. All names are of the low 32 bits. */
function bitNames(value: bigint, known: typeof bits): string[] {
  const names: string[] = [];
  let rest = Number(value & LOW) | 0;
  for (const [name, mask] of known) {
    if ((rest & mask) !== mask) continue;
    names.push(name);
    rest &= ~mask;
  }
  const unnamed = (value & ~LOW) | BigInt(rest >>> 0);
  return unnamed ? [...names, `0x${unnamed.toString(16)}`] : names;
}

/** Names the bits of open's flags; what has no name is one hexadecimal number. Empty where they are not known. */
export function openFlags(flags: bigint): string[] {
  if (flags === unknown) return [];
  return [accessModes[Number(flags & 3n)] ?? '', ...bitNames(flags & ~3n, bits)];
}

/** Without which bits `openFlags` has no such name. A longer name that holds the same bits comes before it. */
function bitsOf(name: string): { mask: number; value: number; exact: boolean } | null {
  const mode = accessModes.findIndex((known) => known === name);
  if (mode >= 0) return { mask: 3, value: mode, exact: true };
  const [, mask] = bits.find(([known]) => known === name) ?? [];
  return mask === undefined
    ? null
    : { mask, value: mask, exact: !bits.some(([other, all]) => other !== name && (all & mask) !== 0) };
}

const WRITES: ReadonlySet<string> = new Set(['O_WRONLY', 'O_RDWR', 'O_TRUNC']);

const mayCreate = (flags: bigint) => flags !== unknown && (flags & CREATES) !== 0n;

export default defineTracker({
  name: 'open',
  minimumKernel: '5.17',
  blindSpots: [
    'Files that a process obtains without opening them: inherited descriptors, descriptors passed over a ' +
      'socket (SCM_RIGHTS) or obtained with pidfd_getfd; fsmount, open_tree, memfd_create and sockets.',
    'Files that the kernel opens on behalf of a process: the program and interpreter of an exec, swap files, core dumps.',
    '`path` is read when the system call returns: another thread may have changed it by then. `resolved` is the file that was opened.',
    'io_uring: `fd` is null for a direct descriptor. With IOSQE_CQE_SKIP_SUCCESS the kernel does not ' +
      'report success: an open is reported when it is submitted, with `fd` and `resolved` null, and again ' +
      'if it fails. If the completion queue is full, requests with equal user_data may be reported with ' +
      "each other's result.",
  ],
  columns: ['errno', 'fd', 'flags', 'path'],
  example: '{ writesOnly: true }',
  trigger: 'echo hello > /dev/null',
  optional: uring('open'),
  blindWithout: blindWithoutUring('open', 'Files that are opened through io_uring'),
  pushed: {
    errno: pushedErrno,
    fd: { kind: 'number', stem: 'fd', null: -1 },
    flags: { kind: 'bits', stem: 'flags', bitsOf },
    path: { kind: 'text', stem: 'path', bytes: 64 },
    resolved: { kind: 'text', stem: 'resolved', bytes: 64 },
  },
  fields: {
    fd: { from: ['fd'], read: (fd: number) => (fd < 0 ? null : fd) },
    flags: { from: ['flags'], read: (flags: string) => openFlags(BigInt(flags)) },
    resolve: {
      from: ['how', 'resolve'],
      read: (how: boolean, resolve: string) => (how ? bitNames(BigInt(resolve), resolveBits) : null),
    },
    mode: {
      from: ['flags', 'mode'],
      read: (flags: string, mode: number) => (mayCreate(BigInt(flags)) ? mode & 0o7777 : null),
    },
    deleted: { from: ['resolvedState', 'deleted'], read: ifPath },
  },
  report: defineReport<'open'>({
    feeds: 'files',
    demand: ['path', 'resolved'],
    read: ({ resolved, path, errno, flags }) => {
      // O_PATH gives a name only: nothing can be read or written through it.
      const opened = errno === null && !flags.includes('O_PATH');
      return {
        path: resolved ?? path,
        errno,
        reads: opened && !flags.includes('O_WRONLY'),
        writes: opened && flags.some((flag) => WRITES.has(flag)),
      };
    },
    restricting: [
      ifSet('failedOnly', 'opens that succeed are excluded', ['filesRead', 'filesWritten']),
      ifSet('writesOnly', 'opens that can modify nothing are excluded', ['filesRead', 'failedOpens']),
    ],
  }),
});
