import { messageOf } from '../base/errors.js';
import type { Demand } from '../event/event.js';
import type { FilterFields } from '../filter/index.js';
import type { Delivery } from '../record/delivery.js';
import type { Slice } from '../record/batch-buffer.js';
import { cursorOf } from '../session/cursor.js';
import type { Session } from '../session/session.js';
import type { StreamFilter } from '../session/stream/selection.js';
import type { EventStream } from '../session/stream/stream.js';
import { whereOf, type PluginFacts } from './definition.js';
import type { PluginGap } from './protocol.js';

/** Events of one call at most. */
const CALL_EVENTS = 1024;

/** What one call is given: some events of one batch. */
export interface Part extends Slice {
  readonly gap: PluginGap;
}

export interface InputOptions {
  readonly session: Pick<Session, 'id' | 'spec' | 'subscribe'>;
  readonly fields: FilterFields;
  /** From the session's first event that it holds, not from now on. */
  readonly fromStart: boolean;
  /** Called when there is a next part, or there will never be one. */
  readonly onArrival: () => void;
}

/** A plugin's events, as parts of a call's size: a reader of the session with a bounded queue like any other. */
export class PluginInput {
  readonly #options: InputOptions;
  /** Of the code that it reads for. */
  #facts: PluginFacts;
  #stream: EventStream;
  /** Of the newest delivery, or put back; oldest first. */
  #parts: Part[] = [];
  #asked = false;
  #ended = false;
  #failure: Error | null = null;
  /** Place of the first event that no call was given. */
  #place: number | null = null;
  /** By the streams that others have followed. */
  #droppedBefore = 0;
  /** When it was closed: what was queued then is dropped unless it is opened again. */
  #droppedAtEnd: number | null = null;

  constructor(facts: PluginFacts, options: InputOptions) {
    this.#options = options;
    this.#facts = facts;
    this.#stream = this.#subscribe(facts, options.fromStart ? 0 : null);
  }

  /** Events that wait. */
  get queued(): number {
    return this.#stream.stats.queued + this.#parts.reduce((sum, { from, to }) => sum + to - from, 0);
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
      if (part.to > part.from) this.#place = part.batch.placeOf(part.to - 1) + 1;
      return part;
    }
    this.#ask();
    return null;
  }

  /** These parts were taken and not read after all: they are the next ones. */
  putBack(parts: readonly Part[]): void {
    this.#parts.unshift(...parts);
    const [next] = this.#parts;
    if (next) this.#place = next.batch.placeOf(next.from);
  }

  /** Reads on for this code: as before where it asks for the same, else as `reopen`. */
  async follow(facts: PluginFacts): Promise<void> {
    const { where, reads } = this.#facts;
    if (facts.where !== where || JSON.stringify(facts.reads) !== JSON.stringify(reads)) await this.reopen(facts);
  }

  /**
   * Reads anew, for this code: from behind the last event that was taken. What was queued, but not taken, is
   * read again.
   */
  async reopen(facts: PluginFacts): Promise<void> {
    const before = this.#stream;
    this.#droppedBefore += this.#droppedAtEnd ?? before.stats.dropped;
    this.#droppedAtEnd = null;
    this.#facts = facts;
    this.#stream = this.#subscribe(facts, this.#place);
    this.#parts = [];
    this.#asked = false;
    this.#ended = false;
    await before.return();
  }

  /** Leaves the session. */
  async close(): Promise<void> {
    this.#droppedAtEnd = this.#stream.stats.dropped;
    await this.#stream.return();
    this.#parts = [];
  }

  #ask(): void {
    if (this.#asked || this.#ended) return;
    this.#asked = true;
    const stream = this.#stream;
    const arrived = (take: () => void): void => {
      if (stream !== this.#stream) return; // another has taken its place
      this.#asked = false;
      take();
      this.#options.onArrival();
    };
    void stream.next().then(
      ({ done, value }) =>
        arrived(() => {
          if (done) this.#ended = true;
          else this.#parts.push(...partsOf(value, CALL_EVENTS));
        }),
      (error: unknown) =>
        arrived(() => {
          this.#ended = true;
          this.#failure = error instanceof Error ? error : new Error(messageOf(error));
        }),
    );
  }

  #subscribe(facts: PluginFacts, place: number | null): EventStream {
    const { session, fields } = this.#options;
    const demand: Demand = new Map(Object.entries(facts.reads).map(([tracker, paths]) => [tracker, new Set(paths)]));
    const filter = whereOf(facts, fields);
    return session.subscribe({
      after: place === null ? null : cursorOf(session.id, place),
      demand: filter ? joined(demand, filter.demand) : demand,
      where: streamFilter(facts, session, filter),
      maxDelayMs: 0, // it raises alerts
    });
  }
}

/** What a delivery is to a plugin: calls of a bounded size. What is missing is told with the first. */
function partsOf({ slices, gap }: Delivery, size: number): Part[] {
  let missing: PluginGap = gap && { lost: gap.lost, dropped: gap.dropped };
  const parts: Part[] = [];
  for (const { batch, from, to } of slices) {
    for (let start = from; start < to; start += size) {
      parts.push({ batch, from: start, to: Math.min(to, start + size), gap: missing });
      missing = null;
    }
  }
  return parts;
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
