import { setTimeout as sleep } from 'node:timers/promises';
import { EunomiaError, messageOf } from '../base/errors.js';
import type { Container } from '../inventory/container.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import type { Demand, Gap, TraceEvent } from '../event/event.js';
import type { Log } from '../base/log.js';
import { nowText, textOfMs } from '../event/clock.js';
import type { Slice } from '../record/batch-buffer.js';
import { SessionBuffer, type Before } from './buffer.js';
import { Ingest } from './ingest.js';
import { LiveSpec } from './live-spec.js';
import type { Programs } from './programs.js';
import { recorderInput } from './stream/recorder-input.js';
import { Readers } from './stream/readers.js';
import type { FilteredPageRequest, Page, RetainedPageRequest, SubscribeOptions } from './stream/reading.js';
import type { EventStream } from './stream/stream.js';
import type { SessionObserver } from './observer.js';
import type { SourcePool } from './source/pool.js';
import { explain, type FilterPlan } from './source/plan.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { Recorder, RecorderInput } from './recorder.js';
import type { RecordedSource, ReplayEnd } from './replay.js';
import type { SessionOrigin, SessionSpec, SessionState, SessionStats, StopReason } from './spec.js';
import { stackPlaces, type Stacks } from './stacks.js';
import { StatsHistory } from './stats-history.js';
import { Supply } from './supply.js';
import { after } from './timer.js';

export type { Page } from './stream/reading.js';

/** How long the end of a session waits for its store. */
const STORE_MS = 3000;
/**
 * How long an event waits for others where no reader says otherwise: nobody sees it, and a hand-over costs as much as
 * thousands of events.
 */
export const DEFAULT_DELAY_MS = 50;

export interface SessionDependencies {
  /** Null where there is no kernel: the session needs a replay then. */
  readonly pool: SourcePool | null;
  /** Where its events come from instead of the kernel. */
  readonly replay?: RecordedSource;
  /** Unwinds captured stacks. Null where there is no kernel that could capture one. */
  readonly stacks: Stacks | null;
  readonly registry: ContainerRegistry;
  readonly trackers: ReadonlyMap<string, TrackerRuntime>;
  readonly subscriberBytes: number;
  readonly log: Log;
  /** Sees all that is delivered. */
  readonly observer?: SessionObserver | undefined;
  /** Called after each change of state. */
  readonly onState: (session: Session) => void;
}

/**
 * A running set of trackers with one target: its life from start to stop, and the face that others see. What it is to do, where its
 * events come from, how it takes them, what it retains and who reads it are parts of their own. After `start` rejects, or `stop`
 * resolves, nothing of it is in the kernel.
 */
export class Session {
  readonly id: string;
  readonly createdAt = nowText();
  readonly origin: SessionOrigin;
  state: SessionState = 'STARTING';
  error: string | null = null;
  startedAt: string | null = null;
  stoppedAt: string | null = null;
  stopsAt: string | null = null;
  stopReason: StopReason | null = null;
  /** Resolves when it is STOPPED or FAILED. */
  readonly done: Promise<void>;
  /** Resolves when it is out of the kernel, and all that it saw is handed to its readers. */
  readonly detached: Promise<void>;
  /** Null when it is in memory only, and always was. Set before it starts, or before it is changed to be stored. */
  recorder: Recorder | null = null;

  readonly #deps: SessionDependencies;
  readonly #trackers: readonly TrackerRuntime[];
  readonly #live: LiveSpec;
  readonly #buffer: SessionBuffer;
  readonly #readers = new Readers();
  readonly #ingest: Ingest;
  readonly history = new StatsHistory({ read: () => ({ ...this.#ingest.counted, dropped: this.#readers.dropped }) });
  readonly #supply: Supply;
  #stopping: Promise<void> | null = null;
  /** Something broke while it ran, so that more may have happened than its readers got. */
  #failure: Error | null = null;
  #nextStream = 1;
  #usedAt = Date.now();
  #resolveDone: () => void = () => {};
  #resolveDetached: () => void = () => {};
  #cancelDuration: () => void = () => {};

  constructor(id: string, spec: SessionSpec, deps: SessionDependencies) {
    this.id = id;
    this.#deps = deps;
    this.origin = deps.replay ? 'REPLAY' : 'LIVE';
    this.#trackers = spec.trackers.map(({ name }) => {
      const tracker = deps.trackers.get(name);
      if (!tracker)
        throw new EunomiaError(
          'UNKNOWN_TRACKER',
          `there is no tracker "${name}"; there are ${[...deps.trackers.keys()].join(', ')}`,
        );
      return tracker;
    });
    this.#live = new LiveSpec(spec, {
      session: id,
      trackers: this.#trackers,
      registry: deps.registry,
      log: deps.log,
      setCapture: (object, mask) => this.#supply.setCapture(object, mask),
      requireRunning: () => this.#requireRunning(),
      delayMs: () => this.#delayMs,
      nextSeq: () => this.nextSeq,
      onStored: (isStored) => this.recorder?.switch(isStored),
      onChange: (before) => this.#onChange(before),
    });
    this.#buffer = new SessionBuffer({
      session: id,
      bytes: spec.bufferBytes,
      since: () => this.startedAt ?? this.createdAt,
    });
    this.#ingest = new Ingest({
      session: id,
      trackers: this.#trackers,
      matcher: this.#live.matcher,
      buffer: this.#buffer,
      readers: this.#readers,
      limit: spec.limit,
      onCount: () => this.history.note(),
      onBatch: (batch) => deps.observer?.onBatch(this, batch),
      readStacks: (chunk, view) =>
        deps.stacks?.read(chunk, view, stackPlaces(this.#trackers, this.#live.capture.masks)) ?? null,
      onFull: () => void this.stop('LIMIT'),
      log: deps.log,
    });
    this.#supply = new Supply({
      session: id,
      trackers: this.#trackers,
      pool: deps.pool,
      replay: deps.replay ?? null,
      ingest: this.#ingest,
      log: deps.log,
      nextSeq: () => this.nextSeq,
      change: ({ at, ...to }) => this.#live.changeReplayed(to, { at, seq: this.nextSeq }),
      queued: () => this.#readers.mostQueued,
      end: (how) => this.#endReplay(how),
    });
    this.done = new Promise((resolve) => (this.#resolveDone = resolve));
    this.detached = new Promise((resolve) => (this.#resolveDetached = resolve));
  }

  /** What holds now. */
  get spec(): SessionSpec {
    return this.#live.current;
  }

  /**
   * Loads and attaches. Rejects with a KernelError; the session is FAILED then. A session that was stopped before or
   * meanwhile ends, and rejects with STOPPED.
   */
  async start(): Promise<void> {
    const { forMs } = this.spec;
    try {
      if (!this.#stopping) {
        const { criteria } = this.#live;
        await this.#supply.open(criteria);
        this.#live.capture.catchUp(criteria.masks);
        this.#applyDelay();
      }
    } catch (error) {
      this.error = messageOf(error);
      this.stopReason = 'ERROR';
      this.#readers.end(null);
      this.#resolveDetached();
      this.#setState('FAILED');
      this.#resolveDone();
      throw error;
    }
    if (this.#stopping) {
      await this.#stopping;
      throw new EunomiaError('STOPPED', 'the session was stopped before it had started');
    }
    this.startedAt = this.#deps.replay?.startedAt ?? nowText();
    this.#deps.registry.on('change', this.#onContainer);
    this.#stopAfter(forMs);
    this.#setState('RUNNING');
  }

  #stopAfter(ms: number | null): void {
    this.#cancelDuration();
    this.#cancelDuration = () => {};
    this.stopsAt = ms === null ? null : textOfMs(Date.now() + ms);
    if (ms !== null) this.#cancelDuration = after(ms, () => void this.stop('DURATION'));
  }

  /**
   * Makes it another one of its specification, which `make` is given; the trackers stay. What happened before is evaluated by the old
   * one, what happens from then on by the new one, and each event once. Resolves when it holds, with the place of the first event behind
   * the change. Rejects, with nothing changed, with what `make` throws, and with NOT_RUNNING, UNKNOWN_CONTAINER, BAD_USER_INPUT or a
   * KernelError, once `undo` is done, before any other change begins.
   */
  change(
    make: (spec: SessionSpec) => SessionSpec | Promise<SessionSpec>,
    undo: () => Promise<void> = async () => undefined,
  ): Promise<number> {
    return this.#live.change(make, undo);
  }

  #requireRunning(): Programs {
    if (this.origin === 'REPLAY')
      throw new EunomiaError('NOT_RUNNING', 'the session replays a recording, which was filtered when it was recorded');
    const { programs } = this.#supply;
    if (this.state !== 'RUNNING' || this.#stopping || !programs)
      throw new EunomiaError('NOT_RUNNING', 'only a running session can be changed: this one has ended, or ends now');
    return programs;
  }

  #onChange({ forMs: before }: SessionSpec): void {
    const { forMs } = this.spec;
    if (forMs !== before && !this.#stopping) {
      const passedMs = Date.now() - Date.parse(this.startedAt ?? this.createdAt);
      this.#stopAfter(forMs === null ? null : Math.max(0, forMs - passedMs));
    }
    if (this.origin === 'LIVE') this.recorder?.update();
    this.#deps.onState(this);
  }

  /** Detaches, delivers what is in the ring, and ends the streams. Resolves when that is done; the first reason stays. */
  stop(reason: StopReason): Promise<void> {
    return (this.#stopping ??= this.#stop(reason));
  }

  /** Something outside broke (the kernel thread died): the session has ended. */
  fail(error: Error): void {
    if (this.state === 'STOPPED' || this.state === 'FAILED') return;
    this.error = error.message;
    this.#failure ??= error;
    this.#supply.abandon();
    void this.stop('ERROR');
  }

  async #stop(reason: StopReason): Promise<void> {
    if (this.state === 'FAILED') return;
    this.stopReason = reason;
    this.#cancelDuration();
    this.stopsAt = null;
    this.#setState('STOPPING');
    await this.#live.settled;
    if (!(await this.#supply.canClose())) return;
    try {
      await this.#supply.close();
    } catch (error) {
      this.error ??= messageOf(error);
      this.stopReason = 'ERROR';
      this.#failure ??= error instanceof Error ? error : new Error(messageOf(error));
      this.#deps.log.error({ session: this.id, err: error }, 'stopping a session');
    }
    await this.#ingest.end(this.#supply.lost);
    this.#deps.registry.off('change', this.#onContainer);
    this.stoppedAt = nowText();
    this.history.end();
    this.#readers.end(this.#failure);
    this.#resolveDetached();
    // Whoever waits for the end finds it stored; a store that cannot write holds nobody up.
    if (this.recorder) await Promise.race([this.recorder.ended, sleep(STORE_MS, undefined, { ref: false })]);
    this.#setState('STOPPED');
    this.#resolveDone();
  }

  /** A reader of all its events from now on that is no subscriber, with a queue of its own: for a store, or an export. */
  record(queueBytes: number): RecorderInput {
    return recorderInput(this.#readers, this.#buffer, queueBytes);
  }

  /** Events that the kernel lost, as far as what was read tells. */
  get lost(): number {
    return this.#ingest.lost;
  }

  /** Place of the oldest event that it holds in memory, and of the next that will come. */
  get oldestSeq(): number {
    return this.#buffer.oldestSeq;
  }

  get nextSeq(): number {
    return this.#buffer.nextSeq;
  }

  /** Ends its readers: what one has not read by now it is told of, as a gap in a last delivery. */
  cut(): void {
    this.#readers.cut();
  }

  /** Bytes of records that it retains. */
  get retainedBytes(): number {
    return this.#buffer.counts.retainedBytes;
  }

  /** Whether its store has not got all of it yet. */
  get isUnwritten(): boolean {
    return this.recorder !== null && this.recorder.stats.pending > 0;
  }

  /** Evicts its oldest events until so many bytes of records are left. */
  shrink(bytes: number): void {
    this.#buffer.shrink(bytes);
  }

  /** Forgets its events. */
  clear(): void {
    this.#buffer.clear();
  }

  /** Counts as use: a session with a time to live starts it anew. */
  touch(): void {
    this.#usedAt = Date.now();
  }

  get hasReaders(): boolean {
    return this.#readers.count > 0;
  }

  /** Milliseconds since somebody used it; 0 while it has a reader. */
  get unusedMs(): number {
    return this.hasReaders ? 0 : Date.now() - this.#usedAt;
  }

  /** Paths of the costly fields that are captured now; none of a replay, which has what was recorded. */
  captured(): string[] {
    return this.origin === 'LIVE' ? this.#live.capture.fields() : [];
  }

  /** How its filter is evaluated. */
  explain(): FilterPlan {
    const { programs, isOpen } = this.#supply;
    return {
      ...explain({
        spec: this.spec,
        runtimes: this.#trackers,
        sharing: programs?.sharing ?? null,
        programs: isOpen ? programs : null,
        captured: this.captured(),
        replayed: this.origin === 'REPLAY',
      }),
      notices: this.notices(),
    };
  }

  /** Events that it kept though no engine told the names of their containers, so that nobody can say whether its target holds them. */
  get undecided(): number {
    return this.#live.undecided;
  }

  /** What one must know to read its events rightly; for people. */
  notices(): string[] {
    return [
      ...(this.spec.exported ?? []).map((where) => `the recording has only events that match ${where}`),
      ...this.#supply.notices(),
      ...this.#live.matcher.notices(this.state === 'STOPPED' || this.state === 'FAILED'),
    ];
  }

  containers(): Container[] {
    return this.#live.matcher.containers();
  }

  /** Exact: what is in the ring is read before it resolves. */
  async stats(): Promise<SessionStats> {
    // While two sources tell of the same, nobody can say which of them counts.
    if (this.#live.isChanging) await this.#live.settled;
    const { ringPeakBytes, skippedRuns, ...counters } = await this.#supply.counters();
    const { counts } = this.#ingest;
    const lost = Math.max(this.#ingest.lost, counters.lost);
    return {
      ...counts,
      lost,
      // An event that is under way between its count and its record would make these differ for a moment.
      produced: Math.max(counters.produced, lost + counts.received),
      skippedRuns,
      dropped: this.#readers.dropped,
      ...this.#buffer.counts,
      ringPeakBytes,
      subscribers: this.#readers.stats,
    };
  }

  /**
   * Its events from now on, or from the last `replay` or from a cursor on; the live ones follow without gap or duplicate.
   * Throws BAD_CURSOR for a cursor that is not of this session.
   */
  subscribe({ replay, after: cursor, demand, maxDelayMs = DEFAULT_DELAY_MS, ...how }: SubscribeOptions): EventStream {
    this.touch();
    const options = {
      ...how,
      ...this.#buffer.startOf({ replay, after: cursor }),
      id: `${this.id}.${this.#nextStream++}`,
      since: nowText(),
      queueBytes: this.#deps.subscriberBytes,
      cursorAt: (seq: number) => this.#buffer.cursorAt(seq),
      where: how.where ?? null,
    };
    const release = this.addDemand(demand);
    const stream = this.#readers.subscribe(options, maxDelayMs, () => {
      release();
      this.#applyDelay();
      this.touch();
    });
    this.#applyDelay();
    this.#supply.hurry();
    return stream;
  }

  /** A page of the events that it retains and that match. Rejects with BAD_CURSOR for a cursor that is not of this session. */
  pageWhere(request: FilteredPageRequest): Promise<Page> {
    this.touch();
    return this.#buffer.pageWhere(request);
  }

  /** A page of the events that it retains. Throws BAD_CURSOR for a cursor that is not of this session. */
  page(request: RetainedPageRequest): Page {
    this.touch();
    return this.#buffer.page(request);
  }

  /** Reads what waits in the ring, and what its trackers aggregate in the kernel, so that what it holds is up to date. */
  async refresh(): Promise<void> {
    if (this.aggregatesInKernel) await this.#supply.read();
    else await this.#supply.counters();
    await this.#ingest.settled;
  }

  /** How long an event may wait for others before it is handed over: as its least patient reader says. */
  get #delayMs(): number {
    const { count, patienceMs } = this.#readers;
    // A store and a limit wait no longer than they would without a patient subscriber.
    const others = count === 0 || this.recorder || this.spec.limit !== null;
    return others ? Math.min(DEFAULT_DELAY_MS, patienceMs) : patienceMs;
  }

  #applyDelay(): void {
    this.#supply.setDelay(this.#delayMs);
  }

  /** Whether one of its trackers aggregates in the kernel. */
  get aggregatesInKernel(): boolean {
    return this.#trackers.some(({ definition }) => definition.kernelAggregate !== undefined);
  }

  /**
   * All events that it holds, or those of `count` places before one, oldest first, where they lie. They stay readable when the session lets
   * go of them.
   */
  held(before: Before | null = null): readonly Slice[] {
    this.touch();
    return this.#buffer.slices(before);
  }

  /** All events that it holds, oldest first, each made as it is asked for. */
  events(): Generator<TraceEvent> {
    this.touch();
    return this.#buffer.events();
  }

  /** Captures what a reader selects for as long as it reads. Returns the function that ends it. */
  addDemand(demand: Demand): () => void {
    return this.#live.capture.add(demand);
  }

  readonly #onContainer = (container: Container): void => this.#supply.reevaluate(container);

  /**
   * Where events are missing that nobody counted, as gaps of 0. `last`: the time of the newest event that it holds; what a session
   * that failed did not see any more, or what was cut off a recording, happened after it.
   */
  uncounted(last: string | null): Gap[] {
    // Its readers end before it is STOPPED, which may wait for its store.
    const hasEnded = this.stoppedAt !== null || this.state === 'FAILED';
    if (!hasEnded || this.error === null) return [...this.#supply.uncounted];
    const [from, to] = [last ?? this.startedAt ?? this.createdAt, this.stoppedAt ?? nowText()];
    return [
      ...this.#supply.uncounted,
      { from, to, lost: 0, dropped: 0, where: this.origin === 'LIVE' ? 'KERNEL' : 'STORE' },
    ];
  }

  #endReplay({ problem, broken }: ReplayEnd): void {
    this.error ??= problem;
    void this.stop(broken ? 'ERROR' : 'REPLAYED');
  }

  #setState(state: SessionState): void {
    this.state = state;
    this.#deps.onState(this);
  }
}
