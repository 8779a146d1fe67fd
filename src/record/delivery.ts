import type { Gap, TraceEvent } from '../event/event.js';
import type { Slice } from './batch-buffer.js';

/** What is handed on at once: events, what is missing just before them, and the place after them. */
export class Delivery {
  /**
   * The events where they lie, for whoever makes them one by one. Where they are lent, they may be read until the next
   * delivery is asked for.
   */
  readonly slices: readonly Slice[];
  readonly gap: Gap | null;
  /** Opaque; goes on after the last of the events. */
  readonly cursor: string;
  /** Events that its reader's thinning left out, behind the delivery before and ahead of the cursor. */
  readonly skipped: number;
  #events: readonly TraceEvent[] | null = null;

  constructor(slices: readonly Slice[], gap: Gap | null, cursor: string, skipped = 0) {
    this.slices = slices;
    this.gap = gap;
    this.cursor = cursor;
    this.skipped = skipped;
  }

  /** Made when first asked for. */
  get events(): readonly TraceEvent[] {
    for (const { batch } of this.slices) batch.lease?.keep();
    return (this.#events ??= eventsOf(this.slices));
  }
}

/** The events of these parts, in order. */
export function eventsOf(slices: readonly Slice[]): TraceEvent[] {
  const events: TraceEvent[] = [];
  for (const { batch, from, to } of slices) for (let i = from; i < to; i++) events.push(batch.event(i));
  return events;
}
