import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextPause } from './pause.js';

const RING = 16 << 20;

/** Where the pause comes to rest with a flow of so many bytes a millisecond. */
function settled(flow: number, ring = RING): number {
  let pause = 1;
  for (let i = 0; i < 20; i++) pause = nextPause(pause, flow * pause, ring);
  return pause;
}

describe('the pause between two readings of a ring', () => {
  it('is a millisecond while little comes, grows with the flow, and shrinks again when chunks are large enough', () => {
    expect(settled(100)).toBe(1);
    expect(settled(10_000)).toBe(5);
    expect(settled(60_000)).toBe(4);
    expect(settled(500_000)).toBe(1);
  });

  it('at most doubles after one burst', () => {
    expect(nextPause(1, 10_000, RING)).toBe(2);
  });

  it('never lets a flow that lasts fill more than a share of the ring, beyond the shortest pause', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 20 }), fc.integer({ min: 16, max: 28 }), (flow, log2) => {
        const pause = settled(flow, 2 ** log2);
        expect(pause).toBeGreaterThanOrEqual(1);
        expect(pause).toBeLessThanOrEqual(5);
        if (pause > 1) expect(pause * flow).toBeLessThanOrEqual(2 ** log2 / 32);
      }),
    );
  });
});
