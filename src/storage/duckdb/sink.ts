import type { Container } from '../../inventory/container.js';
import type { Gap } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import { turns } from '../../base/turn.js';
import type { ProcessCollector } from '../../graph/collector.js';
import { packBatch } from '../../record/wire.js';
import type { LastKnown, SessionEnd, SessionRecord, SessionSink, SinkProgress } from '../store.js';
import type { StoreThread } from './thread.js';

/** Bytes that the thread may hold of one session; beyond it the session's queue, which is bounded and counts, holds them. */
const IN_FLIGHT = 48 << 20;

/** Processes of a session that was killed are stored up to so long before that; as often the table of processes is asked for more. */
const COLLECT_MS = 1000;
/** Processes of one message: copying them takes a few milliseconds. */
const COLLECTED = 256;

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
  readonly #collector: ProcessCollector | null;
  #collecting: NodeJS.Timeout | null = null;
  #collected: Promise<void> = Promise.resolve();
  #stopped = false;
  #ended = false;

  constructor(number: number, thread: StoreThread, collector: ProcessCollector | null) {
    this.#collector = collector;
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

  /** Retention has deleted so many of its events, and so many of the processes that had ended. */
  removed(events: number, processes: number): void {
    this.#removed += events;
    this.#collector?.forget(processes);
  }

  /** Whether all of it is written. */
  get isEnded(): boolean {
    return this.#ended;
  }

  /** These processes have events. */
  seen(processes: readonly (readonly [pid: number, startNs: number])[]): void {
    const collector = this.#collector;
    if (!collector) return;
    for (const [pid, startNs] of processes) collector.see(pid, startNs);
    this.#collectLater();
  }

  /** Again and again while it runs: processes that are stored may go on to execute another program, and to end. */
  #collectLater(): void {
    if (this.#stopped) return;
    this.#collecting ??= setTimeout(() => {
      void this.#collect().finally(() => {
        this.#collecting = null;
        this.#collectLater();
      });
    }, COLLECT_MS).unref();
  }

  /** Sends what is known of them by now. One after the other. */
  #collect(): Promise<void> {
    const collecting = async (): Promise<void> => {
      const found = (await this.#collector?.take()) ?? [];
      for (let at = 0; at < found.length; at += COLLECTED) {
        if (!turns.isOpen) await turns.next();
        const processes = found.slice(at, at + COLLECTED);
        const { number } = this;
        const { nextSeq } = this.#sent;
        this.#thread.send(
          { number, batches: [], gap: null, seq: nextSeq, nextSeq, events: 0, bytes: 0, processes },
          [],
        );
      }
    };
    return (this.#collected = this.#collected.then(collecting));
  }

  #stopCollecting(): void {
    this.#stopped = true;
    if (this.#collecting) clearTimeout(this.#collecting);
  }

  async update(session: SessionRecord): Promise<void> {
    await this.#thread.ask('update', { number: this.number, session });
  }

  async flush(): Promise<void> {
    await this.#thread.ask('flush', {});
  }

  async finish(end: SessionEnd): Promise<void> {
    // Only when its last events are written has the thread told whose they are.
    if (this.#collector)
      await this.flush().then(
        () => this.#collect(),
        () => undefined,
      );
    if (this.#stopped) return; // it was given up meanwhile
    this.#stopCollecting();
    await this.#thread.ask('finish', {
      number: this.number,
      end: { ...end, processes: this.#collector?.stats ?? null },
      nextSeq: this.#sent.nextSeq,
      containers: [...this.#containers],
      cut: null,
    });
    this.#ended = true;
    this.#containers.clear();
  }

  giveUp(end: SessionEnd, nextSeq: number, { session, offs }: LastKnown): void {
    this.#stopCollecting();
    const { number } = this;
    const cut = { session, offs: offs.map(({ gap, from, to }) => ({ gap, from, to })) };
    // Not awaited: it is written when the store closes, at the latest.
    this.#thread.ask('finish', { number, end, nextSeq, containers: [...this.#containers], cut }).catch(() => undefined);
  }

  /** The thread has ended: nobody will make room any more. */
  abandon(): void {
    this.#finished = true;
    this.#stopCollecting();
    for (const resolve of this.#room.splice(0)) resolve();
  }
}
