import { setTimeout as sleep } from 'node:timers/promises';
import { EunomiaError, messageOf } from '../base/errors.js';
import type { Container } from '../inventory/container.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import type { Demand, TraceEvent } from '../event/event.js';
import type { Chunk } from '../kernel/protocol.js';
import type { Log } from '../base/log.js';
import { RecordBatch, type BatchContext, type EventBatch } from '../record/batch.js';
import { nowText, textOfMs, wallTimeOf } from '../event/clock.js';
import { configure } from './source/configuration.js';
import { cursorOf, parseCursor } from './cursor.js';
import { History, type Slice } from '../record/history.js';
import type { Lease } from '../record/lease.js';
import { gapsOf, scan } from './stream/scan.js';
import { Readers } from './stream/readers.js';
import type { Page, SubscribeOptions } from './stream/reading.js';
import { eventsOf } from '../record/delivery.js';
import type { EventStream, StreamFilter } from './stream/stream.js';
import type { SessionObserver } from './observer.js';
import type { SessionCounters, SharedSource, SourcePool } from './source/pool.js';
import { explain, type FilterPlan } from './source/plan.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { Recording, RecordingSource } from './recording.js';
import type { RecordedGap, RecordedSource, ReplayEnd } from './replay.js';
import { RowBatch } from '../record/row.js';
import type { Sharing } from './source/sharing.js';
import type { SessionOrigin, SessionSpec, SessionState, SessionStats, StopReason } from './spec.js';
import { CgroupJudge } from './target.js';
import { after } from './timer.js';
import { Waiting } from './waiting.js';
import { begun, intake } from '../base/turn.js';

export type { Page } from './stream/reading.js';

/** How long the end of a session waits for its store. */
const STORE_MS = 3000;

export interface SessionDependencies {
  /** Null where there is no kernel: the session needs a replay then. */
  readonly pool: SourcePool | null;
  /** Where its events come from instead of the kernel. */
  readonly replay?: RecordedSource;
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
 * A running set of trackers with one target: loads them, judges and numbers their events, holds the newest, and hands them to
 * its readers. After `start` rejects, or `stop` resolves, nothing of it is in the kernel.
 */
export class Session {
  readonly id: string;
  readonly spec: SessionSpec;
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
  /** Null when it is in memory only. Set before it starts. */
  recording: Recording | null = null;

  readonly #deps: SessionDependencies;
  readonly #trackers: readonly TrackerRuntime[];
  readonly #judge: CgroupJudge;
  readonly #context: BatchContext;
  readonly #history: History;
  readonly #readers = new Readers();
  readonly #demands = new Set<Demand>();
  readonly #counts = { received: 0, discarded: 0, delivered: 0, queued: 0, lost: 0, receivedBytes: 0 };
  #source: SharedSource | null = null;
  #sharing: Sharing | null = null;
  #counters: SessionCounters = { produced: 0, lost: 0, skippedRuns: null, ringPeakBytes: 0 };
  #masks: bigint[] = [];
  /** Chunks wait here, in order, until their containers are known. */
  readonly #held = new Waiting((error) => this.#deps.log.error({ session: this.id, err: error }, 'judging events'));
  #stopping: Promise<void> | null = null;
  /** Settles when it is attached, or could not be. */
  #starting: Promise<SharedSource> | null = null;
  /** Something broke while it ran, so that more may have happened than its readers got. */
  #failure: Error | null = null;
  #nextStream = 1;
  #usedAt = Date.now();
  #resolveDone: () => void = () => {};
  #resolveDetached: () => void = () => {};
  #cancelDuration: () => void = () => {};

  constructor(id: string, spec: SessionSpec, deps: SessionDependencies) {
    this.id = id;
    this.spec = spec;
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
    this.#judge = new CgroupJudge(
      spec.target,
      deps.registry,
      (notices) =>
        deps.log.warn(
          { session: id, notices },
          'a session keeps events of containers that no engine names: whether its target holds them is undecided',
        ),
      this.#trackers.map(({ layout }) => layout.second),
    );
    if (spec.target) this.#judge.requireContainers(spec.target);
    this.#context = {
      views: this.#trackers.map((t) => t.view),
      containerAt: (view, at) => this.#judge.containerAt(view, at),
    };
    this.#history = new History(spec.bufferBytes);
    this.done = new Promise((resolve) => (this.#resolveDone = resolve));
    this.detached = new Promise((resolve) => (this.#resolveDetached = resolve));
  }

  /** Loads and attaches. Rejects with a KernelError; the session is FAILED then. A session that was stopped before or meanwhile ends, and rejects with STOPPED. */
  async start(): Promise<void> {
    const { forMs } = this.spec;
    this.#masks = this.#trackers.map((tracker) => this.#maskOf(tracker));
    try {
      if (!this.#stopping) {
        this.#starting = this.#open();
        this.#source = await this.#starting;
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
    if (forMs !== null) {
      this.stopsAt = textOfMs(Date.now() + forMs);
      this.#cancelDuration = after(forMs, () => void this.stop('DURATION'));
    }
    this.#setState('RUNNING');
  }

  #open(): Promise<SharedSource> {
    const { replay, pool } = this.#deps;
    if (replay)
      return replay.play({
        play: (events, gap) => this.#play(events, gap),
        queued: () => this.#readers.mostQueued,
        end: (problem) => this.#endReplay(problem),
      });
    if (!pool) throw new EunomiaError('NO_KERNEL', 'this server replays a recording, and starts no session of its own');
    const { key, source, sharing } = configure(this.spec, this.#trackers, this.#masks, this.#judge, pool);
    this.#sharing = sharing;
    return pool.join(key, source, this.#masks, (chunk, lease) => this.#receive(chunk, lease));
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
    this.#source = null;
    void this.stop('ERROR');
  }

  async #stop(reason: StopReason): Promise<void> {
    if (this.state === 'FAILED') return;
    this.stopReason = reason;
    this.#cancelDuration();
    this.stopsAt = null;
    this.#setState('STOPPING');
    // What is being attached is detached once it can be.
    if (
      (await this.#starting?.then(
        () => true,
        () => false,
      )) === false
    )
      return;
    try {
      if (this.#source) this.#counters = await this.#source.close();
    } catch (error) {
      this.error ??= messageOf(error);
      this.stopReason = 'ERROR';
      this.#failure ??= error instanceof Error ? error : new Error(messageOf(error));
      this.#deps.log.error({ session: this.id, err: error }, 'stopping a session');
    }
    this.#source = null;
    await this.#held.last;
    this.#deps.registry.off('change', this.#onContainer);
    this.stoppedAt = nowText();
    this.#readers.end(this.#failure);
    this.#resolveDetached();
    // Whoever waits for the end finds it stored; a store that cannot write holds nobody up.
    if (this.recording) await Promise.race([this.recording.ended, sleep(STORE_MS, undefined, { ref: false })]);
    this.#setState('STOPPED');
    this.#resolveDone();
  }

  /** A reader of all its events that is no subscriber, with a queue of its own: for a store, or an export. To be called before it starts. */
  record(queueBytes: number): RecordingSource {
    return this.#readers.record({
      id: 'store',
      since: nowText(),
      queueBytes,
      deliveryEvents: Number.POSITIVE_INFINITY,
      backlog: [],
      missing: null,
      startSeq: 0,
      where: null,
      cursorAt: (seq) => cursorOf(this.id, seq),
    });
  }

  /** Place of the oldest event that it holds in memory, and of the next that will come. */
  get oldestSeq(): number {
    return this.#history.firstSeq;
  }

  get nextSeq(): number {
    return this.#history.nextSeq;
  }

  /** Ends its readers: what one has not read by now it is told of, as a gap in a last delivery. */
  cut(): void {
    this.#readers.cut();
  }

  /** Forgets its events. */
  clear(): void {
    this.#history.clear();
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

  /** Paths of the costly fields that are captured now. */
  captured(): string[] {
    const fields = this.#trackers.flatMap((tracker, i) =>
      tracker.onDemand.filter((f) => (tracker.captureOf(f) & ~(this.#masks[i] ?? 0n)) === 0n),
    );
    return [...new Set(fields)];
  }

  /** How its filter is judged. */
  explain(): FilterPlan {
    return {
      ...explain(this.spec, this.#trackers, this.#sharing, this.#source?.facts() ?? null, this.captured()),
      notices: this.notices(),
    };
  }

  /** Events that it kept though no engine told the names of their containers, so that nobody can say whether its target holds them. */
  get undecided(): number {
    return this.#judge.undecidedEvents;
  }

  /** What one must know to read its events rightly; for people. */
  notices(): string[] {
    return this.#judge.notices();
  }

  containers(): Container[] {
    return this.#judge.containers();
  }

  /** Exact: what is in the ring is read before it resolves. */
  async stats(): Promise<SessionStats> {
    const counters = (await this.#source?.counters().catch(() => null)) ?? this.#counters;
    const { lost: told, ...counts } = this.#counts;
    const lost = Math.max(told, counters.lost);
    return {
      ...counts,
      lost,
      // An event that is under way between its count and its record would make these differ for a moment.
      produced: Math.max(counters.produced, lost + counts.received),
      skippedRuns: counters.skippedRuns,
      dropped: this.#readers.dropped,
      retained: this.#history.retained,
      evicted: this.#history.evicted,
      retainedBytes: this.#history.bytes,
      ringPeakBytes: this.#source ? counters.ringPeakBytes : 0,
      subscribers: this.#readers.stats,
    };
  }

  /**
   * Its events from now on, or from the last `replay` or from a cursor on; the live ones follow without gap or duplicate.
   * Throws BAD_CURSOR for a cursor that is not of this session.
   */
  subscribe({ replay, after: cursor, demand, where = null, lends = false }: SubscribeOptions): EventStream {
    this.touch();
    const next = this.#history.nextSeq;
    const wanted = cursor ? parseCursor(cursor, this.id, next) : next - Math.min(replay ?? 0, this.#history.retained);
    const start = Math.max(wanted, this.#history.firstSeq);
    const release = this.addDemand(demand);
    const options = {
      id: String(this.#nextStream++),
      since: nowText(),
      queueBytes: this.#deps.subscriberBytes,
      backlog: start < next ? this.#history.slices(start) : [],
      missing: start > wanted ? this.#missing(start - wanted) : null,
      cursorAt: (seq: number) => cursorOf(this.id, seq),
      startSeq: start,
      where,
      lends,
    };
    return this.#readers.subscribe(options, () => {
      release();
      this.touch();
    });
  }

  /**
   * A page of what of it matches. Events are judged by and by, so that millions never hold up the server; those that come meanwhile are
   * not of it. Rejects with BAD_CURSOR for a cursor that is not of this session.
   */
  async pageWhere({
    first = 100,
    last,
    after: cursor,
    where,
  }: {
    readonly first?: number;
    readonly last?: number | null;
    readonly after?: string | null;
    readonly where: StreamFilter;
  }): Promise<Page> {
    this.touch();
    const end = this.#history.nextSeq;
    const oldest = this.#history.firstSeq;
    const total = this.#history.retained;
    const wanted = cursor ? parseCursor(cursor, this.id, end) : oldest;
    const start = Math.max(wanted, oldest);
    const missing = start > wanted ? this.#missing(start - wanted) : null;
    const { found, judged, more } =
      last == null
        ? await scan(this.#history.slices(start, end), where, first)
        : await scan(this.#history.slices(oldest, end).reverse(), where, last, true);
    const gaps = gapsOf(judged);
    if (missing) gaps.unshift({ from: missing.from, to: missing.to, lost: 0, dropped: missing.count, where: 'CLIENT' });
    return {
      events: found.map(({ event }) => event),
      cursorAfter: (index) => cursorOf(this.id, (found[index]?.place ?? start - 1) + 1),
      hasNext: last == null && more,
      hasPrevious: last == null ? start > oldest : more,
      total,
      gaps,
    };
  }

  /** A page of what it holds. Throws BAD_CURSOR for a cursor that is not of this session. */
  page({
    first = 100,
    last,
    after: cursor,
  }: {
    readonly first?: number;
    readonly last?: number | null;
    readonly after?: string | null;
  }): Page {
    this.touch();
    const next = this.#history.nextSeq;
    const oldest = this.#history.firstSeq;
    const wanted = cursor ? parseCursor(cursor, this.id, next) : oldest;
    const from = last == null ? Math.max(wanted, oldest) : Math.max(oldest, next - last);
    const to = last == null ? Math.min(next, from + first) : next;
    // To the very end also with a loss that no event has followed yet.
    const slices = this.#history.slices(from, to < next ? to : undefined);
    const gaps = gapsOf(slices);
    if (from > wanted && last == null)
      gaps.unshift({ ...this.#missing(from - wanted), lost: 0, dropped: from - wanted, where: 'CLIENT' });
    return {
      events: eventsOf(slices),
      cursorAfter: (index) => cursorOf(this.id, from + index + 1),
      hasNext: to < next,
      hasPrevious: from > oldest,
      total: this.#history.retained,
      gaps,
    };
  }

  /** Has what its trackers sum in the kernel read, so that what it holds is up to date; at once where none does. */
  async refresh(): Promise<void> {
    if (!this.sums) return;
    await this.#source?.read();
    await this.#held.last;
  }

  /** Whether one of its trackers sums in the kernel. */
  get sums(): boolean {
    return this.#trackers.some(({ definition }) => definition.sums !== undefined);
  }

  /** All events that it holds, oldest first, where they lie. They stay readable when the session lets go of them. */
  held(): readonly Slice[] {
    this.touch();
    return this.#history.slices(this.#history.firstSeq);
  }

  /** All events that it holds, oldest first, each made as it is asked for. */
  *events(): Generator<TraceEvent> {
    this.touch();
    for (const { batch, from, to } of this.#history.slices(this.#history.firstSeq))
      for (let i = from; i < to; i++) yield batch.event(i);
  }

  /** Captures what a reader selects for as long as it reads. Answers the function that ends it. */
  addDemand(demand: Demand): () => void {
    const held = new Map(demand); // one entry a call, also when two readers share the map
    this.#demands.add(held);
    this.#applyCapture();
    return () => {
      if (this.#demands.delete(held)) this.#applyCapture();
    };
  }

  #missing(count: number): { count: number; from: string; to: string } {
    const oldest = this.#history.slices(this.#history.firstSeq)[0];
    const to = oldest?.batch.count ? wallTimeOf(oldest.batch.clock, oldest.batch.bootNsAt(0)) : nowText();
    return { count, from: this.startedAt ?? this.createdAt, to };
  }

  #maskOf(tracker: TrackerRuntime): bigint {
    if (this.spec.capture !== 'DEMANDED') return tracker.allCaptures;
    let mask = this.spec.fields.reduce((m, field) => m | tracker.captureOf(field), 0n);
    const { where } = this.spec;
    for (const demand of where ? [where.demand, ...this.#demands] : this.#demands)
      for (const field of demand.get(tracker.definition.name) ?? []) mask |= tracker.captureOf(field);
    return mask;
  }

  #applyCapture(): void {
    this.#trackers.forEach((tracker, i) => {
      const mask = this.#maskOf(tracker);
      if (mask === this.#masks[i]) return;
      this.#masks[i] = mask;
      this.#source
        ?.setCapture(i, mask)
        .catch((error: unknown) => this.#deps.log.error({ session: this.id, err: error }, 'setting the capture mask'));
    });
  }

  readonly #onContainer = (container: Container): void => {
    const judged = this.#judge.rejudge(container);
    if (judged.length)
      this.#source
        ?.judge(judged)
        .catch((error: unknown) =>
          this.#deps.log.error({ session: this.id, err: error }, 'telling the kernel of a container'),
        );
  };

  #receive(chunk: Chunk, lease: Lease): Promise<void> | null {
    this.#counts.received += chunk.offsets.length;
    this.#counts.receivedBytes += chunk.data.byteLength;
    this.#counts.queued += chunk.offsets.length;
    this.#counts.lost += chunk.lost;
    const { data } = chunk;
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const { last } = this.#held;
    // Behind others that wait: order is kept.
    const unknown = last
      ? last.then(() => this.#judge.prepare(view, chunk.offsets))
      : this.#judge.prepare(view, chunk.offsets);
    if (!unknown) return this.#accept(chunk, view, lease);
    lease.hold();
    this.#held.add(
      unknown.then(() => this.#accept(chunk, view, lease)).finally(() => lease.release()),
      data.byteLength,
    );
    if (this.#held.isFull) this.#judge.hurry();
    return null;
  }

  /** Recorded events were judged and named when they were recorded. */
  #play(events: readonly TraceEvent[], gap: RecordedGap): void {
    this.#counts.received += events.length;
    this.#counts.delivered += events.length;
    this.#counts.lost += gap.lost;
    const batch = new RowBatch(events, { ...gap, seq: this.#history.nextSeq });
    this.#counts.receivedBytes += batch.byteLength;
    this.#push(batch);
  }

  #endReplay({ problem, broken }: ReplayEnd): void {
    this.error ??= problem;
    void this.stop(broken ? 'ERROR' : 'REPLAYED');
  }

  /** A promise where the session's filter needs more than this turn. */
  #accept(chunk: Chunk, view: DataView, lease: Lease): Promise<void> | null {
    const place = {
      clock: chunk.clock,
      seq: this.#history.nextSeq,
      lost: chunk.lost,
      lostFrom: chunk.readBefore,
      lostTo: chunk.readAt,
    };
    const offered = new RecordBatch(
      chunk.data,
      this.#judge.select(view, chunk.offsets),
      this.#context,
      place,
      null,
      lease,
    );
    const room = this.spec.limit === null ? Number.POSITIVE_INFINITY : this.spec.limit - this.#counts.delivered;
    const { where } = this.spec;
    const matches = (this.#sharing?.pushed ? where?.rest : where?.whole)?.matches ?? null;
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
    lease.hold();
    return taken.then((batch) => this.#admit(chunk, batch, room)).finally(() => lease.release());
  }

  /** Takes in what its filter has left of a chunk. */
  #admit(chunk: Chunk, batch: EventBatch, room: number): void {
    this.#counts.queued -= chunk.offsets.length;
    this.#counts.discarded += chunk.offsets.length - batch.count;
    this.#counts.delivered += batch.count;
    if (batch.count || chunk.lost) {
      if (batch instanceof RecordBatch) this.#deps.observer?.onBatch(this, batch);
      this.#push(batch);
    }
    if (batch.count >= room) void this.stop('LIMIT');
  }

  #push(batch: EventBatch): void {
    this.#history.push(batch);
    this.#readers.push(batch);
  }

  #setState(state: SessionState): void {
    this.state = state;
    this.#deps.onState(this);
  }
}
