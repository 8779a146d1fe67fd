import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container } from '../../../containers/container.js';
import { EunomiaError } from '../../../errors.js';
import type { TraceEvent } from '../../../event.js';
import type { FilterFields } from '../../../filter/index.js';
import type { Catalog } from '../../../trackers/catalog.js';
import type {
  AggregateShape,
  EventQuery,
  HistoryPlace,
  PageQuery,
  SessionEnd,
  SessionRecord,
  SessionSink,
  Store,
  StoredContainer,
  StoredEvent,
  StoredGap,
  StoredPage,
  StoredRecord,
  StoredRow,
  StoreLoad,
  StoreStatus,
  WholeQuery,
} from '../store.js';
import { translate } from './aggregate.js';
import { conditionOf, needTables, type Condition, type KnownContainer } from './condition.js';
import type { Bound, Row } from './protocol.js';
import { eventColumns, eventOf, type ReadEvent } from './read.js';
import { textOfNanos } from '../../../pipeline/nanos.js';
import { DuckSink } from './sink.js';
import { tableOf, type EventTable } from './table.js';
import { StoreThread } from './thread.js';

export interface DuckOptions {
  readonly directory: string;
  readonly catalog: Catalog;
  readonly fields: FilterFields;
  readonly retentionMs: number | null;
  readonly retentionBytes: number | null;
  /** As DuckDB takes it, for example "1GB". */
  readonly memoryLimit: string;
  /** How often what is too old or too much is deleted. */
  readonly retainEveryMs: number;
  readonly onProblem: (problem: string) => void;
}

const FILE = 'eunomia.duckdb';
/** Places that a page looks through at first; the next part is larger. */
const FIRST_PART = 16_384;
const LARGEST_PART = 1 << 20;
/** Events of one part of `read`, about: making them takes the event loop some 10 ms. Where few match, more places are looked at at once. */
const READ_EVENTS = 4096;
const MOST_PLACES = 32_768;
/** Rows that are judged, or handed on, at a time. */
const SCAN_ROWS = 16_384;
/** How long `load` waits for the thread. */
const LOAD_MS = 500;

/** A DuckDB file. All of DuckDB is in a thread of its own. */
export class DuckStore implements Store {
  readonly kind = 'EMBEDDED';
  readonly #options: DuckOptions;
  readonly #tables: readonly EventTable[];
  readonly #thread: StoreThread;
  readonly #sinks = new Map<number, DuckSink>();
  /** Of sessions that are there, by their ids. */
  readonly #numbers = new Map<string, number>();
  #containers = new Map<number, { readonly text: string; readonly facts: Container }>();
  readonly #retaining: NodeJS.Timeout;
  #closed: Promise<void> | null = null;

  constructor(options: DuckOptions) {
    this.#options = options;
    this.#tables = options.catalog.trackers.map(tableOf);
    const { retentionMs, retentionBytes, memoryLimit } = options;
    this.#thread = new StoreThread({
      file: join(options.directory, FILE),
      tables: this.#tables,
      memoryLimit,
      retentionMs,
      retentionBytes,
    });
    this.#thread.onProgress = ({ packets }) => {
      for (const { number, events, bytes, nextSeq } of packets)
        this.#sinks.get(number)?.committed(events, bytes, nextSeq);
    };
    this.#thread.onCondition = ({ state, problem }) => {
      if (problem !== null) options.onProblem(problem);
      if (state === 'FAILED') for (const sink of this.#sinks.values()) sink.abandon();
    };
    const limited = retentionMs !== null || retentionBytes !== null;
    this.#retaining = setInterval(
      () => limited && void this.retain().catch(() => undefined),
      options.retainEveryMs,
    ).unref();
  }

  /** Resolves once it is known whether the file can be used; never rejects. */
  get opened(): Promise<void> {
    return this.#thread.opened;
  }

  async record(session: SessionRecord): Promise<SessionSink> {
    await this.#ready();
    const { number } = await this.#thread.ask('begin', { session });
    const sink = new DuckSink(number, this.#thread);
    this.#sinks.set(number, sink);
    this.#numbers.set(session.id, number);
    return sink;
  }

  async sessions(): Promise<readonly StoredRecord[]> {
    await this.#ready();
    return this.#records('true', []);
  }

  async session(id: string): Promise<StoredRecord | null> {
    await this.#ready();
    return (await this.#records('id = ?', [id]))[0] ?? null;
  }

  async page({ session, fromSeq, toSeq, limit, backwards, ...query }: PageQuery): Promise<StoredPage> {
    await this.#ready();
    const number = await this.#number(session);
    // A resume is a few of these, and each question waits its turn behind what is being written: what can be asked at once is.
    const [{ first, end: behind }, sources] = await Promise.all([this.#extent(number), this.#sources(query, [number])]);
    const end = Math.min(behind, toSeq ?? Number.POSITIVE_INFINITY);
    const start = Math.max(first, fromSeq);
    const told = this.#gaps(`_session = ${number} AND _seq >= ${Math.min(start, fromSeq)} AND _seq <= ${end}`);
    told.catch(() => undefined); // it is awaited below, unless another question fails first
    const found: ReadEvent[] = [];
    let [low, high] = [start, end];
    for (
      let part = Math.max(FIRST_PART, limit + 1);
      low < high && found.length <= limit;
      part = Math.min(LARGEST_PART, part * 4)
    ) {
      const [from, to] = backwards ? [Math.max(low, high - part), high] : [low, Math.min(high, low + part)];
      const events = await this.#events(
        sources,
        `e._session = ${number} AND p._session = ${number} AND e._seq >= ${from} AND e._seq < ${to}`,
        query,
        `e._seq ${backwards ? 'DESC' : 'ASC'}`,
        limit + 1 - found.length,
      );
      events.sort((a, b) => (backwards ? b.seq - a.seq : a.seq - b.seq));
      found.push(...events.slice(0, limit + 1 - found.length));
      if (backwards) high = from;
      else low = to;
    }
    const more = found.length > limit;
    const events = found.slice(0, limit);
    if (backwards) events.reverse();
    const last = events.at(-1);
    // What is missing stands before the event of its place, and after the last one.
    const until = more && !backwards ? (last?.seq ?? end) : end;
    const since = backwards && more ? (events[0]?.seq ?? start) : Math.min(start, fromSeq);
    const gaps = (await told).filter(({ seq }) => seq >= since && seq <= until);
    return {
      events: events.map((event) => stored(event, session)),
      hasNext: backwards ? end < (toSeq ?? end) : more,
      hasPrevious: backwards ? more : start > first,
      gaps,
    };
  }

  async *read({ session, ...query }: WholeQuery): AsyncIterable<Pick<StoredPage, 'events' | 'gaps'>> {
    await this.#ready();
    const number = await this.#number(session);
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
    await this.#ready();
    const known = await this.#knownContainers(await this.#scope(query));
    return [...new Map(known.map(({ facts }) => [facts.id, facts])).values()];
  }

  async history(query: EventQuery, after: HistoryPlace | null, limit: number): Promise<StoredPage> {
    await this.#ready();
    const numbers = await this.#scope(query);
    const sources = await this.#sources(query, numbers);
    const ids = await this.#ids();
    const found: ReadEvent[] = [];
    let place = after && { time: after.time, session: await this.#number(after.session), seq: after.seq };
    for (let full = true; full && found.length <= limit;) {
      const behind = place
        ? ` AND e.time >= ${place.time} AND (e.time > ${place.time} OR e._session > ${place.session} OR (e._session = ${place.session} AND e._seq > ${place.seq}))`
        : '';
      const want = limit + 1 - found.length;
      const rows = await this.#rows(
        sources,
        `${scopeOf(numbers)}${behind}`,
        'e.time, e._session, e._seq',
        Math.max(want, sources.some(({ condition }) => !condition.exact) ? SCAN_ROWS : 0),
      );
      rows.sort(byTime);
      // Each table gave so many at most: beyond the shortest end of those that gave all, some may be missing.
      const bound = Math.max(want, sources.some(({ condition }) => !condition.exact) ? SCAN_ROWS : 0);
      const part = rows.slice(0, bound);
      full = rows.length >= bound;
      const end = part.at(-1);
      if (end) place = { time: end.time, session: end.session, seq: end.seq };
      found.push(...part.filter(({ event }) => query.filter?.matches(event) ?? true).slice(0, want));
    }
    const events = found.slice(0, limit);
    const [first, last] = [events[0], events.at(-1)];
    const gaps =
      first && last
        ? await this.#gaps(
            `${scopeOf(numbers).replaceAll('e.', '')} AND to_time >= ${first.time} AND from_time <= ${last.time}`,
          )
        : [];
    return {
      events: events.map((event) => stored(event, ids.get(event.session) ?? '')),
      hasNext: found.length > limit,
      hasPrevious: after !== null,
      gaps,
    };
  }

  /** Session by session, each in its order. */
  async *scan(query: EventQuery): AsyncIterable<readonly TraceEvent[]> {
    await this.#ready();
    for (const number of (await this.#scope(query)) ?? [...(await this.#ids()).keys()]) {
      for await (const { events } of this.#whole(number, query, SCAN_ROWS))
        if (events.length) yield events.map(({ event }) => event);
    }
  }

  async aggregate(query: EventQuery, shape: AggregateShape): Promise<readonly StoredRow[] | null> {
    await this.#ready();
    const numbers = await this.#scope(query);
    const sources = await this.#unsummed(await this.#sources(query, numbers), scopeOf(numbers));
    if (!sources) return null;
    if (!sources.length) return [];
    const translation = translate(shape, sources, { sql: scopeOf(numbers), values: [] });
    if (!translation) return null;
    return translation.read(await this.#query(translation.sql, translation.values));
  }

  /** Without the tables of trackers that sum in the kernel, where none of their events is asked for; null when some are: they stand for many each. */
  async #unsummed(sources: readonly Source[], where: string): Promise<readonly Source[] | null> {
    const plain: Source[] = [];
    for (const source of sources) {
      const { table, condition } = source;
      if (!this.#options.catalog.get(table.tracker)?.sums) plain.push(source);
      else if (
        (
          await this.#query(
            `SELECT 1 FROM "${table.name}" e JOIN processes p ON p.id = e.process WHERE ${where} AND ${condition.sql} LIMIT 1`,
            condition.values,
          )
        ).length
      )
        return null;
    }
    return plain;
  }

  async remove(session: string): Promise<void> {
    await this.#ready();
    await this.#thread.ask('remove', { session });
    this.#numbers.delete(session);
  }

  async retain(): Promise<void> {
    await this.#thread.ask('retain', {});
  }

  async load(): Promise<StoreLoad> {
    const up = this.#thread.condition.state === 'READY';
    // Behind a long query nobody waits for the size of the file.
    const bytes = up
      ? await Promise.race([
          this.#thread.ask('status', {}).then(
            ({ bytes: size }) => size,
            () => null,
          ),
          sleep(LOAD_MS, null, { ref: false }),
        ])
      : null;
    return { up, bytes, spool: null, points: null, lagMs: 0 };
  }

  async status(): Promise<StoreStatus> {
    await this.#thread.opened;
    const { directory, retentionMs, retentionBytes } = this.#options;
    const { state, problem } = this.#thread.condition;
    const fixed = {
      kind: this.kind,
      state,
      problem,
      location: join(directory, FILE),
      retentionMs,
      retentionBytes,
    } as const;
    try {
      const { bytes } = await this.#thread.ask('status', {});
      const all = this.#tables
        .map(({ name }) => `SELECT min(time) AS a, max(time) AS b FROM "${name}"`)
        .join(' UNION ALL ');
      const [[count] = [], [oldest, newest] = []] = await Promise.all([
        this.#query('SELECT count(*) FROM sessions'),
        this.#query(`SELECT min(a), max(b) FROM (${all})`),
      ]).then(([a, b]) => [a[0], b[0]]);
      return { ...fixed, bytes, sessions: Number(count ?? 0), oldest: timeOf(oldest), newest: timeOf(newest) };
    } catch {
      return { ...fixed, bytes: null, sessions: 0, oldest: null, newest: null };
    }
  }

  close(): Promise<void> {
    clearInterval(this.#retaining);
    return (this.#closed ??= this.#thread.close());
  }

  async #ready(): Promise<void> {
    await this.#thread.opened;
    const { state, problem } = this.#thread.condition;
    if (this.#closed || state !== 'READY')
      throw new EunomiaError('STORE_UNAVAILABLE', `the store is not available: ${problem ?? 'it is closed'}`);
  }

  async #query(sql: string, values: readonly Bound[] = []): Promise<readonly Row[]> {
    return (await this.#thread.ask('query', { sql, values })).rows;
  }

  async #records(where: string, values: readonly Bound[]): Promise<StoredRecord[]> {
    const rows = await this.#query(
      `SELECT number, facts, ended, missing, next_seq FROM sessions WHERE ${where} ORDER BY number`,
      values,
    );
    if (!rows.length) return [];
    const parts = this.#tables.map(
      ({ name }) =>
        `SELECT _session, count(*) AS n, min(time) AS a, max(time) AS b, max(_seq) AS s FROM "${name}" ${rows.length === 1 ? `WHERE _session = ${Number(rows[0]?.[0])}` : ''} GROUP BY _session`,
    );
    const told = new Map(
      (await this.#query('SELECT _session, sum(dropped)::BIGINT FROM gaps GROUP BY _session')).map(
        ([number, dropped]) => [Number(number), Number(dropped)],
      ),
    );
    const counts = new Map(
      (
        await this.#query(
          `SELECT _session, sum(n)::BIGINT, min(a), max(b), max(s) FROM (${parts.join(' UNION ALL ')}) GROUP BY _session`,
        )
      ).map((row) => [Number(row[0]), row]),
    );
    return rows.map(([number, facts, ended, missing, nextSeq]) => {
      const session = JSON.parse(String(facts)) as Omit<SessionRecord, 'options'> & Partial<SessionRecord>;
      const end =
        ended === null ? null : (JSON.parse(String(ended)) as Omit<SessionEnd, 'startedAt'> & Partial<SessionEnd>);
      const [, events, oldest, newest, seq] = counts.get(Number(number)) ?? [];
      this.#numbers.set(session.id, Number(number));
      const next = Math.max(Number(nextSeq), seq == null ? 0 : Number(seq) + 1);
      const absent = Math.max(Number(missing), next - Number(events ?? 0));
      return {
        ...session,
        options: session.options ?? {},
        startedAt: end?.startedAt ?? session.startedAt,
        state: end?.state ?? 'RUNNING',
        stoppedAt: end?.stoppedAt ?? null,
        stopReason: end?.stopReason ?? null,
        error: end?.error ?? null,
        lost: end?.lost ?? 0,
        received: end === null || end.stopReason === 'INTERRUPTED' ? null : end.received,
        discarded: end?.discarded ?? 0,
        receivedBytes: end?.receivedBytes ?? 0,
        events: Number(events ?? 0),
        missing: absent,
        removed: Math.max(0, absent - (told.get(Number(number)) ?? 0)),
        nextSeq: next,
        oldest: timeOf(oldest),
        newest: timeOf(newest),
      };
    });
  }

  /** Place of the first event that is stored of a session, and behind its last. */
  async #extent(number: number): Promise<{ readonly first: number; readonly end: number }> {
    const places = this.#tables.map(
      ({ name }) => `SELECT min(_seq) AS a, max(_seq) AS b FROM "${name}" WHERE _session = ${number}`,
    );
    const [[first, last] = []] = await this.#query(`SELECT min(a), max(b) FROM (${places.join(' UNION ALL ')})`);
    return { first: Number(first ?? 0), end: last == null ? 0 : Number(last) + 1 };
  }

  async #ids(): Promise<Map<number, string>> {
    return new Map(
      (await this.#query('SELECT number, id FROM sessions')).map(([number, id]) => [Number(number), String(id)]),
    );
  }

  async #number(id: string): Promise<number> {
    const known = this.#numbers.get(id);
    if (known !== undefined) return known;
    const [row] = await this.#query('SELECT number FROM sessions WHERE id = ?', [id]);
    if (!row)
      throw new EunomiaError(
        'UNKNOWN_SESSION',
        `the store has no session "${id.slice(0, 64)}"; \`sessions\` lists those there are`,
      );
    this.#numbers.set(id, Number(row[0]));
    return Number(row[0]);
  }

  /** Numbers of the sessions that a query is for; null for all. */
  async #scope({ sessions }: EventQuery): Promise<readonly number[] | null> {
    return sessions === null ? null : Promise.all(sessions.map((id) => this.#number(id)));
  }

  async #sources(query: EventQuery, numbers: readonly number[] | null): Promise<Source[]> {
    const containers = await this.#knownContainers(numbers);
    return needTables(query.trackers, this.#tables).flatMap((table) => {
      const condition = conditionOf(query, table, this.#options.fields, containers);
      return condition ? [{ table, condition }] : [];
    });
  }

  /** What was said of containers last. A text that did not change keeps its object. */
  async #knownContainers(numbers: readonly number[] | null): Promise<KnownContainer[]> {
    const rows = await this.#query(
      `SELECT id, facts FROM containers${numbers ? ` WHERE _session IN (${numbers.join(', ') || 'NULL'})` : ''}`,
    );
    const before = this.#containers;
    const now = numbers ? new Map(before) : new Map<number, { readonly text: string; readonly facts: Container }>();
    const known = rows.map(([id, text]) => {
      const old = before.get(Number(id));
      const entry =
        old?.text === text && old ? old : { text: String(text), facts: JSON.parse(String(text)) as Container };
      now.set(Number(id), entry);
      return { id: Number(id), facts: entry.facts };
    });
    this.#containers = now;
    return known;
  }

  /** A session's events that are in the answer, in their order, and how far that is: so many places at a time, and more where few match. */
  async *#whole(
    number: number,
    query: Omit<EventQuery, 'sessions'>,
    some: number,
  ): AsyncGenerator<{ readonly events: readonly ReadEvent[]; readonly behind: number }> {
    const { first, end } = await this.#extent(number);
    const sources = await this.#sources({ ...query, sessions: null }, [number]);
    for (let low = first, places = some; low < end;) {
      const high = Math.min(end, low + places);
      const events = await this.#events(
        sources,
        `e._session = ${number} AND p._session = ${number} AND e._seq >= ${low} AND e._seq < ${high}`,
        query,
        null,
        null,
      );
      yield { events: events.sort((a, b) => a.seq - b.seq), behind: high };
      low = high;
      places = events.length > some / 4 ? some : Math.min(Math.max(some, MOST_PLACES), places * 2);
    }
  }

  /** Events that are in the answer: what SQL left is judged here. */
  async #events(
    sources: readonly Source[],
    where: string,
    { filter }: Pick<EventQuery, 'filter'>,
    order: string | null,
    limit: number | null,
  ): Promise<ReadEvent[]> {
    const exact = sources.every(({ condition }) => condition.exact);
    const events = await this.#rows(sources, where, order, exact ? limit : null);
    return exact || !filter ? events : events.filter(({ event }) => filter.matches(event));
  }

  /** Of each table the first `limit` in this order. */
  async #rows(
    sources: readonly Source[],
    where: string,
    order: string | null,
    limit: number | null,
  ): Promise<ReadEvent[]> {
    const containerOf = (id: number): object | null => this.#containers.get(id)?.facts ?? null;
    const lists = await Promise.all(
      sources.map(async ({ table, condition }) => {
        const sql = `SELECT ${eventColumns(table)} FROM "${table.name}" e JOIN processes p ON p.id = e.process WHERE ${where} AND ${condition.sql}${order ? ` ORDER BY ${order}` : ''}${limit === null ? '' : ` LIMIT ${limit}`}`;
        return (await this.#query(sql, condition.values)).map((row) => eventOf(row, table, containerOf));
      }),
    );
    return lists.flat();
  }

  async #gaps(where: string): Promise<StoredGap[]> {
    const rows = await this.#query(
      `SELECT from_time, to_time, lost, dropped, place, _seq FROM gaps WHERE ${where} ORDER BY _session, _seq`,
    );
    return rows.map(([from, to, lost, dropped, place, seq]) => ({
      seq: Number(seq),
      from: textOfNanos(BigInt(from ?? 0)),
      to: textOfNanos(BigInt(to ?? 0)),
      lost: Number(lost),
      dropped: Number(dropped),
      where: place === 'STORE' ? 'STORE' : 'KERNEL',
    }));
  }
}

interface Source {
  readonly table: EventTable;
  readonly condition: Condition;
}

function scopeOf(numbers: readonly number[] | null): string {
  return numbers ? `e._session IN (${numbers.join(', ') || 'NULL'})` : 'true';
}

function stored({ event, seq, time }: ReadEvent, session: string): StoredEvent {
  return { event, place: { session, seq, time } };
}

function byTime(a: ReadEvent, b: ReadEvent): number {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.session - b.session || a.seq - b.seq;
}

function timeOf(nanos: unknown): string | null {
  return nanos === null || nanos === undefined ? null : textOfNanos(BigInt(nanos as bigint));
}
