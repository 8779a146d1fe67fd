import type { TraceEvent } from '../event/event.js';
import { EventBatch, type BatchPlace } from './batch.js';

/** What an event weighs in memory as an object, about. */
const EVENT_BYTES = 512;

/** Events as plain objects, for those that come out of a store or a file and no longer are records. */
export class RowBatch extends EventBatch {
  readonly events: readonly TraceEvent[];

  /** `place.clock` is that of the events: what their `time` is ahead of their `bootNs`. */
  constructor(events: readonly TraceEvent[], place: BatchPlace, places: Uint32Array | null = null) {
    super(place, places);
    this.events = events;
  }

  get count(): number {
    return this.events.length;
  }

  get byteLength(): number {
    return this.events.length * EVENT_BYTES;
  }

  event(index: number): TraceEvent {
    const event = this.events[index];
    if (!event) throw new RangeError(`the batch has ${this.count} events, not one at ${index}`);
    return event;
  }

  bootNsAt(index: number): number {
    return Number(this.event(index).bootNs);
  }

  protected pick(indexes: Uint32Array, place: BatchPlace, places: Uint32Array | null): RowBatch {
    return new RowBatch(
      Array.from(indexes, (index) => this.event(index)),
      place,
      places,
    );
  }
}
