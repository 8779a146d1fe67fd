import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import type { Gap } from '../event/event.js';
import type { Slice } from '../record/batch-buffer.js';
import type { Recorder, RecorderInput, RecorderStats } from '../session/recorder.js';
import type { Session } from '../session/session.js';
import type { PersistSpec } from '../session/spec.js';
import type { ProcessCollector } from '../graph/collector.js';
import { Lag } from './lag.js';
import type { Off, SessionEnd, SessionRecord, SessionSink, Store } from './store.js';

/** Bytes of events that may wait for a store: about ten seconds of 400,000 events a second. */
const QUEUE_BYTES = 256 << 20;
const FLUSH_LOOK_MS = 5;

/** A span of a session's places whose events are not handed to the store, and what the kernel lost of them. */
interface OffSpan extends Off {
  readonly since: string;
  readonly lostBefore: number;
}

export interface RecorderParts {
  readonly store: Store;
  readonly log: Log;
  /** Of the processes that the session's events are of; null where the store keeps none, or none are known. */
  readonly collector: ProcessCollector | null;
}

/** Reads a session to its end and gives its events to a store, but for those that happen while it is off. */
export class SessionRecorder implements Recorder {
  readonly ended: Promise<void>;
  readonly #session: Session;
  readonly #persist: PersistSpec;
  readonly #store: Store;
  readonly #sink: SessionSink;
  readonly #source: RecorderInput;
  readonly #log: Log;
  readonly #collector: ProcessCollector | null;
  #state: 'OPEN' | 'DONE' | 'FAILED' = 'OPEN';
  #error: string | null = null;
  #discarded = false;
  /** Of what is known of it, not all is in the store. */
  #isChanged = false;
  /** Where it was off, in order, and how many of these the sink was told. */
  readonly #offs: OffSpan[] = [];
  #told = 0;
  /** Since when it is off; null while it is on. */
  #off: Pick<OffSpan, 'from' | 'since' | 'lostBefore'> | null;
  /** How old the oldest event that is not written is, by the places of events. */
  readonly #lag = new Lag();

  private constructor(
    session: Session,
    persist: PersistSpec,
    { store, log, collector }: RecorderParts,
    sink: SessionSink,
  ) {
    this.#session = session;
    this.#collector = collector;
    this.#persist = persist;
    this.#store = store;
    this.#sink = sink;
    this.#log = log;
    this.#source = session.record(QUEUE_BYTES);
    this.#source.offer(false);
    this.#off = { from: 0, since: session.startedAt ?? session.createdAt, lostBefore: 0 };
    this.ended = this.#run();
  }

  /** Off at first. Rejects with STORE_UNAVAILABLE. */
  static async begin(session: Session, persist: PersistSpec, parts: RecorderParts): Promise<SessionRecorder> {
    const { store, collector } = parts;
    const sink = await store.record(recordOf(session, persist, collector), collector);
    return new SessionRecorder(session, persist, parts, sink);
  }

  get store(): Store {
    return this.#store;
  }

  switch(isOn: boolean): void {
    if (isOn === (this.#off === null)) return;
    const { nextSeq, lost } = this.#session;
    if (this.#off) {
      this.#wasOff(this.#off, nowText());
      this.#off = null;
    } else {
      const last = this.#offs.at(-1);
      // Nothing has happened or was lost since it was on: it was off all the time.
      const isSame = last?.to === nextSeq && last.lostBefore + last.gap.lost === lost && this.#told < this.#offs.length;
      this.#off = isSame ? last : { from: nextSeq, since: nowText(), lostBefore: lost };
      if (isSame) this.#offs.pop();
    }
    this.#source.offer(isOn);
  }

  /** How many events the store has, or will have: what it refused, and what it has removed, are not among them. */
  get kept(): number {
    const { written, pending, removed } = this.stats;
    return written + pending - removed;
  }

  /** The place behind the last event that is written. */
  get writtenSeq(): number {
    return this.#sink.progress.nextSeq;
  }

  #wasOff({ from, since, lostBefore }: Pick<OffSpan, 'from' | 'since' | 'lostBefore'>, now: string): void {
    const { nextSeq: to } = this.#session;
    const lost = this.#session.lost - lostBefore;
    if (to === from && !lost) return;
    const gap: Gap = { from: since, to: now, lost, dropped: to - from, where: 'OFF' };
    this.#offs.push({ from, since, lostBefore, to, gap });
  }

  /** The session has ended. */
  #endOff(): void {
    if (this.#off) this.#wasOff(this.#off, this.#session.stoppedAt ?? nowText());
    this.#off = null;
  }

  /**
   * Up to where the events behind a place are in the store, or will be: where the first span begins in which it was off, of those that
   * reach beyond the place. Infinity where there is none.
   */
  storedUntil(place: number): number {
    return this.#offs.find(({ to }) => to > place)?.from ?? this.#off?.from ?? Number.POSITIVE_INFINITY;
  }

  /** Events that were not handed over. */
  get #omitted(): number {
    const now = this.#off ? this.#session.nextSeq - this.#off.from : 0;
    return this.#offs.reduce((sum, { from, to }) => sum + to - from, now);
  }

  /** `received = written + pending + dropped`, of the events that the session has passed on while it was on, at any time. */
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
      state: this.#state === 'OPEN' ? (this.#off ? 'OFF' : problem === null ? 'WRITING' : 'PAUSED') : this.#state,
      written,
      // Nothing that waits will be written any more once it has failed.
      pending: hasFailed ? 0 : waiting,
      dropped: refused + unread + (hasFailed ? waiting : 0),
      omitted: this.#omitted,
      removed,
      lagMs: this.#lag.ageMs(nextSeq, performance.now()),
      processes: this.#collector?.stats ?? null,
      error: problem,
    };
  }

  /**
   * Resolves when those of the events before a place that are to be stored are written or given up; false when that did not happen in
   * time.
   */
  async reach(place: number, ms: number): Promise<boolean> {
    const seq = this.#lastStored(place);
    const deadline = performance.now() + ms;
    while (this.#state === 'OPEN' && this.writtenSeq < seq) {
      if (performance.now() > deadline || this.#sink.progress.error !== null) return false;
      // What is still queued has to be handed over first.
      if (this.#source.stats.queued === 0) await this.#sink.flush().catch(() => undefined);
      if (this.writtenSeq < seq) await new Promise((resolve) => setTimeout(resolve, FLUSH_LOOK_MS));
    }
    return this.writtenSeq >= seq || this.#state === 'DONE';
  }

  /** The place behind the last event before a place that is to be stored. */
  #lastStored(place: number): number {
    const spans = [...this.#offs, ...(this.#off ? [{ ...this.#off, to: Number.POSITIVE_INFINITY }] : [])];
    return spans.reduceRight((seq, { from, to }) => (from < seq && seq <= to ? from : seq), place);
  }

  async discard(): Promise<void> {
    this.#discarded = true;
    await this.#source.return();
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
      await this.#sink.update(recordOf(this.#session, this.#persist, this.#collector));
      this.#isChanged = false;
    } catch (error) {
      // Tried again at its end.
      this.#isChanged = true;
      this.#log.warn({ session: this.#session.id, err: error }, 'storing a change of a session');
    }
  }

  async giveUp(): Promise<void> {
    if (this.#state !== 'OPEN') return;
    const end = await this.#end();
    this.#endOff();
    const session = recordOf(this.#session, this.#persist, this.#collector);
    this.#sink.giveUp(end, this.#session.nextSeq, { session, offs: this.#offs });
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
      processes: this.#collector?.stats ?? null,
    };
  }

  /** It is switched between two batches, so that a slice is of one time. */
  async #write(slices: readonly Slice[], gap: Gap | null): Promise<void> {
    let [rest, before] = [slices, gap];
    for (let off = this.#offs[this.#told]; off; off = this.#offs[this.#told]) {
      const { to } = off;
      const behind = rest.findIndex(({ batch }) => batch.seq >= to);
      if (behind < 0) break;
      if (behind > 0 || before) await this.#sink.write(rest.slice(0, behind), before);
      [rest, before] = [rest.slice(behind), null];
      await this.#tellOffs(to);
    }
    if (rest.length || before) await this.#sink.write(rest, before);
  }

  /** Tells the sink of the spans up to a place. */
  async #tellOffs(place: number): Promise<void> {
    for (let off = this.#offs[this.#told]; off && off.to <= place; off = this.#offs[this.#told]) {
      this.#told++;
      await this.#sink.skip(off.gap, off.to);
    }
  }

  async #run(): Promise<void> {
    try {
      for (let result = await this.#source.next(); !result.done; result = await this.#source.next()) {
        const { slices, gap } = result.value;
        const last = slices.at(-1);
        if (last) this.#lag.took(last.batch.seq + last.batch.count, performance.now());
        await this.#write(slices, gap);
      }
      if (this.#discarded) return;
      this.#endOff();
      await this.#tellOffs(Number.POSITIVE_INFINITY);
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

function recordOf(
  { id, spec, createdAt, startedAt }: Session,
  { mode }: PersistSpec,
  collector: ProcessCollector | null,
): SessionRecord {
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
    boot: collector?.boot ?? null,
  };
}
