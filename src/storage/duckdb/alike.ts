import { ANY_NAME, MANY_NAMES, type Alike, type AlikeField } from '../../event/alike.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import { textOfNanos } from '../../record/nanos.js';
import type { RowSource } from './aggregate.js';
import type { Bound, SqlRow } from './protocol.js';
import { put, valueOf } from './read.js';
import { quote, type EventColumn, type EventTable } from './table.js';

/** Events as one that a reader does not tell apart: DuckDB groups them, and one row of a thousand crosses over to this thread. */

/** What a reader takes of a process: all that it needs to tell two events' processes apart. */
const KIND = ['comm', 'uid', 'gid', 'mountNs'];
const HEAD = ['first', 'last', 'n', 'container', ...KIND];

interface Taken {
  readonly column: EventColumn;
  readonly sql: string;
  /** The function by which the values of a group become one; null where a group has one value. */
  readonly merge: 'sum' | 'min' | 'max' | null;
}

/** A query for the events of one tracker, and what a row of it is. */
export interface AlikeQuery {
  readonly sql: string;
  readonly values: readonly Bound[];
  readonly make: (row: SqlRow) => Alike;
}

/**
 * Tables of one connection: `kinds` of processes that a reader does not tell apart, and which `members` they have. Groups are then told
 * apart by one number in place of four columns, and the processes of an hour are compared once.
 */
export interface Kinds {
  readonly kinds: string;
  readonly members: string;
}

export const kindsNumbered = (number: number): Kinds => ({
  kinds: `alike_kinds_${number}`,
  members: `alike_members_${number}`,
});

/** Statements that make the tables, in their order. `scope` is the condition on sessions, of processes `p`. */
export function makeKinds({ kinds, members }: Kinds, scope: string): readonly string[] {
  const same = KIND.map((name) => `p.${quote(name)} IS NOT DISTINCT FROM k.${quote(name)}`);
  return [
    `CREATE TEMP TABLE ${kinds} AS SELECT min(id) AS kind, ${KIND.map(quote).join(', ')} FROM processes p WHERE ${scope} GROUP BY ALL`,
    `CREATE TEMP TABLE ${members} AS SELECT p.id, k.kind FROM processes p JOIN ${kinds} k ON ${same.join(' AND ')} WHERE ${scope}`,
  ];
}

export const dropKinds = ({ kinds, members }: Kinds): readonly string[] =>
  [members, kinds].map((table) => `DROP TABLE IF EXISTS ${table}`);

/** `scope` is the condition on sessions, `most` how many rows are read. */
export function alikeQuery(
  { table, condition }: RowSource,
  fields: readonly AlikeField[],
  kernelAggregate: CatalogTracker['kernelAggregate'],
  { scope, kinds, most }: { readonly scope: string; readonly kinds: Kinds; readonly most: number },
  containerOf: (id: number) => object | null,
): AlikeQuery {
  const totals = totalsOf(kernelAggregate);
  const values: Bound[] = [];
  const taken = fields.flatMap((field) => takenOf(field, table, totals, values));
  const own = taken.map(({ sql, column: { name } }) => `${sql} AS ${quote(`own ${name}`)}`);
  const head = ['min(e.time) AS first', 'max(e.time) AS last', 'count(*) AS n', 'e.container', 'm.kind'];
  const groups =
    `SELECT ${[...head, ...own].join(', ')} FROM "${table.name}" e JOIN ${kinds.members} m ON m.id = e.process ` +
    `${condition.joins ? 'JOIN processes p ON p.id = e.process ' : ''}WHERE ${scope} AND ${condition.sql} GROUP BY ALL`;
  const columns = [
    ...['first', 'last', 'n', 'container'].map((name) => `g.${name}`),
    ...KIND.map((name) => `k.${quote(name)}`),
    ...taken.map(({ column: { name } }) => `g.${quote(`own ${name}`)}`),
  ];
  return {
    sql:
      `SELECT ${columns.join(', ')} FROM (${withoutNames(groups, taken, fields)} LIMIT ${most}) g ` +
      `JOIN ${kinds.kinds} k ON k.kind = g.kind`,
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
  const alike = [
    ...['container', 'kind'],
    ...taken
      .filter(({ column: { name }, merge }) => merge === null && name !== named.field)
      .map(({ column }) => own(column.name)),
    'directory',
  ];
  const start =
    named.start !== undefined && taken.some(({ column: { name } }) => name === named.start) ? own(named.start) : 'NULL';
  // Where other paths stand for these, or the directory is written in another way than it is read, names are no names to the reader.
  const isDirectory = `length(whole) > 1 AND starts_with(whole, '/') AND NOT regexp_matches(whole, '/[.]{0,2}/') AND
    NOT starts_with(whole, '/proc/') AND NOT starts_with(whole, '/dev/')`;
  const columns = taken.map(({ column: { name }, merge }) => {
    const sql =
      name === named.field
        ? `CASE WHEN many THEN directory || chr(${ANY_NAME.charCodeAt(0)}) ELSE ${path} END`
        : merge === null
          ? own(name)
          : `${merge}(${own(name)})`;
    return `${sql} AS ${own(name)}`;
  });
  // Groups differ in what they are alike by: as many of them as are alike but for the path have as many paths.
  return `WITH alike AS (${groups}),
    named AS (SELECT *, regexp_replace(${path}, '[^/]*$', '') AS directory FROM alike),
    numbered AS (SELECT *, count(*) OVER (PARTITION BY ${alike.join(', ')}) AS paths FROM named),
    placed AS (SELECT *, CASE WHEN starts_with(directory, '/') THEN directory ELSE ${start} || '/' || directory END AS whole FROM numbered),
    counted AS (SELECT *, coalesce(paths >= ${MANY_NAMES} AND ${own('errno')} IS NULL AND ${isDirectory}, false) AS many FROM placed)
    SELECT min(first) AS first, max(last) AS last, sum(n)::BIGINT AS n, container, kind, ${columns.join(', ')}
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
  if (totals.has(name)) return [{ column, sql: `sum(${sql})`, merge: 'sum' }];
  if (typeof field === 'string' || 'names' in field) return [{ column, sql, merge: null }];
  if ('of' in field) {
    const merge = field.of === 'earliest' ? 'min' : 'max';
    return [{ column, sql: `${merge}(coalesce(${sql}, e.time))`, merge }];
  }
  if ('unless' in field)
    return [{ column, sql: `CASE WHEN e.${quote(field.unless)} IS NULL THEN ${sql} END`, merge: null }];
  values.push(...field.is);
  const among = field.is.map(() => '?').join(', ');
  return [{ column, sql: `CASE WHEN e.${quote(field.where)} IN (${among}) THEN ${sql} END`, merge: null }];
}

function alikeOf(
  row: SqlRow,
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
