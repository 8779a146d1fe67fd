import { compatCalls, isSyscallElsewhere, nativeCalls } from '../linux/syscalls.js';
import type { Constant } from './define.js';

const NATIVE = 576;
const COMPAT = 512;

/**
 * The constant of an object that includes calls.bpf.h: the calls that it watches, by name → the object's own value for it, 1 to 65535.
 * `compat` adds calls of the 32-bit ABI whose arguments are other than those of the architecture's call of that name,
 * or which only that ABI has. Throws for a name that no architecture has.
 */
export function watchedCalls(
  calls: Readonly<Record<string, number>>,
  compat: Readonly<Record<string, number>> = {},
): Record<string, Constant> {
  const values = new Uint16Array(NATIVE + COMPAT);
  for (const [name, value] of Object.entries(calls)) {
    for (const nr of nativeCalls(known(name))) values[nr] = value;
    for (const nr of compatCalls(name)) values[NATIVE + nr] = value;
  }
  for (const [name, value] of Object.entries(compat))
    for (const nr of compatCalls(known(name))) values[NATIVE + nr] = value;
  return { eu_calls: values };
}

function known(name: string): string {
  if (!isSyscallElsewhere(name)) throw new RangeError(`there is no system call "${name}"`);
  return name;
}
