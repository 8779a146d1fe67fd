import { invalid } from '../../base/errors.js';
import type { Filter } from '../../filter/index.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import type { AggregateShape } from '../store.js';
import {
  columnsOf,
  isKernelAggregate,
  measurementOf,
  nameOf,
  OWN_TAGS,
  rollupOf,
  SEQ,
  type PointColumn,
} from './column.js';

/** A measure that was checked against the schema. */
export type HistoryMeasure = AggregateShape['measures'][number];

/** Which points. */
export interface PointRange {
  readonly trackers: readonly CatalogTracker[];
  /** Nanoseconds since 1970; `from` is in it, `to` is not. */
  readonly from: bigint;
  readonly to: bigint;
  /** Only of these; null is all. */
  readonly sessions: readonly string[] | null;
  readonly filter: Filter | null;
}

/** Events of one tracker. */
export interface EventPlan extends Omit<PointRange, 'trackers'> {
  readonly tracker: CatalogTracker;
  /** Only these places; `to` is not in it. */
  readonly places: { readonly from: number; readonly to: number } | null;
  /** By their times; the first ones, or the last ones, which come in this order then: latest first. */
  readonly limit: number;
  readonly backwards: boolean;
}

/** RAW: points of events. ROLLUP: points of rollups. A session has either. */
export type PointKind = 'RAW' | 'ROLLUP';

/** A number that the database makes for each group. Those of one slot and group are merged, whatever measurement they come from. */
export interface Partial {
  readonly slot: string;
  readonly fn: 'count' | 'sum' | 'min' | 'max' | 'quantile' | 'distinct';
  readonly column: string;
  readonly q: number;
}

export interface AggregatePlan extends PointRange {
  readonly source: PointKind;
  readonly measurements: readonly string[];
  readonly columns: readonly PointColumn[];
  readonly groups: readonly PointColumn[];
  readonly partials: readonly Partial[];
  readonly windowMs: number | null;
  /** Groups at most; one more is asked for, to know that there are more. */
  readonly maxGroups: number;
}

export interface AggregateQuestion extends PointRange {
  readonly source: PointKind;
  readonly groupBy: readonly string[];
  readonly measures: readonly HistoryMeasure[];
  readonly windowMs: number | null;
}

const NS_A_DAY = 86_400_000_000_000n;
const MAX_DAYS = 366n;
const MAX_WINDOWS = 10_000;
const MAX_GROUPS = 20_000;

export function checkRange({ from, to }: Pick<PointRange, 'from' | 'to'>): void {
  if (to <= from) throw invalid('to', 'is not after `from`; such a range holds nothing');
  if (to - from > MAX_DAYS * NS_A_DAY)
    throw invalid(
      'from',
      `the range is ${(to - from) / NS_A_DAY} days long; InfluxDB is asked for ${MAX_DAYS} days at most: give a ` +
        `later \`from\`, or an earlier \`to\``,
      { maxDays: Number(MAX_DAYS) },
    );
}

/** The columns of these trackers, each name once. */
export function columnsAmong(trackers: readonly CatalogTracker[]): readonly PointColumn[] {
  return [...new Map(trackers.flatMap(columnsOf).map((column) => [column.path, column])).values()];
}

/** Throws BAD_USER_INPUT with the argument that InfluxDB cannot evaluate, and what it can. */
export function planAggregate(question: AggregateQuestion): AggregatePlan {
  checkRange(question);
  const { trackers, source, groupBy, windowMs, from, to } = question;
  const windows = windowMs === null ? 1 : Number((to - from) / BigInt(windowMs * 1_000_000));
  if (windows > MAX_WINDOWS) {
    throw invalid(
      'window.size',
      `the range has ${windows.toLocaleString('en-US')} windows of it; at most ` +
        `${MAX_WINDOWS.toLocaleString('en-US')} are allowed: take a longer window or a shorter range`,
      { max: MAX_WINDOWS },
    );
  }
  const aggregated = source === 'RAW' ? trackers.find(isKernelAggregate) : undefined;
  if (aggregated)
    throw invalid(
      'measures',
      `an event of ${aggregated.name} stands for many, which InfluxDB would count as one; persist with mode ROLLUP`,
    );
  const all = columnsAmong(trackers);
  const groups = groupBy.map((path, index) => groupOf(path, `groupBy[${index}]`, all));
  const every: Partial =
    source === 'RAW'
      ? { slot: slotOf('count', null), fn: 'count', column: SEQ, q: 0 }
      : { slot: slotOf('count', null), fn: 'sum', column: 'count', q: 0 };
  const partials = [
    every,
    ...question.measures.flatMap((measure, index) => partialsOf(measure, `measures[${index}]`, question, all)),
  ];
  return {
    ...question,
    // Of a rollup only what it is grouped by can be evaluated.
    columns: source === 'RAW' ? all : all.filter(({ kind }) => kind === 'tag'),
    measurements: trackers.map(({ name }) => (source === 'RAW' ? measurementOf(name) : rollupOf(name))),
    groups,
    partials: [...new Map(partials.map((partial) => [partial.slot, partial])).values()],
    maxGroups: MAX_GROUPS,
  };
}

export function slotOf(fn: Partial['fn'], field: string | null, q = 0): string {
  return `${fn}:${q}:${field ?? ''}`;
}

function groupOf(path: string, where: string, columns: readonly PointColumn[]): PointColumn {
  if (path === OWN_TAGS.session || path === OWN_TAGS.host)
    return { path, name: path, kind: 'tag', wide: false, nullable: false };
  const column = columns.find((candidate) => candidate.path === path);
  if (column?.kind === 'tag') return column;
  const tags = columns.filter(({ kind }) => kind === 'tag').map((tag) => `"${tag.path}"`);
  throw invalid(
    where,
    `InfluxDB groups by tags, and "${path}" is ${column ? 'a field there' : 'not written to it'}; group by ` +
      `${tags.join(', ')}, or persist to the EMBEDDED store`,
    { field: path },
  );
}

const NEEDS: Readonly<Record<string, readonly Partial['fn'][]>> = {
  COUNT: ['count'],
  SUM: ['sum'],
  RATE: ['sum'],
  AVG: ['sum', 'count'],
  MIN: ['min'],
  MAX: ['max'],
  QUANTILE: ['quantile'],
  DISTINCT: ['distinct'],
};

function partialsOf(
  { fn, field, q }: HistoryMeasure,
  where: string,
  { source, trackers, groupBy }: AggregateQuestion,
  columns: readonly PointColumn[],
): Partial[] {
  if (field === null) return [];
  const names = NEEDS[fn];
  if (!names)
    throw invalid(
      `${where}.fn`,
      `InfluxDB cannot compute ${fn}; it computes ${Object.keys(NEEDS).join(', ')}. The EMBEDDED store has all`,
      { fn },
    );
  const column = columns.find((candidate) => candidate.path === field);
  if (!column)
    throw invalid(`${where}.field`, `"${field}" is not written to InfluxDB; docs/influxdb.md says what is`, { field });
  if (column.kind === 'tag')
    throw invalid(`${where}.field`, `"${field}" is a tag in InfluxDB, which measures fields; group by it`, { field });
  const numeric = column.kind === 'integer' || column.kind === 'number';
  if (!numeric && fn !== 'COUNT' && fn !== 'DISTINCT')
    throw invalid(`${where}.field`, `"${field}" is no number in InfluxDB, and ${fn} needs one`, { field, fn });
  if ((fn === 'QUANTILE' || fn === 'DISTINCT') && source === 'ROLLUP')
    throw invalid(`${where}.fn`, `a ${fn} cannot be made of rollups; persist with mode EVENTS for it, or ask for MAX`, {
      fn,
    });
  if ((fn === 'QUANTILE' || fn === 'DISTINCT') && trackers.length > 1 && !groupBy.includes('tracker')) {
    throw invalid(
      `${where}.fn`,
      `a ${fn} over several trackers cannot be made of theirs; ask for one tracker, or group by "tracker" too`,
      { fn },
    );
  }
  return names.map((name): Partial => {
    const slot = slotOf(name, field, name === 'quantile' ? q : 0);
    if (source === 'RAW') return { slot, fn: name, column: column.name, q };
    const stored = `${name}_${nameOf(field)}`;
    return { slot, fn: name === 'min' || name === 'max' ? name : 'sum', column: stored, q: 0 };
  });
}
