import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextPause, watermark } from './pause.js';

const RING = 16 << 20;

/** Where the pause comes to rest with a flow of so many bytes a millisecond. */
function settled(flow: number, delayMs: number, ringBytes = RING): number {
  let pause = 1;
  for (let i = 0; i < 20; i++) pause = nextPause({ elapsedMs: pause, waiting: flow * pause, ringBytes, delayMs });
  return pause;
}

describe('the pause between two readings of a ring', () => {
  it('is a millisecond for what is wanted at once, grows with the flow, and shrinks when chunks are large enough', () => {
    expect(settled(100, 0)).toBe(1);
    expect(settled(10_000, 0)).toBe(5);
    expect(settled(60_000, 0)).toBe(4);
    expect(settled(500_000, 0)).toBe(1);
  });

  it('is as long as an event may wait, while chunks are small', () => {
    expect(settled(1, 50)).toBe(50);
    expect(settled(1_000, 50)).toBe(50);
    expect(settled(5_000, 50)).toBe(50);
    expect(settled(10_000, 50)).toBe(26);
    expect(settled(60_000, 50)).toBe(4);
  });

  it('at most doubles after one burst', () => {
    expect(nextPause({ elapsedMs: 1, waiting: 10_000, ringBytes: RING, delayMs: 50 })).toBe(2);
  });

  it('never lets a flow that lasts fill more than a share of the ring, beyond the shortest pause', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 20 }),
        fc.integer({ min: 16, max: 28 }),
        fc.integer({ min: 0, max: 1000 }),
        (flow, log2, delayMs) => {
          const ringBytes = 2 ** log2;
          const pause = settled(flow, delayMs, ringBytes);
          expect(pause).toBeGreaterThanOrEqual(1);
          expect(pause).toBeLessThanOrEqual(Math.max(5, delayMs));
          if (pause > 1 && flow >= 1024) expect(pause * flow).toBeLessThanOrEqual(watermark(ringBytes));
        },
      ),
    );
  });
});
