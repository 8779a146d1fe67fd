import type { Caller } from '../access/caller.js';
import type { AggregateInput } from '../analysis/aggregate/index.js';
import { EunomiaError, invalid } from '../base/errors.js';
import { nowText } from '../event/clock.js';
import { isUncounted, Missing, touches } from '../event/missing.js';
import {
  createEncoder,
  packetTracker,
  pcapng,
  sessionsSheet,
  type Encoder,
  type ExportFormat,
  type SessionEvent,
  type SheetFormat,
} from '../formats/index.js';
import { compileSelector } from '../inventory/selector.js';
import { nanosOf } from '../record/nanos.js';
import { changesOf } from '../session/asked.js';
import { chronicle } from '../storage/chronicle.js';
import { edgesOf } from '../storage/parts.js';
import type { StoredEvent, StoredRecord } from '../storage/store.js';
import { checkFields, encoded, fileFacts, sheetOf, type Download, type EncodedPart } from './encoded.js';
import type { Histories, History, HistoryRequest, RecordedRange } from './history.js';
import type { Parts } from './parts.js';
import { extentOf, spanOf, type TimeSpan } from './range.js';

/** What happened in a range of time as a file: events of all sessions of a store, or an aggregate of them. */
export interface RangeRequest {
  readonly format: ExportFormat;
  readonly range: HistoryRequest;
  /** In CEL; all events when null. */
  readonly where: string | null;
  readonly content:
    /** `fields`: paths; all when null. */
    | { readonly kind: 'EVENTS'; readonly fields: readonly string[] | null }
    | { readonly kind: 'AGGREGATE'; readonly input: AggregateInput };
}

/** The number in the first line. Another one is another format. */
const HISTORY = 1;
/** The column that each row has anyway. */
const SESSION = 'session';

type Row = EncodedPart<SessionEvent>;

/** Ranges of time as files. */
export class RangeExports {
  readonly #parts: Parts;
  readonly #histories: Histories;

  constructor(parts: Parts, histories: Histories) {
    this.#parts = parts;
    this.#histories = histories;
  }

  /** Checks the request and begins the file. Rejects as `Histories.open` and `History.report` do, and with UNKNOWN_TRACKER. */
  async open(caller: Caller, { format, range: asked, where, content }: RangeRequest): Promise<Download> {
    // What happens from now on is not in it.
    const range = { ...asked, to: asked.to ?? nowText() };
    if (range.containers) compileSelector(range.containers);
    const isPackets = format === 'pcapng';
    if (isPackets) checkPackets(range, content);
    const history = this.#histories.open(caller, {
      ...range,
      trackers: isPackets ? [packetTracker] : (range.trackers ?? null),
      where: where === null ? null : { expr: where },
    });
    const recorded = await history.recorded();
    return content.kind === 'EVENTS'
      ? this.#events(caller, format, { range, where, fields: content.fields, recorded })
      : this.#aggregate(caller, format as SheetFormat, { range, where, input: content.input, recorded, history });
  }

  #events(
    { signal }: Caller,
    format: ExportFormat,
    {
      range,
      where,
      fields,
      recorded,
    }: Pick<RangeRequest, 'range' | 'where'> & {
      readonly fields: readonly string[] | null;
      readonly recorded: RecordedRange;
    },
  ): Download {
    const trackers = this.#trackersOf(recorded, range);
    const own = fields?.filter((field) => field !== SESSION) ?? null;
    if (own) checkFields(own, trackers.length ? trackers : recorded.query.trackers, this.#parts);
    const facts = { ...this.#facts(recorded, trackers, range), fields, where, aggregate: false };
    const encoder =
      format === 'pcapng'
        ? this.#packets()
        : createEncoder(format, sessionsSheet(this.#parts.schema, trackers, own), facts);
    return this.#download(
      encoder,
      format,
      'events',
      encoded(encoder, rows(recorded, trackers), () => undefined, signal),
    );
  }

  #aggregate(
    { signal }: Caller,
    format: SheetFormat,
    {
      range,
      where,
      input,
      recorded,
      history,
    }: Pick<RangeRequest, 'range' | 'where'> & {
      readonly input: AggregateInput;
      readonly recorded: RecordedRange;
      readonly history: History;
    },
  ): Download {
    const trackers = this.#trackersOf(recorded, range);
    const spec = history.aggregation(input);
    const fields = spec.groupBy.map(({ path }) => path);
    const facts = { ...this.#facts(recorded, trackers, range), fields, where, aggregate: true };
    const encoder = createEncoder(format, sheetOf(spec), facts);
    const missing = new Missing();
    const made = async function* () {
      yield { items: await history.aggregate(input), gap: null };
      missing.join(await missingIn(recorded));
    };
    return this.#download(
      encoder,
      format,
      'aggregate',
      encoded(encoder, made(), () => undefined, signal, missing),
    );
  }

  #download(
    { contentType }: Pick<Encoder<never>, 'contentType'>,
    format: ExportFormat,
    what: string,
    body: Download['body'],
  ): Download {
    const filename = `eunomia-history-${what}.${format}`;
    return { contentType, filename, compressible: format !== 'parquet', live: false, body };
  }

  #packets(): Encoder<SessionEvent> {
    const { server } = this.#parts;
    const { items, ...encoder } = pcapng({ version: server.version, kernel: server.kernel.release });
    return {
      ...encoder,
      items: (packets, gap) =>
        items(
          packets.map(({ event }) => event),
          gap,
        ),
    };
  }

  /** Those whose columns there are: as asked, or those of the sessions. Throws UNKNOWN_TRACKER for one of which nothing can be read. */
  #trackersOf({ records, query }: RecordedRange, { trackers }: HistoryRequest): readonly string[] {
    if (trackers != null) return query.trackers;
    const { catalog } = this.#parts;
    for (const { id, trackers: ran } of records) {
      const unknown = ran.find((name) => !catalog.get(name));
      if (unknown === undefined) continue;
      throw new EunomiaError(
        'UNKNOWN_TRACKER',
        `the session "${id}" was recorded with the tracker ${unknown}, which this version does not have, so that its events cannot be ` +
          'read; name the `trackers` whose events you want',
        { details: { session: id, tracker: unknown } },
      );
    }
    const ran = new Set(records.flatMap((record) => record.trackers));
    return query.trackers.filter((name) => ran.has(name));
  }

  #facts(
    { records, query }: RecordedRange,
    trackers: readonly string[],
    { sessions, containers, store }: HistoryRequest,
  ): Record<string, unknown> {
    return {
      history: HISTORY,
      ...fileFacts(trackers, this.#parts),
      range: {
        ...spanOf(query),
        store: store ?? 'EMBEDDED',
        sessions: sessions ?? null,
        containers: containers ?? null,
      },
      sessions: records.map(sessionFacts),
    };
  }
}

function checkPackets({ trackers }: HistoryRequest, content: RangeRequest['content']): void {
  if (trackers != null && (trackers.length !== 1 || trackers[0] !== packetTracker))
    throw invalid('trackers', `pcapng has packets, which are events of the tracker ${packetTracker}; leave it out`);
  if (content.kind === 'AGGREGATE')
    throw invalid('format', 'pcapng has packets and no aggregates; ask for ndjson, csv or parquet');
  if (content.fields) throw invalid('fields', 'is not for pcapng, whose packets are always whole; leave it out');
}

function sessionFacts(record: StoredRecord): object {
  const { id, name, labels, trackers, options, capture, state, createdAt, startedAt, stoppedAt, stopReason } = record;
  const known = { id, name, labels, trackers, options, capture, state, createdAt, startedAt, stoppedAt, stopReason };
  return { ...known, spec: record.asked, events: String(record.events) };
}

/** What stands among the events: a gap or a change, at its time. */
interface Mark {
  readonly at: string;
  readonly gap: Row['gap'];
  readonly change?: Row['change'];
  /** Nobody counted what is missing there; of a store that tells of that itself, it is one too many. */
  readonly unlessTold?: true;
}

/** All rows of the range, in the order of their times. A gap stands before the events of the time of its end. */
async function* rows({ store, records, query }: RecordedRange, trackers: readonly string[]): AsyncGenerator<Row> {
  const span = spanOf(query);
  const known = records.flatMap((record) => marksOf(record, span)).sort(byTime);
  const uncounted = new Set<string>();
  const told = function* (marks: readonly Mark[]): Generator<Row> {
    for (const { gap, change, unlessTold } of marks) {
      if (unlessTold && uncounted.has(gap?.session ?? '')) continue;
      if (gap?.session !== undefined && isUncounted(gap)) uncounted.add(gap.session);
      yield { items: [], gap, ...(change ? { change } : {}) };
    }
  };
  await query.filter?.ready?.();
  const sessions = records.map(({ id }) => id);
  const parts = chronicle(
    store,
    { ...query, trackers, sessions, turn: 'FILE' },
    rangeOf(span),
    extentOf(records, query),
  );
  for await (const { events, gaps } of parts) {
    const marks = gaps.flatMap((gap) => (touches(gap, span.from, span.to) ? [markOf(gap)] : []));
    const end = [events.at(-1)?.event.time ?? '', marks.at(-1)?.at ?? ''].sort().at(-1) ?? '';
    const due = known.findIndex(({ at }) => at > end);
    marks.push(...known.splice(0, due < 0 ? known.length : due));
    let from = 0;
    for (const mark of marks.sort(byTime)) {
      let to = from;
      while ((events[to]?.event.time ?? mark.at) < mark.at) to++;
      if (to > from) yield rowOf(events.slice(from, to));
      yield* told([mark]);
      from = to;
    }
    if (from < events.length) yield rowOf(events.slice(from));
  }
  yield* told(known);
}

function rowOf(events: readonly StoredEvent[]): Row {
  return { items: events.map(({ event, place }) => ({ event, session: place.session })), gap: null };
}

/** What of a session no store has a gap for, and its changes. */
function marksOf(record: StoredRecord, { from, to }: TimeSpan): Mark[] {
  const { id: session, asked, stopReason } = record;
  const { before, after } = edgesOf(record);
  const edges = [
    ...(before ? [markOf({ ...before, session })] : []),
    ...(after
      ? [{ ...markOf({ ...after, session }), ...(stopReason === 'ERROR' ? {} : { unlessTold: true as const }) }]
      : []),
  ].filter(({ gap }) => gap && touches(gap, from, to));
  const changes = changesOf(asked)
    .filter(({ at }) => (from === null || at >= from) && at < to)
    .map((change) => ({ at: change.at, gap: null, change: { ...change, session } }));
  return [...edges, ...changes];
}

function markOf(gap: NonNullable<Row['gap']>): Mark {
  return { at: gap.to, gap };
}

function byTime(a: Mark, b: Mark): number {
  return a.at === b.at ? 0 : a.at < b.at ? -1 : 1;
}

/** All that is missing in the range. */
async function missingIn({ store, records, query }: RecordedRange): Promise<Missing> {
  const span = spanOf(query);
  const sessions = records.map(({ id }) => id);
  const { from, to } = rangeOf(span);
  const missing = new Missing();
  const gaps = await store.gaps({ sessions, from, to: null, beginBefore: to });
  for (const gap of gaps) if (touches(gap, span.from, span.to)) missing.add(gap);
  for (const { gap } of records.flatMap((record) => marksOf(record, span))) if (gap) missing.add(gap);
  return missing;
}

function rangeOf({ from, to }: TimeSpan): { readonly from: bigint; readonly to: bigint } {
  return { from: from === null ? 0n : nanosOf(from), to: nanosOf(to) };
}
