import { mismatch, resultOf, type Result, type State } from './state.js';
import type { Cell } from '../value.js';

/** The smallest or largest number, exact also beyond 2^53. */
export class Extreme implements State {
  readonly bytes = 64;
  readonly #sign: number;
  #number = Number.NaN;
  /** Its digits, where the number alone is not exact. */
  #big: bigint | null = null;

  constructor(form: 'MIN' | 'MAX') {
    this.#sign = form === 'MAX' ? 1 : -1;
  }

  add(cell: Cell): void {
    const { number } = cell;
    if (Number.isNaN(number)) return;
    const more = (number - this.#number) * this.#sign;
    if (more < 0) return;
    this.#take(number, Number.isSafeInteger(number) ? null : cell.big);
  }

  merge(other: State): void {
    if (!(other instanceof Extreme)) throw mismatch();
    if (!Number.isNaN(other.#number)) this.#take(other.#number, other.#big);
  }

  result(): Result {
    if (Number.isNaN(this.#number)) return resultOf({});
    return resultOf({ number: this.#number, text: String(this.#big ?? this.#number) });
  }

  #take(number: number, big: bigint | null): void {
    const more = (number - this.#number) * this.#sign;
    if (more < 0) return;
    // Equal doubles may be different numbers.
    if (more === 0 && this.#big !== null && big !== null && (this.#sign > 0 ? big <= this.#big : big >= this.#big))
      return;
    this.#number = number;
    this.#big = big;
  }
}

/** The first or last time: RFC 3339 texts of one length sort as the times do. */
export class TimeExtreme implements State {
  readonly bytes = 96;
  readonly #latest: boolean;
  #text: string | null = null;

  constructor(form: 'MIN' | 'MAX') {
    this.#latest = form === 'MAX';
  }

  add({ value }: Cell): void {
    if (typeof value === 'string') this.#take(value);
  }

  merge(other: State): void {
    if (!(other instanceof TimeExtreme)) throw mismatch();
    if (other.#text !== null) this.#take(other.#text);
  }

  result(): Result {
    return resultOf({ text: this.#text });
  }

  #take(text: string): void {
    if (this.#text === null || (this.#latest ? text > this.#text : text < this.#text)) this.#text = text;
  }
}
