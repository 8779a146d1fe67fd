import { columnsOf, measurementOf, OWN_TAGS, SEQ, type PointColumn } from './column.js';
import { conditionOf, patternOf, type Dialect } from './condition.js';
import type { QueryText } from './influxql.js';
import { isInt64, storedTag, storedText } from './line.js';
import type { AggregatePlan, EventPlan, Partial, PointRange } from './plan.js';
import { timeOfNanoseconds } from './point.js';
import { fluxName, fluxText } from './quote.js';

function column(name: string): string {
  return `r[${fluxName(name)}]`;
}

/** A value that is not there meets no comparison; its negation asks for that too. */
export const flux: Dialect = {
  and: 'and',
  or: 'or',
  compare(target, comparison, negated) {
    const name = column(target.name);
    if (comparison.op === 'isNull') return `${(comparison.value === true) !== negated ? 'not ' : ''}exists ${name}`;
    const test = testOf(target, name, comparison);
    if (test === null) return null;
    return negated ? `(not exists ${name} or not (${test}))` : `(exists ${name} and (${test}))`;
  },
};

const SYMBOL: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', lte: '<=', gt: '>', gte: '>=' };

function testOf(target: PointColumn, name: string, comparison: Parameters<Dialect['compare']>[1]): string | null {
  if (target.kind === 'list' || target.kind === 'number') return null;
  const values = (Array.isArray(comparison.value) ? comparison.value : [comparison.value]).map((value) =>
    literalOf(target, value as string | number | boolean),
  );
  const symbol = SYMBOL[comparison.op];
  if (symbol) return values[0] == null ? null : `${name} ${symbol} ${values[0]}`;
  if (comparison.op === 'in')
    return values.includes(null) ? null : values.map((value) => `${name} == ${value}`).join(' or ');
  if (target.kind !== 'text' && target.kind !== 'tag') return null;
  const pattern = patternOf(comparison, target.kind === 'tag' ? storedTag : storedText);
  return pattern === null ? null : `regexp.matchRegexpString(r: regexp.compile(v: ${fluxName(pattern)}), v: ${name})`;
}

function literalOf({ kind }: PointColumn, value: string | number | boolean): string | null {
  if (kind === 'integer') return integerOf(String(value));
  if (kind === 'boolean') return typeof value === 'boolean' ? String(value) : null;
  return fluxText(kind === 'tag' ? storedTag(String(value)) : storedText(String(value)));
}

const LEAST = String(-(2n ** 63n));

/** Flux reads a sign and a number, which must not be beyond an int64 by itself. */
function integerOf(text: string): string | null {
  if (text === LEAST) return '(-9223372036854775807 - 1)';
  return /^-?\d+$/.test(text) && isInt64(text) ? text : null;
}

function time(ns: bigint): string {
  return timeOfNanoseconds(String(ns));
}

/** From the bucket to rows that have all columns of a point. */
function rowsText(
  bucket: string,
  measurements: readonly string[],
  { from, to, sessions, filter }: Omit<PointRange, 'trackers'>,
  columns: readonly PointColumn[],
  more: string,
): QueryText | null {
  const condition = filter ? conditionOf(filter, columns, flux) : { text: true, unsaid: [] };
  // A session whose id cannot be said has no points.
  const known = sessions && sessions.map((id) => fluxText(storedTag(id))).filter((id) => id !== null);
  if (condition.text === false || known?.length === 0) return null;
  const lines = [
    `from(bucket: ${fluxName(bucket)})`,
    `|> range(start: ${time(from)}, stop: ${time(to)})`,
    `|> filter(fn: (r) => ${measurements.map((name) => `r._measurement == ${fluxName(name)}`).join(' or ')})`,
    ...(known
      ? [`|> filter(fn: (r) => ${known.map((id) => `${column(OWN_TAGS.session)} == ${id}`).join(' or ')})`]
      : []),
    '|> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")',
    ...(more ? [`|> filter(fn: (r) => ${more})`] : []),
    ...(typeof condition.text === 'string' ? [`|> filter(fn: (r) => ${condition.text})`] : []),
  ];
  return { text: lines.join('\n  '), unsaid: condition.unsaid };
}

/** All points of a measurement that is no tracker's. */
export function recordsText(
  bucket: string,
  measurement: string,
  range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
  limit: number,
): QueryText | null {
  const rows = rowsText(bucket, [measurement], { ...range, filter: null }, [], '');
  return (
    rows && { ...rows, text: `${rows.text}\n  |> group()\n  |> sort(columns: ["_time"])\n  |> limit(n: ${limit})` }
  );
}

export function eventsText(bucket: string, plan: EventPlan): QueryText | null {
  const { tracker, places, limit, backwards } = plan;
  const seq = column(SEQ);
  const rows = rowsText(
    bucket,
    [measurementOf(tracker.name)],
    plan,
    columnsOf(tracker),
    places ? `${seq} >= ${places.from} and ${seq} < ${places.to}` : '',
  );
  return (
    rows && {
      ...rows,
      text:
        `import "regexp"\n\n${rows.text}\n  |> group()\n  |> sort(columns: ["_time"]${backwards ? ', desc: true' : ''})\n` +
        `  |> limit(n: ${limit})`,
    }
  );
}

/** The column that holds the number afterwards. */
export const RESULT = 'eunomia_value';

function partialText({ fn, column: name, q }: Partial): string {
  const value = `|> map(fn: (r) => ({r with ${RESULT}: ${fn === 'quantile' ? `float(v: ${column(name)})` : column(name)}}))`;
  if (fn === 'distinct')
    return `${value}\n  |> distinct(column: "${RESULT}")\n  |> count(column: "_value")\n  |> rename(columns: {_value: "${RESULT}"})`;
  if (fn === 'quantile')
    return `${value}\n  |> quantile(column: "${RESULT}", q: ${Number.isInteger(q) ? `${q}.0` : q}, method: "exact_selector")`;
  return `${value}\n  |> ${fn}(column: "${RESULT}")`;
}

/** One stream of results for each partial, named by its index. */
export function aggregateText(bucket: string, plan: AggregatePlan): QueryText | null {
  const rows = rowsText(bucket, plan.measurements, plan, plan.columns, '');
  if (!rows) return null;
  const groups = `|> group(columns: [${plan.groups.map(({ name }) => fluxName(name)).join(', ')}])`;
  const window = plan.windowMs === null ? '' : `\n  |> window(every: ${plan.windowMs}ms)`;
  const streams = plan.partials.map(
    (partial, index) =>
      `data\n  |> filter(fn: (r) => exists ${column(partial.column)})\n  ${groups}${window}\n  ` +
      `${partialText(partial)}\n  |> group()\n  |> limit(n: ${plan.maxGroups + 1})\n  |> yield(name: "p${index}")`,
  );
  return { ...rows, text: `import "regexp"\n\ndata = ${rows.text}\n\n${streams.join('\n\n')}` };
}
