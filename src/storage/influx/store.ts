import { EunomiaError, invalid } from '../../base/errors.js';
import type { GapWhere, TraceEvent } from '../../event/event.js';
import { compileFilter, type Filter, type FilterFields } from '../../filter/index.js';
import { and, compare, or } from '../../filter/ast.js';
import type { Catalog, CatalogTracker } from '../../catalog/catalog.js';
import type {
  AggregateShape,
  EventQuery,
  HistoryPlace,
  PageQuery,
  SessionRecord,
  SessionSink,
  Store,
  StoredContainer,
  StoredEvent,
  StoredGap,
  StoredPage,
  StoredRecord,
  StoredRow as AggregateRow,
  StoreLoad,
  StoreStatus,
  WholeQuery,
} from '../store.js';
import type { InfluxClient, StoredRow } from './client.js';
import { rowsOf } from './combine.js';
import { OWN_TAGS, GAPS, measurementOf, SEQ, SESSIONS } from './column.js';
import { failureOf } from './failure.js';
import { checkRange, planAggregate, type EventPlan, type Range, type Source } from './plan.js';
import { nanosecondsOf, PointWriter } from './point.js';
import { Rebuilder } from './rebuild.js';
import { RollupWriter, type MakeGroups } from './rollup.js';
import type { Sender } from './sender.js';
import { isTime } from '../facts.js';
import { recordOf } from './session.js';
import { InfluxSink } from './sink.js';

export interface InfluxStoreOptions {
  readonly client: InfluxClient;
  readonly sender: Sender;
  /** The server's name: a tag of all points. */
  readonly host: string;
  /** Without secrets. */
  readonly location: string;
  readonly retentionMs: number;
  readonly catalog: Catalog;
  readonly fields: FilterFields;
  readonly makeGroups: MakeGroups;
}

const NS = 1_000_000n;
const MAX_SESSIONS = 10_000;
const MAX_GAPS = 1000;
/** Points asked for at once where the filter is judged here. */
const CHUNK = 5000;
const MAX_ROUNDS = 40;
/** Events of one `scan`. */
const MAX_SCANNED = 2_000_000;
/** Arguments that an aggregate's refusal is about where events could be looked at one by one. */
const CANNOT = /^(groupBy|measures|where|window\.slide)/;

/** History in an InfluxDB: sessions, their events or rollups, and gaps, as points. Queries go to the database; writes never wait for it. */
export class InfluxStore implements Store {
  readonly kind = 'INFLUX';
  readonly #options: InfluxStoreOptions;
  readonly #live = new Map<string, { readonly record: SessionRecord; readonly sink: InfluxSink }>();

  constructor(options: InfluxStoreOptions) {
    this.#options = options;
    options.sender.start();
  }

  async record(record: SessionRecord): Promise<SessionSink> {
    const { host, sender, makeGroups } = this.#options;
    const trackers = this.#trackers(record.trackers);
    const writer =
      record.mode === 'EVENTS'
        ? new PointWriter({ host, session: record.id, trackers })
        : new RollupWriter({ host, session: record.id, trackers, make: makeGroups });
    const sink = new InfluxSink({ record, host, sender, writer, onFinish: () => this.#live.delete(record.id) });
    this.#live.set(record.id, { record, sink });
    await sender.push([sink.sessionLine(null)]);
    return sink;
  }

  async sessions(): Promise<readonly StoredRecord[]> {
    const rows = await this.#read(
      this.#options.client.records(SESSIONS, { ...this.#allTime(), sessions: null }, MAX_SESSIONS),
    );
    const known = new Map(
      rows
        .filter(isOfSession)
        .map((row) => recordOf(row, this.#options.host))
        .map((record) => [record.id, record]),
    );
    for (const [id, { record, sink }] of this.#live) known.set(id, liveRecord(record, sink));
    return [...known.values()];
  }

  async session(id: string): Promise<StoredRecord | null> {
    const live = this.#live.get(id);
    if (live) return liveRecord(live.record, live.sink);
    const [row] = await this.#read(this.#options.client.records(SESSIONS, { ...this.#allTime(), sessions: [id] }, 1));
    const record = row && isOfSession(row) ? recordOf(row, this.#options.host) : null;
    return record && record.stopReason === 'INTERRUPTED' ? { ...record, ...(await this.#extent(record)) } : record;
  }

  async page(query: PageQuery): Promise<StoredPage> {
    const { session, fromSeq, limit, backwards } = query;
    const record = await this.session(session);
    if (!record) return { events: [], hasNext: false, hasPrevious: false, gaps: [] };
    if (record.mode === 'ROLLUP')
      throw invalid('session', `"${session}" is stored as rollups, which have no single events; ask for \`aggregate\``);
    const range = this.#range(lifeOf({ ...query, sessions: [session] }, [record]));
    const end = Math.min(query.toSeq ?? record.nextSeq, record.nextSeq);
    const found: StoredEvent[] = [];
    // Places are dense: a span of them has at most as many events. A filter may leave few, so that the span grows.
    let span = limit + 1;
    let low = backwards ? end : fromSeq;
    let high = low;
    for (
      let round = 0;
      found.length <= limit && round < MAX_ROUNDS && (backwards ? low > fromSeq : high < end);
      round++
    ) {
      const places = backwards
        ? { from: Math.max(fromSeq, low - span), to: low }
        : { from: high, to: Math.min(end, high + span) };
      const events = (await this.#events(range, places, span + 1)).sort((a, b) => a.place.seq - b.place.seq);
      if (backwards) found.unshift(...events);
      else found.push(...events);
      low = places.from;
      high = places.to;
      span = Math.min(span * 2, CHUNK * 20);
    }
    const events = backwards ? found.slice(-limit) : found.slice(0, limit);
    const more = found.length > limit;
    // What is missing stands before the event of its place, and after the last one.
    const since = backwards && more ? (events[0]?.place.seq ?? fromSeq) : fromSeq;
    const until = more && !backwards ? (events.at(-1)?.place.seq ?? end) : end;
    const gaps = (await this.#gaps(range)).filter(({ seq }) => seq >= since && seq <= until);
    return {
      events,
      hasNext: backwards ? end < record.nextSeq : found.length > limit || high < end,
      hasPrevious: backwards ? found.length > limit || low > fromSeq : fromSeq > 0,
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
          'too few of the stored events match, so that the answer would need too many of them; take a shorter range',
        );
      fromSeq = last + 1;
    }
  }

  async containers(query: EventQuery): Promise<readonly StoredContainer[]> {
    const known = new Map<string, StoredContainer>();
    for await (const events of this.scan(query)) {
      for (const { container } of events)
        if (container) known.set((container as StoredContainer).id, container as StoredContainer);
    }
    return [...known.values()];
  }

  async history(query: EventQuery, after: HistoryPlace | null, limit: number): Promise<StoredPage> {
    const asked = this.#range(query);
    let range: Range = after && after.time > asked.from ? { ...asked, from: after.time } : asked;
    checkRange(range);
    const events: StoredEvent[] = [];
    for (let round = 0; ; round++) {
      const chunk = Math.max(limit + 1, round > 0 ? CHUNK : 0);
      const parts = await Promise.all(
        range.trackers.map((tracker) => this.#chunk({ ...range, tracker, places: null, limit: chunk })),
      );
      // A part that is full goes on behind its last time: up to the first of these, all is there.
      const horizon = parts
        .flatMap(({ full }) => (full === null ? [] : [full]))
        .reduce<bigint | null>((least, time) => (least === null || time < least ? time : least), null);
      const whole = parts
        .flatMap((part) => part.events)
        .filter(({ place }) => horizon === null || place.time < horizon);
      events.push(
        ...whole.sort((a, b) => orderOf(a.place, b.place)).filter(({ place }) => !after || orderOf(place, after) > 0),
      );
      if (horizon === null || events.length > limit) break;
      if (round >= MAX_ROUNDS || horizon === range.from)
        throw invalid(
          'where',
          'too few of the stored events match, so that the answer would need too many of them; take a shorter range, or filter by tags too',
        );
      range = { ...range, from: horizon };
    }
    const page = events.slice(0, limit);
    const last = page.at(-1)?.place.time ?? asked.to;
    const gaps = await this.#gaps({ ...asked, from: after?.time ?? asked.from, to: last + 1n });
    return { events: page, hasNext: events.length > limit, hasPrevious: after !== null, gaps };
  }

  async *scan(query: EventQuery): AsyncGenerator<readonly TraceEvent[]> {
    const records = query.sessions === null ? [] : await this.#known(query.sessions);
    const range = this.#range(query.sessions === null ? query : lifeOf(query, records));
    checkRange(range);
    let judged = 0;
    for (const tracker of range.trackers) {
      for (let from: bigint | null = range.from; from !== null;) {
        const { events, full, count } = await this.#chunk({ ...range, from, tracker, places: null, limit: CHUNK });
        judged += count;
        if (judged > MAX_SCANNED)
          throw invalid(
            'from',
            `this has to read more than ${MAX_SCANNED.toLocaleString('en-US')} events from InfluxDB; take a shorter range, or group by tags`,
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

  async aggregate(query: EventQuery, shape: AggregateShape): Promise<readonly AggregateRow[] | null> {
    const { client } = this.#options;
    const records = await this.#known(query.sessions);
    const sources = sourcesOf(records);
    const range = this.#range(query.sessions === null ? query : lifeOf(query, records));
    checkRange(range);
    const answers = [];
    try {
      if (shape.window && shape.window.slideMs !== shape.window.sizeMs)
        throw invalid('window.slide', 'rollups have windows that follow each other; leave it out');
      const question = {
        ...range,
        groupBy: shape.groupBy.map(({ path }) => path),
        measures: shape.measures,
        windowMs: shape.window?.sizeMs ?? null,
      };
      // A session has points of one kind, so that nothing is counted twice.
      const plans = sources.map((source) => planAggregate({ ...question, source }));
      for (const plan of plans) {
        const answer = await this.#read(client.aggregate(plan));
        if (answer.unsaid.length)
          throw invalid(
            'where',
            `rollups have their tags only, and cannot be filtered by ${answer.unsaid.map((path) => `"${path}"`).join(', ')} this way; compare a tag with eq, ne, in, prefix, suffix, contains or a glob of * and ?, or leave it out`,
            { fields: answer.unsaid },
          );
        const groups = new Set(answer.rows.map(({ key }) => JSON.stringify(key))).size;
        if (groups > plan.maxGroups)
          throw new EunomiaError(
            'BAD_USER_INPUT',
            `groupBy: the answer has more than ${plan.maxGroups.toLocaleString('en-US')} groups; group by fewer fields, or take a shorter range`,
          );
        answers.push(...answer.rows);
      }
    } catch (error) {
      // What the database cannot do with events is done here with each of them; rollups have none.
      const canScan =
        error instanceof EunomiaError && CANNOT.test(String(error.details['argument'])) && !sources.includes('ROLLUP');
      if (canScan) return null;
      throw error;
    }
    return rowsOf(answers, shape, Number(range.to - range.from) / 1e9);
  }

  async remove(session: string): Promise<void> {
    this.#live.delete(session);
    await this.#read(this.#options.client.forget(session));
  }

  async load(): Promise<StoreLoad> {
    const { stats, lagMs } = this.#options.sender;
    const { state, written, rejected, dropped, spooled, spoolBytes } = stats;
    return {
      up: state !== 'AWAY' && state !== 'REFUSED',
      bytes: null,
      spool: { points: spooled, bytes: spoolBytes },
      points: { written, rejected, dropped },
      lagMs,
    };
  }

  async status(): Promise<StoreStatus> {
    const { sender, location, retentionMs } = this.#options;
    const { state, problem, spooled, spoolBytes, dropped, rejected } = sender.stats;
    const counts = [
      ...(spooled
        ? [`${spooled.toLocaleString('en-US')} points (${spoolBytes.toLocaleString('en-US')} bytes) wait in the spool`]
        : []),
      ...(dropped ? [`${dropped.toLocaleString('en-US')} points were dropped since the spool was full`] : []),
      ...(rejected ? [`${rejected.toLocaleString('en-US')} points were rejected`] : []),
    ];
    const words = [...(problem === null ? [] : [problem]), ...counts].join('; ');
    const records = state === 'AWAY' || state === 'REFUSED' ? null : await this.sessions().catch(() => null);
    const times = (records ?? []).map(({ createdAt }) => createdAt).sort();
    return {
      kind: 'INFLUX',
      state: state === 'REFUSED' ? 'FAILED' : state === 'AWAY' ? 'PAUSED' : 'READY',
      problem: words || null,
      location,
      bytes: null,
      sessions: records?.length ?? this.#live.size,
      oldest: times[0] ?? null,
      newest: times.at(-1) ?? null,
      retentionMs: retentionMs || null,
      retentionBytes: null,
    };
  }

  async close(): Promise<void> {
    await this.#options.sender.close();
  }

  #trackers(names: readonly string[]): CatalogTracker[] {
    return names.map((name) => this.#options.catalog.need(name, 'trackers'));
  }

  #allTime(): { readonly from: bigint; readonly to: bigint } {
    return { from: 0n, to: BigInt(Date.now()) * NS + 86_400_000n * NS };
  }

  /** Without a beginning: the last 24 hours; of named sessions, all that was kept of them in the last year. */
  #range({ sessions, trackers, from, to, containers, filter }: EventQuery): Range {
    const end = to ?? BigInt(Date.now()) * NS + 60_000n * NS;
    const selected = containers === null ? [] : [or(containers.map(selectorFilter))];
    const whole = [...(filter ? [filter.filter] : []), ...selected];
    const days = sessions ? 365n : 1n;
    return {
      trackers: this.#trackers(trackers),
      from: from ?? end - days * 86_400_000n * NS,
      to: end,
      sessions,
      filter: whole.length ? and(whole) : null,
    };
  }

  async #known(ids: readonly string[] | null): Promise<readonly StoredRecord[]> {
    return (await this.sessions()).filter(({ id }) => ids === null || ids.includes(id));
  }

  /** How far the events of a session go that nobody ended. */
  async #extent({ id, trackers: names }: StoredRecord): Promise<{ readonly events: number; readonly nextSeq: number }> {
    const { from, to } = this.#allTime();
    const trackers = this.#trackers(names);
    const partials = (['count', 'max'] as const).map((fn) => ({ slot: fn, fn, column: SEQ, q: 0 }));
    const measurements = trackers.map(({ name }) => measurementOf(name));
    const { rows } = await this.#read(
      this.#options.client.aggregate({
        trackers,
        from,
        to,
        sessions: [id],
        filter: null,
        source: 'RAW',
        measurements,
        columns: [],
        groups: [],
        partials,
        windowMs: null,
        maxGroups: names.length,
      }),
    );
    const valuesOf = (slot: string): number[] => rows.flatMap((row) => (row.slot === slot ? [row.value] : []));
    return {
      events: valuesOf('count').reduce((sum, count) => sum + count, 0),
      nextSeq: Math.max(-1, ...valuesOf('max')) + 1,
    };
  }

  async #events(range: Range, places: EventPlan['places'], limit: number): Promise<StoredEvent[]> {
    const parts = await Promise.all(range.trackers.map((tracker) => this.#chunk({ ...range, tracker, places, limit })));
    return parts.flatMap(({ events }) => events);
  }

  /** Events of a tracker that match, and the time of the last one that was looked at when there may be more. */
  async #chunk(
    plan: EventPlan,
  ): Promise<{ readonly events: StoredEvent[]; readonly full: bigint | null; readonly count: number }> {
    const { client, fields } = this.#options;
    const { rows } = await this.#read(client.events(plan));
    const rebuilder = new Rebuilder(plan.tracker);
    // Another program may write to these measurements.
    const all = rows.filter(({ time }) => isTime(time)).map((row) => rebuilder.read(row));
    // Judged again: what the dialect could not say, and what the stored text is not quite.
    const matches = plan.filter ? compileFilter(plan.filter, fields, [plan.tracker.name]) : () => true;
    return {
      events: all.filter(({ event }) => matches(event)),
      full: rows.length >= plan.limit ? (all.at(-1)?.place.time ?? null) : null,
      count: rows.length,
    };
  }

  async #gaps({ from, to, sessions }: Range): Promise<StoredGap[]> {
    const rows = await this.#read(this.#options.client.records(GAPS, { from, to, sessions }, MAX_GAPS));
    return rows
      .filter(({ columns }) => isTime(columns['from']) && isTime(columns['to']))
      .map(({ columns }: StoredRow) => ({
        seq: Number(columns['seq'] ?? 0),
        from: String(columns['from']),
        to: String(columns['to']),
        lost: Number(columns['lost'] ?? 0),
        dropped: Number(columns['dropped'] ?? 0),
        where: [columns['where']].find(isGapWhere) ?? 'STORE',
      }));
  }

  async #read<Value>(work: Promise<Value>): Promise<Value> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof EunomiaError) throw error;
      const { message } = failureOf(error);
      throw new EunomiaError(
        'STORE_UNAVAILABLE',
        `InfluxDB at ${this.#options.location} does not answer this: ${message}`,
        { cause: error },
      );
    }
  }
}

function isOfSession({ time, columns }: StoredRow): boolean {
  return isTime(time) && typeof columns[OWN_TAGS.session] === 'string' && columns[OWN_TAGS.session] !== '';
}

function isGapWhere(value: unknown): value is GapWhere {
  return value === 'KERNEL' || value === 'QUEUE' || value === 'STORE';
}

/** Around what its sessions lived, where the query says no times: a rollup begins before its first event, and clocks are set. */
function lifeOf(query: EventQuery, records: readonly StoredRecord[]): EventQuery {
  const ns = (time: string): bigint => BigInt(nanosecondsOf(time));
  const minute = 60_000n * NS;
  const begin = records
    .map(({ createdAt }) => ns(createdAt))
    .reduce<bigint | null>((least, time) => (least === null || time < least ? time : least), null);
  const ends = records.map(({ stoppedAt }) => (stoppedAt === null ? null : ns(stoppedAt)));
  const end = ends.includes(null)
    ? null
    : ends.reduce<bigint | null>((most, time) => (most === null || (time !== null && time > most) ? time : most), null);
  return {
    ...query,
    from: query.from ?? (begin === null ? null : begin - minute),
    to: query.to ?? (end === null ? null : end + minute),
  };
}

function sourcesOf(records: readonly StoredRecord[]): Source[] {
  const modes = new Set(records.map(({ mode }) => mode));
  return [...(modes.has('EVENTS') ? (['RAW'] as const) : []), ...(modes.has('ROLLUP') ? (['ROLLUP'] as const) : [])];
}

function orderOf(a: HistoryPlace, b: HistoryPlace): number {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.session === b.session ? a.seq - b.seq : a.session < b.session ? -1 : 1;
}

function selectorFilter(
  { name, id, image, labels }: NonNullable<EventQuery['containers']>[number],
  index: number,
): Filter {
  if (labels?.length)
    throw invalid(
      `containers[${index}].labels`,
      'labels are not written to InfluxDB; select containers by name, id or image',
    );
  return and([
    ...(name == null ? [] : [compare('container.name', 'string', 'glob', name)]),
    ...(id == null ? [] : [compare('container.id', 'string', 'prefix', id)]),
    ...(image == null
      ? []
      : [or([image, `${image}:*`, `${image}@*`].map((glob) => compare('container.image', 'string', 'glob', glob)))]),
  ]);
}

function liveRecord(record: SessionRecord, sink: InfluxSink): StoredRecord {
  const { written, pending, dropped, nextSeq } = sink.progress;
  return {
    ...record,
    state: 'RUNNING',
    stoppedAt: null,
    stopReason: null,
    error: null,
    lost: 0,
    received: null,
    discarded: 0,
    receivedBytes: 0,
    events: written + pending,
    missing: dropped,
    removed: 0,
    nextSeq,
    oldest: null,
    newest: null,
  };
}
