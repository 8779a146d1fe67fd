import { invalid, suggest } from '../base/errors.js';
import {
  isSyscallElsewhere,
  NAMED_CODES,
  syscallCode,
  syscallCodes,
  syscallName,
  syscallNames,
  syscallOfCode,
  type SyscallAbi,
} from '../linux/syscalls.js';
import { ifListed } from './define-report.js';
import type { Constant, FieldDefinition, PushedField, TrackerOptions } from './define.js';

/** The field `name` of events that have `nr` and `abi`. */
export const nameField: FieldDefinition = {
  from: ['nr', 'abi'],
  read: (nr: number, abi: SyscallAbi | null) => syscallName(nr, abi),
};

/** The same of a filter, for objects that declare EU_WHERE_NUMBER(call). */
export const pushedName: PushedField = {
  kind: 'code',
  stem: 'call',
  max: NAMED_CODES - 1,
  codeOf: syscallCode,
  read: syscallOfCode,
};

/** The options of these that exclude calls from a report. */
export const restrictingCalls = [
  ifListed('only', 'calls that are not listed are excluded'),
  ifListed('except', 'calls that are listed are excluded'),
];

/** The options `only`, `except` and `ownCalls`: those of all trackers of many system calls (EU_SYSCALL_SET of syscall.bpf.h). */

const BITS = 64;
const WORDS = NAMED_CODES / BITS;
const LARGEST = 575;
/** They never reach the hook at a call's exit. */
const endless: Readonly<Record<string, string>> = {
  exit: 'it never returns; the tracker exit sees processes end',
  exit_group: 'it never returns; the tracker exit sees processes end',
  rt_sigreturn: 'it returns to where the signal struck, and its exit tells no number',
};

/**
 * The system calls that the options select, by code, and last those above; null for all. Throws BAD_USER_INPUT;
 * `path` is that of the options.
 */
export function syscallSelection({ only, except }: TrackerOptions, path: string): readonly boolean[] | null {
  const chosen = codesOf(only, `${path}.only`);
  const left = codesOf(except, `${path}.except`);
  if (!chosen && !left) return null;
  (only as readonly string[] | null | undefined)?.forEach((name, i) => {
    const why = endless[name];
    if (why !== undefined) throw invalid(`${path}.only[${i}]`, `"${name}" has no event: ${why}`, { syscall: name });
  });
  const set = Array.from({ length: WORDS * BITS + 1 }, (_, code) => chosen === null || chosen.has(code));
  for (const code of left ?? []) set[code] = false;
  if (!set.includes(true)) throw invalid(path, '`except` names all that `only` does: nothing is left to see');
  return set;
}

/** Null when the option was not given. */
function codesOf(option: unknown, path: string): ReadonlySet<number> | null {
  if (option === undefined || option === null) return null;
  const names = option as readonly string[];
  if (names.length === 0)
    throw invalid(path, 'is empty; leave it out, or name system calls, for example ["openat", "connect"]');
  return new Set(names.map((name, i) => codeOf(name, `${path}[${i}]`)));
}

function codeOf(name: string, path: string): number {
  const code = syscallCode(name);
  if (code !== null && code < NAMED_CODES) return code;
  if (code !== null)
    throw invalid(
      path,
      `the number of "${name}" is too large; without a name, system calls have numbers up to ${LARGEST}`,
      { syscall: name },
    );
  const shown = name.length > 64 ? `${name.slice(0, 64)}…` : name;
  const near = suggest(shown, syscallNames());
  const what = isSyscallElsewhere(name)
    ? `${process.arch} has no system call "${shown}"`
    : `there is no system call "${shown}"`;
  throw invalid(path, `${what}${near || '; write names as in strace, for example "openat"'}`, { syscall: shown });
}

/** The constants that these options become. */
export function syscallConstants(options: TrackerOptions): Record<string, Constant> {
  const set = syscallSelection(options, 'syscall');
  const words = Array.from({ length: WORDS }, (_, word) => {
    let bits = 0n;
    for (let bit = 0; bit < BITS; bit++) if (set?.[word * BITS + bit]) bits |= 1n << BigInt(bit);
    return [`eu_syscalls_${word}`, bits] as const;
  });
  return {
    eu_self: options.ownCalls === true ? 0 : process.pid,
    eu_by_syscall: set !== null,
    eu_call_codes: syscallCodes,
    eu_syscalls_rest: set?.[WORDS * BITS] ?? true,
    ...Object.fromEntries(words),
  };
}
