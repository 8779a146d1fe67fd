import type { TraceEvent } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import { turns, type Lane } from '../../base/turn.js';
import type { Aggregator } from './aggregator.js';

/** Events between two looks at the clock: a millisecond's work, or two with many measures. */
const PART = 1024;
/** The same where a filter is evaluated, which may take a millisecond for each. */
const FILTERED = 32;

/** Adds events within the turns of all other work, so that a scan of millions never holds up the server. */
export async function addSlices(
  aggregator: Aggregator,
  slices: readonly Slice[],
  lane: Lane = 'REQUEST',
): Promise<void> {
  const size = aggregator.isFiltered ? FILTERED : PART;
  await aggregator.ready();
  for (const { batch, from, to } of slices) {
    for (let at = from; at < to; at += size) {
      if (!turns.isOpen) await turns.next(lane);
      aggregator.addBatch(batch, at, Math.min(to, at + size));
    }
  }
}

/** As `addSlices`, for events without their batch. */
export async function addEvents(aggregator: Aggregator, events: readonly TraceEvent[]): Promise<void> {
  const size = aggregator.isFiltered ? FILTERED : PART;
  await aggregator.ready();
  for (let at = 0; at < events.length; at += size) {
    if (!turns.isOpen) await turns.next('REQUEST');
    aggregator.add(events.slice(at, at + size));
  }
}
