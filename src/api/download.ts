import type { GraphQLSchema } from 'graphql';
import { compileAggregate } from '../consumers/aggregate/index.js';
import {
  aggregateSheet,
  createEncoder,
  eventSheet,
  formats,
  rootsOf,
  type Encoder,
  type ExportFormat,
} from '../consumers/export/index.js';
import { StoredSession } from '../consumers/store/session.js';
import { EunomiaError, invalid, suggest } from '../errors.js';
import type { Gap, TraceEvent } from '../event.js';
import { filterOf, type EventFilter } from '../filter/index.js';
import { nowText } from '../pipeline/clock.js';
import type { Services } from './context.js';
import { aggregateOf as aggregateInput, isAggregate, measureKind } from './measure.js';
import {
  aggregateOf,
  findSession,
  optionsOf,
  originOf,
  partsOf,
  subscribeTo,
  trackersOf,
  type AnySession,
  type Origin,
} from './resolvers/stored.js';

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
/** Events in one piece. */
const PART = 512;

/** Checks a request for a download and begins it. Rejects with UNKNOWN_SESSION or BAD_USER_INPUT. */
export async function openDownload(
  services: Services,
  schema: GraphQLSchema,
  path: string,
  query: URLSearchParams,
  signal: AbortSignal,
): Promise<Download> {
  const { session, format } = await targetOf(services, path);
  for (const name of new Set(query.keys())) {
    if (!PARAMETERS.includes(name))
      throw invalid(
        name,
        `is no parameter of a download${suggest(name, PARAMETERS)}; there are ${PARAMETERS.join(', ')}`,
      );
    if (query.getAll(name).length > 1) throw invalid(name, 'is there more than once; a list is separated by commas');
  }
  const trackers = trackersOf(session);
  const where = query.get('where');
  const filter = where === null ? null : filterOf({ expr: where }, services.fields, trackers);
  const job = { services, session, trackers, filter, format, where, query, signal };
  return isAggregate(query) ? openAggregate(job) : openEvents(job, schema);
}

interface Job {
  readonly services: Services;
  readonly session: AnySession;
  readonly trackers: readonly string[];
  readonly filter: EventFilter | null;
  readonly format: ExportFormat;
  readonly where: string | null;
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
}

async function targetOf(services: Services, path: string): Promise<{ session: AnySession; format: ExportFormat }> {
  const [, id = '', extension = ''] = /^\/export\/([^/]*)\.([^./]*)$/.exec(path) ?? [];
  const format = formats.find((name) => name === extension);
  if (!format)
    throw invalid('path', `"${path.slice(0, 100)}" is no download; ask for /export/SESSION.ndjson, .csv or .parquet`);
  const session = await findSession(id, { services });
  if (!session)
    throw new EunomiaError(
      'UNKNOWN_SESSION',
      `there is no session "${id.slice(0, 64)}": it never was, or it was removed; the query \`sessions\` lists those there are`,
      { details: { session: id } },
    );
  return { session, format };
}

async function openEvents(
  { services, session, trackers, filter, format, where, query, signal }: Job,
  schema: GraphQLSchema,
): Promise<Download> {
  for (const name of ['window', 'slide', 'limit', 'maxGroups'])
    if (query.has(name)) throw invalid(name, 'belongs to an aggregate: give `groupBy` or `measures` with it');
  const follow = query.get('follow') ?? 'false';
  if (follow !== 'true' && follow !== 'false')
    throw invalid('follow', `is "${follow.slice(0, 20)}"; give true or false`);
  const fields =
    query
      .get('fields')
      ?.split(',')
      .map((field) => field.trim()) ?? null;
  if (fields && fields.length > MAX_FIELDS)
    throw invalid('fields', `has ${fields.length} fields; at most ${MAX_FIELDS} are allowed`);
  fields?.forEach((field, i) => services.catalog.checkField(field, trackers, `fields[${i}]`));
  const sheet = eventSheet(schema, trackers, fields);
  const encoder = createEncoder(format, sheet, { ...factsOf(services, session), fields, where, aggregate: false });
  const roots = rootsOf(sheet.columns);
  const demand = new Map(trackers.map((name) => [name, roots]));
  const origin = await originOf(session);
  const goesOn = follow === 'true' && !(session instanceof StoredSession);
  const parts = goesOn ? live(session, filter, filter?.with(demand) ?? demand, signal) : held(origin, filter);
  return {
    contentType: encoder.contentType,
    filename: filenameOf(session, 'events', format),
    body: encoded(encoder, parts, session, signal),
  };
}

function openAggregate({ services, session, trackers, filter, format, where, query, signal }: Job): Download {
  for (const name of ['fields', 'follow'])
    if (query.has(name)) throw invalid(name, 'belongs to an export of events: leave out `groupBy` and `measures`');
  const spec = compileAggregate(aggregateInput(query), services.catalog, trackers);
  const groupBy = spec.groupBy.map(({ path }) => path);
  const sheet = aggregateSheet({
    groupBy,
    measures: spec.measures.map((measure) => ({ name: measure.name, kind: measureKind(measure) })),
    windows: spec.window !== null,
  });
  const encoder = createEncoder(format, sheet, {
    ...factsOf(services, session),
    fields: groupBy,
    where,
    aggregate: true,
  });
  const rows = async function* () {
    yield { items: await aggregateOf(session, spec, filter), gap: null };
  };
  return {
    contentType: encoder.contentType,
    filename: filenameOf(session, 'aggregate', format),
    body: encoded(encoder, rows(), session, signal),
  };
}

interface Part<Item> {
  readonly items: readonly Item[];
  /** What is missing before them. */
  readonly gap: Gap | null;
}

async function* encoded<Item>(
  encoder: Encoder<Item>,
  parts: AsyncGenerator<Part<Item>>,
  session: AnySession,
  signal: AbortSignal,
): AsyncGenerator<string | Uint8Array, void> {
  let items = 0;
  let lost = 0;
  let dropped = 0;
  let counted = true;
  yield encoder.head();
  for await (const part of parts) {
    items += part.items.length;
    lost += part.gap?.lost ?? 0;
    dropped += part.gap?.dropped ?? 0;
    if (part.gap && part.gap.lost + part.gap.dropped === 0) counted = false;
    const piece = encoder.items(part.items, part.gap);
    if (piece.length) yield piece;
    if (signal.aborted) return;
  }
  const end = encoder.end({
    items,
    lost,
    dropped,
    complete: lost === 0 && dropped === 0 && counted,
    state: session.state,
  });
  if (end.length) yield end;
}

/** All that there is of it by now. */
async function* held(origin: Origin, filter: EventFilter | null): AsyncGenerator<Part<TraceEvent>> {
  for await (const { events, gap } of partsOf(origin, { filter })) {
    if (!events.length && gap) yield { items: [], gap };
    for (let at = 0; at < events.length; at += PART)
      yield { items: events.slice(at, at + PART), gap: at === 0 ? gap : null };
  }
}

/** What it holds, and then what comes, until it ends. A reader that is too slow loses the oldest, and is told. */
async function* live(
  session: AnySession,
  filter: EventFilter | null,
  demand: ReadonlyMap<string, ReadonlySet<string>>,
  signal: AbortSignal,
): AsyncGenerator<Part<TraceEvent>> {
  const stream = subscribeTo(session, { replay: Number.MAX_SAFE_INTEGER, demand, where: filter });
  const leave = (): void => void stream.return();
  signal.addEventListener('abort', leave, { once: true });
  try {
    for await (const { slices, gap } of stream) {
      if (gap) yield { items: [], gap };
      for (const { batch, from, to } of slices) {
        for (let at = from; at < to; at += PART)
          yield { items: Array.from({ length: Math.min(to - at, PART) }, (_, i) => batch.event(at + i)), gap: null };
      }
    }
  } finally {
    signal.removeEventListener('abort', leave);
    leave();
  }
}

/** The session as the file's first line, or its metadata, tells it. */
function factsOf({ server, catalog }: Services, session: AnySession): Record<string, unknown> {
  const { id, state, createdAt, startedAt, stoppedAt, stopReason } = session;
  const trackers = trackersOf(session);
  const { name, labels, capture } = session instanceof StoredSession ? session.record : session.spec;
  return {
    version: server.version,
    exportedAt: nowText(),
    host: { hostname: server.hostname, kernel: server.kernel.release, architecture: server.kernel.architecture },
    session: {
      id,
      name,
      labels,
      trackers,
      options: optionsOf(session),
      capture,
      state,
      createdAt,
      startedAt,
      stoppedAt,
      stopReason,
    },
    clock: { time: 'CLOCK_REALTIME, UTC, as RFC 3339 with nanoseconds', bootNs: 'CLOCK_BOOTTIME, in nanoseconds' },
    trackers: trackers.map((tracker) => ({
      name: tracker,
      fields: catalog.need(tracker).fields.map(({ path, type, onDemand }) => ({ path, type, onDemand })),
    })),
  };
}

function filenameOf({ id }: AnySession, what: string, format: ExportFormat): string {
  return `eunomia-${id}-${what}.${format}`;
}
