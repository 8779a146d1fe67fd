import { Gate } from '../base/gate.js';
import type { Demand } from '../event/event.js';
import type { EventFilter } from '../filter/index.js';
import { cursorOf } from '../session/cursor.js';
import type { Session } from '../session/session.js';
import { Delivery } from '../record/delivery.js';
import type { EventStream } from '../session/stream/stream.js';
import type { Thinning } from '../session/stream/thinning.js';
import { batchOf, gapOf, queryOf, type StoredSource } from './query.js';
import type { SessionRecorder } from './recorder.js';
import type { StoredPage } from './store.js';

/** Events in one delivery: it becomes one message. */
const PART = 8192;
/** Events for which the filter is evaluated for one delivery, where few pass. */
const SCANNED = 65_536;
const REACH_MS = 5000;
/** Reads that streams have under way in one store. */
const READS = 2;
const gates = new WeakMap<StoredSource<'page'>['store'], Gate>();

/** A store does to the end what it is asked, also for readers that have left: what waits does so here, where it can be dropped. */
function gateOf(store: StoredSource<'page'>['store']): Gate {
  const known = gates.get(store);
  if (known) return known;
  const made = new Gate(READS);
  gates.set(store, made);
  return made;
}

export interface ResumeOptions {
  readonly source: StoredSource<'page'>;
  /** The place to go on from. */
  readonly from: number;
  readonly where: EventFilter | null;
  /** What is left out of what matches. */
  readonly thinning?: Thinning | null;
  /** The session while it is in memory, and its recorder; else how far it goes. */
  readonly live: {
    readonly session: Session;
    readonly recorder: SessionRecorder;
    readonly demand: Demand;
    readonly maxDelayMs: number;
  } | null;
  readonly end: number;
}

/**
 * A session's events from a place on: out of the store for as long as memory does not hold the place, then live. The
 * step from one to the other is taken at one place without a wait between, so that nothing is missed or doubled.
 */
export class ResumedStream implements AsyncIterableIterator<Delivery> {
  readonly #options: ResumeOptions;
  readonly #release: () => void;
  #from: number;
  #live: EventStream | null = null;
  /** Left out of what was read from the store, and in no delivery yet. */
  #skipped = 0;
  #done = false;
  /** Calls of `next` are served one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ResumeOptions) {
    this.#options = options;
    this.#from = options.from;
    const { live } = options;
    this.#release = live ? live.session.addDemand(live.demand) : () => undefined;
  }

  /** Where it begins. */
  get startCursor(): string {
    return cursorOf(this.#options.source.id, this.#options.from);
  }

  next(): Promise<IteratorResult<Delivery, undefined>> {
    if (this.#live) return this.#live.next();
    const result = this.#turn.then(() => this.#next());
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async return(): Promise<IteratorResult<Delivery, undefined>> {
    this.#finish();
    await this.#live?.return();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #next(): Promise<IteratorResult<Delivery, undefined>> {
    while (!this.#done && !this.#live) {
      const delivery = await this.#step();
      if (delivery) return { done: false, value: delivery };
    }
    if (this.#skipped) return { done: false, value: this.#rest() };
    return this.#live && !this.#done ? this.#live.next() : { done: true, value: undefined };
  }

  /** The next delivery out of the store; null when there is none, or it is memory's turn. */
  async #step(): Promise<Delivery | null> {
    const { live, end } = this.#options;
    if (!live) {
      if (this.#from < end) return this.#read(end);
      this.#finish();
      return null;
    }
    const { session, recorder } = live;
    session.touch();
    // What memory no longer holds must be written before it can be read; where it never will be, memory tells of the gap. From where only
    // memory has events that it still holds, it is memory's turn.
    const written = (): number => Math.min(recorder.writtenSeq, recorder.storedUntil(session.oldestSeq));
    if (
      this.#from >= session.oldestSeq ||
      (written() <= this.#from && !(await recorder.reach(session.oldestSeq, REACH_MS)))
    )
      return this.#goLive();
    const until = written();
    return until > this.#from ? this.#read(until) : this.#goLive();
  }

  /** What was left out behind the last event of the store. */
  #rest(): Delivery {
    const skipped = this.#skipped;
    this.#skipped = 0;
    return new Delivery([], null, cursorOf(this.#options.source.id, this.#from), skipped);
  }

  #goLive(): null {
    const { source, where, thinning, live } = this.#options;
    if (this.#done || !live) return null;
    this.#live = live.session.subscribe({
      after: cursorOf(source.id, this.#from),
      demand: live.demand,
      maxDelayMs: live.maxDelayMs,
      where,
      thinning,
    });
    this.#release();
    return null;
  }

  async #read(end: number): Promise<Delivery | null> {
    const { source, where, thinning } = this.#options;
    await where?.ready?.();
    const from = this.#from;
    const to = where ? Math.min(end, from + SCANNED) : end;
    const page = await this.#page(from, to);
    if (!page || this.#done) return null;
    const last = page.events.at(-1)?.place.seq;
    this.#from = page.hasNext && last !== undefined ? last + 1 : to;
    const gap = gapOf(page, where ? 0 : this.#from - from - page.events.length);
    const all = batchOf(page.events, from);
    const { batch, kept } = thinning?.of(all) ?? { batch: all, kept: null };
    this.#skipped += kept ? all.count - kept.length : 0;
    if (!batch.count && !gap) return null;
    const skipped = this.#skipped;
    this.#skipped = 0;
    const slices = batch.count ? [{ batch, from: 0, to: batch.count }] : [];
    return new Delivery(slices, gap, cursorOf(source.id, this.#from), skipped);
  }

  /** Null for a reader that left while it waited. */
  async #page(fromSeq: number, toSeq: number): Promise<StoredPage | null> {
    const { source, where } = this.#options;
    const leave = await gateOf(source.store).enter();
    try {
      if (this.#done) return null;
      return await source.store.page({
        ...queryOf(source, where),
        session: source.id,
        fromSeq,
        toSeq,
        limit: PART,
        backwards: false,
      });
    } finally {
      leave();
    }
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#release();
  }
}
