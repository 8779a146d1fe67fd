import { mismatch, resultOf, type HistogramBucket, type Result, type State } from './state.js';
import type { Cell } from '../value.js';

/** Buckets of powers of two: negative, 0 to 1, 1 to 2, 2 to 4 … to 2^64, and beyond. */
const LOG2_BUCKETS = 67;

/**
 * How many values lie in each bucket. Without bounds, powers of two; then only the buckets from the first to the last
 * that is not empty are told.
 */
export class Histogram implements State {
  readonly #bounds: readonly number[] | null;
  readonly #counts: Float64Array;

  constructor(bounds: readonly number[] | null) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds ? bounds.length + 1 : LOG2_BUCKETS);
  }

  get bytes(): number {
    return 120 + this.#counts.byteLength;
  }

  add(cell: Cell, weight: number): void {
    if (cell.total)
      return cell.forEach((value, count) =>
        this.#count(this.#bounds ? placeIn(this.#bounds, value) : log2Place(value), count),
      );
    if (Number.isNaN(cell.number)) return;
    this.#count(this.#bounds ? placeIn(this.#bounds, cell.number) : log2Place(cell.number, cell), weight);
  }

  #count(at: number, count: number): void {
    this.#counts[at] = (this.#counts[at] ?? 0) + count;
  }

  merge(other: State): void {
    if (!(other instanceof Histogram) || other.#counts.length !== this.#counts.length) throw mismatch();
    for (let i = 0; i < this.#counts.length; i++) this.#counts[i] = (this.#counts[i] ?? 0) + (other.#counts[i] ?? 0);
  }

  result(): Result {
    const bounds = this.#bounds;
    const boundAt = (i: number): number | null => (bounds ? (bounds[i] ?? null) : log2Bound(i));
    const buckets: HistogramBucket[] = Array.from(this.#counts, (count, i) => ({
      from: i ? boundAt(i - 1) : null,
      to: boundAt(i),
      count,
    }));
    if (bounds) return resultOf({ buckets });
    const used = (bucket: HistogramBucket): boolean => bucket.count > 0;
    return resultOf({ buckets: buckets.slice(Math.max(0, buckets.findIndex(used)), buckets.findLastIndex(used) + 1) });
  }
}

/** The upper end of a bucket of powers of two. */
function log2Bound(at: number): number | null {
  if (at === 0) return 0;
  return at < LOG2_BUCKETS - 1 ? 2 ** (at - 1) : null;
}

/** `cell` holds the digits of a number that is not exact. */
function log2Place(number: number, cell: Cell | null = null): number {
  if (number < 1) return number < 0 ? 0 : 1;
  if (number < 4294967296) return 33 - Math.clz32(number);
  if (number <= Number.MAX_SAFE_INTEGER) return 65 - Math.clz32(number / 4294967296);
  // Such a double may have been rounded up to a power of two.
  const big = cell?.big ?? null;
  const bits = big === null ? Math.floor(Math.log2(number)) + 1 : big.toString(2).length;
  return Math.min(bits + 1, LOG2_BUCKETS - 1);
}

/** How many bounds the value reaches. */
function placeIn(bounds: readonly number[], value: number): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value >= (bounds[middle] ?? Number.POSITIVE_INFINITY)) low = middle + 1;
    else high = middle;
  }
  return low;
}
