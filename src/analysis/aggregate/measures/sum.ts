import type { Measure } from './index.js';
import { mismatch, resultOf, type Result, type State, type Totals } from './state.js';
import type { Cell } from '../value.js';

/**
 * A sum, and what is made of it, exact for whole numbers of any size: a double carries it while it is a safe integer,
 * and overflows into a BigInt. Fractions are added apart, with Neumaier's compensation.
 */
export class Sum implements State {
  /** A total of no values is 0, and no value was seen of it. */
  #seen = false;
  #count = 0;
  #small = 0;
  #big = 0n;
  #fraction = 0;
  #compensation = 0;
  #fractions = false;

  get bytes(): number {
    return 96 + (this.#big === 0n ? 0 : 24);
  }

  add(cell: Cell, weight: number): void {
    const { number } = cell;
    if (Number.isNaN(number)) return;
    this.#seen = true;
    this.#count += cell.countOf(weight);
    const times = cell.total ? 1 : weight;
    const product = number * times;
    const next = this.#small + product;
    if (Number.isSafeInteger(number) && Number.isSafeInteger(product) && Number.isSafeInteger(next)) this.#small = next;
    else this.#addLarge(cell, times);
  }

  merge(other: State): void {
    if (!(other instanceof Sum)) throw mismatch();
    this.#seen ||= other.#seen;
    this.#count += other.#count;
    this.#big += other.#big;
    const next = this.#small + other.#small;
    if (Number.isSafeInteger(next)) this.#small = next;
    else this.#big += BigInt(other.#small);
    if (other.#fractions) {
      this.#addFraction(other.#fraction);
      this.#compensation += other.#compensation;
    }
  }

  result({ seconds }: Totals, { fn }: Measure): Result {
    if (!this.#seen) return resultOf({});
    const whole = this.#big + BigInt(this.#small);
    const sum = Number(whole) + this.#fraction + this.#compensation;
    if (fn === 'AVG') return resultOf({ number: this.#count ? sum / this.#count : null });
    if (fn === 'RATE') return resultOf({ number: seconds ? sum / seconds : null });
    return resultOf({ number: sum, text: this.#fractions ? String(sum) : String(whole) });
  }

  #addLarge(cell: Cell, weight: number): void {
    const { big } = cell;
    if (big === null) this.#addFraction(cell.number * weight);
    else this.#big += big * BigInt(weight);
  }

  #addFraction(value: number): void {
    this.#fractions = true;
    const sum = this.#fraction + value;
    this.#compensation +=
      Math.abs(this.#fraction) >= Math.abs(value) ? this.#fraction - sum + value : value - sum + this.#fraction;
    this.#fraction = sum;
  }
}
