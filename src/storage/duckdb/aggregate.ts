import type { Work } from '../../base/turn.js';
import type { AggregateShape, StoredRow } from '../store.js';
import { lineagePath } from '../../event/lineage.js';
import { columnOf, type SqlCondition } from './condition.js';
import type { Bound, SqlRow, SqlValue } from './protocol.js';
import { textOfNanos } from '../../record/nanos.js';
import type { ColumnKind, EventTable } from './table.js';

/** Aggregates that DuckDB computes just as the aggregator would. What differs in the least is left to that. */

const NS = 1_000_000n;
const EXACT: ReadonlySet<string> = new Set(['COUNT', 'SUM', 'MIN', 'MAX', 'AVG']);
const NUMBERS: ReadonlySet<ColumnKind> = new Set(['int32', 'uint32', 'int64', 'uint64']);
/** What is known of a container, as text; the others are lists or objects. */
const CONTAINER = /^container\.(id|name|image|imageId|composeProject|composeService|runtime|state)$/;
const LABEL = 'container.labels.';
const COMPARES = { eq: '=', ne: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=' } as const;

export interface RowSource {
  readonly table: EventTable;
  readonly condition: SqlCondition;
}

/** A query, and how its rows are read. */
export interface Translation {
  readonly sql: string;
  readonly values: readonly Bound[];
  /** Null where a group could not be told apart, or the rows are too many: then the aggregator is asked after all. */
  reading(rows: readonly SqlRow[]): Work<readonly StoredRow[] | null>;
}

/** Null when DuckDB would not return the same. `scope` is the condition on sessions. */
export function translate(
  shape: AggregateShape,
  sources: readonly RowSource[],
  scope: { readonly sql: string; readonly values: readonly Bound[] },
): Translation | null {
  const { groupBy, measures, window, having, orderBy } = shape;
  if (window && window.sizeMs !== window.slideMs) return null;
  if (sources.some(({ condition }) => !condition.exact)) return null;
  const values: Bound[] = [];
  const paths = [...groupBy.map(({ path }) => path), ...measures.flatMap(({ field }) => field ?? [])];
  const parts: string[] = [];
  for (const { table, condition } of sources) {
    const labels: Bound[] = [];
    const facts: string[] = [];
    const keys = groupBy.map(({ path }) => keyOf(path, table, labels, facts));
    const measured = measures.map(({ fn, field, time }) => measuredOf(fn, field, time, table));
    if (keys.includes(null) || measured.includes(null)) return null;
    const process = condition.joins || paths.some((path) => path.startsWith('process.'));
    const columns = [
      ...keys.map((key, i) => `${key} AS k${i}`),
      ...measured.map((sql, i) => `${sql} AS m${i}`),
      ...(window ? [`e.time // ${BigInt(window.slideMs) * NS} AS w`] : []),
    ];
    values.push(...labels, ...scope.values, ...condition.values);
    const joined = [
      `"${table.name}" e`,
      ...(process ? ['JOIN processes p ON p.id = e.process'] : []),
      ...(facts.length ? [`LEFT JOIN (SELECT id, ${facts.join(', ')} FROM containers) c ON c.id = e.container`] : []),
    ];
    parts.push(
      `SELECT ${columns.join(', ') || '0 AS nothing'} FROM ${joined.join(' ')} ` +
        `WHERE ${scope.sql} AND ${condition.sql}`,
    );
  }
  const groups = [...(window ? ['w'] : []), ...groupBy.map((_, i) => `k${i}`)];
  const results = measures.map(({ fn, field }, i) =>
    field === null
      ? 'count(*)'
      : fn === 'COUNT'
        ? `count(m${i})`
        : fn === 'SUM' || fn === 'AVG'
          ? `sum(m${i})::VARCHAR`
          : `${fn.toLowerCase()}(m${i})::VARCHAR`,
  );
  const counts = measures.map(({ field }, i) => (field === null ? '0' : `count(m${i})`));
  // Conditions and orders of measures are exact on numbers that JavaScript has too; what is not a count is left to the aggregator.
  if (having.some(({ of }) => of.kind !== 'COUNT') || orderBy.some(({ of }) => of.kind === 'MEASURE')) return null;
  const meets = having.map(({ comparison, value }) => {
    values.push(String(value));
    return `n ${COMPARES[comparison]} ?::DOUBLE`;
  });
  const orders = orderBy.map(
    ({ of, descending }) =>
      `${of.kind === 'COUNT' ? 'n' : `k${of.kind === 'KEY' ? of.index : 0}`} ${descending ? 'DESC' : 'ASC'} NULLS LAST`,
  );
  const order = [...(window ? ['w'] : []), ...orders, 'n DESC', ...groupBy.map((_, i) => `k${i} NULLS LAST`)];
  // One group more than are told apart: then the aggregator has to decide which.
  const selected = [
    ...groups,
    ...results.map((result, i) => `${result} AS r${i}`),
    ...counts.map((count, i) => `${count} AS c${i}`),
  ];
  const sql =
    `SELECT count(*) AS n, ${selected.join(', ') || '0'} ` +
    `FROM (${parts.join(' UNION ALL ')})` +
    `${groups.length ? ` GROUP BY ${groups.join(', ')}` : ''}`;
  return {
    sql:
      `SELECT * FROM (${sql}) ${meets.length ? `WHERE ${meets.join(' AND ')} ` : ''}ORDER BY ${order.join(', ')} ` +
      `LIMIT ${MAX_GROUPS + 1}`,
    values,
    reading: (rows) => readGroups(rows, shape),
  };
}

/** Rows that are read from DuckDB at most: more are for the aggregator, which sums up what is not told apart. */
const MAX_GROUPS = 100_000;

/** Native where there is one: DuckDB groups numbers faster than their texts. `facts` are read once a container, not once an event. */
function keyOf(path: string, table: EventTable, labels: Bound[], facts: string[]): string | null {
  const fact = (sql: string): string => `c.f${facts.push(`${sql} AS f${facts.length}`) - 1}`;
  if (path === 'tracker') return `'${table.tracker}'`;
  if (path.startsWith(LABEL)) {
    const name = path.slice(LABEL.length);
    if (/\p{Surrogate}/u.test(name)) return null;
    labels.push(`/labels/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`);
    return fact('json_extract_string(facts, ?)');
  }
  const known = CONTAINER.exec(path)?.[1];
  if (known) return fact(`json_extract_string(facts, '/${known}')`);
  if (path.startsWith('container') || lineagePath(path) !== null) return null;
  const column = columnOf(path, table);
  if (!column) return 'NULL'; // another tracker's field
  if (column.kind === 'time' || column.kind === 'double') return null;
  return column.sql;
}

function measuredOf(fn: string, field: string | null, time: boolean, table: EventTable): string | null {
  if (!EXACT.has(fn)) return null;
  if (field === null) return 'NULL::BIGINT';
  if (lineagePath(field) !== null) return null;
  const column = columnOf(field, table);
  if (!column) return field.startsWith('container') || field === 'tracker' ? null : 'NULL';
  if (fn === 'COUNT') return `CASE WHEN ${column.sql} IS NULL THEN NULL ELSE 1 END`;
  if (time) return null;
  return NUMBERS.has(column.kind) ? column.sql : null;
}

/** Rows that are made in one piece. */
const PIECE = 128;

/** Rows come window by window, in order. */
function* readGroups(rows: readonly SqlRow[], shape: AggregateShape): Work<readonly StoredRow[] | null> {
  const { window, limit, maxGroups } = shape;
  if (rows.length > MAX_GROUPS) return null;
  if (!shape.groupBy.length && !window && rows.length === 1 && Number(rows[0]?.[0] ?? 0) === 0) return [];
  const found: StoredRow[] = [];
  let at: SqlValue | undefined;
  let groups = 0;
  for (const row of rows) {
    const begins = groups === 0 || (window !== null && row[1] !== at);
    at = row[1];
    groups = begins ? 1 : groups + 1;
    // What is beyond is one row of totals; the aggregator knows how to make it.
    if (groups > Math.min(limit, maxGroups)) return null;
    found.push(rowOf(row, shape));
    if (found.length % PIECE === 0) yield;
  }
  return found;
}

function rowOf(row: SqlRow, { groupBy, measures, window }: AggregateShape): StoredRow {
  const first = window ? 2 : 1;
  const at = row[1];
  const span = window && BigInt(window.slideMs) * NS;
  const from = span ? BigInt(at ?? 0) * span : 0n;
  const results = first + groupBy.length;
  const count = Number(row[0]);
  return {
    key: groupBy.map(({ path }, i) => ({ field: path, value: textOf(row[first + i] ?? null) })),
    count,
    values: measures.map(({ name, unit, fn, field }, i) => ({
      name,
      unit,
      ...resultOf(fn, field, row[results + i] ?? null, Number(row[results + measures.length + i] ?? 0), count),
    })),
    window: span ? { from: textOfNanos(from), to: textOfNanos(from + span) } : null,
    other: false,
  };
}

function textOf(value: SqlValue): string | null {
  return value === null ? null : String(value);
}

type Result = Omit<StoredRow['values'][number], 'name' | 'unit'>;

function resultOf(fn: string, field: string | null, value: SqlValue, counted: number, count: number): Result {
  const nothing = { number: null, text: null, error: 0, buckets: null, top: null };
  if (field === null) return { ...nothing, number: count, text: String(count) };
  if (fn === 'COUNT') return { ...nothing, number: Number(value), text: String(value) };
  if (counted === 0 || value === null) return nothing;
  const whole = BigInt(value);
  if (fn === 'AVG') return { ...nothing, number: Number(whole) / counted };
  return { ...nothing, number: Number(whole), text: String(whole) };
}
