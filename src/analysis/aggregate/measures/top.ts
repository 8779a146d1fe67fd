import { mismatch, resultOf, type Result, type State } from './state.js';
import { textOf } from '../../../event/value-text.js';
import type { Cell } from '../value.js';

interface Counter {
  readonly value: string | number | boolean;
  count: number;
  error: number;
  /** Its place in the heap. */
  at: number;
}

/** Counters for each value asked for: the more, the smaller the errors. */
const COUNTERS = 8;
const MIN_COUNTERS = 64;

/**
 * The most frequent values (Space-Saving: Metwally, Agrawal, El Abbadi, ICDT 2005). Any value with more than one in so many events as there
 * are counters is among them; a count is never too small, and too large by its `error` at most.
 */
export class Top implements State {
  readonly #k: number;
  readonly #capacity: number;
  readonly #byValue = new Map<Counter['value'], Counter>();
  /** Smallest first; made once all counters are in use. */
  #heap: Counter[] = [];

  constructor(k: number) {
    this.#k = k;
    this.#capacity = Math.max(MIN_COUNTERS, k * COUNTERS);
  }

  get bytes(): number {
    return 200 + this.#byValue.size * 160;
  }

  add({ value: given }: Cell, weight: number): void {
    if (given === null) return;
    const value = typeof given === 'object' ? JSON.stringify(given) : (given as Counter['value']);
    const known = this.#byValue.get(value);
    if (known) {
      known.count += weight;
      this.#sink(known);
      return;
    }
    if (this.#byValue.size < this.#capacity) {
      this.#byValue.set(value, { value, count: weight, error: 0, at: -1 });
      if (this.#byValue.size === this.#capacity) this.#buildHeap();
      return;
    }
    const smallest = this.#heap[0];
    if (!smallest) return;
    this.#byValue.delete(smallest.value);
    const counter = { value, count: smallest.count + weight, error: smallest.count, at: 0 };
    this.#byValue.set(value, counter);
    this.#heap[0] = counter;
    this.#sink(counter);
  }

  /** Agarwal and others, "Mergeable summaries" (PODS 2012): what one side does not hold may have been there as often as its smallest. */
  merge(other: State): void {
    if (!(other instanceof Top) || other.#capacity !== this.#capacity) throw mismatch();
    const mine = this.#floor;
    const theirs = other.#floor;
    const merged: Counter[] = [];
    for (const { value, count, error } of this.#byValue.values()) {
      const same = other.#byValue.get(value);
      merged.push({ value, count: count + (same?.count ?? theirs), error: error + (same?.error ?? theirs), at: -1 });
    }
    for (const { value, count, error } of other.#byValue.values()) {
      if (!this.#byValue.has(value)) merged.push({ value, count: count + mine, error: error + mine, at: -1 });
    }
    merged.sort((a, b) => b.count - a.count);
    this.#byValue.clear();
    this.#heap = [];
    for (const counter of merged.slice(0, this.#capacity)) this.#byValue.set(counter.value, counter);
    if (this.#byValue.size === this.#capacity) this.#buildHeap();
  }

  result(): Result {
    const sorted = [...this.#byValue.values()].sort((a, b) => b.count - a.count || a.error - b.error);
    return resultOf({
      top: sorted.slice(0, this.#k).map(({ value, count, error }) => ({ value: textOf(value) ?? '', count, error })),
    });
  }

  /** How often a value that has no counter may have been there. */
  get #floor(): number {
    return this.#heap[0]?.count ?? 0;
  }

  #buildHeap(): void {
    // A sorted array is a heap.
    this.#heap = [...this.#byValue.values()].sort((a, b) => a.count - b.count);
    this.#heap.forEach((counter, at) => (counter.at = at));
  }

  /** Its count grew: moves it behind smaller ones. */
  #sink(counter: Counter): void {
    const heap = this.#heap;
    if (counter.at < 0) return;
    for (let at = counter.at; ;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const child = right && left && right.count < left.count ? right : left;
      if (!child || child.count >= counter.count) {
        heap[at] = counter;
        counter.at = at;
        return;
      }
      const below = child.at;
      heap[at] = child;
      child.at = at;
      at = below;
    }
  }
}
