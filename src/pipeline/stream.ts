import type { Gap, TraceEvent } from '../event.js';
import type { EventBatch } from './batch.js';
import { wallTimeOf } from './clock.js';
import type { Slice } from './history.js';

/** What a reader gets at once: events, what is missing just before them, and the place after them. */
export class Delivery {
  /** The events where they lie, for a reader that makes them one by one; see `StreamOptions.lends`. */
  readonly slices: readonly Slice[];
  readonly gap: Gap | null;
  /** Opaque; goes on after the last of the events. */
  readonly cursor: string;
  #events: readonly TraceEvent[] | null = null;

  constructor(slices: readonly Slice[], gap: Gap | null, cursor: string) {
    this.slices = slices;
    this.gap = gap;
    this.cursor = cursor;
  }

  /** Made when first asked for. */
  get events(): readonly TraceEvent[] {
    for (const { batch } of this.slices) batch.lease?.keep();
    return (this.#events ??= eventsOf(this.slices));
  }
}

export function eventsOf(slices: readonly Slice[]): TraceEvent[] {
  const events: TraceEvent[] = [];
  for (const { batch, from, to } of slices) for (let i = from; i < to; i++) events.push(batch.event(i));
  return events;
}

/** Counts of one reader; `received = discarded + delivered + dropped + queued` holds at any time. */
export interface SubscriberStats {
  readonly id: string;
  readonly since: string;
  /** Its own filter, in CEL. */
  readonly where: string | null;
  readonly received: number;
  readonly discarded: number;
  readonly delivered: number;
  readonly dropped: number;
  readonly queued: number;
}

/** A filter of a reader's own; equal filters have the same text. */
export interface StreamFilter {
  readonly text: string;
  readonly matches: (event: TraceEvent) => boolean;
}

export interface StreamOptions {
  readonly id: string;
  readonly since: string;
  /** Bytes of records that may wait; the oldest batch is dropped beyond it. */
  readonly queueBytes: number;
  /** Events that come first: what the session held. They do not count against the bound, the session holds them anyway. */
  readonly backlog: readonly Slice[];
  /** Missing before the backlog: events that the reader asked for and the session no longer holds. */
  readonly missing: { readonly count: number; readonly from: string; readonly to: string } | null;
  readonly cursorAt: (seq: number) => string;
  /** Where the reader starts, for the cursor of a first delivery without events. */
  readonly startSeq: number;
  /** Which events it gets; all of them when null. */
  readonly where: StreamFilter | null;
  /** Events in one delivery at most. Default: what one message may hold. */
  readonly deliveryEvents?: number;
  /**
   * A delivery's slices may be read until the next one is asked for, and no longer; its `events` as long as one likes. Saves collections of garbage
   * where much flows. Default false: slices too may be read as long as one likes.
   */
  readonly lends?: boolean;
  /** Called once when the reader leaves or has read the end. */
  readonly onClose: (stream: EventStream) => void;
}

/** Events in one delivery at most: it becomes one message. */
const DELIVERY_EVENTS = 8192;
/** Events of a backlog that are judged before others have a turn: some milliseconds' work. */
const JUDGED_EVENTS = 16_384;

/**
 * One reader of a session: a bounded queue. `push` never blocks; when the reader is slow the oldest
 * batches leave the queue, are counted, and stand in the next delivery's gap.
 */
export class EventStream implements AsyncIterableIterator<Delivery> {
  readonly #options: StreamOptions;
  /** Not yet judged. */
  #backlog: Slice[];
  /** The first part of the backlog, judged. */
  #front: Slice | null = null;
  #queue: Slice[] = [];
  #queueBytes = 0;
  /** What the delivery before was read from, where it is lent. */
  #lent: Slice[] = [];
  /** Left the queue unread since the last delivery; a loss in the kernel that these batches told of is told with them. */
  #dropped: { count: number; lost: number; from: string; to: string } | null = null;
  #missing: StreamOptions['missing'];
  #waiting: ((result: IteratorResult<Delivery, undefined>) => void)[] = [];
  #ended = false;
  #closed = false;
  #lastSeq: number;
  #turn: NodeJS.Immediate | null = null;
  readonly #counts = { received: 0, discarded: 0, delivered: 0, dropped: 0, queued: 0 };

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#backlog = [...options.backlog];
    this.#missing = options.missing;
    this.#lastSeq = options.startSeq;
    for (const { from, to } of options.backlog) {
      this.#counts.received += to - from;
      this.#counts.queued += to - from;
    }
    if (options.missing) {
      this.#counts.received += options.missing.count;
      this.#counts.dropped += options.missing.count;
    }
  }

  get stats(): SubscriberStats {
    return {
      id: this.#options.id,
      since: this.#options.since,
      where: this.#options.where?.text ?? null,
      ...this.#counts,
    };
  }

  /** `judged` holds what filters have left of this batch, by their text: readers with equal filters share it. */
  push(batch: EventBatch, judged = new Map<string, EventBatch>()): void {
    if (this.#ended || this.#closed) return;
    const selected = this.#select(batch, judged);
    this.#counts.received += batch.count;
    this.#counts.discarded += batch.count - selected.count;
    this.#counts.queued += selected.count;
    if (!selected.count && !selected.lost) return;
    selected.lease?.hold();
    this.#queue.push({ batch: selected, from: 0, to: selected.count });
    this.#queueBytes += selected.byteLength;
    while (this.#queueBytes > this.#options.queueBytes && this.#queue.length > 1) this.#drop();
    this.#serve();
  }

  /** Nothing more comes; what is queued is still read. */
  end(): void {
    this.#ended = true;
    this.#serve();
  }

  next(): Promise<IteratorResult<Delivery, undefined>> {
    this.#endLoan();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<Delivery, undefined>> {
    // Whoever reads a delivery while another ends the stream reads it to its end.
    for (const { batch } of this.#lent) batch.lease?.keep();
    this.#endLoan();
    this.#finish();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #select(batch: EventBatch, judged: Map<string, EventBatch>): EventBatch {
    const { where } = this.#options;
    if (!where) return batch;
    const selected = judged.get(where.text) ?? batch.only(where.matches);
    judged.set(where.text, selected);
    return selected;
  }

  /** Judges the next part of the backlog; answers how many events that were. */
  #judge(): number {
    const slice = this.#backlog.shift();
    if (!slice) return 0;
    const { where } = this.#options;
    if (!where) {
      this.#front = slice;
      return 0;
    }
    const count = slice.to - slice.from;
    const batch = slice.batch.only(where.matches, slice.from, slice.to);
    this.#front = { batch, from: 0, to: batch.count };
    this.#counts.discarded += count - batch.count;
    this.#counts.queued -= count - batch.count;
    return count;
  }

  #drop(): void {
    const slice = this.#queue.shift();
    if (!slice) return;
    const { batch, from, to } = slice;
    const count = to - from;
    this.#queueBytes -= batch.byteLength;
    this.#counts.queued -= count;
    this.#counts.dropped += count;
    this.#dropped = {
      count: (this.#dropped?.count ?? 0) + count,
      lost: (this.#dropped?.lost ?? 0) + (from === 0 ? batch.lost : 0),
      from: this.#dropped?.from ?? wallTimeOf(batch.clock, count ? batch.bootNsAt(from) : batch.lostFrom),
      to: wallTimeOf(batch.clock, count ? batch.bootNsAt(to - 1) : batch.lostTo),
    };
    batch.lease?.release();
  }

  #serve(): void {
    while (this.#waiting.length) {
      const delivery = this.#take();
      if (delivery) this.#waiting.shift()?.({ done: false, value: delivery });
      else if (this.#backlog.length) {
        // Few events pass the filter: the rest is judged once others had their turn.
        if (!this.#turn)
          this.#turn = setImmediate(() => {
            this.#turn = null;
            this.#serve();
          });
        return;
      } else if (this.#ended || this.#closed) {
        this.#finish();
        return;
      } else return;
    }
  }

  #finish(): void {
    if (!this.#closed) {
      this.#closed = true;
      // What was never read was dropped, so that the counts add up to the end.
      this.#counts.dropped += this.#counts.queued;
      this.#counts.queued = 0;
      this.#backlog = [];
      this.#front = null;
      for (const { batch } of this.#queue) batch.lease?.release();
      this.#queue = [];
      this.#options.onClose(this);
    }
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  /** As much as one delivery may hold, from the backlog and then from the queue. What is behind a gap starts a delivery of its own. */
  #take(): Delivery | null {
    const slices: Slice[] = [];
    let gap = this.#takeMissing();
    let count = 0;
    let judged = 0;
    const most = this.#options.deliveryEvents ?? DELIVERY_EVENTS;
    while (count < most) {
      if (!this.#front && this.#backlog.length) {
        if (judged >= JUDGED_EVENTS) break;
        judged += this.#judge();
      }
      const next = this.#front ?? this.#queue[0];
      if (!next) break;
      const live = !this.#front;
      const before = this.#gapBefore(next, live);
      // Whole batches where that is possible: readers of one session then cut alike, and share what is made of a part.
      if (slices.length && (before || next.to - next.from > most - count)) break;
      if (before)
        gap = gap
          ? {
              from: gap.from,
              to: before.to,
              lost: gap.lost + before.lost,
              dropped: gap.dropped + before.dropped,
              where: gap.where,
            }
          : before;
      if (live) this.#dropped = null;

      const to = Math.min(next.to, next.from + most);
      if (to > next.from) slices.push(this.#lend({ batch: next.batch, from: next.from, to }));
      count += to - next.from;
      // A batch without events stands for those dropped before it, too.
      this.#lastSeq = to > 0 ? next.batch.placeOf(to - 1) + 1 : Math.max(this.#lastSeq, next.batch.seq);
      const rest = to < next.to ? { ...next, from: to } : null;
      if (!live) this.#front = rest;
      else if (rest) this.#queue[0] = rest;
      else {
        this.#queue.shift();
        this.#queueBytes -= next.batch.byteLength;
        next.batch.lease?.release();
      }
    }
    if (!slices.length && !gap) return null;
    this.#counts.queued -= count;
    this.#counts.delivered += count;
    return new Delivery(slices, gap, this.#options.cursorAt(this.#lastSeq));
  }

  /** Holds what a delivery is read from; a reader that wants it for longer than until the next one has it kept. */
  #lend(slice: Slice): Slice {
    const { lease } = slice.batch;
    if (!lease) return slice;
    if (!this.#options.lends || this.#waiting.length > 1) lease.keep();
    lease.hold();
    this.#lent.push(slice);
    return slice;
  }

  #endLoan(): void {
    for (const { batch } of this.#lent) batch.lease?.release();
    this.#lent = [];
  }

  #takeMissing(): Gap | null {
    const missing = this.#missing;
    this.#missing = null;
    return missing && { from: missing.from, to: missing.to, lost: 0, dropped: missing.count, where: 'CLIENT' };
  }

  #gapBefore({ batch, from }: Slice, queued: boolean): Gap | null {
    const dropped = queued ? this.#dropped : null;
    const lost = from === 0 ? batch.lost : 0;
    if (!dropped && !lost) return null;
    const lostTo = wallTimeOf(batch.clock, batch.lostTo);
    return {
      from: dropped?.from ?? wallTimeOf(batch.clock, batch.lostFrom),
      to: lost || !dropped ? lostTo : dropped.to,
      lost: lost + (dropped?.lost ?? 0),
      dropped: dropped?.count ?? 0,
      where: dropped ? 'QUEUE' : 'KERNEL',
    };
  }
}
