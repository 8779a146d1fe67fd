import { EunomiaError, invalid } from '../../base/errors.js';
import { inTurns, sorted, type Work } from '../../base/turn.js';
import type { Catalog, CatalogTracker } from '../../catalog/catalog.js';
import type { GapWhere, TraceEvent } from '../../event/event.js';
import { compileFilter, type FilterFields } from '../../filter/index.js';
import { nanosOf } from '../../record/nanos.js';
import { isTime } from '../facts.js';
import { isToldUpTo } from '../gap.js';
import type {
  EventQuery,
  GapQuery,
  HistoryPlace,
  HistoryRange,
  PageQuery,
  SessionGap,
  StoredEvent,
  StoredPage,
  WholeQuery,
} from '../store.js';
import type { StoredPoint } from './client.js';
import { GAPS, OWN_TAGS } from './column.js';
import type { Database } from './database.js';
import { checkRange, type EventPlan, type PointRange } from './plan.js';
import { allTime, lifeOf, rangeOf } from './range.js';
import { Rebuilder } from './rebuild.js';
import type { InfluxSessions } from './sessions.js';

const MAX_GAPS = 1000;
/** Of a span of a range: each has events on both sides, as a rule. */
const MAX_SPAN_GAPS = 100_000;
/** Points of one question, about: its reply is parsed in one piece, of some ten milliseconds. */
const CHUNK = 5000;
/** Places of one question at most, where a filter leaves few points of them. */
const MOST_PLACES = 100_000;
/** Places that one page looks through: more would take a client's patience. */
const PAGE_PLACES = 4_000_000;
const MAX_ROUNDS = 40;
/** Events that are made between two looks at the clock: a regular expression on 32 KiB of arguments may take a millisecond. */
const PIECE = 16;
/** Events of one `scan`. */
const MAX_SCANNED = 2_000_000;

/** Reads events back, with what is missing among them: of one session by their places, of all by their times. */
export class InfluxEvents {
  readonly #database: Database;
  readonly #sessions: InfluxSessions;
  readonly #catalog: Catalog;
  readonly #fields: FilterFields;

  constructor(database: Database, sessions: InfluxSessions, catalog: Catalog, fields: FilterFields) {
    this.#database = database;
    this.#sessions = sessions;
    this.#catalog = catalog;
    this.#fields = fields;
  }

  async page(query: PageQuery): Promise<StoredPage> {
    const { session, fromSeq, limit, backwards } = query;
    const record = await this.#sessions.find(session);
    if (!record) return { events: [], hasNext: false, hasPrevious: false, gaps: [] };
    if (record.mode === 'ROLLUP')
      throw invalid('session', `"${session}" is stored as rollups, which have no single events; ask for \`aggregate\``);
    const range = this.#rangeOf(lifeOf({ ...query, sessions: [session] }, [record]));
    const end = Math.min(query.toSeq ?? record.nextSeq, record.nextSeq);
    const found: StoredEvent[] = [];
    const all = await this.#gaps(range);
    const holes = all.filter(({ where }) => where === 'OFF');
    // Places are dense but for holes: a span of them has at most as many events. A filter may leave few, so that the span grows.
    let span = Math.min(limit, CHUNK) + 1;
    let low = backwards ? end : fromSeq;
    let high = low;
    for (
      let looked = 0;
      found.length <= limit && looked < PAGE_PLACES && (backwards ? low > fromSeq : high < end);
      looked += span
    ) {
      // Where it was off, there may be any number of places without events.
      const at = backwards ? low - 1 : high;
      const hole = holes.find(({ seq, dropped }) => at >= seq && at < seq + dropped);
      if (hole) {
        if (backwards) low = Math.max(fromSeq, hole.seq);
        else high = Math.min(end, hole.seq + hole.dropped);
        continue;
      }
      const places = backwards
        ? { from: Math.max(fromSeq, low - span), to: low }
        : { from: high, to: Math.min(end, high + span) };
      const events = (await this.#events(range, places, span + 1)).sort((a, b) => a.place.seq - b.place.seq);
      if (backwards) found.unshift(...events);
      else found.push(...events);
      low = places.from;
      high = places.to;
      if (events.length < span / 4) span = Math.min(span * 2, MOST_PLACES);
      else span = Math.min(span, CHUNK + 1);
    }
    const events = backwards ? found.slice(-limit) : found.slice(0, limit);
    const more = found.length > limit;
    // What is missing stands before the event of its place, and after the last one.
    const since = backwards && more ? (events[0]?.place.seq ?? fromSeq) : fromSeq;
    const until = more && !backwards ? (events.at(-1)?.place.seq ?? end) : end;
    const gaps = all.filter((gap) => gap.seq >= since && isToldUpTo(gap, until));
    // What it had taken along when it was interrupted, nobody counted.
    if (record.stopReason === 'INTERRUPTED' && record.stoppedAt !== null && until === record.nextSeq)
      gaps.push({
        session,
        seq: until,
        from: record.stoppedAt,
        to: record.stoppedAt,
        lost: 0,
        dropped: 0,
        where: 'STORE',
      });
    return {
      events,
      hasNext: backwards ? end < record.nextSeq : found.length > limit || high < end,
      hasPrevious: (backwards && (found.length > limit || low > fromSeq)) || fromSeq > 0,
      gaps,
    };
  }

  async *read(query: WholeQuery): AsyncIterable<Pick<StoredPage, 'events' | 'gaps'>> {
    for (let fromSeq = 0; ;) {
      const { events, gaps, hasNext } = await this.page({
        ...query,
        fromSeq,
        toSeq: null,
        limit: CHUNK,
        backwards: false,
      });
      if (events.length || gaps.length) yield { events, gaps };
      if (!hasNext) return;
      const last = events.at(-1)?.place.seq;
      if (last === undefined)
        throw invalid(
          'where',
          'too few of the stored events match, so that too many would have to be read; take a shorter range',
        );
      fromSeq = last + 1;
    }
  }

  async history(query: EventQuery, { after, before, limit, backwards }: HistoryRange): Promise<StoredPage> {
    const asked = this.#rangeOf(query);
    let range: PointRange = {
      ...asked,
      from: after && after.time > asked.from ? after.time : asked.from,
      to: before && before.time < asked.to ? before.time + 1n : asked.to,
    };
    checkRange(range);
    const isWithin = (place: HistoryPlace): boolean =>
      (!after || orderOf(place, after) > 0) && (!before || orderOf(place, before) < 0);
    const compare = backwards ? (a: HistoryPlace, b: HistoryPlace) => orderOf(b, a) : orderOf;
    const events: StoredEvent[] = [];
    for (let round = 0; ; round++) {
      const chunk = Math.max(limit + 1, round > 0 ? CHUNK : 0);
      const parts = await Promise.all(
        range.trackers.map((tracker) => this.#chunk({ ...range, tracker, places: null, limit: chunk, backwards })),
      );
      // A part that is full goes on beyond its last time: up to the first of these, all is there.
      const horizon = parts
        .flatMap(({ full }) => (full === null ? [] : [full]))
        .reduce<bigint | null>(
          (nearest, time) => (nearest === null || (backwards ? time > nearest : time < nearest) ? time : nearest),
          null,
        );
      const whole = parts
        .flatMap((part) => part.events)
        .filter(({ place: { time } }) => horizon === null || (backwards ? time > horizon : time < horizon));
      events.push(
        ...(await inTurns(sorted(whole, (a, b) => compare(a.place, b.place)))).filter(({ place }) => isWithin(place)),
      );
      if (horizon === null || events.length > limit) break;
      // A short part may be of one time alone; a long one goes on.
      const isStuck = chunk >= CHUNK && horizon === (backwards ? range.to - 1n : range.from);
      if (round >= MAX_ROUNDS || isStuck)
        throw invalid(
          'where',
          'too few of the stored events match, so that too many would have to be read; take a shorter range, or filter by tags too',
        );
      range = backwards ? { ...range, to: horizon + 1n } : { ...range, from: horizon };
    }
    const more = events.length > limit;
    const page = events.slice(0, limit);
    if (backwards) page.reverse();
    // What is missing up to the end of the page; of one that is read from its end, from its first event on.
    const first = backwards && more ? page[0]?.place.time : after?.time;
    const last = backwards ? before?.time : page.at(-1)?.place.time;
    const gaps = await this.#gaps({ ...asked, from: first ?? asked.from, to: (last ?? asked.to) + 1n });
    return {
      events: page,
      hasNext: (!backwards && more) || before !== null,
      hasPrevious: (backwards && more) || after !== null,
      gaps,
    };
  }

  async *scan(query: EventQuery): AsyncGenerator<readonly TraceEvent[]> {
    const records = query.sessions === null ? [] : await this.#sessions.known(query.sessions);
    const range = this.#rangeOf(query.sessions === null ? query : lifeOf(query, records));
    checkRange(range);
    let scanned = 0;
    for (const tracker of range.trackers) {
      for (let from: bigint | null = range.from; from !== null;) {
        const { events, full, count } = await this.#chunk({
          ...range,
          from,
          tracker,
          places: null,
          limit: CHUNK,
          backwards: false,
        });
        scanned += count;
        if (scanned > MAX_SCANNED)
          throw invalid(
            'from',
            `this has to read more than ` +
              `${MAX_SCANNED.toLocaleString('en-US')} events from InfluxDB; take a shorter range, or group by tags`,
            { max: MAX_SCANNED },
          );
        // What has the last time may go on behind the chunk: it is read again with the next one.
        const next: bigint | null = full;
        yield events.filter(({ place }) => next === null || place.time < next).map(({ event }) => event);
        if (next !== null && next <= from)
          throw new EunomiaError(
            'STORE_UNAVAILABLE',
            `${CHUNK} events of ${tracker.name} have one time: InfluxDB cannot be read on from there`,
          );
        from = next;
      }
    }
  }

  #rangeOf(query: EventQuery): PointRange {
    return rangeOf(query, this.#catalog);
  }

  async #events(range: PointRange, places: EventPlan['places'], limit: number): Promise<StoredEvent[]> {
    const parts = await Promise.all(
      range.trackers.map((tracker) => this.#chunk({ ...range, tracker, places, limit, backwards: false })),
    );
    return parts.flatMap(({ events }) => events);
  }

  /** Events of a tracker that match, and the time of the last one that was looked at when there may be more. */
  async #chunk(
    plan: EventPlan,
  ): Promise<{ readonly events: StoredEvent[]; readonly full: bigint | null; readonly count: number }> {
    const { rows } = await this.#database.events(plan);
    // Evaluated again: what the dialect could not say, and what the stored text is not quite.
    const matches = plan.filter ? compileFilter(plan.filter, this.#fields, [plan.tracker.name]) : () => true;
    const { events, last } = await inTurns(rebuilt(rows, plan.tracker, matches));
    return { events, full: rows.length >= plan.limit ? (last?.place.time ?? null) : null, count: rows.length };
  }

  async gaps({ sessions, from, to, beginBefore }: GapQuery): Promise<readonly SessionGap[]> {
    const range = { from, to: to ?? allTime().to, sessions };
    // The point of a gap has the time of its end.
    const gaps = range.to > from && sessions.length ? await this.#gaps(range, MAX_SPAN_GAPS) : [];
    return gaps
      .filter((gap) => beginBefore === null || nanosOf(gap.from) < beginBefore)
      .sort((a, b) => (a.to === b.to ? a.seq - b.seq : a.to < b.to ? -1 : 1));
  }

  async #gaps(
    { from, to, sessions }: Pick<PointRange, 'from' | 'to' | 'sessions'>,
    limit = MAX_GAPS,
  ): Promise<SessionGap[]> {
    const rows = await this.#database.records(GAPS, { from, to, sessions }, limit);
    return rows
      .filter(({ columns }) => isTime(columns['from']) && isTime(columns['to']))
      .map(({ columns }: StoredPoint) => ({
        session: String(columns[OWN_TAGS.session] ?? ''),
        seq: Number(columns['seq'] ?? 0),
        from: String(columns['from']),
        to: String(columns['to']),
        lost: Number(columns['lost'] ?? 0),
        dropped: Number(columns['dropped'] ?? 0),
        where: [columns['where']].find(isGapWhere) ?? 'STORE',
      }));
  }
}

/** The events that match, and the last one that was looked at. */
function* rebuilt(
  rows: readonly StoredPoint[],
  tracker: CatalogTracker,
  matches: (event: TraceEvent) => boolean,
): Work<{ readonly events: StoredEvent[]; readonly last: StoredEvent | undefined }> {
  const rebuilder = new Rebuilder(tracker);
  const events: StoredEvent[] = [];
  let last: StoredEvent | undefined;
  for (const [i, row] of rows.entries()) {
    if (i % PIECE === PIECE - 1) yield;
    // Another program may write to these measurements.
    if (!isTime(row.time)) continue;
    last = rebuilder.read(row);
    if (matches(last.event)) events.push(last);
  }
  return { events, last };
}

function isGapWhere(value: unknown): value is GapWhere {
  return value === 'KERNEL' || value === 'QUEUE' || value === 'STORE' || value === 'OFF';
}

function orderOf(a: HistoryPlace, b: HistoryPlace): number {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.session === b.session ? a.seq - b.seq : a.session < b.session ? -1 : 1;
}
