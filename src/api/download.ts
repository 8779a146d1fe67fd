import { setImmediate as breathe } from 'node:timers/promises';
import type { GraphQLSchema } from 'graphql';
import { addSlices, Aggregator, compileAggregate } from '../consumers/aggregate/index.js';
import { aggregateSheet, createEncoder, eventSheet, formats, rootsOf, type Encoder, type ExportFormat } from '../consumers/export/index.js';
import { EunomiaError, invalid, suggest } from '../errors.js';
import type { Gap, TraceEvent } from '../event.js';
import { filterOf, type EventFilter } from '../filter/index.js';
import { nowText } from '../pipeline/clock.js';
import type { Slice } from '../pipeline/history.js';
import { gapsOf } from '../pipeline/scan.js';
import type { Session } from '../pipeline/session.js';
import type { Services } from './context.js';
import { aggregateOf, isAggregate, measureKind } from './measure.js';

/** The path of downloads: `/export/SESSION.FORMAT`. */
export const DOWNLOADS = '/export/';

export interface Download {
  readonly contentType: string;
  readonly filename: string;
  /** Made piece by piece as they are asked for; `signal` of `openDownload` ends it. */
  readonly body: AsyncGenerator<string | Uint8Array, void>;
}

const PARAMETERS = ['fields', 'where', 'follow', 'groupBy', 'measures', 'window', 'slide', 'limit', 'maxGroups'];
const MAX_FIELDS = 200;
/** Events in one piece, and of the event loop at a time: others are served in between. */
const PART = 512;
const TURN_MS = 10;

/** Checks a request for a download and begins it. Throws UNKNOWN_SESSION or BAD_USER_INPUT. */
export function openDownload(services: Services, schema: GraphQLSchema, path: string, query: URLSearchParams, signal: AbortSignal): Download {
  const { session, format } = targetOf(services, path);
  for (const name of new Set(query.keys())) {
    if (!PARAMETERS.includes(name)) throw invalid(name, `is no parameter of a download${suggest(name, PARAMETERS)}; there are ${PARAMETERS.join(', ')}`);
    if (query.getAll(name).length > 1) throw invalid(name, 'is there more than once; a list is separated by commas');
  }
  const trackers = session.spec.trackers.map(({ name }) => name);
  const where = query.get('where');
  const filter = where === null ? null : filterOf({ expr: where }, services.fields, trackers);
  const job = { services, session, trackers, filter, format, where, query, signal };
  return isAggregate(query) ? openAggregate(job) : openEvents(job, schema);
}

interface Job {
  readonly services: Services;
  readonly session: Session;
  readonly trackers: readonly string[];
  readonly filter: EventFilter | null;
  readonly format: ExportFormat;
  readonly where: string | null;
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
}

function targetOf({ manager }: Services, path: string): { session: Session; format: ExportFormat } {
  const [, id = '', extension = ''] = /^\/export\/([^/]*)\.([^./]*)$/.exec(path) ?? [];
  const format = formats.find((name) => name === extension);
  if (!format) throw invalid('path', `"${path.slice(0, 100)}" is no download; ask for /export/SESSION.ndjson, .csv or .parquet`);
  const session = manager.get(id);
  if (!session) throw new EunomiaError('UNKNOWN_SESSION', `there is no session "${id.slice(0, 64)}": it never was, or it was removed; the query \`sessions\` lists those there are`, { details: { session: id } });
  session.touch();
  return { session, format };
}

function openEvents({ services, session, trackers, filter, format, where, query, signal }: Job, schema: GraphQLSchema): Download {
  for (const name of ['window', 'slide', 'limit', 'maxGroups']) if (query.has(name)) throw invalid(name, 'belongs to an aggregate: give `groupBy` or `measures` with it');
  const follow = query.get('follow') ?? 'false';
  if (follow !== 'true' && follow !== 'false') throw invalid('follow', `is "${follow.slice(0, 20)}"; give true or false`);
  const fields = query.get('fields')?.split(',').map((field) => field.trim()) ?? null;
  if (fields && fields.length > MAX_FIELDS) throw invalid('fields', `has ${fields.length} fields; at most ${MAX_FIELDS} are allowed`);
  fields?.forEach((field, i) => services.catalog.checkField(field, trackers, `fields[${i}]`));
  const sheet = eventSheet(schema, trackers, fields);
  const encoder = createEncoder(format, sheet, { ...factsOf(services, session), fields, where, aggregate: false });
  const roots = rootsOf(sheet.columns);
  const demand = new Map(trackers.map((name) => [name, roots]));
  const parts = follow === 'true' ? live(session, filter, filter?.with(demand) ?? demand, signal) : held(session, filter, signal);
  return { contentType: encoder.contentType, filename: filenameOf(session, 'events', format), body: encoded(encoder, parts, session, signal) };
}

function openAggregate(job: Job): Download {
  const { services, session, trackers, filter, format, where, query, signal } = job;
  for (const name of ['fields', 'follow']) if (query.has(name)) throw invalid(name, 'belongs to an export of events: leave out `groupBy` and `measures`');
  const spec = compileAggregate(aggregateOf(query), services.catalog, trackers);
  const groupBy = spec.groupBy.map(({ path }) => path);
  const sheet = aggregateSheet({ groupBy, measures: spec.measures.map((measure) => ({ name: measure.name, kind: measureKind(measure) })), windows: spec.window !== null });
  const encoder = createEncoder(format, sheet, { ...factsOf(services, session), fields: groupBy, where, aggregate: true });
  const rows = async function* () {
    const aggregator = new Aggregator(spec, { accept: filter?.matches });
    await session.refresh();
    await addSlices(aggregator, session.held());
    yield { items: aggregator.rows(), gap: null };
  };
  return { contentType: encoder.contentType, filename: filenameOf(session, 'aggregate', format), body: encoded(encoder, rows(), session, signal) };
}

interface Part<Item> {
  readonly items: readonly Item[];
  /** What is missing before them. */
  readonly gap: Gap | null;
}

async function* encoded<Item>(encoder: Encoder<Item>, parts: AsyncGenerator<Part<Item>>, session: Session, signal: AbortSignal): AsyncGenerator<string | Uint8Array, void> {
  let items = 0;
  let lost = 0;
  let dropped = 0;
  yield encoder.head();
  for await (const part of parts) {
    items += part.items.length;
    lost += part.gap?.lost ?? 0;
    dropped += part.gap?.dropped ?? 0;
    const piece = encoder.items(part.items, part.gap);
    if (piece.length) yield piece;
    if (signal.aborted) return;
  }
  const end = encoder.end({ items, lost, dropped, complete: lost === 0 && dropped === 0, state: session.state });
  if (end.length) yield end;
}

/** What the session holds now. Its memory stays as long as the slowest reader needs it. */
async function* held(session: Session, filter: EventFilter | null, signal: AbortSignal): AsyncGenerator<Part<TraceEvent>> {
  await session.refresh();
  const { evicted } = await session.stats();
  const slices = session.held();
  const first = slices[0]?.batch;
  if (evicted) yield { items: [], gap: { from: session.startedAt ?? session.createdAt, to: first?.count ? first.event(0).time : nowText(), lost: 0, dropped: evicted, where: 'CLIENT' } };
  let since = performance.now();
  for (const slice of slices) {
    for (const part of partsOf(slice, filter)) {
      yield part;
      if (performance.now() - since < TURN_MS) continue;
      await breathe();
      since = performance.now();
      if (signal.aborted) return;
    }
  }
}

function* partsOf({ batch, from, to }: Slice, filter: EventFilter | null): Generator<Part<TraceEvent>> {
  const [gap = null] = gapsOf([{ batch, from, to }]);
  if (gap && from === to) yield { items: [], gap };
  for (let at = from; at < to; at += PART) {
    const items: TraceEvent[] = [];
    for (let i = at; i < Math.min(to, at + PART); i++) {
      const event = batch.event(i);
      if (!filter || filter.matches(event)) items.push(event);
    }
    yield { items, gap: at === from ? gap : null };
  }
}

/** What it holds, and then what comes, until it ends. A reader that is too slow loses the oldest, and is told. */
async function* live(session: Session, filter: EventFilter | null, demand: ReadonlyMap<string, ReadonlySet<string>>, signal: AbortSignal): AsyncGenerator<Part<TraceEvent>> {
  const stream = session.subscribe({ replay: Number.MAX_SAFE_INTEGER, demand, where: filter });
  const leave = (): void => void stream.return();
  signal.addEventListener('abort', leave, { once: true });
  try {
    for await (const { slices, gap } of stream) {
      if (gap) yield { items: [], gap };
      for (const { batch, from, to } of slices) {
        for (let at = from; at < to; at += PART) yield { items: Array.from({ length: Math.min(to - at, PART) }, (_, i) => batch.event(at + i)), gap: null };
      }
    }
  } finally {
    signal.removeEventListener('abort', leave);
    leave();
  }
}

/** The session as the file's first line, or its metadata, tells it. */
function factsOf({ server, catalog }: Services, session: Session): Record<string, unknown> {
  const { id, spec, state, createdAt, startedAt, stoppedAt, stopReason } = session;
  const trackers = spec.trackers.map(({ name }) => name);
  return {
    version: server.version,
    exportedAt: nowText(),
    host: { hostname: server.hostname, kernel: server.kernel.release, architecture: server.kernel.architecture },
    session: { id, name: spec.name, labels: spec.labels, trackers, options: Object.fromEntries(spec.trackers.map(({ name, options }) => [name, options])), capture: spec.capture, state, createdAt, startedAt, stoppedAt, stopReason },
    clock: { time: 'CLOCK_REALTIME, UTC, as RFC 3339 with nanoseconds', bootNs: 'CLOCK_BOOTTIME, in nanoseconds' },
    trackers: trackers.map((name) => ({ name, fields: catalog.need(name).fields.map(({ path, type, onDemand }) => ({ path, type, onDemand })) })),
  };
}

function filenameOf({ id }: Session, what: string, format: ExportFormat): string {
  return `eunomia-${id}-${what}.${format}`;
}
