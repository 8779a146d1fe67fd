import { begun, intake } from '../base/turn.js';
import type { TraceEvent } from '../event/event.js';
import type { Chunk } from '../kernel/protocol.js';
import { RecordBatch, type BatchContext, type EventBatch } from '../record/batch.js';
import type { Lease } from '../record/lease.js';
import { placeAt } from '../record/place.js';
import { RowBatch } from '../record/row.js';
import type { TrackerRuntime } from '../record/runtime.js';
import { LossLog, type LossTold } from './loss-log.js';
import type { SessionBuffer } from './buffer.js';
import type { RecordedGap } from './replay.js';
import type { ChunkTaker } from './source/pool.js';
import type { SessionStats } from './spec.js';
import type { Readers } from './stream/readers.js';
import type { CgroupMatcher } from './target.js';
import { Waiting } from './waiting.js';

type Matches = (event: TraceEvent) => boolean;

/** What a source leaves of a session's filter. */
export interface LeftFilter {
  /** Null when nothing is left. */
  readonly matches: Matches | null;
  /** As that of an `EventFilter`. */
  readonly ready: (() => Promise<void> | null) | null;
}

/** By what the events of a source are evaluated. */
interface Evaluation extends LeftFilter {
  readonly matcher: CgroupMatcher;
  readonly context: BatchContext;
}

/** `received = discarded + delivered + queued` always. */
export type IngestCounts = Pick<SessionStats, 'received' | 'discarded' | 'delivered' | 'queued' | 'receivedBytes'>;

export interface IngestOptions {
  /** Its id. */
  readonly session: string;
  readonly trackers: readonly TrackerRuntime[];
  readonly matcher: CgroupMatcher;
  readonly buffer: SessionBuffer;
  readonly readers: Readers;
  /** Events that are delivered at most; the rest is discarded. Null: no limit. */
  readonly limit: number | null;
  /** Called before anything is counted. It must be cheap, and must not throw. */
  readonly onCount: () => void;
  /** Sees each batch of records that is delivered, in the same turn. It must be cheap, and must not throw. */
  readonly onBatch: (batch: RecordBatch) => void;
  /** A copy of a chunk, with frames in place of captured stacks; null where it has none. Its promise must not reject. */
  readonly readStacks?: ((chunk: Chunk, view: DataView) => Promise<Chunk> | null) | undefined;
  /** Called when `limit` events are delivered, and with each chunk that comes after that. */
  readonly onFull: () => void;
  /** Told of what is lost, and of a chunk that was not delivered: its container could not be looked up, or a filter threw. */
  readonly log: LossTold & { error(facts: { readonly session: string; readonly err: unknown }, message: string): void };
}

function viewOf({ data }: Chunk): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

/** Null where nothing is waited for. */
function allOf(waitedFor: readonly (Promise<unknown> | null)[]): Promise<unknown> | null {
  const some = waitedFor.filter((one) => one !== null);
  return some.length > 0 ? Promise.all(some) : null;
}

/**
 * Takes what a source reads: holds chunks until the containers of their events are known and their stacks are unwound, evaluates the
 * target and the filter, numbers what is left, and delivers it to the buffer and the readers. Chunks keep their order.
 */
export class Ingest {
  readonly #options: IngestOptions;
  readonly #context: BatchContext;
  readonly #counts = { received: 0, discarded: 0, delivered: 0, queued: 0, receivedBytes: 0 };
  #lost = 0;
  /** Chunks wait here until their containers are known. */
  readonly #held: Waiting;
  /** Null where nothing comes of the kernel: what a recording lacks was told when it was recorded. */
  #losses: LossLog | null = null;

  constructor(options: IngestOptions) {
    const { session, trackers, matcher, log } = options;
    this.#options = options;
    this.#held = new Waiting((error) => log.error({ session, err: error }, 'filtering events by target'));
    this.#context = {
      session,
      views: trackers.map(({ view }) => view),
      containerAt: (view, at) => matcher.containerAt(view, at),
    };
  }

  get counts(): IngestCounts {
    return { ...this.#counts };
  }

  /** The same, with what the kernel lost. */
  get counted(): IngestCounts & Pick<SessionStats, 'lost'> {
    return { ...this.#counts, lost: this.#lost };
  }

  /** Events that the kernel lost, as far as chunks have told. */
  get lost(): number {
    return this.#lost;
  }

  /** Nothing comes any more. `lost`: as the kernel has counted, when it was asked last. Resolves as `settled`. */
  async end(lost: number): Promise<void> {
    await this.settled;
    this.#losses?.end(Math.max(lost, this.#lost));
  }

  /** Resolves when all that waits now is delivered; null when nothing waits. Never rejects. */
  get settled(): Promise<void> | null {
    return this.#held.last;
  }

  /**
   * What takes the chunks of a source; where it returns a promise, the next one must not come before that has resolved. `matcher`: of
   * another target than the first one.
   */
  taker({ matches, ready }: LeftFilter, matcher = this.#options.matcher): ChunkTaker {
    const context: BatchContext = { ...this.#context, containerAt: (view, at) => matcher.containerAt(view, at) };
    return (chunk, lease) => this.#receive(chunk, lease, { matcher, context, matches, ready });
  }

  /** Takes events of a recording: their target, filter and containers were evaluated when they were recorded. */
  play(events: readonly TraceEvent[], gap: RecordedGap): void {
    const { session, buffer } = this.#options;
    const seq = buffer.nextSeq;
    events.forEach((event, i) => placeAt(event, { session, seq: seq + i }));
    const batch = new RowBatch(events, { ...gap, seq });
    this.#options.onCount();
    this.#counts.received += events.length;
    this.#counts.receivedBytes += batch.byteLength;
    this.#counts.delivered += events.length;
    this.#lost += gap.lost;
    this.#deliver(batch);
  }

  #receive(chunk: Chunk, lease: Lease, by: Evaluation): Promise<void> | null {
    const { data, offsets } = chunk;
    this.#options.onCount();
    this.#counts.received += offsets.length;
    this.#counts.receivedBytes += data.byteLength;
    this.#counts.queued += offsets.length;
    this.#lost += chunk.lost;
    this.#losses ??= new LossLog(this.#options.session, this.#options.log);
    this.#losses.look(this.#lost);
    const { matcher, ready } = by;
    const view = viewOf(chunk);
    const { last } = this.#held;
    // Behind others that wait: order is kept.
    const containers = last ? last.then(() => matcher.prepare(view, offsets)) : matcher.prepare(view, offsets);
    const processes = offsets.length ? (ready?.() ?? null) : null;
    const stacks = this.#options.readStacks?.(chunk, view) ?? null;
    const unknown = allOf([containers, processes, stacks]);
    if (!unknown) return this.#evaluate(chunk, view, lease, by);
    lease.hold();
    this.#held.add(
      unknown
        .then(async () => {
          const copy = await stacks;
          return copy ? this.#evaluate(copy, viewOf(copy), null, by) : this.#evaluate(chunk, view, lease, by);
        })
        .finally(() => lease.release()),
      data.byteLength,
    );
    if (this.#held.isFull) matcher.hurry();
    return null;
  }

  /** A promise where the session's filter needs more than this turn. */
  #evaluate(
    chunk: Chunk,
    view: DataView,
    lease: Lease | null,
    { matcher, context, matches }: Omit<Evaluation, 'ready'>,
  ): Promise<void> | null {
    const { buffer, limit } = this.#options;
    const place = {
      clock: chunk.clock,
      seq: buffer.nextSeq,
      lost: chunk.lost,
      lostFrom: chunk.readBefore,
      lostTo: chunk.readAt,
    };
    const offered = new RecordBatch(chunk.data, matcher.select(view, chunk.offsets), context, place, null, lease);
    const room = limit === null ? Number.POSITIVE_INFINITY : limit - this.#counts.delivered;
    if (!matches && offered.count <= room) {
      this.#admit(chunk, offered, room);
      return null;
    }
    let left = room;
    const taken = begun(
      offered.taking((event) => left > 0 && (!matches || matches(event)) && left-- > 0),
      intake,
    );
    if (!(taken instanceof Promise)) {
      this.#admit(chunk, taken, room);
      return null;
    }
    lease?.hold();
    return taken.then((batch) => this.#admit(chunk, batch, room)).finally(() => lease?.release());
  }

  /** Takes in what target, filter and limit have left of a chunk. */
  #admit(chunk: Chunk, batch: EventBatch, room: number): void {
    this.#options.onCount();
    this.#counts.queued -= chunk.offsets.length;
    this.#counts.discarded += chunk.offsets.length - batch.count;
    this.#counts.delivered += batch.count;
    if (batch.count || chunk.lost) {
      if (batch instanceof RecordBatch) this.#options.onBatch(batch);
      this.#deliver(batch);
    }
    if (batch.count >= room) this.#options.onFull();
  }

  #deliver(batch: EventBatch): void {
    this.#options.buffer.push(batch);
    this.#options.readers.push(batch);
  }
}
