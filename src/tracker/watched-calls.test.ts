import { describe, expect, it } from 'vitest';
import { compatCalls, nativeCalls } from '../linux/syscalls.js';
import { callSlots, watchedCalls, watchedSlots } from './watched-calls.js';

const NATIVE = 576;
const valuesOf = (...args: Parameters<typeof watchedCalls>) => watchedCalls(...args)['eu_calls'] as Uint16Array;
const isX64 = process.arch === 'x64';

it('writes the value of a call at its number in each ABI', () => {
  const values = valuesOf({ kill: 7 });
  const places = [...values.entries()].filter(([, value]) => value !== 0);
  expect(places).toEqual(
    isX64
      ? [
          [62, 7],
          [NATIVE + 37, 7], // i386
        ]
      : [[129, 7]],
  );
});

it.runIf(isX64)('knows the second number of a call that x32 has, and what the 32-bit ABI means by an old name', () => {
  const values = valuesOf({ rt_sigqueueinfo: 1, chown: 2 }, { chown: 3, chown32: 2 });
  expect([values[129], values[524]]).toEqual([1, 1]);
  expect([values[92], values[NATIVE + 182], values[NATIVE + 212]]).toEqual([2, 3, 2]);
});

it('throws for a name that no architecture has', () => {
  expect(() => watchedCalls({ unlnk: 1 })).toThrow('there is no system call "unlnk"');
});

const sorted = (slots: readonly number[]) => [...slots].sort((a, b) => a - b);

describe('slots of calls', () => {
  it('are the numbers of both ABIs', () => {
    expect(sorted(callSlots(['openat']))).toEqual(
      sorted([...nativeCalls('openat'), ...compatCalls('openat').map((nr) => 576 + nr)]),
    );
    expect(() => callSlots(['opennat'])).toThrow('there is no system call "opennat"');
  });

  it('are those that have a value', () => {
    expect(sorted(watchedSlots(watchedCalls({ openat: 3, unlink: 1 })))).toEqual(
      sorted(callSlots(['openat', 'unlink'])),
    );
    expect(() => watchedSlots({})).toThrow('the tracker has no calls of watchedCalls');
  });

  it.runIf(process.arch === 'x64')('within socketcall are those of the calls that are named beside it', () => {
    const [bind, listen] = [576 + 512 + 2, 576 + 512 + 4];
    const slots = sorted(watchedSlots(watchedCalls({ bind: 1, listen: 2 }, { socketcall: 3 })));
    expect(slots).toEqual(sorted([...callSlots(['bind', 'listen']), bind, listen]));
    expect(sorted(callSlots(['bind', 'listen', 'socketcall']))).toEqual(slots);
    expect(slots).not.toContain(576 + 102);
  });
});
