import { messageOf } from '../base/errors.js';
import { turns } from '../base/turn.js';
import type { Demand } from '../event/event.js';
import type { FilterFields } from '../filter/index.js';
import type { Delivery } from '../record/delivery.js';
import type { Slice } from '../record/batch-buffer.js';
import { cursorOf } from '../session/cursor.js';
import type { Session } from '../session/session.js';
import { Selection, type StreamFilter } from '../session/stream/selection.js';
import type { EventStream } from '../session/stream/stream.js';
import { whereOf, type PluginFacts } from './definition.js';
import type { PluginGap } from './protocol.js';

/** Events of one call at most. */
const CALL_EVENTS = 1024;
/** Of the events that waited before a reload and the session has evicted, so many bytes are kept: the newest. */
const KEPT_BYTES = 32 << 20;

/** What one call is given: some events of one batch. */
export interface Part extends Slice {
  readonly gap: PluginGap;
}

type Read = Promise<IteratorResult<Delivery, undefined>>;

export interface InputOptions {
  readonly session: Pick<Session, 'id' | 'spec' | 'subscribe' | 'addDemand' | 'oldestSeq' | 'nextSeq'>;
  readonly fields: FilterFields;
  /** From the session's first event that it holds, not from now on. */
  readonly fromStart: boolean;
  /** Called when there is a next part, or there will never be one. */
  readonly onArrival: () => void;
}

/** A plugin's events, as parts of a call's size: a reader of the session with a bounded queue like any other. */
export class PluginInput {
  readonly #options: InputOptions;
  #stream: EventStream;
  /** Ends what the code demands that it reads for. */
  #release: () => void;
  /** Of the newest delivery, kept over a reload, or put back; oldest first. */
  #parts: Part[] = [];
  /** What is missing behind them. */
  #gap: PluginGap = null;
  /** The delivery that it waits for; null for none. */
  #asked: Read | null = null;
  #ended = false;
  #isClosed = false;
  #failure: Error | null = null;
  /** Place of the first event that no call was given. */
  #place: number;
  /** Dropped before what the stream reads. */
  #droppedBefore: number;
  /** Of those dropped, the events that calls were told of. */
  #told = 0;

  constructor(facts: PluginFacts, options: InputOptions) {
    const { session, fromStart } = options;
    this.#options = options;
    this.#place = fromStart ? 0 : session.nextSeq;
    const from = Math.max(this.#place, session.oldestSeq);
    this.#droppedBefore = from - this.#place;
    this.#gap = gapOf(0, this.#droppedBefore);
    this.#release = session.addDemand(this.#demandOf(facts));
    this.#stream = this.#subscribe(this.#filterOf(facts), from);
  }

  /** Events that wait. */
  get queued(): number {
    return this.#stream.stats.queued + countOf(this.#parts);
  }

  get dropped(): number {
    return this.#droppedBefore + this.#stream.stats.dropped;
  }

  /** Whether there are no more parts, and never will be. */
  get ended(): boolean {
    return this.#ended && this.#parts.length === 0;
  }

  /** Why the session ended early, so that more may have happened than there were parts of; null where it did not. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** Takes the next part; null where it has to be waited for, or there is none. */
  next(): Part | null {
    const part = this.#parts.shift();
    if (part) {
      this.#place = part.batch.placeOf(part.to - 1) + 1;
      this.#told += part.gap?.dropped ?? 0;
      return part;
    }
    this.#ask();
    return null;
  }

  /** These parts were taken and not read after all: they are the next ones. */
  putBack(parts: readonly Part[]): void {
    this.#parts.unshift(...parts);
    for (const { gap } of parts) this.#told -= gap?.dropped ?? 0;
    const [next] = this.#parts;
    if (next) this.#place = next.batch.placeOf(next.from);
  }

  /** Reads on for this code: as before where it has the same filter, else as `reopen`. */
  async follow(facts: PluginFacts): Promise<void> {
    if (this.#isClosed || (this.#filterOf(facts)?.text ?? null) !== this.#stream.stats.where) return this.reopen(facts);
    this.#demand(facts);
  }

  /**
   * Reads anew, for this code: from behind the last event that was taken. What the session holds is read again; what waited and the
   * session has evicted is kept. Of what is in neither, the next part tells as a gap.
   */
  async reopen(facts: PluginFacts): Promise<void> {
    const { nextSeq, oldestSeq } = this.#options.session;
    const before = this.#stream;
    const asked = this.#asked;
    const filter = this.#filterOf(facts);
    const from = Math.min(nextSeq, Math.max(this.#place, oldestSeq));
    this.#demand(facts);
    this.#stream = this.#subscribe(filter, from);
    this.#asked = null;
    this.#ended = false;
    const wasClosed = this.#isClosed;
    this.#isClosed = false;
    if (!wasClosed) await this.#drain(before, asked);
    // Its places are lower: where the session has evicted nothing, there is nothing to keep.
    const kept = newest(
      this.#parts.filter(({ batch, from: first }) => batch.placeOf(first) < from),
      KEPT_BYTES,
    );
    const missing = from - this.#place - countOf(kept);
    this.#droppedBefore = this.#told + missing;
    const lostBehind = from > this.#place ? (this.#gap?.lost ?? 0) : 0;
    this.#gap = gapOf(0, missing);
    this.#parts = [];
    for (const part of kept) {
      const { batch, from: first, to } = filter ? await selected(part, filter) : part;
      const gap = joinedGap(this.#gap, gapOf(part.gap?.lost ?? 0, 0));
      this.#gap = first < to ? null : gap;
      if (first < to) this.#parts.push({ batch, from: first, to, gap });
    }
    this.#gap = joinedGap(this.#gap, gapOf(lostBehind, 0));
  }

  /** Leaves the session. What waits is dropped unless it is opened again. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release();
    this.#droppedBefore += countOf(this.#parts);
    this.#parts = [];
    this.#gap = null;
    await this.#stream.return();
  }

  #ask(): void {
    if (this.#asked || this.#ended) return;
    const stream = this.#stream;
    const arrived = (take: () => void): void => {
      if (stream !== this.#stream) return; // another has taken its place
      this.#asked = null;
      take();
      this.#options.onArrival();
    };
    this.#asked = stream.next();
    void this.#asked.then(
      ({ done, value }) =>
        arrived(() => {
          if (done) this.#ended = true;
          else this.#take(value);
        }),
      (error: unknown) =>
        arrived(() => {
          this.#ended = true;
          this.#failure = error instanceof Error ? error : new Error(messageOf(error));
        }),
    );
  }

  #take({ slices, gap }: Delivery): void {
    this.#gap = joinedGap(this.#gap, gap);
    for (const part of partsOf(slices, CALL_EVENTS)) {
      this.#parts.push({ ...part, gap: this.#gap });
      this.#gap = null;
    }
  }

  /** Ends a stream, and takes what waits in it. */
  async #drain(stream: EventStream, asked: Read | null): Promise<void> {
    stream.end();
    try {
      for (let read = asked ?? stream.next(); ; read = stream.next()) {
        const { done, value } = await read;
        if (done) return;
        this.#take(value);
      }
    } catch {
      // Why the session ended early, the next stream tells as well.
    }
  }

  #demand(facts: PluginFacts): void {
    const before = this.#release;
    this.#release = this.#options.session.addDemand(this.#demandOf(facts));
    before();
  }

  #demandOf(facts: PluginFacts): Demand {
    const demand: Demand = new Map(Object.entries(facts.reads).map(([tracker, paths]) => [tracker, new Set(paths)]));
    const filter = whereOf(facts, this.#options.fields);
    return filter ? joined(demand, filter.demand) : demand;
  }

  #filterOf(facts: PluginFacts): StreamFilter | null {
    return streamFilter(facts, this.#options.session, whereOf(facts, this.#options.fields));
  }

  #subscribe(where: StreamFilter | null, place: number): EventStream {
    const { session } = this.#options;
    // It raises alerts: no event waits for others. What it demands is not the stream's: that one may serve other code.
    return session.subscribe({ after: cursorOf(session.id, place), demand: new Map(), where, maxDelayMs: 0 });
  }
}

/** Slices as calls of a bounded size. */
function* partsOf(slices: readonly Slice[], size: number): Generator<Slice> {
  for (const { batch, from, to } of slices)
    for (let start = from; start < to; start += size) yield { batch, from: start, to: Math.min(to, start + size) };
}

function countOf(slices: readonly Slice[]): number {
  return slices.reduce((sum, { from, to }) => sum + to - from, 0);
}

/** The newest of these, of so many bytes. */
function newest(parts: readonly Part[], bytes: number): readonly Part[] {
  let left = bytes;
  const first = parts.findLastIndex(
    ({ batch, from, to }) => (left -= (batch.byteLength * (to - from)) / batch.count) < 0,
  );
  return parts.slice(first + 1);
}

async function selected(slice: Slice, filter: StreamFilter): Promise<Slice> {
  const selection = new Selection(slice, filter);
  if (selection.blocked) await selection.blocked;
  for (;;) {
    if (!turns.isOpen) await turns.next('FLOW');
    const batch = selection.advance();
    if (batch) return { batch, from: 0, to: batch.count };
  }
}

function gapOf(lost: number, dropped: number): PluginGap {
  return lost || dropped ? { lost, dropped } : null;
}

function joinedGap(a: PluginGap, b: PluginGap): PluginGap {
  return gapOf((a?.lost ?? 0) + (b?.lost ?? 0), (a?.dropped ?? 0) + (b?.dropped ?? 0));
}

/** Which of the session's events are the plugin's: those of its trackers that its `where` takes. Null when all are. */
function streamFilter(
  { reads }: PluginFacts,
  { spec }: Pick<Session, 'spec'>,
  where: StreamFilter | null,
): StreamFilter | null {
  if (spec.trackers.every(({ name }) => name in reads)) return where;
  const trackers = new Set(Object.keys(reads));
  const text = `tracker in ${[...trackers].sort().join(',')} && (${where?.text ?? 'true'})`;
  return {
    text,
    ready: where?.ready ?? null,
    matches: where
      ? (event) => trackers.has(event.tracker) && where.matches(event)
      : (event) => trackers.has(event.tracker),
  };
}

function joined(a: Demand, b: Demand): Demand {
  return new Map([...a].map(([tracker, fields]) => [tracker, new Set([...fields, ...(b.get(tracker) ?? [])])]));
}
