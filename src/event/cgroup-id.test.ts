import { expect, it } from 'vitest';
import { cgroupIdOf } from './cgroup-id.js';

it('a cgroup id is exact, and one that a double cannot hold passes for no other', () => {
  expect(cgroupIdOf('4242')).toBe(4242);
  expect(cgroupIdOf(String((7n << 32n) | 5n))).toBe(7 * 2 ** 32 + 5);
  expect(cgroupIdOf('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER);
  for (const digits of ['9007199254740992', '9007199254740993', '18446744073709551615'])
    expect(cgroupIdOf(digits)).toBeNull();
});
