import { expect, it } from 'vitest';
import { Counts } from './counts.js';

it('a source that raises too many stays bounded, however many others there are', () => {
  const counts = new Counts();
  let taken = 0;
  for (let i = 0; i < 30_000; i++) {
    if (counts.mayRaise('rule:busy')) taken++;
    counts.mayRaise(`rule:${i % 3000}`);
  }
  // All that it may raise at once, and a little for the time that this takes.
  expect(taken).toBeGreaterThanOrEqual(5000);
  expect(taken).toBeLessThan(8000);
});
