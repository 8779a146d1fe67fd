import type { Gap } from '../../event/event.js';
import { turns } from '../../base/turn.js';
import type { EventBatch } from '../../record/batch.js';
import { Delivery } from '../../record/delivery.js';
import { wallTimeOf } from '../../event/clock.js';
import type { Slice } from '../../record/batch-buffer.js';
import { Selection, type StreamFilter } from './selection.js';
import type { Thinning } from './thinning.js';
import { skippedIn, weightOf, type WaitingSlice } from './waiting.js';

/** Counts of one reader; `received = discarded + skipped + delivered + dropped + queued` holds at any time. */
export interface SubscriberStats {
  readonly id: string;
  readonly since: string;
  /** Its own filter, in CEL. */
  readonly where: string | null;
  readonly received: number;
  readonly discarded: number;
  /** Left out by its thinning. */
  readonly skipped: number;
  readonly delivered: number;
  readonly dropped: number;
  readonly queued: number;
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
  /** Where it asked to start, before what is missing. Default: where it starts. */
  readonly startCursor?: string;
  /** Which events it gets; all of them when null. */
  readonly where: StreamFilter | null;
  /** What is left out of these; nothing when null. One reader's own: it counts. */
  readonly thinning?: Thinning | null;
  /** Events in one delivery at most, however large they are. Default: what one message may hold. */
  readonly deliveryEvents?: number;
  /**
   * A delivery's slices may be read until the next one is asked for, and no longer; its `events` as long as one
   * likes. Saves collections of garbage where much flows. Default false: slices too may be read as long as one likes.
   */
  readonly lends?: boolean;
  /** Called once when the reader leaves or has read the end. */
  readonly onClose: (stream: EventStream) => void;
}

/**
 * Events, and bytes of their records, in one delivery at most: it becomes one message, whose text is made and sent in
 * one piece of a millisecond or two. Bytes are told by the batch's average, so that all readers of a batch cut alike.
 */
const DELIVERY_EVENTS = 1024;
const DELIVERY_BYTES = 128 << 10;

/** A batch of which filter and thinning have not taken their parts yet. */
interface Offered {
  readonly batch: EventBatch;
  /** Null: there is no filter. */
  readonly selection: Selection | null;
}

/**
 * One reader of a session: a bounded queue. `push` never blocks; when the reader is slow the oldest batches leave the queue, are counted,
 * and stand in the next delivery's gap. Filters are evaluated and deliveries handed out within the turns that all readers share: a reader
 * that is always ready keeps neither the event loop nor other readers waiting. Events whose filter was not evaluated yet count as queued.
 */
export class EventStream implements AsyncIterableIterator<Delivery> {
  readonly #options: StreamOptions;
  /** Not yet evaluated. */
  #backlog: Slice[];
  /** The first part of the backlog, evaluated. */
  #front: WaitingSlice | null = null;
  /** Of the first part of the backlog, as far as it is evaluated. */
  #selecting: Selection | null = null;
  #queue: WaitingSlice[] = [];
  /** Behind the queue: its filter has to be evaluated. */
  #offered: Offered[] = [];
  /** Of both. */
  #queueBytes = 0;
  /** What the delivery before was read from, where it is lent. */
  #lent: Slice[] = [];
  /** Left the queue unread since the last delivery; a loss in the kernel that these batches told of is told with them. */
  #dropped: { count: number; lost: number; from: string; to: string } | null = null;
  /** Left out behind the last event that waits, and where the last of them was; and with batches that were dropped. */
  #skipped = { behind: 0, end: 0, dropped: 0 };
  #missing: StreamOptions['missing'];
  #waiting: {
    readonly resolve: (result: IteratorResult<Delivery, undefined>) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  #ended = false;
  /** Why it ended too early; told to one reader once the queue is read. */
  #failure: Error | null = null;
  #closed = false;
  #lastSeq: number;
  /** Whether it waits for a turn. */
  #waits = false;
  readonly #counts = { received: 0, discarded: 0, skipped: 0, delivered: 0, dropped: 0, queued: 0 };

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

  /** Where it begins: a reader that comes back with it gets all that this one got. */
  get startCursor(): string {
    const { startCursor, cursorAt, startSeq } = this.#options;
    return startCursor ?? cursorAt(startSeq);
  }

  get stats(): SubscriberStats {
    return {
      id: this.#options.id,
      since: this.#options.since,
      where: this.#options.where?.text ?? null,
      ...this.#counts,
    };
  }

  /** `shared` holds the filters' work on this batch, by their text: readers with equal filters do it once. */
  push(batch: EventBatch, shared = new Map<string, Selection>()): void {
    if (this.#ended || this.#closed) return;
    const { where, thinning } = this.#options;
    this.#counts.received += batch.count;
    this.#counts.queued += batch.count;
    if (!batch.count && !batch.lost) return;
    batch.lease?.hold();
    this.#queueBytes += weightOf(batch);
    const slice = { batch, from: 0, to: batch.count };
    if (where) {
      const selection = shared.get(where.text) ?? new Selection(slice, where);
      shared.set(where.text, selection);
      this.#offered.push({ batch, selection });
    } else if (thinning) this.#offered.push({ batch, selection: null });
    else this.#queue.push(slice);
    while (this.#queueBytes > this.#options.queueBytes && this.#queue.length + this.#offered.length > 1) this.#drop();
    this.#work();
  }

  /** Nothing more comes; what is queued is still read. */
  end(): void {
    this.#ended = true;
    this.#work();
  }

  /** As `end`; then `next` rejects once with the error: more happened than the reader can be told of. */
  fail(error: Error): void {
    if (!this.#ended) this.#failure = error;
    this.end();
  }

  /**
   * Nothing more comes, and nothing that waits is handed out any more: it is dropped, and told as the gap of a last delivery. That one's
   * cursor is the place before the gap, so that a reader may ask for these events where they are kept.
   */
  cut(): void {
    if (this.#closed) return;
    this.#ended = true;
    const waiting = [...(this.#front ? [this.#front] : []), ...this.#backlog];
    if (this.#front) this.#skipped.dropped += skippedIn(this.#front, this.#front.to);
    this.#front = null;
    this.#selecting = null;
    this.#backlog = [];
    const before = this.#dropped;
    this.#dropped = null;
    for (const slice of waiting) this.#count(slice);
    while (this.#queue.length || this.#offered.length) this.#drop();
    const after = this.#dropped as typeof before;
    if (before && after) {
      this.#dropped = {
        count: before.count + after.count,
        lost: before.lost + after.lost,
        from: before.from < after.from ? before.from : after.from,
        to: before.to > after.to ? before.to : after.to,
      };
    } else this.#dropped = before ?? after;
    this.#serve();
  }

  next(): Promise<IteratorResult<Delivery, undefined>> {
    this.#endLoan();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
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

  #work(): void {
    this.#evaluate();
    this.#serve();
  }

  /** Goes on once what a filter reads is known. */
  #unblocked({ blocked }: Selection): void {
    if (this.#waits || !blocked) return;
    this.#waits = true;
    void blocked.then(() => {
      this.#waits = false;
      this.#work();
    });
  }

  /** Goes on in a turn of its own, once others had theirs. */
  #later(): void {
    if (this.#waits) return;
    this.#waits = true;
    turns.enter(() => {
      this.#waits = false;
      this.#work();
    });
  }

  /** Takes from what was offered what filter and thinning leave of it, as far as the turn goes. */
  #evaluate(): void {
    for (let first = this.#offered[0]; first; first = this.#offered[0]) {
      // What comes first is thinned first. `#serve` goes on here.
      if (this.#options.thinning && this.#backlog.length) return;
      const { batch, selection } = first;
      if (selection?.blocked) return this.#unblocked(selection);
      if (!selection?.result && !turns.isOpen) return this.#later();
      const selected = selection ? selection.advance() : batch;
      if (!selected) continue;
      this.#offered.shift();
      this.#queueBytes -= weightOf(batch);
      this.#counts.discarded += batch.count - selected.count;
      this.#counts.queued -= batch.count - selected.count;
      const left = this.#thin({ batch: selected, from: 0, to: selected.count });
      // What was dropped before is told also where nothing of this one is left, and nothing waits that it could stand before.
      if (left.to > left.from || left.batch.lost || (this.#dropped && !this.#queue.length)) {
        left.batch.lease?.hold();
        this.#queue.push(left);
        this.#queueBytes += weightOf(left.batch);
      } else this.#skipped.behind += left.skips?.before ?? 0;
      batch.lease?.release();
    }
  }

  /** Counts what is left out of a part of a batch, where its events come next. */
  #thin({ batch, from, to }: Slice): WaitingSlice {
    const { thinning } = this.#options;
    if (!thinning) return { batch, from, to };
    const { batch: left, kept } = thinning.of(batch, from, to);
    const skipped = to - from - kept.length;
    this.#counts.skipped += skipped;
    this.#counts.queued -= skipped;
    const before = this.#skipped.behind;
    const last = kept.at(-1);
    this.#skipped.behind = last === undefined ? skipped : to - from - last - 1;
    if (to > from) this.#skipped.end = batch.placeOf(to - 1) + 1;
    return { batch: left, from: 0, to: kept.length, skips: { before, kept } };
  }

  /** Makes the next part of the backlog the front of what is read. False: its filter needs another turn. */
  #advanceBacklog(): boolean {
    const [slice] = this.#backlog;
    if (!slice) return true;
    const { where } = this.#options;
    if (where) {
      const selection = (this.#selecting ??= new Selection(slice, where));
      if (selection.blocked) {
        this.#unblocked(selection);
        return false;
      }
      let selected = selection.advance();
      while (!selected && turns.isOpen) selected = selection.advance();
      if (!selected) return false;
      this.#selecting = null;
      const left = slice.to - slice.from - selected.count;
      this.#counts.discarded += left;
      this.#counts.queued -= left;
      this.#front = this.#thin({ batch: selected, from: 0, to: selected.count });
    } else this.#front = this.#thin(slice);
    this.#backlog.shift();
    return true;
  }

  #drop(): void {
    const offered = this.#queue.length ? undefined : this.#offered.shift();
    const slice = offered ? { batch: offered.batch, from: 0, to: offered.batch.count } : this.#queue.shift();
    if (!slice) return;
    this.#queueBytes -= weightOf(slice.batch);
    this.#skipped.dropped += skippedIn(slice, slice.to);
    this.#count(slice);
    slice.batch.lease?.release();
  }

  /** Counts what is never handed out. */
  #count({ batch, from, to }: Slice): void {
    const count = to - from;
    this.#counts.queued -= count;
    this.#counts.dropped += count;
    const lost = from === 0 ? batch.lost : 0;
    if (!count && !lost) return;
    this.#dropped = {
      count: (this.#dropped?.count ?? 0) + count,
      lost: (this.#dropped?.lost ?? 0) + lost,
      from: this.#dropped?.from ?? wallTimeOf(batch.clock, count ? batch.bootNsAt(from) : batch.lostFrom),
      to: wallTimeOf(batch.clock, count ? batch.bootNsAt(to - 1) : batch.lostTo),
    };
  }

  #serve(): void {
    while (this.#waiting.length) {
      const some =
        this.#front ??
        this.#backlog[0] ??
        this.#queue[0] ??
        this.#missing ??
        (this.#ended && !this.#offered.length ? (this.#dropped ?? (this.#skips ? this.#skipped : null)) : null);
      if (some && !turns.isOpen) return this.#later();
      const delivery = some ? this.#take() : null;
      if (delivery) this.#waiting.shift()?.resolve({ done: false, value: delivery });
      // Few events pass the filter: the rest is evaluated once others had their turn.
      else if (this.#backlog.length) return this.#later();
      else if (this.#offered.length) return this.#later();
      else if (this.#ended || this.#closed) {
        const failure = this.#failure;
        this.#failure = null;
        if (failure && !this.#closed) this.#waiting.shift()?.reject(failure);
        return this.#finish();
      } else if (!this.#front && !this.#queue.length) return;
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
      for (const { batch } of [...this.#queue, ...this.#offered]) batch.lease?.release();
      this.#queue = [];
      this.#offered = [];
      this.#options.onClose(this);
    }
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  /** As much as one delivery may hold, from the backlog and then from the queue. What is behind a gap starts a delivery of its own. */
  #take(): Delivery | null {
    const slices: Slice[] = [];
    let gap = this.#takeMissing();
    let skipped = 0;
    let count = 0;
    /** The part of a delivery that is taken. */
    let filled = 0;
    while (filled < 1) {
      if (!this.#front && this.#backlog.length && !(turns.isOpen && this.#advanceBacklog())) break;
      const next = this.#front ?? this.#queue[0];
      if (!next) break;
      const live = !this.#front;
      const before = this.#gapBefore(next, live);
      // Whole batches where that is possible: readers of one session then cut alike, and share what is made of a part.
      const most = this.#mostOf(next.batch);
      if (slices.length && (before || (next.to - next.from) / most > 1 - filled)) break;
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
      if (live) {
        this.#dropped = null;
        skipped += this.#skipped.dropped;
        this.#skipped.dropped = 0;
      }

      const to = Math.min(next.to, next.from + most);
      if (to > next.from) slices.push(this.#lend({ batch: next.batch, from: next.from, to }));
      count += to - next.from;
      skipped += skippedIn(next, to);
      filled += (to - next.from) / most;
      // A batch without events stands for those dropped before it, too.
      this.#lastSeq = to > 0 ? next.batch.placeOf(to - 1) + 1 : Math.max(this.#lastSeq, next.batch.seq);
      const rest = to < next.to ? { ...next, from: to } : null;
      if (!live) this.#front = rest;
      else if (rest) this.#queue[0] = rest;
      else {
        this.#queue.shift();
        this.#queueBytes -= weightOf(next.batch);
        next.batch.lease?.release();
      }
    }
    // At the end nothing follows that a gap could stand before.
    const isLast =
      this.#ended &&
      !this.#front &&
      !this.#backlog.length &&
      !this.#queue.length &&
      !this.#offered.length &&
      !slices.length;
    if (isLast && this.#skips) {
      skipped += this.#skips;
      this.#skipped = { ...this.#skipped, behind: 0, dropped: 0 };
      // A stream that is cut goes on before what was dropped.
      if (!this.#dropped) this.#lastSeq = Math.max(this.#lastSeq, this.#skipped.end);
    }
    if (isLast && this.#dropped) {
      const { from, to, lost, count: dropped } = this.#dropped;
      gap = {
        from: gap?.from ?? from,
        to,
        lost: lost + (gap?.lost ?? 0),
        dropped: dropped + (gap?.dropped ?? 0),
        where: gap?.where ?? 'QUEUE',
      };
      this.#dropped = null;
    }
    if (!slices.length && !gap && !skipped) return null;
    this.#counts.queued -= count;
    this.#counts.delivered += count;
    return new Delivery(slices, gap, this.#options.cursorAt(this.#lastSeq), skipped);
  }

  /** Left out, and in no delivery yet if nothing more comes. */
  get #skips(): number {
    return this.#skipped.behind + this.#skipped.dropped;
  }

  /** Events of a batch in one delivery at most. */
  #mostOf({ count, byteLength }: EventBatch): number {
    const { deliveryEvents } = this.#options;
    if (deliveryEvents !== undefined) return deliveryEvents;
    const average = count ? byteLength / count : 1;
    return Math.max(1, Math.min(DELIVERY_EVENTS, Math.floor(DELIVERY_BYTES / average)));
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
