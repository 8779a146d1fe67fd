import { inTurns, sorted, turns, type Work } from '../../base/turn.js';
import type { Alike } from '../../event/alike.js';
import type { TraceEvent } from '../../event/event.js';
import type { FilterFields } from '../../filter/index.js';
import type { PastProcesses } from '../../graph/past.js';
import type { Catalog } from '../../catalog/catalog.js';
import { textOfNanos } from '../../record/nanos.js';
import type {
  AggregateShape,
  AlikeFields,
  EventQuery,
  GapQuery,
  HistoryPlace,
  HistoryRange,
  PageQuery,
  SessionGap,
  StoredContainer,
  StoredEvent,
  StoredGap,
  StoredPage,
  StoredRow,
  WholeQuery,
} from '../store.js';
import { translate, type RowSource } from './aggregate.js';
import { alikeQuery, dropKinds, kindsNumbered, makeKinds } from './alike.js';
import { conditionOf, needTables } from './condition.js';
import type { Query, StoredFacts } from './known.js';
import type { QueryLane, SqlRow } from './protocol.js';
import { eventColumns, eventOf, type ReadEvent } from './read.js';
import { isToldUpTo } from '../gap.js';
import type { EventTable } from './table.js';

/** Places that a page looks through at first; the next part is larger. */
const FIRST_PART = 16_384;
const LARGEST_PART = 1 << 20;
/**
 * Events of one part of a page, about: others who ask for as many have theirs in between. Where few match, more
 * places are looked at at once.
 */
const READ_EVENTS = 4096;
/** So many of so few places are read beside what takes long. */
const FEW = 256;
const MOST_PLACES = 32_768;
/** Rows that are filtered, or handed on, at a time. */
const SCAN_ROWS = 16_384;
/** Rows of events that differ: more are no gain over the events one by one, and are held at once. */
const MOST_ALIKE = 100_000;
/** Events between two looks at the clock: a regular expression on 32 KiB of arguments may take a millisecond. */
const PIECE = 16;

export interface EmbeddedEventsOptions {
  readonly query: Query;
  readonly facts: StoredFacts;
  readonly tables: readonly EventTable[];
  readonly catalog: Pick<Catalog, 'get'>;
  readonly fields: FilterFields;
  /** The processes that are stored of a session, by its number. */
  readonly pastOf: (number: number) => Promise<PastProcesses | null>;
}

/** Reads stored events: SQL narrows as far as it is exact, the filter itself decides the rest. The methods are those of `Store`. */
export class EmbeddedEvents {
  readonly #query: Query;
  readonly #facts: StoredFacts;
  readonly #tables: readonly EventTable[];
  readonly #catalog: Pick<Catalog, 'get'>;
  readonly #fields: FilterFields;
  readonly #pastOf: EmbeddedEventsOptions['pastOf'];
  /** Tables of kinds of processes that were made. */
  #kinds = 0;

  constructor({ query, facts, tables, catalog, fields, pastOf }: EmbeddedEventsOptions) {
    this.#pastOf = pastOf;
    this.#query = query;
    this.#facts = facts;
    this.#tables = tables;
    this.#catalog = catalog;
    this.#fields = fields;
  }

  async page({ session, fromSeq, toSeq, limit, backwards, ...query }: PageQuery): Promise<StoredPage> {
    const number = await this.#facts.numberOf(session);
    // A resume is a few of these, and each question waits its turn behind what is being written: what can be asked at once is.
    const [{ first, end: behind }, sources] = await Promise.all([
      this.#facts.extent(number),
      this.#sources(query, [number]),
    ]);
    const end = Math.min(behind, toSeq ?? Number.POSITIVE_INFINITY);
    const start = Math.max(first, fromSeq);
    // Behind the last event, there may be more than one.
    const last = end < behind ? end : (toSeq ?? Number.MAX_SAFE_INTEGER);
    const told = this.#gaps(`_session = ${number} AND _seq >= ${Math.min(start, fromSeq)} AND _seq <= ${last}`);
    told.catch(() => undefined); // it is awaited below, unless another question fails first
    const found: StoredEvent[] = [];
    let [low, high] = [start, end];
    // What SQL decides alone is bounded by its LIMIT; of the rest all rows of a part come.
    const growth = isExact(sources) ? 4 : 1;
    for (let part = FIRST_PART; low < high && found.length <= limit; part = Math.min(LARGEST_PART, part * growth)) {
      const [from, to] = backwards ? [Math.max(low, high - part), high] : [low, Math.min(high, low + part)];
      const some = Math.min(limit + 1 - found.length, READ_EVENTS);
      const events = await this.#events(
        sources,
        `e._session = ${number} AND p._session = ${number} AND e._seq >= ${from} AND e._seq < ${to}`,
        query,
        {
          order: `e._seq ${backwards ? 'DESC' : 'ASC'}`,
          limit: some,
          lane: some <= FEW && part <= FIRST_PART ? 'SHORT' : 'LONG',
        },
        backwards ? (a, b) => b.seq - a.seq : bySeq,
      );
      const taken = events.slice(0, some);
      for (const event of taken) found.push(stored(event, session));
      // Each table gave `some` at most: beyond the last one taken, there may be more.
      const furthest = events.length >= some ? taken.at(-1) : undefined;
      if (backwards) high = furthest?.seq ?? from;
      else low = furthest ? furthest.seq + 1 : to;
    }
    const more = found.length > limit;
    const events = found.slice(0, limit);
    if (backwards) events.reverse();
    // What is missing stands before the event of its place, and after the last one.
    const until = more && !backwards ? (events.at(-1)?.place.seq ?? end) : last;
    const since = backwards && more ? (events[0]?.place.seq ?? start) : Math.min(start, fromSeq);
    const gaps = (await told).filter((gap) => gap.seq >= since && isToldUpTo(gap, until));
    return {
      events,
      hasNext: backwards ? end < (toSeq ?? end) : more,
      hasPrevious: (backwards && more) || start > first,
      gaps,
    };
  }

  async *read({ session, ...query }: WholeQuery): AsyncIterable<Pick<StoredPage, 'events' | 'gaps'>> {
    const number = await this.#facts.numberOf(session);
    // From the first place on: a gap may stand before all events.
    let told = 0;
    for await (const { events, behind } of this.#whole(number, query, READ_EVENTS)) {
      const gaps = await this.#gaps(`_session = ${number} AND _seq >= ${told} AND _seq < ${behind}`);
      if (events.length || gaps.length) yield { events: events.map((event) => stored(event, session)), gaps };
      told = behind;
    }
    const gaps = await this.#gaps(`_session = ${number} AND _seq >= ${told}`);
    if (gaps.length) yield { events: [], gaps };
  }

  async containers(query: EventQuery): Promise<readonly StoredContainer[]> {
    const known = await this.#facts.knownContainers(await this.#facts.scope(query));
    return [...new Map(known.map(({ facts }) => [facts.id, facts])).values()];
  }

  async history(query: EventQuery, { after, before, limit, backwards }: HistoryRange): Promise<StoredPage> {
    const numbers = await this.#facts.scope(query);
    const sources = await this.#sources(query, numbers);
    const ids = await this.#facts.ids();
    const found: ReadEvent[] = [];
    const exact = isExact(sources);
    const numbered = async (place: HistoryPlace | null): Promise<RowPlace | null> =>
      place && { time: place.time, session: await this.#facts.numberOf(place.session), seq: place.seq };
    let [low, high] = [await numbered(after), await numbered(before)];
    const compare = backwards ? (a: RowPlace, b: RowPlace) => byTime(b, a) : byTime;
    const down = backwards ? ' DESC' : '';
    for (let full = true; full && found.length <= limit;) {
      const within = `${low ? beyond(low, '>') : ''}${high ? beyond(high, '<') : ''}`;
      const want = limit + 1 - found.length;
      const bound = exact ? Math.min(want, READ_EVENTS) : SCAN_ROWS;
      const rows = await inTheTurn(
        sorted(
          await this.#rows(sources, `${scopeOf(numbers)}${within}`, query, {
            order: `e.time${down}, e._session${down}, e._seq${down}`,
            limit: bound,
            lane: 'LONG',
          }),
          compare,
        ),
        query,
      );
      // Each table gave so many at most: beyond the shortest end of those that gave all, some may be missing.
      const part = rows.slice(0, bound);
      full = rows.length >= bound;
      const end = part.at(-1);
      if (end && backwards) high = end;
      else if (end) low = end;
      await this.#remember(part, query);
      found.push(...(await inTheTurn(matching(part, query), query)).slice(0, want));
    }
    const more = found.length > limit;
    const events = found.slice(0, limit);
    if (backwards) events.reverse();
    const [first, last] = [events[0], events.at(-1)];
    const gaps =
      first && last
        ? await this.#gaps(
            `${scopeOf(numbers).replaceAll('e.', '')} AND to_time >= ${first.time} AND from_time <= ${last.time}`,
          )
        : [];
    return {
      events: events.map((event) => stored(event, ids.get(event.session) ?? '')),
      hasNext: (!backwards && more) || before !== null,
      hasPrevious: (backwards && more) || after !== null,
      gaps,
    };
  }

  async gaps({ sessions, from, to, beginBefore }: GapQuery): Promise<readonly SessionGap[]> {
    const ids = new Map(await Promise.all(sessions.map(async (id) => [await this.#facts.numberOf(id), id] as const)));
    if (!ids.size) return [];
    const bounds = [
      `to_time >= ${from}`,
      ...(to === null ? [] : [`to_time < ${to}`]),
      ...(beginBefore === null ? [] : [`from_time < ${beginBefore}`]),
    ];
    const rows = await this.#query(
      `SELECT ${GAP_COLUMNS}, _session FROM gaps WHERE _session IN (${[...ids.keys()].join(', ')}) AND ` +
        `${bounds.join(' AND ')} ORDER BY to_time, _session, _seq`,
    );
    return rows.map((row) => ({ ...gapOf(row), session: ids.get(Number(row[6])) ?? '' }));
  }

  /** Session by session, each in its order. */
  async *scan(query: EventQuery): AsyncIterable<readonly TraceEvent[]> {
    for (const number of (await this.#facts.scope(query)) ?? [...(await this.#facts.ids()).keys()]) {
      for await (const { events } of this.#whole(number, query, SCAN_ROWS))
        if (events.length) yield events.map(({ event }) => event);
    }
  }

  async aggregate(query: EventQuery, shape: AggregateShape): Promise<readonly StoredRow[] | null> {
    const numbers = await this.#facts.scope(query);
    const sources = await this.#withoutKernelAggregates(await this.#sources(query, numbers), scopeOf(numbers));
    if (!sources) return null;
    if (!sources.length) return [];
    const translation = translate(shape, sources, { sql: scopeOf(numbers), values: [] });
    if (!translation) return null;
    return inTurns(translation.reading(await this.#query(translation.sql, translation.values, { lane: 'LONG' })));
  }

  async alike(query: EventQuery, fields: AlikeFields): Promise<readonly Alike[] | null> {
    const numbers = await this.#facts.scope(query);
    const sources = await this.#sources(query, numbers);
    if (!isExact(sources)) return null;
    const kinds = kindsNumbered((this.#kinds += 1));
    const long = { lane: 'LONG', turn: query.turn } as const;
    try {
      for (const sql of makeKinds(kinds, scopeOf(numbers, 'p'))) await this.#query(sql, [], long);
      const found: Alike[] = [];
      for (const source of sources) {
        const { tracker } = source.table;
        const aggregate = this.#catalog.get(tracker)?.kernelAggregate ?? null;
        const taken = fields.get(tracker) ?? [];
        const wanted = { scope: scopeOf(numbers), kinds, most: MOST_ALIKE - found.length + 1 };
        const { sql, values, make } = alikeQuery(source, taken, aggregate, wanted, this.#facts.containerOf);
        for (const one of await this.#query(sql, values, { ...long, make })) found.push(one);
        if (found.length > MOST_ALIKE) return null;
      }
      return found;
    } finally {
      for (const sql of dropKinds(kinds)) await this.#query(sql, [], long).catch(() => undefined);
    }
  }

  /**
   * Without the tables of trackers that aggregate in the kernel, where none of their events is asked for; null when some are:
   * they stand for many each.
   */
  async #withoutKernelAggregates(sources: readonly RowSource[], where: string): Promise<readonly RowSource[] | null> {
    const plain: RowSource[] = [];
    for (const source of sources) {
      const { table, condition } = source;
      if (!this.#catalog.get(table.tracker)?.kernelAggregate) plain.push(source);
      else if (
        (
          await this.#query(
            `SELECT 1 FROM "${table.name}" e JOIN processes p ON p.id = e.process WHERE ${where} AND ${condition.sql} LIMIT 1`,
            condition.values,
            { lane: 'LONG' },
          )
        ).length
      )
        return null;
    }
    return plain;
  }

  async #sources(query: EventQuery, numbers: readonly number[] | null): Promise<RowSource[]> {
    const containers = await this.#facts.knownContainers(numbers);
    return needTables(query.trackers, this.#tables).flatMap((table) => {
      const condition = conditionOf(query, table, this.#fields, containers);
      return condition ? [{ table, condition }] : [];
    });
  }

  /** A session's events that are in the result, in their order, and how far that is: so many places at a time, and more where few match. */
  async *#whole(
    number: number,
    query: Omit<EventQuery, 'sessions'>,
    some: number,
  ): AsyncGenerator<{ readonly events: readonly ReadEvent[]; readonly behind: number }> {
    const { first, end } = await this.#facts.extent(number);
    const sources = await this.#sources({ ...query, sessions: null }, [number]);
    for (let low = first, places = some; low < end;) {
      const high = Math.min(end, low + places);
      const events = await this.#events(
        sources,
        `e._session = ${number} AND p._session = ${number} AND e._seq >= ${low} AND e._seq < ${high}`,
        query,
        { order: null, limit: null, lane: 'LONG' },
        bySeq,
      );
      yield { events, behind: high };
      low = high;
      places = events.length > some / 4 ? some : Math.min(Math.max(some, MOST_PLACES), places * 2);
    }
  }

  /** Events that are in the result, in this order: what SQL left is filtered here. */
  async #events(
    sources: readonly RowSource[],
    where: string,
    query: Pick<EventQuery, 'filter' | 'processes' | 'turn'>,
    wanted: Wanted,
    compare: (a: ReadEvent, b: ReadEvent) => number,
  ): Promise<readonly ReadEvent[]> {
    const exact = isExact(sources);
    const events = await this.#rows(sources, where, query, exact ? wanted : { ...wanted, limit: null, lane: 'LONG' });
    await this.#remember(events, query);
    return inTheTurn(sorted(exact ? events : await inTheTurn(matching(events, query), query), compare), query);
  }

  /** Of each table the first `limit` in this order. */
  async #rows(
    sources: readonly RowSource[],
    where: string,
    { turn }: Pick<EventQuery, 'turn'>,
    { order, limit, lane }: Wanted,
  ): Promise<ReadEvent[]> {
    const lists = await Promise.all(
      sources.map(({ table, condition }) => {
        const sql =
          `SELECT ${eventColumns(table)} FROM "${table.name}" e JOIN processes p ON p.id = e.process WHERE ` +
          `${where} AND ` +
          `${condition.sql}${order ? ` ORDER BY ${order}` : ''}${limit === null ? '' : ` LIMIT ${limit}`}`;
        return this.#query(sql, condition.values, {
          lane,
          turn,
          make: (row) => eventOf(row, table, this.#facts.containerOf),
        });
      }),
    );
    return lists.flat();
  }

  /** Has events lead to what is stored of their processes, where somebody wants to know. */
  async #remember(events: readonly ReadEvent[], query: Pick<EventQuery, 'filter' | 'processes' | 'turn'>) {
    const { filter, processes } = query;
    if (!processes && !filter?.ready) return;
    for (const number of new Set(events.map(({ session }) => session))) {
      const past = await this.#pastOf(number);
      const own = events.filter(({ session }) => session === number).map(({ event }) => event);
      if (past) await inTheTurn(past.sight(own), query);
    }
  }

  async #gaps(where: string): Promise<StoredGap[]> {
    return (await this.#query(`SELECT ${GAP_COLUMNS} FROM gaps WHERE ${where} ORDER BY _session, _seq`)).map(gapOf);
  }
}

const GAP_COLUMNS = 'from_time, to_time, lost, dropped, place, _seq';

function gapOf([from, to, lost, dropped, place, seq]: SqlRow): StoredGap {
  return {
    seq: Number(seq),
    from: textOfNanos(BigInt(from ?? 0)),
    to: textOfNanos(BigInt(to ?? 0)),
    lost: Number(lost),
    dropped: Number(dropped),
    where: place === 'STORE' || place === 'OFF' ? place : 'KERNEL',
  };
}

/** Work for who asks. */
function inTheTurn<Result>(work: Work<Result>, { turn }: Pick<EventQuery, 'turn'>): Promise<Result> {
  return inTurns(work, undefined, turns, turn);
}

/** Of a row, whose session is a number here. */
type RowPlace = Pick<ReadEvent, 'time' | 'session' | 'seq'>;

/** What is wanted of each table. Null does not restrict. */
interface Wanted {
  readonly order: string | null;
  readonly limit: number | null;
  readonly lane: QueryLane;
}

/** Whether SQL alone decides which events match. */
function isExact(sources: readonly RowSource[]): boolean {
  return sources.every(({ condition }) => condition.exact);
}

/** Of rows of this table: `e` for events, `p` for their processes. */
function scopeOf(numbers: readonly number[] | null, of: 'e' | 'p' = 'e'): string {
  return numbers ? `${of}._session IN (${numbers.join(', ') || 'NULL'})` : 'true';
}

function stored({ event, seq, time }: ReadEvent, session: string): StoredEvent {
  return { event, place: { session, seq, time } };
}

function* matching(events: readonly ReadEvent[], { filter }: Pick<EventQuery, 'filter'>): Work<readonly ReadEvent[]> {
  if (!filter) return events;
  const found: ReadEvent[] = [];
  for (const [i, event] of events.entries()) {
    if (filter.matches(event.event)) found.push(event);
    if (i % PIECE === PIECE - 1) yield;
  }
  return found;
}

/** What is behind a place (`>`), or ahead of it (`<`), in the order of times. */
function beyond({ time, session, seq }: RowPlace, than: '<' | '>'): string {
  return (
    ` AND e.time ${than}= ${time} AND (e.time ${than} ${time} OR e._session ${than} ${session} OR ` +
    `(e._session = ${session} AND e._seq ${than} ${seq}))`
  );
}

function bySeq(a: ReadEvent, b: ReadEvent): number {
  return a.seq - b.seq;
}

function byTime(a: RowPlace, b: RowPlace): number {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.session - b.session || a.seq - b.seq;
}
