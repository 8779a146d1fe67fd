import type { TraceEvent } from '../event/event.js';
import { nowText, wallTimeOf } from '../event/clock.js';
import type { EventBatch } from '../record/batch.js';
import { eventsOf } from '../record/delivery.js';
import { BatchBuffer, type Slice } from '../record/batch-buffer.js';
import { boundsOf, cursorOf, parseCursor } from './cursor.js';
import {
  missingGap,
  type FilteredPageRequest,
  type MissingEvents,
  type Page,
  type RetainedPageRequest,
} from './stream/reading.js';
import { gapsOf, scan } from './stream/scan.js';

export interface BufferOptions {
  /** The id of the session, which its cursors carry. */
  readonly session: string;
  /** Bytes of records that it retains; the oldest batches are evicted beyond them. */
  readonly bytes: number;
  /** When the session began: nothing is missing before that. */
  readonly since: () => string;
}

/** So many places before this one. */
export interface Before {
  readonly place: number;
  readonly count: number;
}

/** Where a subscriber begins: with these events, behind these that are missing. */
export interface Start {
  readonly backlog: readonly Slice[];
  readonly missing: MissingEvents | null;
  readonly startSeq: number;
  /** Where it was asked to start: before what is missing. */
  readonly startCursor: string;
}

/** The events that a session retains in memory, as readers ask for them: by cursor, in pages, from the newest so many on. */
export class SessionBuffer {
  readonly #session: string;
  readonly #since: () => string;
  readonly #history: BatchBuffer;

  constructor({ session, bytes, since }: BufferOptions) {
    this.#session = session;
    this.#since = since;
    this.#history = new BatchBuffer(bytes);
  }

  push(batch: EventBatch): void {
    this.#history.push(batch);
  }

  /** Evicts the oldest events until so many bytes of records are left. */
  shrink(bytes: number): void {
    this.#history.shrink(bytes);
  }

  /** Forgets all events. */
  clear(): void {
    this.#history.clear();
  }

  /** Place of the oldest event that is retained, and of the next that will come. */
  get oldestSeq(): number {
    return this.#history.firstSeq;
  }

  get nextSeq(): number {
    return this.#history.nextSeq;
  }

  get counts(): { readonly retained: number; readonly evicted: number; readonly retainedBytes: number } {
    const { retained, evicted, bytes } = this.#history;
    return { retained, evicted, retainedBytes: bytes };
  }

  cursorAt(seq: number): string {
    return cursorOf(this.#session, seq);
  }

  /** All events, or those of some places, oldest first, where they lie. They stay readable after they are evicted. */
  slices(before: Before | null = null): readonly Slice[] {
    const { firstSeq } = this.#history;
    return before
      ? this.#history.slices(Math.max(firstSeq, before.place - before.count), before.place)
      : this.#history.slices(firstSeq);
  }

  /** All events, oldest first, each made when it is asked for. */
  *events(): Generator<TraceEvent> {
    for (const { batch, from, to } of this.slices()) for (let i = from; i < to; i++) yield batch.event(i);
  }

  /** Where a subscriber begins who wants the last `replay` events, or those behind a cursor. Throws BAD_CURSOR. */
  startOf({ replay, after }: { readonly replay?: number | null; readonly after?: string | null }): Start {
    const next = this.#history.nextSeq;
    const wanted = after
      ? parseCursor(after, this.#session, next)
      : next - Math.min(replay ?? 0, this.#history.retained);
    const startSeq = Math.max(wanted, this.#history.firstSeq);
    return {
      backlog: startSeq < next ? this.#history.slices(startSeq) : [],
      missing: this.#missing(startSeq - wanted),
      startSeq,
      startCursor: this.cursorAt(wanted),
    };
  }

  /** A page of all events. Throws BAD_CURSOR for a cursor that is not of this session. */
  page({ first = 100, last, after, before }: RetainedPageRequest): Page {
    const next = this.#history.nextSeq;
    const oldest = this.#history.firstSeq;
    const { low, high, evicted } = this.#bounds(after, before);
    const from = last == null ? low : Math.max(low, high - last);
    const to = last == null ? Math.min(high, from + first) : high;
    // To the very end also with a loss that no event has followed yet.
    const slices = this.#history.slices(from, to < next ? to : undefined);
    const missing = from === low ? this.#missing(evicted) : null;
    return {
      events: eventsOf(slices),
      cursorAfter: (index) => this.cursorAt(from + index + 1),
      hasNext: to < next,
      hasPrevious: from > oldest,
      total: this.#history.retained,
      gaps: [...(missing ? [missingGap(missing)] : []), ...gapsOf(slices)],
    };
  }

  /**
   * A page of the events that match. They are evaluated in turns, so that millions of them do not block the server; events that arrive
   * meanwhile are excluded. Rejects with BAD_CURSOR for a cursor that is not of this session.
   */
  async pageWhere({ first = 100, last, after, before, where }: FilteredPageRequest): Promise<Page> {
    const end = this.#history.nextSeq;
    const oldest = this.#history.firstSeq;
    const { low, high, evicted } = this.#bounds(after, before);
    const slices = low < high ? this.#history.slices(low, high) : [];
    const { found, scanned, more } =
      last == null ? await scan(slices, where, first) : await scan(slices.reverse(), where, last, true);
    const missing = last == null || !more ? this.#missing(evicted) : null;
    return {
      events: found.map(({ event }) => event),
      cursorAfter: (index) => this.cursorAt((found[index]?.place ?? low - 1) + 1),
      hasNext: (last == null && more) || high < end,
      hasPrevious: (last != null && more) || low > oldest,
      total: null,
      gaps: [...(missing ? [missingGap(missing)] : []), ...gapsOf(scanned)],
    };
  }

  /** Where a page may lie among what is retained, and how many events behind `after` are not any more. */
  #bounds(after?: string | null, before?: string | null): { low: number; high: number; evicted: number } {
    const { firstSeq: oldest, nextSeq: next } = this.#history;
    const { from, to } = boundsOf({ after, before }, this.#session, next);
    const low = Math.max(from ?? oldest, oldest);
    return { low, high: Math.max(low, Math.min(to ?? next, next)), evicted: low - (from ?? low) };
  }

  #missing(count: number): MissingEvents | null {
    if (count === 0) return null;
    const oldest = this.slices()[0];
    const to = oldest?.batch.count ? wallTimeOf(oldest.batch.clock, oldest.batch.bootNsAt(0)) : nowText();
    return { count, from: this.#since(), to };
  }
}
