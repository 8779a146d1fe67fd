import { describe, expect, it } from 'vitest';
import { fly } from '../support/flight.js';
import { harness } from '../support/session.js';

describe('filters in the kernel', () => {
  it('agree with the predicate in user space on every event, for random filters over a real workload', async () => {
    const { differences, filters, pushed, taken, refused } = await fly(await harness(), { filters: 72, batch: 12, seed: 20_261_124 });
    expect(differences).toEqual([]);
    // Else the test would say little.
    expect(filters).toBe(72);
    expect(pushed).toBeGreaterThan(36);
    expect(taken).toBeGreaterThan(500);
    expect(refused).toBeGreaterThan(500);
  }, 120_000);
});
