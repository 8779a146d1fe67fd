import { invalid } from '../../base/errors.js';
import type { Bucket, TraceEvent } from '../../event/event.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { MeasureFunction } from './measures/index.js';
import { compileReader } from './value.js';

/**
 * Events of a tracker that aggregates in the kernel stand for many happenings. A field of theirs either is the same for all
 * of them (the process, the name), or a total over them: then the event's value is added once, and single values are
 * known by a histogram at most.
 */
export interface KernelTotals {
  /** How many an event stands for. */
  weightOf(event: TraceEvent): number;
  /** Whether a field is a total in events of a tracker; with the reader of the histogram, where it has one. */
  totalOf(tracker: string, path: string): Total | null;
}

export interface Total {
  /** The single values by power of two. Null for a total without. */
  readonly histogram: ((event: TraceEvent) => readonly Bucket[] | null) | null;
  /** Of how many values the total is. Null: as many as its histogram has, or else one of each that the event stands for. */
  readonly valuesOf: ((event: TraceEvent) => number) | null;
}

/** Null when none of the trackers aggregates in the kernel. */
export function kernelTotalsOf(catalog: Catalog, trackers: readonly string[]): KernelTotals | null {
  const aggregating = trackers.flatMap((name) => {
    const { kernelAggregate } = catalog.need(name);
    if (!kernelAggregate) return [];
    const { totals: histograms, values = {} } = kernelAggregate;
    const totals = Object.entries(histograms).map(([path, histogram]): [string, Total] => [
      path,
      totalBy(histogram, values[path] ?? null),
    ]);
    return [[name, { count: compileReader(kernelAggregate.count), totals: new Map(totals) }] as const];
  });
  if (!aggregating.length) return null;
  const byName = new Map(aggregating);
  return {
    weightOf: (event) => {
      const totals = byName.get(event.tracker);
      return totals ? Number(totals.count(event)) : 1;
    },
    totalOf: (tracker, path) => byName.get(tracker)?.totals.get(path) ?? null,
  };
}

/** `histogram` and `values` are the paths of the fields with the single values, and with their number. */
function totalBy(histogram: string | null, values: string | null): Total {
  const number = values === null ? null : compileReader(values);
  return {
    histogram: histogram === null ? null : (compileReader(histogram) as NonNullable<Total['histogram']>),
    valuesOf: number && ((event) => Number(number(event))),
  };
}

/** What a total still tells of, and with a histogram besides. */
const ofTotals: ReadonlySet<MeasureFunction> = new Set(['COUNT', 'SUM', 'AVG', 'RATE']);
const ofHistograms: ReadonlySet<MeasureFunction> = new Set(['QUANTILE', 'HISTOGRAM']);

/** Throws BAD_USER_INPUT for a measure that needs the single values of a field that is a total. `path` is that of the measure. */
export function checkKernelTotals(
  fn: MeasureFunction,
  field: string,
  path: string,
  catalog: Catalog,
  trackers: readonly string[],
): void {
  for (const name of trackers) {
    const histogram = catalog.need(name).kernelAggregate?.totals[field];
    if (histogram === undefined || ofTotals.has(fn) || (histogram !== null && ofHistograms.has(fn))) continue;
    const known = [...ofTotals, ...(histogram === null ? [] : ofHistograms)].join(', ');
    throw invalid(
      `${path}.fn`,
      `"${field}" of ${name} is a total from the kernel, and ${fn} needs the single values; it has ${known}`,
      { field, fn, tracker: name },
    );
  }
}
