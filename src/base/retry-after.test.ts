import { expect, it } from 'vitest';
import { retryAfterMs } from './retry-after.js';

const now = Date.parse('2026-01-31T08:15:30Z');

it.each([
  ['7', 7000],
  [' 7 ', 7000],
  ['Sat, 31 Jan 2026 08:16:00 GMT', 30_000],
  ['Saturday, 31-Jan-26 08:16:00 GMT', 30_000],
  ['Sat, 31 Jan 2026 08:15:30 GMT', null],
  ['Sat, 31 Jan 2026 08:00:00 GMT', null],
  ['0', null],
  ['0.001', null],
  ['1e-3', null],
  ['0x1', null],
  ['-1', null],
  ['Infinity', null],
  ['9 Foo 2999', null],
  ['Soon, please', null],
  ['', null],
  [undefined, null],
])('Retry-After: %s is %s milliseconds', (value, ms) => expect(retryAfterMs(value, now)).toBe(ms));

it('is never less than a second, however near a date is', () => {
  expect(retryAfterMs('Sat, 31 Jan 2026 08:15:31 GMT', now + 999)).toBe(1000);
});
