import fc from 'fast-check';
import { expect, it } from 'vitest';
import { holdsFor } from './property.js';

it('a property that does not hold is an error with its smallest counterexample', async () => {
  const property = fc.property(fc.nat(), (n) => n < 50);
  await expect(holdsFor(property)).rejects.toThrow(/Counterexample: \[50\]/);
});

it('what a precondition leaves out does not count', async () => {
  const seen: number[] = [];
  const property = fc.property(fc.nat(), (n) => {
    fc.pre(n % 2 === 0);
    seen.push(n);
  });
  await holdsFor(property, { numRuns: 20 });
  expect(seen).toHaveLength(20);
});

it('timers have their turn while a long one is checked', async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const until = performance.now() + 400;
  await holdsFor(
    fc.property(fc.nat(), () => {
      for (const end = Math.min(until, performance.now() + 20); performance.now() < end;);
    }),
    { numRuns: 100 },
  );
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(0);
});
