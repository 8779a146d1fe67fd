import { defineTracker, pushedErrno } from './define.js';

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
const CREATES = 0o100 | 0o20000000; // O_CREAT, or the bit of O_TMPFILE that is its own

/** Names the bits of open's flags; what has no name is one hexadecimal number. */
export function openFlags(flags: number): string[] {
  const names: string[] = [accessModes[flags & 3] ?? ''];
  let rest = flags & ~3;
  for (const [name, mask] of bits) {
    if ((rest & mask) !== mask) continue;
    names.push(name);
    rest &= ~mask;
  }
  if (rest) names.push(`0x${(rest >>> 0).toString(16)}`);
  return names;
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

export default defineTracker({
  name: 'open',
  summary: 'Files that are opened, and attempts that fail.',
  minimumKernel: '5.17',
  pushed: {
    errno: pushedErrno,
    fd: { kind: 'number', stem: 'fd', null: -1 },
    flags: { kind: 'bits', stem: 'flags', bitsOf },
    path: { kind: 'text', stem: 'path', bytes: 64 },
  },
  fields: {
    fd: { from: ['fd'], read: (fd: number) => (fd < 0 ? null : fd) },
    flags: { from: ['flags'], read: openFlags },
    mode: { from: ['flags', 'mode'], read: (flags: number, mode: number) => (flags & CREATES ? mode & 0o7777 : null) },
  },
});
