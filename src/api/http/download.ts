import { invalid, suggest } from '../../base/errors.js';
import { exportFormats, type ExportRequest } from '../../service/export.js';
import { aggregateOf, isAggregate } from '../graphql/measure.js';

const PARAMETERS = ['fields', 'where', 'follow', 'groupBy', 'measures', 'window', 'slide', 'limit', 'maxGroups'];

/** Reads what a request for a download asks for; its path is `/export/SESSION.FORMAT`. Throws BAD_USER_INPUT. */
export function readDownload(path: string, query: URLSearchParams): ExportRequest {
  const [, session = '', extension = ''] = /^\/export\/([^/]*)\.([^./]*)$/.exec(path) ?? [];
  const format = exportFormats.find((name) => name === extension);
  if (!format)
    throw invalid(
      'path',
      `"${path.slice(0, 100)}" is no download; ask for /export/SESSION.ndjson, .csv, .parquet or .pcapng`,
    );
  for (const name of new Set(query.keys())) {
    if (!PARAMETERS.includes(name))
      throw invalid(
        name,
        `is no parameter of a download${suggest(name, PARAMETERS)}; there are ${PARAMETERS.join(', ')}`,
      );
    if (query.getAll(name).length > 1) throw invalid(name, 'is there more than once; a list is separated by commas');
  }
  const content = isAggregate(query) ? aggregateContent(query) : eventContent(query);
  return { session, format, where: query.get('where'), content };
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
