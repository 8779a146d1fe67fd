import type { EventBatch } from '../../record/batch.js';
import type { Selection } from './selection.js';
import { EventStream, type StreamOptions, type SubscriberStats } from './stream.js';

/** Who reads a session: subscribers, and recorders, which are part of the session and counted by whoever they write for. */
export class Readers {
  readonly #streams = new Set<EventStream>();
  readonly #recorders = new Set<EventStream>();
  /** Recorders that get nothing for the time being. */
  readonly #paused = new Set<EventStream>();
  /** How long an event may wait for others, by subscriber, in milliseconds. */
  readonly #delays = new Map<EventStream, number>();
  #ended: { readonly failure: Error | null } | null = null;
  /** Of those that have left. */
  #dropped = 0;

  /** A subscriber, for which an event may wait so long; `onClose` is called once when it leaves or has read the end. */
  subscribe(options: Omit<StreamOptions, 'onClose'>, maxDelayMs: number, onClose: () => void): EventStream {
    const stream = new EventStream({
      ...options,
      onClose: (closed) => {
        this.#dropped += closed.stats.dropped;
        this.#streams.delete(closed);
        this.#delays.delete(closed);
        onClose();
      },
    });
    this.#streams.add(stream);
    this.#delays.set(stream, maxDelayMs);
    if (this.#ended) end(stream, this.#ended.failure);
    return stream;
  }

  record(options: Omit<StreamOptions, 'onClose'>): EventStream {
    const recorder = new EventStream({ ...options, onClose: (closed) => this.#recorders.delete(closed) });
    this.#recorders.add(recorder);
    if (this.#ended) recorder.end();
    return recorder;
  }

  /** Whether a recorder is offered what comes from now on. It stays until the end either way. */
  offer(recorder: EventStream, isOffered: boolean): void {
    if (isOffered) this.#paused.delete(recorder);
    else this.#paused.add(recorder);
  }

  push(batch: EventBatch): void {
    const shared = new Map<string, Selection>();
    for (const stream of this.#streams) stream.push(batch, shared);
    for (const recorder of this.#recorders) if (!this.#paused.has(recorder)) recorder.push(batch);
  }

  /** They read what is queued, and then the end; subscribers then the failure, if there was one: more may have happened than they got. */
  end(failure: Error | null): void {
    this.#ended ??= { failure };
    for (const stream of this.#streams) end(stream, this.#ended.failure);
    for (const recorder of this.#recorders) recorder.end();
  }

  /** Subscribers are told of what they have not read by now, as a gap in a last delivery. */
  cut(): void {
    for (const stream of this.#streams) stream.cut();
  }

  /** How long an event may wait for the least patient subscriber, in milliseconds; infinity where there is none. */
  get patienceMs(): number {
    return Math.min(...this.#delays.values());
  }

  /** Subscribers that are there. */
  get count(): number {
    return this.#streams.size;
  }

  get stats(): SubscriberStats[] {
    return [...this.#streams].map(({ stats }) => stats);
  }

  /** Events that were dropped for subscribers, those that have left included. */
  get dropped(): number {
    return this.stats.reduce((sum, { dropped }) => sum + dropped, this.#dropped);
  }

  /** Events that wait for the slowest subscriber. */
  get mostQueued(): number {
    return Math.max(0, ...this.stats.map(({ queued }) => queued));
  }
}

function end(stream: EventStream, failure: Error | null): void {
  if (failure) stream.fail(failure);
  else stream.end();
}
