import type { TraceEvent } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import { HOST, containerOf } from '../../rules/bond.js';

/** Events that are looked at, and that are taken of them. */
const MOST_SEEN = 500;
const MOST = 20;

interface Place {
  readonly process: { readonly pid: number; readonly startTime: string | null };
  readonly container: object | null;
}

/** Equal for events that are near each other: of one container; outside of containers of one process. */
export function nearOf({ container, process }: Place): string {
  const of = containerOf({ container });
  return of === HOST ? `${process.pid} ${process.startTime}` : of;
}

/**
 * Returns what reads the last events of a session before this one, at its place, that are of the same container; outside of containers of
 * the same process. The oldest first; those that the session has let go of by then are not among them. `before` returns what the session
 * holds of so many places.
 */
export function eventsBefore(
  event: TraceEvent,
  place: number,
  before: (place: number, count: number) => readonly Slice[],
): () => readonly TraceEvent[] {
  const near = nearOf(event);
  return () => {
    const found: TraceEvent[] = [];
    for (const { batch, from, to } of before(place, MOST_SEEN).toReversed())
      for (let i = to - 1; i >= from; i--) {
        if (batch.placeOf(i) >= place) continue;
        const other = batch.event(i);
        if (nearOf(other) === near) found.push(other);
        if (found.length === MOST) return found.reverse();
      }
    return found.reverse();
  };
}
