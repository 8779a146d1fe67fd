import { expect } from 'vitest';
import { startTracker, type TrackOptions } from './session.js';
import { until } from './until.js';

/**
 * Expects exact counts where a ring is too small: what `burst` makes, `events` in all, is more than it holds, and each of
 * them is either received or counted as lost.
 */
export async function expectExactLoss(
  tracker: string,
  target: TrackOptions,
  events: number,
  burst: () => Promise<unknown>,
): Promise<void> {
  const tracked = await startTracker(tracker, { ...target, ringBytes: 65536, bufferBytes: 1 << 30 });
  await burst();
  await until('the reader has caught up', async () => (await tracked.stats()).queued === 0);
  const seen = await tracked.stop();
  const { produced, lost, received, skippedRuns } = await tracked.stats();
  expect(produced).toBe(lost + received);
  expect(produced).toBe(events);
  expect(skippedRuns).toBe(0);
  expect(lost).toBeGreaterThan(0);
  expect(seen.length).toBe(received);
}
