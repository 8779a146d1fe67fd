import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import type { Recorder, RecorderInput, RecorderStats } from '../session/recorder.js';
import type { Session } from '../session/session.js';
import type { PersistSpec } from '../session/spec.js';
import { Lag } from './lag.js';
import type { SessionEnd, SessionRecord, SessionSink, Store } from './store.js';

/** Bytes of events that may wait for a store: about ten seconds of 400,000 events a second. */
const QUEUE_BYTES = 256 << 20;
const FLUSH_LOOK_MS = 5;

/** Reads a session to its end and gives its events to a store. */
export class SessionRecorder implements Recorder {
  readonly ended: Promise<void>;
  readonly #session: Session;
  readonly #persist: PersistSpec;
  readonly #store: Store;
  readonly #sink: SessionSink;
  readonly #source: RecorderInput;
  readonly #log: Log;
  #state: 'OPEN' | 'DONE' | 'FAILED' = 'OPEN';
  #error: string | null = null;
  #discarded = false;
  /** Of what is known of it, not all is in the store. */
  #isChanged = false;
  /** How old the oldest event that is not written is, by the places of events. */
  readonly #lag = new Lag();

  private constructor(session: Session, persist: PersistSpec, store: Store, sink: SessionSink, log: Log) {
    this.#session = session;
    this.#persist = persist;
    this.#store = store;
    this.#sink = sink;
    this.#log = log;
    this.#source = session.record(QUEUE_BYTES);
    this.ended = this.#run();
  }

  /** Rejects with STORE_UNAVAILABLE. */
  static async begin(session: Session, persist: PersistSpec, store: Store, log: Log): Promise<SessionRecorder> {
    return new SessionRecorder(session, persist, store, await store.record(recordOf(session, persist)), log);
  }

  get store(): Store {
    return this.#store;
  }

  /** The place behind the last event that is written. */
  get writtenSeq(): number {
    return this.#sink.progress.nextSeq;
  }

  /** `received = written + pending + dropped`, of the events that the session has passed on, at any time. */
  get stats(): RecorderStats {
    const { written, dropped: refused, removed, error, nextSeq } = this.#sink.progress;
    const { received, dropped: unread } = this.#source.stats;
    // What is on its way from one to the other is in neither's counts.
    const waiting = received - written - refused - unread;
    const hasFailed = this.#state === 'FAILED';
    const problem = this.#error ?? (this.#state === 'OPEN' ? error : null);
    return {
      store: this.#store.kind,
      mode: this.#persist.mode,
      state: this.#state === 'OPEN' ? (problem === null ? 'WRITING' : 'PAUSED') : this.#state,
      written,
      // Nothing that waits will be written any more once it has failed.
      pending: hasFailed ? 0 : waiting,
      dropped: refused + unread + (hasFailed ? waiting : 0),
      removed,
      lagMs: this.#lag.ageMs(nextSeq, performance.now()),
      error: problem,
    };
  }

  /** Resolves when the events before a place are written or given up; false when that did not happen in time. */
  async reach(seq: number, ms: number): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (this.#state === 'OPEN' && this.writtenSeq < seq) {
      if (performance.now() > deadline || this.#sink.progress.error !== null) return false;
      // What is still queued has to be handed over first.
      if (this.#source.stats.queued === 0) await this.#sink.flush().catch(() => undefined);
      if (this.writtenSeq < seq) await new Promise((resolve) => setTimeout(resolve, FLUSH_LOOK_MS));
    }
    return this.writtenSeq >= seq || this.#state === 'DONE';
  }

  async discard(): Promise<void> {
    this.#discarded = true;
    await this.#store
      .remove(this.#session.id)
      .catch((error: unknown) =>
        this.#log.warn({ session: this.#session.id, err: error }, 'forgetting a session that did not start'),
      );
  }

  update(): void {
    if (this.#state === 'OPEN') void this.#update();
  }

  async #update(): Promise<void> {
    try {
      await this.#sink.update(recordOf(this.#session, this.#persist));
      this.#isChanged = false;
    } catch (error) {
      // Tried again at its end.
      this.#isChanged = true;
      this.#log.warn({ session: this.#session.id, err: error }, 'storing a change of a session');
    }
  }

  async giveUp(): Promise<void> {
    if (this.#state === 'OPEN') this.#sink.giveUp(await this.#end(), this.#session.nextSeq);
  }

  async #end(): Promise<SessionEnd> {
    const { lost, received, discarded, receivedBytes } = await this.#session.stats();
    const { startedAt, stoppedAt, stopReason, error } = this.#session;
    return {
      startedAt,
      state: 'STOPPED',
      stoppedAt: stoppedAt ?? nowText(),
      stopReason: stopReason ?? 'ERROR',
      error,
      lost,
      received,
      discarded,
      receivedBytes,
    };
  }

  async #run(): Promise<void> {
    try {
      for (let result = await this.#source.next(); !result.done; result = await this.#source.next()) {
        const { slices, gap } = result.value;
        const last = slices.at(-1);
        if (last) this.#lag.took(last.batch.seq + last.batch.count, performance.now());
        await this.#sink.write(slices, gap);
      }
      if (this.#discarded) return;
      if (this.#isChanged) await this.#update();
      await this.#sink.finish(await this.#end());
      this.#state = 'DONE';
    } catch (error) {
      this.#state = 'FAILED';
      this.#error = messageOf(error);
      this.#log.error({ session: this.#session.id, err: error }, 'storing a session');
    }
  }
}

function recordOf({ id, spec, createdAt, startedAt }: Session, { mode }: PersistSpec): SessionRecord {
  return {
    id,
    name: spec.name,
    labels: spec.labels,
    trackers: spec.trackers.map(({ name }) => name),
    options: Object.fromEntries(spec.trackers.map(({ name, options }) => [name, options])),
    capture: spec.capture,
    mode,
    createdAt,
    startedAt: startedAt ?? createdAt,
    asked: spec.asked,
  };
}
