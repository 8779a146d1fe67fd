import { arm64, i386, x32, x64, type NumberRun } from './syscall-tables.js';

/**
 * The ABI that selects the table of a system call's number: the architecture's native one, or an older one that its
 * kernel also supports. `enum eu_abi` in compat.bpf.h has the same names.
 */
export type SyscallAbi = 'X86_64' | 'I386' | 'X32' | 'ARM64' | 'ARM';

/** Names by number; a number without a name is a hole. */
type Table = readonly (string | undefined)[];

function tableOf(runs: readonly NumberRun[]): Table {
  const names: string[] = [];
  for (const [first, list] of runs) list.split(' ').forEach((name, i) => (names[first + i] = name));
  return names;
}

const x86 = tableOf([...x64, ...x32]);
/** x32's numbers from 512 on are valid without x32's bit, which the kernel does not require there. */
const tables: Readonly<Record<SyscallAbi, Table>> = {
  X86_64: x86,
  I386: tableOf(i386),
  X32: x86,
  ARM64: tableOf(arm64),
  ARM: [],
};

const isArm = process.arch === 'arm64';
export const nativeAbi: SyscallAbi = isArm ? 'ARM64' : 'X86_64';
/** What the architecture's kernel also runs. */
export const compatAbi: SyscallAbi = isArm ? 'ARM' : 'I386';
const native = tables[nativeAbi];
const compat = tables[compatAbi];
const nativeNumbers = numbersByName(native);
const compatNumbers = numbersByName(compat);
const namesAnywhere = new Set(Object.values(tables).flat());
const UNNAMED = /^(|i386_|arm_)syscall_(0|[1-9]\d{0,9})$/;
const COMPAT_PREFIX = isArm ? 'arm_' : 'i386_';

/**
 * Returns "write" for 1 on x86-64 and for 4 of I386. A number without a name is "syscall_999"; in a 32-bit ABI
 * "i386_syscall_999" or "arm_syscall_999".
 */
export function syscallName(nr: number, abi: SyscallAbi | null = null): string {
  const of = abi ?? nativeAbi;
  const prefix = of === 'I386' ? 'i386_' : of === 'ARM' ? 'arm_' : '';
  return tables[of][nr] ?? `${prefix}syscall_${nr}`;
}

// Codes: one number for each name. The kernel translates a call's ABI and number to its code (eu_call_code of
// compat.bpf.h), so that options and filters by name are evaluated there by one comparison, whatever the ABI.

/** Codes below this one have a name, or are numbers of the native table. */
export const NAMED_CODES = 1024;
/** Up to here, native numbers are their own codes; then come the names that only the 32-bit ABI has. */
const OWN_CODES = 576;
const OWN_UNNAMED = 2 ** 20;
const COMPAT_UNNAMED = 2 ** 40;
const NO_CODE = 0xffff;

const codes = new Map<string, number>();
for (const [nr, name] of native.entries()) if (name !== undefined && !codes.has(name)) codes.set(name, nr);
const compatOnly = [...new Set(compat)].filter((name) => name !== undefined && !codes.has(name)) as string[];
compatOnly.forEach((name, i) => codes.set(name, OWN_CODES + i));

/**
 * The kernel's translation table: codes of the 512 numbers of the 32-bit ABI, then of the 64 native numbers from 512 on
 * (x32's second ones); 0xffff for a number without a name.
 */
export const syscallCodes: Uint16Array = Uint16Array.from(
  { length: OWN_CODES },
  (_, i) => codeAt(i < 512 ? compat : native, i) ?? (i < 512 ? NO_CODE : i),
);

function codeAt(table: Table, nr: number): number | undefined {
  const name = table[nr];
  return name === undefined ? undefined : codes.get(name);
}

/** Returns the name of a code. */
export function syscallOfCode(code: number): string {
  if (code < OWN_CODES) return syscallName(code);
  if (code < NAMED_CODES) return compatOnly[code - OWN_CODES] ?? `unused_${code}`;
  return code < COMPAT_UNNAMED ? `syscall_${code - OWN_UNNAMED}` : `${COMPAT_PREFIX}syscall_${code - COMPAT_UNNAMED}`;
}

/**
 * Returns the code of "write", of "syscall_999" (number 999 of the native ABI) or of "i386_syscall_999" (of the 32-bit
 * ABI); null for a call that neither ABI has.
 */
export function syscallCode(name: string): number | null {
  const named = codes.get(name);
  if (named !== undefined) return named;
  const [, prefix = '', digits] = UNNAMED.exec(name) ?? [];
  const nr = Number(digits ?? -1);
  if (nr < 0 || nr >= 2 ** 31) return null;
  if (prefix === '')
    return nr < 512 ? (codeAt(native, nr) ?? nr) : nr < OWN_CODES ? (syscallCodes[nr] ?? nr) : OWN_UNNAMED + nr;
  if (prefix !== COMPAT_PREFIX) return null;
  return codeAt(compat, nr) ?? COMPAT_UNNAMED + nr;
}

/** The numbers of the architecture's own calls of this name; x32 has a second one for some. Empty for a name that it does not have. */
export function nativeCalls(name: string): readonly number[] {
  return nativeNumbers.get(name) ?? [];
}

/** The same of its 32-bit ABI. */
export function compatCalls(name: string): readonly number[] {
  return compatNumbers.get(name) ?? [];
}

function numbersByName(table: Table): ReadonlyMap<string, readonly number[]> {
  const numbers = new Map<string, number[]>();
  for (const [nr, name] of table.entries()) {
    if (name === undefined) continue;
    const known = numbers.get(name);
    if (known) known.push(nr);
    else numbers.set(name, [nr]);
  }
  return numbers;
}

/** Returns all names on this architecture, of either ABI. */
export function syscallNames(): readonly string[] {
  return [...codes.keys()];
}

/** Returns whether any supported architecture has a call of this name. */
export function isSyscallElsewhere(name: string): boolean {
  return namesAnywhere.has(name);
}
