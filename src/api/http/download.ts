import { parseDateTime } from '../../base/date-time.js';
import { parseDuration } from '../../base/duration.js';
import { invalid, suggest } from '../../base/errors.js';
import { textOfNanos } from '../../record/nanos.js';
import { exportFormats, type ExportRequest, type RangeRequest } from '../../service/export.js';
import { aggregateOf, isAggregate } from '../graphql/measure.js';

const AGGREGATE = ['groupBy', 'measures', 'window', 'slide', 'limit', 'maxGroups'];
const PARAMETERS = ['fields', 'where', 'follow', ...AGGREGATE];
const RANGE = ['from', 'to', 'sessions', 'trackers', 'containers', 'store'];
const RANGE_PARAMETERS = [...RANGE, 'fields', 'where', ...AGGREGATE];
/** Stands where the id of a session would be; none is called so. */
const HISTORY = 'history';

/** Reads what a request for a download asks for, of `/export/SESSION.FORMAT` or `/export/history.FORMAT`. Throws BAD_USER_INPUT. */
export function readDownload(path: string, query: URLSearchParams): ExportRequest | RangeRequest {
  const [, session = '', extension = ''] = /^\/export\/([^/]*)\.([^./]*)$/.exec(path) ?? [];
  const format = exportFormats.find((name) => name === extension);
  if (!format)
    throw invalid(
      'path',
      `"${path.slice(0, 100)}" is no download; ask for /export/SESSION.ndjson, .csv, .parquet or .pcapng, or for /export/history.ndjson`,
    );
  const isRange = session === HISTORY;
  const parameters = isRange ? RANGE_PARAMETERS : PARAMETERS;
  for (const name of new Set(query.keys())) {
    if (!parameters.includes(name)) throw invalid(name, unknownParameter(name, parameters, isRange));
    if (query.getAll(name).length > 1) throw invalid(name, 'is there more than once; a list is separated by commas');
  }
  const where = query.get('where');
  const content = isAggregate(query) ? aggregateContent(query) : eventContent(query);
  return isRange ? { format, range: rangeOf(query), where, content } : { session, format, where, content };
}

function unknownParameter(name: string, parameters: readonly string[], isRange: boolean): string {
  if (!isRange && RANGE.includes(name)) return `belongs to an export of a range of time, /export/${HISTORY}.FORMAT`;
  if (isRange && PARAMETERS.includes(name)) return 'belongs to an export of one session: a range of time has an end';
  return `is no parameter of a download${suggest(name, parameters)}; there are ${parameters.join(', ')}`;
}

/** A range of time and what of it, as `Query.history` has them. */
function rangeOf(query: URLSearchParams): RangeRequest['range'] {
  const store = query.get('store');
  const kind = (['EMBEDDED', 'INFLUX'] as const).find((each) => each === store);
  if (store !== null && kind === undefined)
    throw invalid('store', `is "${store.slice(0, 20)}"; give EMBEDDED or INFLUX`);
  return {
    from: momentOf(query, 'from'),
    to: momentOf(query, 'to'),
    sessions: listOf(query.get('sessions')),
    trackers: listOf(query.get('trackers')),
    containers: listOf(query.get('containers'))?.map(selectorOf) ?? null,
    ...(kind === undefined ? {} : { store: kind }),
  };
}

/** A time, or so long ago. */
function momentOf(query: URLSearchParams, name: string): string | null {
  const text = query.get(name);
  if (text === null) return null;
  const ago = parseDuration(text);
  const time =
    ago === null ? parseDateTime(text) : textOfNanos(BigInt(Math.max(0, Math.round(Date.now() - ago))) * 1_000_000n);
  if (time !== null) return time;
  throw invalid(
    name,
    `"${text.slice(0, 40)}" is neither a time nor a time ago; write one like 2026-01-31T08:15:30Z (with %2B for a +), or 90m`,
  );
}

function listOf(text: string | null): string[] | null {
  return text === null ? null : text.split(',').flatMap((part) => part.trim() || []);
}

/** A glob over names; what looks like an id is the beginning of one. */
function selectorOf(text: string): { readonly id: string } | { readonly name: string } {
  return /^[0-9a-f]{12,64}$/.test(text) ? { id: text } : { name: text };
}

function eventContent(query: URLSearchParams): ExportRequest['content'] {
  for (const name of ['window', 'slide', 'limit', 'maxGroups'])
    if (query.has(name)) throw invalid(name, 'belongs to an aggregate: give `groupBy` or `measures` with it');
  const follow = query.get('follow') ?? 'false';
  if (follow !== 'true' && follow !== 'false')
    throw invalid('follow', `is "${follow.slice(0, 20)}"; give true or false`);
  const fields = query.get('fields')?.split(',') ?? null;
  return { kind: 'EVENTS', fields: fields?.map((field) => field.trim()) ?? null, follow: follow === 'true' };
}

function aggregateContent(query: URLSearchParams): ExportRequest['content'] {
  for (const name of ['fields', 'follow'])
    if (query.has(name)) throw invalid(name, 'belongs to an export of events: leave out `groupBy` and `measures`');
  return { kind: 'AGGREGATE', input: aggregateOf(query) };
}
