import { compatCalls, isSyscallElsewhere, nativeCalls } from '../linux/syscalls.js';
import type { Constant } from './define.js';

/** EU_NATIVE_CALLS and EU_COMPAT_CALLS of compat.bpf.h. */
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

/** What i386's socketcall does, by the number of its first argument, from 1 on (include/uapi/linux/net.h). */
const SUBCALLS =
  'socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt getsockopt ' +
  'sendmsg recvmsg accept4 recvmmsg sendmmsg';
const subcalls = SUBCALLS.split(' ');
const SOCKETCALL = 'socketcall';

/**
 * The slots in bpf/dispatch.bpf.c of calls by name, in both ABIs; of "socketcall" those of what it does that is named too. Throws for a
 * name that no architecture has.
 */
export function callSlots(names: readonly string[]): readonly number[] {
  const whole = names.filter((name) => name !== SOCKETCALL);
  const slots = whole.flatMap((name) => [...nativeCalls(known(name)), ...compatCalls(name).map((nr) => NATIVE + nr)]);
  if (whole.length === names.length || compatCalls(SOCKETCALL).length === 0) return slots;
  return [...slots, ...whole.flatMap((name) => subcallSlots(name))];
}

/** The same of the calls that `watchedCalls` has made a constant of. */
export function watchedSlots({ eu_calls: values }: Readonly<Record<string, unknown>>): readonly number[] {
  if (!(values instanceof Uint16Array)) throw new TypeError('the tracker has no calls of watchedCalls');
  const slots = [...values.keys()].filter((slot) => values[slot]);
  const multiplexers = compatCalls(SOCKETCALL).map((nr) => NATIVE + nr);
  if (!multiplexers.some((slot) => values[slot])) return slots;
  const within = subcalls.filter((name) => nativeCalls(name).some((nr) => values[nr]));
  return [...slots.filter((slot) => !multiplexers.includes(slot)), ...within.flatMap((name) => subcallSlots(name))];
}

function subcallSlots(name: string): readonly number[] {
  const at = subcalls.indexOf(name);
  return at < 0 ? [] : [NATIVE + COMPAT + at + 1];
}

function known(name: string): string {
  if (!isSyscallElsewhere(name)) throw new RangeError(`there is no system call "${name}"`);
  return name;
}
