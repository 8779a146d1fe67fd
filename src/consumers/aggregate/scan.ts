import { setImmediate as breathe } from 'node:timers/promises';
import type { Slice } from '../../pipeline/history.js';
import type { Aggregator } from './aggregator.js';

/** Of the event loop at a time: others are served in between. */
const TURN_MS = 10;
/** Events between two looks at the clock: a few milliseconds' work. */
const PART = 4096;

/** Adds events by and by, so that a scan of millions never holds up the server. `turn` outlives a call where calls follow each other at once. */
export async function addSlices(
  aggregator: Aggregator,
  slices: readonly Slice[],
  turn = { since: performance.now() },
): Promise<void> {
  for (const { batch, from, to } of slices) {
    for (let at = from; at < to; at += PART) {
      aggregator.addBatch(batch, at, Math.min(to, at + PART));
      if (performance.now() - turn.since < TURN_MS) continue;
      await breathe();
      turn.since = performance.now();
    }
  }
}
