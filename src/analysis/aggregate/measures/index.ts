import type { Unit } from '../../../event/scalar.js';
import { Count, Events } from './count.js';
import { Distinct } from './distinct.js';
import { Extreme, TimeExtreme } from './extreme.js';
import { Histogram } from './histogram.js';
import { Quantile } from './quantile.js';
import type { State } from './state.js';
import { Sum } from './sum.js';
import { Top } from './top.js';

export const measureFunctions = [
  'COUNT',
  'DISTINCT',
  'SUM',
  'MIN',
  'MAX',
  'AVG',
  'QUANTILE',
  'HISTOGRAM',
  'TOP_K',
  'RATE',
] as const;
export type MeasureFunction = (typeof measureFunctions)[number];

/** A measure that was checked: what its function needs is there. */
export interface Measure {
  readonly name: string;
  readonly fn: MeasureFunction;
  /** Null for COUNT and RATE of events. */
  readonly field: string | null;
  /** Of its values; of a RATE, per second. */
  readonly unit: Unit | null;
  /** For MIN and MAX: a time, not a number. */
  readonly time: boolean;
  readonly q: number;
  readonly k: number;
  /** For HISTOGRAM; null is powers of two. */
  readonly buckets: readonly number[] | null;
}

const events = new Events();

/** Measures with the same key share their state: all quantiles of a field are of one sketch. */
export function stateKey({ fn, field, k, buckets }: Measure): string {
  if (field === null) return '';
  return JSON.stringify(
    fn === 'AVG' || fn === 'RATE' ? ['SUM', field, null, null] : [fn, field, fn === 'TOP_K' ? k : null, buckets],
  );
}

/** Makes a measure's state for a group. */
export function makeState({ fn, field, time, k, buckets }: Measure): State {
  if (field === null) return events;
  switch (fn) {
    case 'COUNT':
      return new Count();
    case 'DISTINCT':
      return new Distinct();
    case 'SUM':
    case 'AVG':
    case 'RATE':
      return new Sum();
    case 'MIN':
    case 'MAX':
      return time ? new TimeExtreme(fn) : new Extreme(fn);
    case 'QUANTILE':
      return new Quantile();
    case 'HISTOGRAM':
      return new Histogram(buckets);
    case 'TOP_K':
      return new Top(k);
  }
}
