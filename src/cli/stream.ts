import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../client/client.js';
import type { EventFields } from './field.js';
import type { World } from './world.js';

export interface ReceivedGap {
  readonly from: string;
  readonly to: string;
  readonly lost: string;
  readonly dropped: string;
  readonly where: string;
}

export interface Batch {
  readonly events: readonly EventFields[];
  readonly gap: ReceivedGap | null;
}

/** Why no more events came: the session ended, the limit was reached, Ctrl-C, or nobody reads our output. */
export type StopCause = 'ended' | 'limit' | 'signal' | 'reader';

export interface EventReading {
  readonly client: Client;
  readonly session: string;
  /** Of an event. */
  readonly selection: string;
  readonly limit: number | null;
  /** Events before now that are read first; all that the session holds when absent. */
  readonly replay?: number;
  /** Ends reading, by `stop`. */
  readonly signal: AbortSignal;
  /** Called once the server knows of this reader: what happens from then on is seen. */
  ready(): void;
  /**
   * Asks the session to stop, so that what is under way is still read; must not throw. Without it the session goes on, and nothing
   * more is read.
   */
  stop?(): void;
  /** False: nobody reads any more. Awaited before the next batch is looked at. */
  onBatch(batch: Batch): Promise<boolean> | boolean;
}

/** From the session's first event on: the schema's largest `replay`. */
const EVERYTHING = 1_000_000;
/** Events that may wait for our own reader; beyond that the oldest are dropped and counted, so that a pager left open costs no memory. */
const mostWaiting = 100_000;

/** Hands a session's events on until it ends, and returns how many there were. */
export async function readEvents(reader: EventReading): Promise<{ events: number; dropped: bigint; cause: StopCause }> {
  const { client, session, selection, limit, signal } = reader;
  const document = `subscription Events($session: ID!, $replay: Int) {
    events(session: $session, replay: $replay) { gap { from to lost dropped where } events { ${selection} } }
  }`;
  const stream = client.subscribe<{ events: Batch }>(document, { session, replay: reader.replay ?? EVERYTHING });
  const queue = new BatchQueue();
  let cause: StopCause = 'ended';
  let events = 0;
  let dropped = 0n;
  const stop = (why: StopCause): void => {
    if (cause === 'ended') cause = why;
    if (reader.stop) reader.stop();
    else queue.end();
  };
  const onAbort = (): void => stop('signal');
  signal.addEventListener('abort', onAbort);
  try {
    void queue.fill(stream);
    await subscribed(client, session, queue);
    reader.ready();
    if (signal.aborted) onAbort();
    for (let whole = await queue.take(); whole; whole = await queue.take()) {
      const batch = shorten(whole, limit === null ? Infinity : limit - events);
      events += batch.events.length;
      dropped += BigInt(batch.gap?.dropped ?? 0);
      if (!(await unlessAborted(reader.onBatch(batch), signal))) {
        stop(signal.aborted ? 'signal' : 'reader');
        break;
      }
      if (limit !== null && events >= limit) {
        stop('limit');
        break;
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // Not awaited: a generator that waits for its next item returns only then.
    void stream.return?.().catch(() => undefined);
  }
  return { events, dropped, cause };
}

/** Takes batches from the server as fast as they come, whatever our own reader does. */
class BatchQueue {
  readonly #batches: Batch[] = [];
  #waiting = 0;
  #end: { error?: unknown } | null = null;
  #wake: () => void = () => undefined;

  /** Something came: a batch, the end, an error. */
  get hasArrived(): boolean {
    return this.#end !== null || this.#batches.length > 0;
  }

  async fill(stream: AsyncIterable<{ events: Batch }>): Promise<void> {
    try {
      for await (const { events: batch } of stream) {
        this.#batches.push(batch);
        this.#waiting += batch.events.length;
        while (this.#waiting > mostWaiting && this.#batches.length > 1) this.#drop();
        this.#wake();
      }
      this.#end ??= {};
    } catch (error) {
      this.#end ??= { error };
    }
    this.#wake();
  }

  /** Nothing more is taken; what waits is still handed on. */
  end(): void {
    this.#end ??= {};
    this.#wake();
  }

  /** The next batch; null at the end. Throws what ended the stream. */
  async take(): Promise<Batch | null> {
    while (!this.#batches.length && !this.#end) await new Promise<void>((resolve) => (this.#wake = resolve));
    const batch = this.#batches.shift();
    if (batch) {
      this.#waiting -= batch.events.length;
      return batch;
    }
    if (this.#end && 'error' in this.#end) throw this.#end.error;
    return null;
  }

  /** The oldest batch becomes part of the gap before the next one. */
  #drop(): void {
    const [oldest, next] = this.#batches.splice(0, 2);
    if (!oldest || !next) return;
    this.#waiting -= oldest.events.length;
    const now = new Date().toISOString();
    const gap: ReceivedGap = {
      from: oldest.gap?.from ?? now,
      to: next.gap?.to ?? now,
      lost: String(BigInt(oldest.gap?.lost ?? 0) + BigInt(next.gap?.lost ?? 0)),
      dropped: String(BigInt(oldest.gap?.dropped ?? 0) + BigInt(next.gap?.dropped ?? 0) + BigInt(oldest.events.length)),
      where: oldest.gap?.where ?? next.gap?.where ?? 'QUEUE',
    };
    this.#batches.unshift({ ...next, gap });
  }
}

function shorten(batch: Batch, most: number): Batch {
  return batch.events.length <= most ? batch : { ...batch, events: batch.events.slice(0, most) };
}

/** After Ctrl-C, a reader that takes nothing is not waited for: a second is enough for one that does. */
export async function unlessAborted(work: Promise<boolean> | boolean, signal: AbortSignal): Promise<boolean> {
  if (typeof work === 'boolean') return work;
  const patience = new AbortController();
  const given = new Promise<boolean>((resolve) => {
    const wait = (): void =>
      void sleep(1000, false, { signal: patience.signal, ref: false }).then(resolve, () => undefined);
    if (signal.aborted) wait();
    else signal.addEventListener('abort', wait, { signal: patience.signal });
  });
  try {
    return await Promise.race([work, given]);
  } finally {
    patience.abort();
  }
}

/** Resolves when the session counts a subscriber, when its first item is there, or after a second. */
async function subscribed(client: Client, session: string, queue: BatchQueue): Promise<void> {
  const document = 'query Subscribed($id: ID!) { session(id: $id) { state stats { subscribers { id } } } }';
  for (const end = Date.now() + 1000; !queue.hasArrived && Date.now() < end; await sleep(10)) {
    const response = await client.query<{
      session: { state: string; stats: { subscribers: readonly unknown[] } } | null;
    }>(document, { id: session });
    if (!response.session || response.session.stats.subscribers.length) return;
  }
}

/** Tells a person where events are missing. */
export function tellGap({ lost, dropped, from, to }: ReceivedGap, world: Pick<World, 'tell'>): void {
  world.tell(`gap: ${lost} lost in the kernel, ${dropped} dropped, ${from} to ${to}`);
}

/** What comes until Ctrl-C, which does not wait for what comes next. */
export async function* untilAborted<T>(stream: AsyncIterableIterator<T>, signal: AbortSignal): AsyncGenerator<T> {
  const aborted = new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener('abort', () => resolve(null), { once: true });
  });
  try {
    for (;;) {
      const next = await Promise.race([stream.next(), aborted]);
      if (next === null || next.done) return;
      yield next.value;
    }
  } finally {
    // Not awaited: a generator that waits for its next item returns only then.
    void stream.return?.().catch(() => undefined);
  }
}
