/** Names of bits. A name of several bits stands before those of some of them. */
export type BitNames = readonly (readonly [name: string, bits: number])[];

// include/uapi/asm-generic/fcntl.h; x86 has the same. O_SYNC holds O_DSYNC's bit, O_TMPFILE O_DIRECTORY's: longer ones first.
const accessModes = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE'] as const;
const bits: BitNames = [
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
const LOW = 0xffffffffn;
/** UNKNOWN_FLAGS of open.bpf.c: openat2's flags could not be read. */
export const UNKNOWN_OPEN_FLAGS = 2n ** 64n - 1n;

/** Names bits of an unsigned 64-bit number; those without a name are one hexadecimal number. All names are of the low 32 bits. */
export function bitNames(value: bigint, known: BitNames): string[] {
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
  if (flags === UNKNOWN_OPEN_FLAGS) return [];
  return [accessModes[Number(flags & 3n)] ?? '', ...bitNames(flags & ~3n, bits)];
}

/** Without which bits `openFlags` has no such name. A longer name that holds the same bits comes before it. */
export function openFlagBits(name: string): { mask: number; value: number; exact: boolean } | null {
  const mode = accessModes.findIndex((known) => known === name);
  if (mode >= 0) return { mask: 3, value: mode, exact: true };
  const [, mask] = bits.find(([known]) => known === name) ?? [];
  return mask === undefined
    ? null
    : { mask, value: mask, exact: !bits.some(([other, all]) => other !== name && (all & mask) !== 0) };
}
