import { describe, expect, it } from 'vitest';
import { decide, QUIET, Rate } from './sharing.js';

describe('a session with a filter', () => {
  it.each([
    ['shares when the kernel can evaluate no part of the filter', false, null, { eventsPerSecond: 1e6 }, false],
    ['joins programs that evaluate the same', true, { eventsPerSecond: 5 }, { eventsPerSecond: 5 }, true],
    ['has programs of its own when nobody runs without a filter', true, null, null, true],
    ['has programs of its own while the rate of the others is not known', true, null, { eventsPerSecond: null }, true],
    ['has programs of its own beside busy ones', true, null, { eventsPerSecond: QUIET + 1 }, true],
    ['shares quiet ones', true, null, { eventsPerSecond: QUIET }, false],
  ] as const)('%s', (_name, canPush, own, plain, pushed) => {
    expect(decide(canPush, own, plain).pushed).toBe(pushed);
  });
});

it('a rate is of the last second or longer, and unknown before', () => {
  let now = 0;
  const rate = new Rate(() => now);
  rate.add(500);
  now = 999;
  expect(rate.perSecond).toBe(null);
  now = 2000;
  expect(rate.perSecond).toBe(250);
  rate.add(10);
  now = 2900;
  expect(rate.perSecond).toBe(250);
  now = 12_000;
  expect(rate.perSecond).toBe(1);
});
