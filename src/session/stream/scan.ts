import type { Gap, TraceEvent } from '../../event/event.js';
import { turns } from '../../base/turn.js';
import { wallTimeOf } from '../../event/clock.js';
import type { Slice } from '../../record/batch-buffer.js';
import type { StreamFilter } from './selection.js';

export interface Found {
  readonly event: TraceEvent;
  /** Its place in the session. */
  readonly place: number;
}

export interface Scan {
  /** Oldest first. */
  readonly found: readonly Found[];
  /** What was looked at, oldest first. */
  readonly scanned: readonly Slice[];
  /** Whether another one matches, behind the last of them; before the first, of a scan from the end. */
  readonly more: boolean;
}

/** Events between two looks at the clock: a regular expression on 32 KiB of arguments may take a millisecond. */
const PART = 16;

/** The first `limit` events that match; of `backwards`, whose slices come newest first, the last ones. */
export async function scan(
  slices: readonly Slice[],
  { matches, ready }: StreamFilter,
  limit: number,
  backwards = false,
): Promise<Scan> {
  const found: Found[] = [];
  const scanned: Slice[] = [];
  let more = false;
  await ready?.();
  for (const slice of slices) {
    if (more) break;
    scanned.push(slice);
    if (!turns.isOpen) await turns.next('REQUEST');
    const { batch, from, to } = slice;
    for (let i = 0; i < to - from && !more; i++) {
      const index = backwards ? to - 1 - i : from + i;
      const event = batch.event(index);
      if (matches(event)) {
        more = found.length === limit;
        if (!more) found.push({ event, place: batch.placeOf(index) });
      }
      if (i % PART === PART - 1 && !turns.isOpen) await turns.next('REQUEST');
    }
  }
  return backwards ? { found: found.reverse(), scanned: scanned.reverse(), more } : { found, scanned, more };
}

/** What the kernel lost before these events. */
export function gapsOf(slices: readonly Slice[]): Gap[] {
  return slices
    .filter(({ batch, from }) => from === 0 && batch.lost > 0)
    .map(({ batch }) => ({
      from: wallTimeOf(batch.clock, batch.lostFrom),
      to: wallTimeOf(batch.clock, batch.lostTo),
      lost: batch.lost,
      dropped: 0,
      where: 'KERNEL' as const,
    }));
}
