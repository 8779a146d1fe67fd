import { ANY_NAME, MANY_NAMES, type Alike, type AlikeField } from '../../event/alike.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import { textOfNanos } from '../../record/nanos.js';
import type { RowSource } from './aggregate.js';
import type { Bound, Row } from './protocol.js';
import { put, valueOf } from './read.js';
import { quote, type Column, type EventTable } from './table.js';

/** Events as one that a reader does not tell apart: DuckDB groups them, and one row of a thousand crosses over to this thread. */

const HEAD = ['first', 'last', 'n', 'container', 'comm', 'uid', 'gid', 'mountNs'];
const HEAD_SQL = [
  ...['min(e.time)', 'max(e.time)', 'count(*)', 'e.container'],
  ...['comm', 'uid', 'gid', 'mountNs'].map((name) => `p.${quote(name)}`),
];

interface Taken {
  readonly column: Column;
  readonly sql: string;
  readonly isTotal: boolean;
}

/** A query for the events of one tracker, and what a row of it is. */
export interface AlikeQuery {
  readonly sql: string;
  readonly values: readonly Bound[];
  readonly make: (row: Row) => Alike;
}

/** `scope` is the condition on sessions, `most` how many rows are read. */
export function alikeQuery(
  { table, condition }: RowSource,
  fields: readonly AlikeField[],
  kernelAggregate: CatalogTracker['kernelAggregate'],
  { scope, most }: { readonly scope: string; readonly most: number },
  containerOf: (id: number) => object | null,
): AlikeQuery {
  const totals = totalsOf(kernelAggregate);
  const values: Bound[] = [];
  const taken = fields.flatMap((field) => takenOf(field, table, totals, values));
  const columns = [
    ...HEAD_SQL.map((sql, i) => `${sql} AS ${quote(HEAD[i] ?? '')}`),
    ...taken.map(({ sql, column: { name } }) => `${sql} AS ${quote(`own ${name}`)}`),
  ];
  const groups =
    `SELECT ${columns.join(', ')} FROM "${table.name}" e JOIN processes p ON p.id = e.process ` +
    `WHERE ${scope} AND ${condition.sql} GROUP BY ALL`;
  return {
    sql: `${withoutNames(groups, taken, fields)} LIMIT ${most}`,
    values: [...values, ...condition.values],
    make: (row) => alikeOf(row, table, taken, totals.size > 0, containerOf),
  };
}

/** Groups that differ in the last name of a path alone as one each, where they are many: `AlikeField.names`. */
function withoutNames(groups: string, taken: readonly Taken[], fields: readonly AlikeField[]): string {
  const named = fields.find((field) => typeof field === 'object' && 'names' in field);
  if (typeof named !== 'object' || !('names' in named)) return groups;
  const own = (name: string): string => quote(`own ${name}`);
  const path = own(named.field);
  const sameName = new Set([named.field, ...named.beside]);
  const alike = [
    ...HEAD.slice(3).map(quote),
    ...taken
      .filter(({ column: { name }, isTotal }) => !isTotal && !sameName.has(name))
      .map(({ column }) => own(column.name)),
    'directory',
  ];
  const start =
    named.start !== undefined && taken.some(({ column: { name } }) => name === named.start) ? own(named.start) : 'NULL';
  // Where other paths stand for these, or the directory is written in another way than it is read, names are no names to the reader.
  const isDirectory = `length(whole) > 1 AND starts_with(whole, '/') AND NOT regexp_matches(whole, '/[.]{0,2}/') AND
    NOT starts_with(whole, '/proc/') AND NOT starts_with(whole, '/dev/')`;
  const columns = taken.map(({ column: { name }, isTotal }) => {
    if (isTotal) return `sum(${own(name)})`;
    if (name === named.field) return `CASE WHEN many THEN directory || chr(${ANY_NAME.charCodeAt(0)}) ELSE ${path} END`;
    return sameName.has(name) ? `CASE WHEN NOT many THEN ${own(name)} END` : own(name);
  });
  return `WITH alike AS (${groups}),
    named AS (SELECT *, regexp_replace(${path}, '[^/]*$', '') AS directory FROM alike),
    placed AS (SELECT *, CASE WHEN starts_with(directory, '/') THEN directory ELSE ${start} || '/' || directory END AS whole FROM named),
    counted AS (SELECT *, coalesce(${own('errno')} IS NULL AND ${isDirectory} AND
      count(DISTINCT ${path}) OVER (PARTITION BY ${alike.join(', ')}) >= ${MANY_NAMES}, false) AS many FROM placed)
    SELECT ${['min(first)', 'max(last)', 'sum(n)::BIGINT', ...HEAD.slice(3).map(quote), ...columns].join(', ')}
    FROM counted GROUP BY ALL`;
}

/** Of what the kernel has counted, the fields that can be added up. */
function totalsOf(kernelAggregate: CatalogTracker['kernelAggregate']): ReadonlySet<string> {
  if (kernelAggregate === null) return new Set();
  const { count, totals } = kernelAggregate;
  return new Set([count, ...Object.keys(totals).filter((name) => totals[name] === null)]);
}

function takenOf(field: AlikeField, table: EventTable, totals: ReadonlySet<string>, values: Bound[]): Taken[] {
  const name = typeof field === 'string' ? field : field.field;
  const column = table.own.find((own) => own.name === name);
  if (!column) return [];
  const sql = `e.${quote(name)}`;
  if (totals.has(name)) return [{ column, sql: `sum(${sql})`, isTotal: true }];
  if (typeof field === 'string' || 'names' in field) return [{ column, sql, isTotal: false }];
  values.push(...field.is);
  const among = field.is.map(() => '?').join(', ');
  return [{ column, sql: `CASE WHEN e.${quote(field.where)} IN (${among}) THEN ${sql} END`, isTotal: false }];
}

function alikeOf(
  row: Row,
  { tracker, eventType }: EventTable,
  taken: readonly Taken[],
  hasTotals: boolean,
  containerOf: (id: number) => object | null,
): Alike {
  const [first, last, count, container, comm, uid, gid, mountNs] = row;
  const event: Alike['event'] & Record<string, unknown> = {
    __typename: eventType,
    tracker,
    time: textOfNanos(BigInt(first ?? 0)),
    process: {
      comm: String(comm ?? ''),
      uid: Number(uid),
      gid: Number(gid),
      mountNs: mountNs == null ? null : String(mountNs),
    },
    container: container == null ? null : containerOf(Number(container)),
  };
  taken.forEach(({ column: { name, kind } }, i) => put(event, name, valueOf(row[HEAD.length + i] ?? null, kind)));
  const events = Number(count);
  return { event, last: textOfNanos(BigInt(last ?? 0)), events, times: hasTotals ? 1 : events };
}
