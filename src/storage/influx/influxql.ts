import { isInt64, storedTag, storedText } from './line.js';
import { OWN_TAGS, SEQ, columnsOf, measurementOf, type PointColumn } from './column.js';
import { conditionOf, patternOf, type Dialect } from './condition.js';
import type { AggregatePlan, EventPlan, Partial, PointRange } from './plan.js';
import { influxqlName, influxqlRegex, influxqlText } from './quote.js';

/** A text of InfluxQL, and whether it says the whole filter. Null: nothing can match. */
export interface QueryText {
  readonly text: string;
  readonly unsaid: readonly string[];
}

const OPPOSITE: Readonly<Record<string, string>> = { '=': '!=', '!=': '=', '<': '>=', '>=': '<', '>': '<=', '<=': '>' };
const SYMBOL: Readonly<Record<string, string>> = { eq: '=', ne: '!=', lt: '<', lte: '<=', gt: '>', gte: '>=' };

/** A tag that is not there is an empty text. A field that is not there meets no condition, nor does its opposite. */
export const influxql: Dialect = {
  and: 'AND',
  or: 'OR',
  compare(column, comparison, negated) {
    const name = influxqlName(column.name);
    const values = Array.isArray(comparison.value) ? comparison.value : [comparison.value];
    const literals = values.map((value) => literalOf(column, value as string | number | boolean));
    if (column.kind === 'list' || column.kind === 'number' || literals.includes(null)) return null;
    if (column.kind === 'tag') return tagCondition(name, comparison, literals as string[], negated);
    if (comparison.op === 'isNull') return null;
    // Where it is null, NOT would be true: no condition on a field that is absent is.
    if (negated && column.nullable) return null;
    const symbol = SYMBOL[comparison.op];
    if (symbol) return `${name} ${negated ? OPPOSITE[symbol] : symbol} ${literals[0]}`;
    if (comparison.op === 'in')
      return either(
        literals.map((value) => `${name} ${negated ? '!=' : '='} ${value}`),
        !negated,
      );
    const pattern = column.kind === 'text' ? patternOf(comparison, storedText) : null;
    return pattern === null ? null : `${name} ${negated ? '!~' : '=~'} ${influxqlRegex(pattern)}`;
  },
};

function tagCondition(
  name: string,
  comparison: Parameters<Dialect['compare']>[1],
  literals: readonly string[],
  negated: boolean,
): string | null {
  const { op, value } = comparison;
  if (op === 'isNull') return `${name} ${(value === true) !== negated ? '=' : '!='} ''`;
  if (op === 'eq' || op === 'in')
    return either(
      literals.map((text) => `${name} ${negated ? '!=' : '='} ${text}`),
      !negated,
    );
  if (op === 'ne')
    return negated ? `(${name} = ${literals[0]} OR ${name} = '')` : `(${name} != ${literals[0]} AND ${name} != '')`;
  const pattern = patternOf(comparison, storedTag);
  if (pattern === null) return null;
  return negated
    ? `(${name} !~ ${influxqlRegex(pattern)} OR ${name} = '')`
    : `(${name} =~ ${influxqlRegex(pattern)} AND ${name} != '')`;
}

function either(parts: readonly string[], or: boolean): string {
  return parts.length === 1 ? (parts[0] ?? '') : `(${parts.join(or ? ' OR ' : ' AND ')})`;
}

function literalOf({ kind }: PointColumn, value: string | number | boolean): string | null {
  if (kind === 'integer')
    return /^-?\d+$/.test(String(value)) && isInt64(String(value))
      ? String(value)
      : typeof value === 'boolean'
        ? ''
        : null;
  if (kind === 'boolean') return typeof value === 'boolean' ? String(value) : null;
  return influxqlText(kind === 'tag' ? storedTag(String(value)) : storedText(String(value)));
}

function whereOf(
  { from, to, sessions, filter }: Omit<PointRange, 'trackers'>,
  columns: readonly PointColumn[],
  more: readonly string[],
): QueryText | null {
  const condition = filter ? conditionOf(filter, columns, influxql) : { text: true, unsaid: [] };
  // A session whose id cannot be said has no points.
  const known = sessions && sessions.map((id) => influxqlText(storedTag(id))).filter((id) => id !== null);
  if (condition.text === false || known?.length === 0) return null;
  const parts = [
    `time >= ${from} AND time < ${to}`,
    ...(known
      ? [
          either(
            known.map((id) => `${influxqlName(OWN_TAGS.session)} = ${id}`),
            true,
          ),
        ]
      : []),
    ...more,
    ...(typeof condition.text === 'string' ? [condition.text] : []),
  ];
  return { text: parts.join(' AND '), unsaid: condition.unsaid };
}

/** All points of a measurement that is no tracker's. */
export function recordsText(
  measurement: string,
  range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
  limit: number,
): QueryText | null {
  const where = whereOf({ ...range, filter: null }, [], []);
  return (
    where && {
      ...where,
      text: `SELECT * FROM ${influxqlName(measurement)} WHERE ${where.text} ORDER BY time ASC LIMIT ${limit}`,
    }
  );
}

export function eventsText(plan: EventPlan): QueryText | null {
  const { tracker, places, limit, backwards } = plan;
  const seq = influxqlName(SEQ);
  const where = whereOf(plan, columnsOf(tracker), places ? [`${seq} >= ${places.from} AND ${seq} < ${places.to}`] : []);
  return (
    where && {
      ...where,
      text:
        `SELECT * FROM ${influxqlName(measurementOf(tracker.name))} WHERE ${where.text} ` +
        `ORDER BY time ${backwards ? 'DESC' : 'ASC'} LIMIT ${limit}`,
    }
  );
}

function partialText({ fn, column, q }: Partial, alias: string): string {
  const name = influxqlName(column);
  if (fn === 'distinct') return `COUNT(DISTINCT(${name})) AS ${alias}`;
  if (fn === 'quantile') return `PERCENTILE(${name}, ${Math.max(q * 100, 0.000_001)}) AS ${alias}`;
  return `${fn.toUpperCase()}(${name}) AS ${alias}`;
}

export function aggregateText(plan: AggregatePlan): QueryText | null {
  const where = whereOf(plan, plan.columns, []);
  if (!where) return null;
  const groups = [
    ...plan.groups.map(({ name }) => influxqlName(name)),
    ...(plan.windowMs === null ? [] : [`time(${plan.windowMs}ms)`]),
  ];
  const by = groups.length ? ` GROUP BY ${groups.join(', ')}` : '';
  const fill = plan.windowMs === null ? '' : ' fill(none)';
  const select = plan.partials.map((partial, index) => partialText(partial, `p${index}`)).join(', ');
  return {
    ...where,
    text:
      `SELECT ${select} FROM ${plan.measurements.map(influxqlName).join(', ')} WHERE ${where.text}${by}${fill} ` +
      `SLIMIT ${plan.maxGroups + 1}`,
  };
}
