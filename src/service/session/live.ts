import type { NodeFacts } from '../../event/node.js';
import type { Caller } from '../../access/caller.js';
import {
  addEvents,
  addSlices,
  Aggregator,
  demandOf,
  LiveAggregate,
  type AggregateInput,
  type AggregateRow,
} from '../../analysis/aggregate/index.js';
import { EunomiaError } from '../../base/errors.js';
import { inTurns } from '../../base/turn.js';
import type { Gap } from '../../event/event.js';
import type { EventFilter } from '../../filter/index.js';
import type { BehaviourReport } from '../../event/report.js';
import type { Container } from '../../inventory/container.js';
import type { Asked } from '../../session/asked.js';
import { boundsOf, cursorOf, parseCursor } from '../../session/cursor.js';
import type { RecorderStats } from '../../session/recorder.js';
import { DEFAULT_DELAY_MS, type Page, type Session } from '../../session/session.js';
import type { CountedAt } from '../../session/stats-history.js';
import type { SessionOrigin, SessionSpec, SessionState, SessionStats, StopReason } from '../../session/spec.js';
import type { FilterPlan } from '../../session/source/plan.js';
import { queryOf, storedPage, type StoredSource } from '../../storage/query.js';
import type { SessionRecorder } from '../../storage/recorder.js';
import { storedBefore } from '../../storage/parts.js';
import { ResumedStream } from '../../storage/resume.js';
import { aggregateStored } from '../aggregate.js';
import { spanInRange } from '../check.js';
import type { Parts } from '../parts.js';
import { reportOfSession } from '../report.js';
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
  type PageEnd,
} from './request.js';
import type {
  DeliveryStream,
  FollowRequest,
  PageRequest,
  ReportRequest,
  SessionHandle,
  StatsHistoryRequest,
  SubscribeRequest,
} from './handle.js';
import { changeViews, specView, type ChangeView, type SpecView } from './asked.js';
import { Changing } from '../changing.js';
import { REACH_MS, recorderOf } from './recorded.js';
import { dividedOrigin, heldOrigin, storedOrigin, type Division, type Origin } from './origin.js';

const MAX_DELAY_MS = 10_000;

interface Recorded {
  readonly recorder: SessionRecorder;
  readonly source: StoredSource;
}

/** A session in memory, live or replayed. What memory has let go of is read from its store, when it has one. */
export class LiveSession implements SessionHandle {
  readonly #session: Session;
  readonly #parts: Parts;
  readonly #caller: Caller;

  constructor(session: Session, parts: Parts, caller: Caller) {
    this.#session = session;
    this.#parts = parts;
    this.#caller = caller;
  }

  get id(): string {
    return this.#session.id;
  }

  get origin(): SessionOrigin {
    return this.#session.origin;
  }

  /** A recording may be of another machine, and does not say which. */
  get node(): NodeFacts | null {
    return this.origin === 'LIVE' ? this.#parts.server.node : null;
  }

  get state(): SessionState {
    return this.#session.state;
  }

  get error(): string | null {
    return this.#session.error;
  }

  get cursor(): string {
    return cursorOf(this.id, this.#session.nextSeq);
  }

  get createdAt(): string {
    return this.#session.createdAt;
  }

  get startedAt(): string | null {
    return this.#session.startedAt;
  }

  get stoppedAt(): string | null {
    return this.#session.stoppedAt;
  }

  get stopsAt(): string | null {
    return this.#session.stopsAt;
  }

  get stopReason(): StopReason | null {
    return this.#session.stopReason;
  }

  get name(): string | null {
    return this.#session.spec.name;
  }

  get labels(): SessionSpec['labels'] {
    return this.#session.spec.labels;
  }

  get trackers(): readonly string[] {
    return this.#session.spec.trackers.map(({ name }) => name);
  }

  get options(): SessionHandle['options'] {
    return Object.fromEntries(this.#session.spec.trackers.map(({ name, options }) => [name, options]));
  }

  get capture(): SessionSpec['capture'] {
    return this.#session.spec.capture;
  }

  get captured(): readonly string[] {
    return this.#session.captured();
  }

  get asked(): Asked | null {
    return this.#session.spec.asked;
  }

  get changes(): readonly ChangeView[] {
    return changeViews(this.id, this.asked);
  }

  get spec(): SpecView | null {
    return specView(this.asked);
  }

  get exported(): readonly string[] {
    return this.#session.spec.exported ?? [];
  }

  async explain(): Promise<FilterPlan> {
    await this.#session.refresh();
    return this.#session.explain();
  }

  async notices(): Promise<readonly string[]> {
    await this.#session.refresh();
    return this.#session.notices();
  }

  async undecided(): Promise<string> {
    await this.#session.refresh();
    return String(this.#session.undecided);
  }

  get containers(): readonly Container[] {
    return this.#session.containers();
  }

  get persistence(): RecorderStats | null {
    return this.#session.recorder?.stats ?? null;
  }

  stats(): Promise<SessionStats> {
    return this.#session.stats();
  }

  async statsHistory(request: StatsHistoryRequest): Promise<readonly CountedAt[]> {
    const span = statsSpanOf(request);
    return this.#session.history.points(span, await this.stats());
  }

  followStats(every: number | null): Changing<SessionStats> {
    const { everyMs } = paceOf({ every });
    return new Changing({ read: () => this.stats(), ended: this.#session.done, everyMs });
  }

  async page(request: PageRequest): Promise<Page> {
    const session = this.#session;
    const { after, before } = request;
    const { limit, backwards } = endOf(request, MAX_PAGE);
    const where = await filterInTurn(this, request.where, this.#parts);
    await session.refresh();
    session.touch();
    await where?.ready?.();
    const recorded = this.#recorded();
    const next = session.nextSeq;
    const { from, to } = boundsOf({ after, before }, session.id, next);
    // The lowest place that the page may reach.
    const wanted = Math.max(from ?? 0, !backwards || where ? 0 : (to ?? next) - limit);
    const place = recorded && this.#place(recorded);
    // Backwards, a page goes on behind what was not stored and is evicted.
    if (recorded && place !== null && wanted < (backwards ? session.oldestSeq : place))
      return this.#dividedPage(recorded, place, { ...request, limit, backwards, where });
    if (recorded && place === null && wanted < session.oldestSeq) {
      const page = { from, to, limit, backwards, where };
      const written = recorded.recorder.writtenSeq;
      // A page that is full of what is written already need not wait for the rest.
      if (!backwards && written > wanted) {
        const whole = await storedPage(recorded.source, page, written, recorded.recorder.kept);
        if (whole.hasNext) return whole;
      }
      if (await recorded.recorder.reach(next, REACH_MS))
        return storedPage(recorded.source, page, next, recorded.recorder.kept);
    }
    const range = { ...(backwards ? { last: limit } : { first: limit }), after, before };
    const page = await (where ? session.pageWhere({ ...range, where }) : session.page(range));
    if (!recorded || session.oldestSeq === 0) return page;
    // The store has what memory has no longer.
    return {
      ...page,
      hasPrevious: page.hasPrevious || place !== 0,
      total: where || place !== null ? null : recorded.recorder.kept,
    };
  }

  subscribe(request: SubscribeRequest): DeliveryStream {
    const session = this.#session;
    const { after } = request;
    const replay = replayOf(request);
    const where = filterFor(this, request.where, this.#parts);
    const thinning = thinningOf(request);
    const demand = where?.with(request.demand) ?? request.demand;
    const maxDelayMs = spanInRange('maxDelay', request.maxDelay ?? DEFAULT_DELAY_MS, 0, MAX_DELAY_MS);
    const recorded = this.#recorded();
    const from = after ? parseCursor(after, session.id, session.nextSeq) : Math.max(0, session.nextSeq - (replay ?? 0));
    if (!recorded || from >= session.oldestSeq)
      return session.subscribe({ replay, after, demand, where, thinning, lends: true, maxDelayMs });
    return new ResumedStream({
      source: recorded.source,
      from,
      where,
      thinning,
      live: { session, recorder: recorded.recorder, demand, maxDelayMs },
      end: session.nextSeq,
    });
  }

  async aggregate(input: AggregateInput, where: unknown): Promise<readonly AggregateRow[]> {
    const session = this.#session;
    const filter = await filterInTurn(this, where, this.#parts);
    const spec = aggregateFor(this, input, this.#parts);
    await session.refresh();
    await filter?.ready?.();
    const recorded = this.#recorded();
    const divided = recorded && (await this.#divided(recorded));
    const aggregator = new Aggregator(spec, acceptOf(filter));
    if (divided) {
      const { source, place, held } = divided;
      for await (const { events } of storedBefore(source, place, queryOf(source, filter)))
        await addEvents(
          aggregator,
          events.map(({ event }) => event),
        );
      await addSlices(aggregator, held.slices);
      return inTurns(aggregator.collecting());
    }
    if (recorded && session.oldestSeq > 0) {
      if (await recorded.recorder.reach(session.nextSeq, REACH_MS))
        return aggregateStored(recorded.source.store, queryOf(recorded.source, filter), spec);
      // Memory holds the newest events only: what it gives would look like the whole.
      if (session.oldestSeq > 0) throw this.#behind(recorded.recorder);
    }
    await addSlices(aggregator, session.held());
    return inTurns(aggregator.collecting());
  }

  follow({ every, replay, where, ...input }: FollowRequest): LiveAggregate {
    const session = this.#session;
    const { catalog } = this.#parts;
    const { everyMs, replay: checked } = paceOf({ every, replay });
    const spec = aggregateFor(this, input, this.#parts);
    const filter = filterFor(this, where, this.#parts);
    const demand = demandOf(spec, catalog, this.trackers);
    // The aggregator evaluates the filter, not the stream: it tells how many events it discarded.
    const source = session.subscribe({ replay: checked, demand: filter?.with(demand) ?? demand, lends: true });
    return new LiveAggregate(
      new Aggregator(spec, { live: true, ...acceptOf(filter) }),
      source,
      everyMs,
      session.aggregatesInKernel ? () => session.refresh() : null,
      () => session.uncounted(null).length > 0,
    );
  }

  uncounted(last: string | null): readonly Gap[] {
    return this.#session.uncounted(last);
  }

  report(request: ReportRequest): Promise<BehaviourReport> {
    return reportOfSession(this, request, this.#parts, this.#caller);
  }

  async events(): Promise<Origin> {
    const session = this.#session;
    await session.refresh();
    const recorded = this.#recorded();
    const divided = recorded && (await this.#divided(recorded));
    if (divided) return dividedOrigin(session, divided, this.#parts.registry);
    // A session that is not stored tells itself what memory let go of.
    if (!recorded || session.oldestSeq === 0) return heldOrigin(session, this.#parts.registry);
    const {
      source: { store },
      recorder,
    } = recorded;
    if (!(await recorder.reach(session.nextSeq, REACH_MS))) throw this.#behind(recorder);
    const record = await store.session(session.id);
    if (!record) throw this.#behind(recorder);
    return storedOrigin(record, store);
  }

  /** Where its events are stored too, each of them; null where memory is all there is. */
  #recorded(): Recorded | null {
    const recorder = recorderOf(this.#session);
    return recorder && { recorder, source: { id: this.id, store: recorder.store, trackers: this.trackers } };
  }

  /**
   * Null unless memory still has events that are not in the store, since they were not to be stored, and no longer has others that are:
   * what is ahead of this place is then read from the store, and the rest from memory. What neither has is told as evicted.
   */
  #place({ recorder }: Recorded): number | null {
    const { oldestSeq } = this.#session;
    const until = recorder.storedUntil(oldestSeq);
    return until === Number.POSITIVE_INFINITY || oldestSeq === 0 ? null : Math.min(until, oldestSeq);
  }

  /** What memory holds is held from the call on. Rejects with STORE_UNAVAILABLE. */
  async #divided(recorded: Recorded): Promise<Division | null> {
    const session = this.#session;
    const place = this.#place(recorded);
    if (place === null) return null;
    const held = { slices: session.held(), oldestSeq: session.oldestSeq };
    if (!(await recorded.recorder.reach(place, REACH_MS))) throw this.#behind(recorded.recorder);
    return { source: recorded.source, place, held };
  }

  async #dividedPage(
    { source, recorder }: Recorded,
    place: number,
    { after, before, limit, backwards, where }: PageRequest & PageEnd & { readonly where: EventFilter | null },
  ): Promise<Page> {
    const session = this.#session;
    const { from, to } = boundsOf({ after, before }, session.id, session.nextSeq);
    // First, as memory goes on evicting.
    const range = {
      ...(backwards ? { last: limit } : { first: limit }),
      after: cursorOf(session.id, Math.max(place, from ?? 0)),
      before: to !== null && to < place ? cursorOf(session.id, place) : before,
    };
    const later = await (where ? session.pageWhere({ ...range, where }) : session.page(range));
    if (backwards && later.events.length >= limit) return { ...later, hasPrevious: true, total: null };
    const left = backwards ? limit - later.events.length : limit;
    if (!(await recorder.reach(place, REACH_MS))) throw this.#behind(recorder);
    const bounds = { from, to: to === null ? place : Math.min(to, place), limit: left, backwards, where };
    const earlier = await storedPage(source, bounds, place, 0);
    const few = backwards ? later.events : later.events.slice(0, limit - earlier.events.length);
    const isCut = earlier.hasNext && earlier.events.length >= limit;
    const count = earlier.events.length;
    return {
      events: [...earlier.events, ...few],
      cursorAfter: (index) => (index < count ? earlier.cursorAfter(index) : later.cursorAfter(index - count)),
      hasNext: later.hasNext || few.length < later.events.length || isCut || (to !== null && to < session.nextSeq),
      hasPrevious: earlier.hasPrevious,
      total: null,
      gaps: few.length || !isCut ? [...earlier.gaps, ...later.gaps] : earlier.gaps,
    };
  }

  #behind({ stats: { error, pending } }: SessionRecorder): EunomiaError {
    const why = error ?? `it is ${pending} events behind`;
    return new EunomiaError(
      'STORE_UNAVAILABLE',
      `the store cannot tell all events of the session "${this.id}" at the moment (${why}), and memory no longer ` +
        `holds its first ${this.#session.oldestSeq}; ask again later, or for \`events\`, which tell what is missing`,
    );
  }
}
