import type { Cell } from '../value.js';
import type { Measure } from './index.js';

export interface HistogramBucket {
  /** The bucket holds `from <= value < to`; null is without end. */
  readonly from: number | null;
  readonly to: number | null;
  readonly count: number;
}

export interface TopValue {
  /** As text; a list as JSON. */
  readonly value: string;
  /** Never too small. */
  readonly count: number;
  /** Too large by this at most. */
  readonly error: number;
}

/** A measure's value, in the form that fits. What does not fit is null. */
export interface Result {
  readonly number: number | null;
  /** Exact where `number` cannot be: decimal digits, or a time. */
  readonly text: string | null;
  /** Relative; 0 when exact. Of DISTINCT the standard error, of QUANTILE the bound. */
  readonly error: number;
  readonly buckets: readonly HistogramBucket[] | null;
  readonly top: readonly TopValue[] | null;
}

/** What a group is besides its measured fields. */
export interface Totals {
  /** Events of the group. */
  readonly count: number;
  /** The time that they were gathered in; null when there is none to speak of. */
  readonly seconds: number | null;
}

/** The state of one measure in one group and pane. All can be merged, so that windows are made of panes and `other` of groups. */
export interface State {
  /** Takes the value of an event that stands for `weight` equal ones. One without a value changes nothing. */
  add(cell: Cell, weight: number): void;
  /** `other` is of the same measure, and stays as it is. */
  merge(other: State): void;
  /** `measure` is one of those that share the state. */
  result(totals: Totals, measure: Measure): Result;
  /** An estimate of what it weighs in memory. */
  readonly bytes: number;
}

const nothing: Result = { number: null, text: null, error: 0, buckets: null, top: null };

/** A result with some of its forms. */
export function resultOf(forms: Partial<Result>): Result {
  return { ...nothing, ...forms };
}

/** A whole number, exact in both forms up to 2^53. */
export function wholeOf(count: number, error = 0): Result {
  return resultOf({ number: count, text: String(count), error });
}

/** For `merge`: states of another measure are a defect of the caller. */
export function mismatch(): TypeError {
  return new TypeError('only states of the same measure can be merged');
}
