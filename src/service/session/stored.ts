import type { NodeFacts } from '../../event/node.js';
import type { Caller } from '../../access/caller.js';
import { Aggregator, LiveAggregate, type AggregateInput, type AggregateRow } from '../../analysis/aggregate/index.js';
import { invalid } from '../../base/errors.js';
import type { Gap } from '../../event/event.js';
import type { BehaviourReport } from '../../event/report.js';
import type { Asked } from '../../session/asked.js';
import { boundsOf, cursorOf, parseCursor } from '../../session/cursor.js';
import type { RecorderStats } from '../../session/recorder.js';
import type { Page } from '../../session/session.js';
import type { SessionOrigin, SessionState, SessionStats, StopReason } from '../../session/spec.js';
import type { FilterPlan } from '../../session/source/plan.js';
import { queryOf, storedPage, type StoredSource } from '../../storage/query.js';
import { ResumedStream } from '../../storage/resume.js';
import type { Store, StoredRecord } from '../../storage/store.js';
import { aggregateStored } from '../aggregate.js';
import type { Parts } from '../parts.js';
import { reportOfSession } from '../report.js';
import type {
  FollowRequest,
  PageRequest,
  ReportRequest,
  SessionHandle,
  StatsHistoryRequest,
  SubscribeRequest,
} from './handle.js';
import { changeViews, specView, type ChangeView, type SpecView } from './asked.js';
import { Changing } from '../changing.js';
import { storedOrigin, type Origin } from './origin.js';
import {
  acceptOf,
  aggregateFor,
  endOf,
  filterFor,
  filterInTurn,
  MAX_PAGE,
  paceOf,
  replayOf,
  statsSpanOf,
  thinningOf,
} from './request.js';

/** A session that is in no memory any more: it reads like one that has stopped. */
export class StoredSession implements SessionHandle {
  readonly captured: readonly string[] = [];
  readonly exported: readonly string[] = [];
  readonly containers: SessionHandle['containers'] = [];
  readonly #record: StoredRecord;
  readonly #store: Store;
  readonly #parts: Parts;
  readonly #caller: Caller;

  constructor(record: StoredRecord, store: Store, parts: Parts, caller: Caller) {
    this.#record = record;
    this.#store = store;
    this.#parts = parts;
    this.#caller = caller;
  }

  get id(): string {
    return this.#record.id;
  }

  get boot(): string | null {
    return this.#record.boot;
  }

  get trackers(): readonly string[] {
    return this.#record.trackers;
  }

  get origin(): SessionOrigin {
    return 'LIVE';
  }

  /** Several servers may write to one InfluxDB, which remembers whose each session was; the embedded store is this server's alone. */
  get node(): NodeFacts | null {
    return this.#store.kind === 'EMBEDDED' ? this.#parts.server.node : (this.#record.node ?? null);
  }

  get state(): SessionState {
    return this.#record.state;
  }

  get error(): string | null {
    return this.#record.error;
  }

  get cursor(): string {
    return cursorOf(this.id, this.#record.nextSeq);
  }

  get createdAt(): string {
    return this.#record.createdAt;
  }

  get startedAt(): string | null {
    return this.#record.startedAt;
  }

  get stoppedAt(): string | null {
    return this.#record.stoppedAt;
  }

  get stopsAt(): null {
    return null;
  }

  get stopReason(): StopReason | null {
    return this.#record.stopReason;
  }

  get name(): string | null {
    return this.#record.name;
  }

  get labels(): StoredRecord['labels'] {
    return this.#record.labels;
  }

  get options(): StoredRecord['options'] {
    return this.#record.options;
  }

  get capture(): StoredRecord['capture'] {
    return this.#record.capture;
  }

  get persistence(): RecorderStats {
    const { mode, events, missing, removed, omitted } = this.#record;
    return {
      store: this.#store.kind,
      mode,
      state: 'DONE',
      written: events + removed,
      pending: 0,
      dropped: missing - removed - omitted,
      omitted,
      removed,
      lagMs: 0,
      processes: this.#record.processes ?? null,
      error: null,
    };
  }

  async stats(): Promise<SessionStats> {
    const { lost, events, missing, nextSeq, received, discarded, receivedBytes } = this.#record;
    const read = received ?? nextSeq;
    return {
      produced: lost + read,
      lost,
      skippedRuns: null,
      received: read,
      discarded,
      delivered: read - discarded,
      queued: 0,
      dropped: 0,
      retained: events,
      evicted: missing,
      retainedBytes: 0,
      receivedBytes,
      ringPeakBytes: 0,
      subscribers: [],
    };
  }

  get asked(): Asked | null {
    return this.#record.asked;
  }

  get changes(): readonly ChangeView[] {
    return changeViews(this.id, this.asked);
  }

  get spec(): SpecView | null {
    return specView(this.asked);
  }

  notices(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  undecided(): Promise<null> {
    return Promise.resolve(null);
  }

  /** Nothing evaluates its events any more. */
  explain(): Promise<FilterPlan> {
    const trackers = this.trackers.map((tracker) => ({
      tracker,
      inKernel: null,
      inServer: null,
      hooks: [],
      captured: [],
    }));
    return Promise.resolve({
      where: this.asked?.where ?? null,
      trackers,
      notices: [],
      sharing: { sessions: 0, eventsPerSecond: null, reason: 'the session has ended, and is in its store only' },
    });
  }

  async statsHistory(request: StatsHistoryRequest): Promise<null> {
    statsSpanOf(request);
    return null;
  }

  followStats(every: number | null): Changing<SessionStats> {
    const { everyMs } = paceOf({ every });
    return new Changing({ read: () => this.stats(), ended: Promise.resolve(), everyMs });
  }

  async page(request: PageRequest): Promise<Page> {
    const end = endOf(request, MAX_PAGE);
    const where = await filterInTurn(this, request.where, this.#parts);
    const { nextSeq, events } = this.#record;
    return storedPage(this.#source, { ...end, ...boundsOf(request, this.id, nextSeq), where }, nextSeq, events);
  }

  /** From a cursor on, or the last `replay`; ends with the last event that is stored. */
  subscribe(request: SubscribeRequest): ResumedStream {
    return this.#subscribe(request, false);
  }

  #subscribe(request: SubscribeRequest, processes: boolean): ResumedStream {
    const { nextSeq } = this.#record;
    const { after } = request;
    const replay = replayOf(request);
    const where = filterFor(this, request.where, this.#parts);
    const from = after ? parseCursor(after, this.id, nextSeq) : Math.max(0, nextSeq - (replay ?? 0));
    return new ResumedStream({
      source: { ...this.#source, processes },
      from,
      where,
      thinning: thinningOf(request),
      live: null,
      end: nextSeq,
    });
  }

  async aggregate(input: AggregateInput, where: unknown): Promise<readonly AggregateRow[]> {
    const filter = await filterInTurn(this, where, this.#parts);
    const spec = aggregateFor(this, input, this.#parts);
    return aggregateStored(this.#store, queryOf(this.#source, filter), spec);
  }

  /** Ends with the change that has all: nothing more comes. */
  follow({ every, replay, where, ...input }: FollowRequest): LiveAggregate {
    const pace = paceOf({ every, replay });
    const spec = aggregateFor(this, input, this.#parts);
    const filter = filterFor(this, where, this.#parts);
    const reads = spec.lineage !== null || filter?.ready != null;
    const stored = this.#subscribe({ replay: pace.replay ?? 0, where: null, demand: new Map() }, reads);
    const source = {
      next: () => stored.next(),
      return: () => stored.return(),
      // Time goes by with the events: by the clock, all their windows closed long ago.
      stats: { queued: 1 },
    };
    return new LiveAggregate(
      new Aggregator(spec, { live: true, ...acceptOf(filter) }),
      source,
      pace.everyMs,
      null,
      () => this.error !== null,
    );
  }

  /** Its gaps are stored among its events. */
  uncounted(): readonly Gap[] {
    return [];
  }

  report(request: ReportRequest): Promise<BehaviourReport> {
    return reportOfSession(this, request, this.#parts, this.#caller);
  }

  async events(): Promise<Origin> {
    if (this.#record.mode !== 'EVENTS')
      throw invalid(
        'session',
        `"${this.id}" is stored as rollups, which have no single events; ask for its \`aggregate\`, or persist with mode EVENTS`,
      );
    return storedOrigin(this.#record, this.#store);
  }

  get #source(): StoredSource {
    return { id: this.id, store: this.#store, trackers: this.trackers };
  }
}
