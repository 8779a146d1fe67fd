import { absolutePath } from '../tracker/absolute-path.js';
import { defineReport, ifSet } from '../tracker/define-report.js';
import { defineTracker, ifPath, pushedErrno } from '../tracker/define.js';
import { stackBlindSpots } from '../tracker/stack.js';
import { bitNames, type BitNames, openFlagBits, openFlags, UNKNOWN_OPEN_FLAGS } from '../tracker/open-flags.js';
import { openCalls, useOf } from '../tracker/opened-file.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';

const CREATES = 0o100n | 0o20000000n; // O_CREAT, or the bit of O_TMPFILE that is its own

// include/uapi/linux/openat2.h
const resolveBits: BitNames = [
  ['RESOLVE_NO_XDEV', 0x01],
  ['RESOLVE_NO_MAGICLINKS', 0x02],
  ['RESOLVE_NO_SYMLINKS', 0x04],
  ['RESOLVE_BENEATH', 0x08],
  ['RESOLVE_IN_ROOT', 0x10],
  ['RESOLVE_CACHED', 0x20],
];

const mayCreate = (flags: bigint) => flags !== UNKNOWN_OPEN_FLAGS && (flags & CREATES) !== 0n;

export default defineTracker({
  name: 'open',
  minimumKernel: '5.17',
  watches:
    'opened files and failed attempts: path as passed, resolved path and its state, whether the file is deleted, ' +
    'flags, mode, descriptor or error; the stack of a refusal',
  details: '{path|resolved} [= {errno}] [{flags}] [= {fd}]',
  costly: ['stack'],
  blindSpots: [
    ...stackBlindSpots,
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
  atCallExit: { open_exit: openCalls },
  optional: uring('open'),
  blindWithout: blindWithoutUring('open', 'Files that are opened through io_uring'),
  pushed: {
    errno: pushedErrno,
    fd: { kind: 'number', stem: 'fd', null: -1 },
    flags: { kind: 'bits', stem: 'flags', bitsOf: openFlagBits },
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
    supersededBy: ['opencount'],
    demand: ['path', 'resolved', 'directory'],
    alike: [{ field: 'path', unless: 'resolved' }, { field: 'resolved', names: true }, 'errno', 'flags'],
    read: ({ resolved, path, directory, errno, flags }) => ({
      path: resolved ?? path,
      absolute: resolved ?? absolutePath(directory, path),
      errno,
      ...useOf(errno, flags),
      count: 1,
      first: null,
      last: null,
    }),
    restricting: [
      ifSet('failedOnly', 'opens that succeed are excluded', ['filesRead', 'filesWritten']),
      ifSet('writesOnly', 'opens that can modify nothing are excluded', ['filesRead', 'failedOpens']),
    ],
  }),
});
