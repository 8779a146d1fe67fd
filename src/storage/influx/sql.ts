import { OWN_TAGS, SEQ, WIDE_SUFFIX, columnsOf, measurementOf, type PointColumn } from './column.js';
import { conditionOf, patternOf, type Dialect } from './condition.js';
import type { QueryText } from './influxql.js';
import { isInt64, storedTag, storedText } from './line.js';
import type { AggregatePlan, EventPlan, Partial, PointRange } from './plan.js';
import { sqlName, sqlRegex, SqlTexts } from './quote.js';

/**
 * SQL as InfluxDB 3 has it (DataFusion). A measurement is a table, which is there once a point was written to it, as is each of its
 * columns: to name one that is not there is an error, so each query is made for the columns that are.
 */
export type SqlTables = ReadonlyMap<string, ReadonlySet<string>>;

export interface SqlText extends QueryText {
  readonly params: Readonly<Record<string, string>>;
  /** Of rows that it gives at most; null is any number. */
  readonly most: number | null;
}

const SYMBOL: Readonly<Record<string, string>> = { eq: '=', ne: '<>', lt: '<', lte: '<=', gt: '>', gte: '>=' };

/** A value that is not there meets no comparison; its negation asks for that too. */
function dialectOf(present: ReadonlySet<string>, texts: SqlTexts): Dialect {
  return {
    and: 'AND',
    or: 'OR',
    compare(column, comparison, negated) {
      // The values beyond int64 are in a column of texts.
      if (column.wide && present.has(`${column.name}${WIDE_SUFFIX}`)) return null;
      const isThere = present.has(column.name);
      const name = sqlName(column.name);
      if (comparison.op === 'isNull') {
        const isNull = (comparison.value === true) !== negated;
        return isThere ? `${name} IS ${isNull ? '' : 'NOT '}NULL` : truth(isNull);
      }
      if (!isThere) return truth(negated);
      const test = testOf(column, name, comparison, texts);
      if (test === null) return null;
      return negated ? `(${name} IS NULL OR NOT (${test}))` : `(${test})`;
    },
  };
}

function testOf(
  column: PointColumn,
  name: string,
  comparison: Parameters<Dialect['compare']>[1],
  texts: SqlTexts,
): string | null {
  if (column.kind === 'list' || column.kind === 'number') return null;
  const { op, value } = comparison;
  const symbol = op === 'in' ? '=' : SYMBOL[op];
  if (symbol) {
    const values = (Array.isArray(value) ? value : [value]).map((each) =>
      literalOf(column, each as string | number | boolean, texts),
    );
    return values.includes(null) ? null : values.map((each) => `${name} ${symbol} ${each}`).join(' OR ') || 'FALSE';
  }
  if (column.kind !== 'text' && column.kind !== 'tag') return null;
  const pattern = patternOf(comparison, column.kind === 'tag' ? storedTag : storedText);
  // A tag is of a dictionary's type, which the function does not take.
  return pattern === null ? null : `regexp_like(CAST(${name} AS VARCHAR), ${sqlRegex(pattern)})`;
}

const LEAST = String(-(2n ** 63n));

function literalOf({ kind }: PointColumn, value: string | number | boolean, texts: SqlTexts): string | null {
  const text = String(value);
  // The least number is read as a sign and a number that is beyond.
  if (kind === 'integer') return /^-?\d+$/.test(text) && isInt64(text) && text !== LEAST ? text : null;
  if (kind === 'boolean') return typeof value === 'boolean' ? truth(value) : null;
  return texts.add(kind === 'tag' ? storedTag(text) : storedText(text));
}

function truth(value: boolean): string {
  return value ? 'TRUE' : 'FALSE';
}

function whereOf(
  { from, to, sessions, filter }: Omit<PointRange, 'trackers'>,
  columns: readonly PointColumn[],
  present: ReadonlySet<string>,
  texts: SqlTexts,
): QueryText | null {
  const condition = filter ? conditionOf(filter, columns, dialectOf(present, texts)) : { text: true, unsaid: [] };
  // A session whose id cannot be said has no points.
  const known = sessions?.map((id) => texts.add(storedTag(id))).filter((id) => id !== null);
  if (condition.text === false || (known && (!known.length || !present.has(OWN_TAGS.session)))) return null;
  const parts = [
    `time >= to_timestamp_nanos(${from}) AND time < to_timestamp_nanos(${to})`,
    ...(known ? [`(${known.map((id) => `${sqlName(OWN_TAGS.session)} = ${id}`).join(' OR ')})`] : []),
    ...(typeof condition.text === 'string' ? [condition.text] : []),
  ];
  return { text: parts.join(' AND '), unsaid: condition.unsaid };
}

/** Asks which of these tables there are, with which columns: a row has `table_name` and `column_name`. */
export function tablesText(names: readonly string[]): SqlText {
  const texts = new SqlTexts();
  const known = names.map((name) => `table_name = ${texts.add(name)}`).join(' OR ');
  const text = `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'iox' AND (${known})`;
  return { text, unsaid: [], params: texts.of(text), most: null };
}

/** All points of a measurement that is no tracker's. */
export function recordsText(
  measurement: string,
  range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
  limit: number,
  tables: SqlTables,
): SqlText | null {
  const present = tables.get(measurement);
  const texts = new SqlTexts();
  const where = present && whereOf({ ...range, filter: null }, [], present, texts);
  if (!where) return null;
  const text = `SELECT * FROM ${sqlName(measurement)} WHERE ${where.text} ORDER BY time ASC LIMIT ${limit}`;
  return { ...where, text, params: texts.of(text), most: limit };
}

export function eventsText(plan: EventPlan, tables: SqlTables): SqlText | null {
  const { tracker, places, limit, backwards } = plan;
  const measurement = measurementOf(tracker.name);
  const present = tables.get(measurement);
  const texts = new SqlTexts();
  const columns = columnsOf(tracker);
  const where = present && whereOf(plan, columns, present, texts);
  if (!where || (places && !present.has(SEQ))) return null;
  // As texts they are exact: JSON is read with numbers up to 2^53.
  const wide = new Set(columns.flatMap((column) => (column.wide ? [column.name] : [])));
  const selected = [...present].map((name) =>
    wide.has(name) ? `CAST(${sqlName(name)} AS VARCHAR) AS ${sqlName(name)}` : sqlName(name),
  );
  const seq = sqlName(SEQ);
  const within = places ? ` AND ${seq} >= ${places.from} AND ${seq} < ${places.to}` : '';
  const text =
    `SELECT ${selected.join(', ')} FROM ${sqlName(measurement)} WHERE ${where.text}${within} ` +
    `ORDER BY time ${backwards ? 'DESC' : 'ASC'} LIMIT ${limit}`;
  return { ...where, text, params: texts.of(text), most: limit };
}

/** The column of a window's start, of a group's n-th key, of the n-th number. */
export const WINDOW = 'w';
export const keyOf = (index: number): string => `k${index}`;
export const resultOf = (index: number): string => `p${index}`;

function partialText({ fn, column }: Partial, present: ReadonlySet<string>): string {
  if (!present.has(column)) return 'CAST(NULL AS DOUBLE)';
  const name = sqlName(column);
  if (fn === 'count') return `CAST(COUNT(${name}) AS DOUBLE)`;
  if (fn === 'distinct') return `CAST(COUNT(DISTINCT ${name}) AS DOUBLE)`;
  // A sum of integers would end at int64.
  return `${fn.toUpperCase()}(CAST(${name} AS DOUBLE))`;
}

/** Numbers of each measurement by itself. Has no quantiles: those of DataFusion are estimates, and the schema promises the exact one. */
export function aggregateText(plan: AggregatePlan, tables: SqlTables): SqlText | null {
  const texts = new SqlTexts();
  const unsaid = new Set<string>();
  const window = `date_bin(INTERVAL '${plan.windowMs} milliseconds', time)`;
  const parts = plan.measurements.flatMap((measurement) => {
    const present = tables.get(measurement);
    const where = present && whereOf(plan, plan.columns, present, texts);
    if (!where) return [];
    for (const path of where.unsaid) unsaid.add(path);
    const groups = plan.groups.map(({ name }) => (present.has(name) ? sqlName(name) : null));
    const by = [...groups.filter((name) => name !== null), ...(plan.windowMs === null ? [] : [window])];
    const selected = [
      ...groups.map((name, i) => `CAST(${name ?? 'NULL'} AS VARCHAR) AS ${keyOf(i)}`),
      ...(plan.windowMs === null ? [] : [`${window} AS ${WINDOW}`]),
      ...plan.partials.map((partial, i) => `${partialText(partial, present)} AS ${resultOf(i)}`),
    ];
    // Of windows there may be many to a group: the response's size bounds those.
    const limit = plan.windowMs === null ? ` LIMIT ${plan.maxGroups + 1}` : '';
    return [
      `(SELECT ${selected.join(', ')} FROM ${sqlName(measurement)} WHERE ${where.text}` +
        `${by.length ? ` GROUP BY ${by.join(', ')}` : ''}${limit})`,
    ];
  });
  if (!parts.length) return null;
  const text = parts.join(' UNION ALL ');
  const most = plan.windowMs === null ? parts.length * (plan.maxGroups + 1) : null;
  return { text, unsaid: [...unsaid], params: texts.of(text), most };
}
