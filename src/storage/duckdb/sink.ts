import type { Container } from '../../inventory/container.js';
import type { Gap } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import { packBatch } from '../../record/wire.js';
import type { SessionEnd, SessionRecord, SessionSink, SinkProgress } from '../store.js';
import type { StoreThread } from './thread.js';

/** Bytes that the thread may hold of one session; beyond it the session's queue, which is bounded and counts, holds them. */
const IN_FLIGHT = 48 << 20;

/** One session's way to the thread. */
export class DuckSink implements SessionSink {
  readonly number: number;
  readonly #thread: StoreThread;
  #sent = { events: 0, bytes: 0, nextSeq: 0 };
  #done = { events: 0, bytes: 0, nextSeq: 0 };
  /** Those of its events: what is known of them may still change after the last event. */
  readonly #containers = new Set<Container>();
  #room: (() => void)[] = [];
  #finished = false;
  #removed = 0;

  constructor(number: number, thread: StoreThread) {
    this.number = number;
    this.#thread = thread;
  }

  get progress(): SinkProgress {
    const { state, problem } = this.#thread.condition;
    return {
      written: this.#done.events,
      pending: this.#sent.events - this.#done.events,
      dropped: 0,
      removed: this.#removed,
      nextSeq: this.#done.nextSeq,
      error: state === 'READY' ? null : problem,
    };
  }

  /** The place behind the last event that was sent. */
  get sentSeq(): number {
    return this.#sent.nextSeq;
  }

  async write(slices: readonly Slice[], gap: Gap | null): Promise<void> {
    const [first] = slices;
    const last = slices.at(-1)?.batch;
    const packed = slices.map(({ batch }) => packBatch(batch));
    for (const { message } of packed)
      if (message.kind === 'records') for (const container of message.containers) this.#containers.add(container);
    const events = slices.reduce((sum, { batch }) => sum + batch.count, 0);
    const bytes = slices.reduce((sum, { batch }) => sum + batch.byteLength, 0);
    const nextSeq = last ? Math.max(last.seq, last.count ? last.placeOf(last.count - 1) + 1 : 0) : this.#sent.nextSeq;
    const seq = first ? first.batch.seq : this.#sent.nextSeq;
    this.#thread.send(
      {
        number: this.number,
        batches: packed.map(({ message }) => message),
        gap,
        seq,
        nextSeq,
        events,
        bytes,
      },
      packed.flatMap(({ transfer }) => transfer),
    );
    this.#sent = { events: this.#sent.events + events, bytes: this.#sent.bytes + bytes, nextSeq };
    while (this.#sent.bytes - this.#done.bytes > IN_FLIGHT && !this.#finished)
      await new Promise<void>((resolve) => this.#room.push(resolve));
  }

  async skip(gap: Gap, nextSeq: number): Promise<void> {
    // At the place of the first that is missing: it is told once, whichever place a reader goes on from.
    const { nextSeq: seq } = this.#sent;
    this.#thread.send({ number: this.number, batches: [], gap, seq, nextSeq, events: 0, bytes: 0 }, []);
    this.#sent = { ...this.#sent, nextSeq };
  }

  committed(events: number, bytes: number, nextSeq: number): void {
    this.#done = { events: this.#done.events + events, bytes: this.#done.bytes + bytes, nextSeq };
    for (const resolve of this.#room.splice(0)) resolve();
  }

  /** Retention has deleted so many of its events. */
  removed(events: number): void {
    this.#removed += events;
  }

  async update(session: SessionRecord): Promise<void> {
    await this.#thread.ask('update', { number: this.number, session });
  }

  async flush(): Promise<void> {
    await this.#thread.ask('flush', {});
  }

  async finish(end: SessionEnd): Promise<void> {
    await this.#thread.ask('finish', {
      number: this.number,
      end,
      nextSeq: this.#sent.nextSeq,
      containers: [...this.#containers],
      complete: true,
    });
    this.#containers.clear();
  }

  giveUp(end: SessionEnd, nextSeq: number): void {
    // Not awaited: it is written when the store closes, at the latest.
    this.#thread
      .ask('finish', { number: this.number, end, nextSeq, containers: [...this.#containers], complete: false })
      .catch(() => undefined);
  }

  /** The thread has ended: nobody will make room any more. */
  abandon(): void {
    this.#finished = true;
    for (const resolve of this.#room.splice(0)) resolve();
  }
}
