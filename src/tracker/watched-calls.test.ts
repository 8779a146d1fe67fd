import { expect, it } from 'vitest';
import { watchedCalls } from './watched-calls.js';

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
