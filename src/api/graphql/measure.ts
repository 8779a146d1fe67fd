import type { AggregateInput } from '../../service/export.js';
import { invalid } from '../../base/errors.js';
import { parseDuration } from '../../base/duration.js';

/** An aggregate as the parameters of a URL: `groupBy=process.comm&measures=p99(durationNs),sum(sentBytes)&window=1m`. */

type MeasureInput = NonNullable<AggregateInput['measures']>[number];

const FUNCTIONS: Readonly<Record<string, MeasureInput['fn']>> = {
  count: 'COUNT',
  distinct: 'DISTINCT',
  sum: 'SUM',
  min: 'MIN',
  max: 'MAX',
  avg: 'AVG',
  histogram: 'HISTOGRAM',
  top: 'TOP_K',
  rate: 'RATE',
};

export function isAggregate(query: URLSearchParams): boolean {
  return query.has('groupBy') || query.has('measures');
}

/** Throws BAD_USER_INPUT for what the text cannot be; the aggregate's own compiler checks the rest. */
export function aggregateOf(query: URLSearchParams): AggregateInput {
  const window = durationOf(query, 'window');
  const slide = durationOf(query, 'slide');
  if (slide !== null && window === null) throw invalid('slide', 'needs `window`, of which it is a part');
  return {
    groupBy: listOf(query.get('groupBy')),
    measures: listOf(query.get('measures')).map((text, i) => measureOf(text, `measures[${i}]`)),
    window: window === null ? null : { size: window, slide },
    limit: wholeOf(query, 'limit'),
    maxGroups: wholeOf(query, 'maxGroups'),
  };
}

function listOf(text: string | null): string[] {
  return text === null || text === '' ? [] : text.split(',').map((part) => part.trim());
}

function measureOf(text: string, path: string): MeasureInput {
  const [, name = '', field = null] = /^([a-z]+[\d.]*)(?:\(([^()]+)\))?$/.exec(text) ?? [];
  const fn = FUNCTIONS[name];
  if (fn) return { fn, field };
  const [, percent] = /^p(\d{1,2}(?:\.\d{1,6})?|100)$/.exec(name) ?? [];
  if (percent !== undefined) return { fn: 'QUANTILE', field, q: Number((Number(percent) / 100).toFixed(8)) };
  throw invalid(
    path,
    `"${text.slice(0, 60)}" is no measure; write one like count, sum(sentBytes), p99(durationNs), top(path), distinct(process.pid) or rate`,
  );
}

function durationOf(query: URLSearchParams, name: string): number | null {
  const text = query.get(name);
  if (text === null) return null;
  const ms = parseDuration(text);
  if (ms === null) throw invalid(name, `"${text.slice(0, 40)}" is no duration; write one like "10s"`);
  return ms;
}

function wholeOf(query: URLSearchParams, name: string): number | null {
  const text = query.get(name);
  if (text === null) return null;
  if (!/^\d{1,9}$/.test(text)) throw invalid(name, `"${text.slice(0, 20)}" is no whole number`);
  return Number(text);
}
