import type { Measure } from './index.js';
import { RELATIVE_ERROR, Sketch } from './sketch.js';
import { mismatch, resultOf, type Result, type State, type Totals } from './state.js';
import { MIDDLE, type Cell } from '../value.js';

/** Of a value that stands for its power of two, and is off by the sketch's own error besides. */
const COARSE_ERROR = Number((MIDDLE * (1 + RELATIVE_ERROR) - 1).toFixed(3));

/** The value that a share `q` of the values does not pass, to a relative error. */
export class Quantile implements State {
  readonly #sketch = new Sketch();
  /** Of values of which only the power of two is known. */
  #coarse = false;

  get bytes(): number {
    return 32 + this.#sketch.bytes;
  }

  add(cell: Cell, weight: number): void {
    const { number } = cell;
    if (cell.total) {
      this.#coarse = true;
      cell.forEach((value, count) => this.#sketch.add(value, count));
    } else if (!Number.isNaN(number)) this.#sketch.add(number, weight);
  }

  merge(other: State): void {
    if (!(other instanceof Quantile)) throw mismatch();
    this.#sketch.merge(other.#sketch);
    this.#coarse ||= other.#coarse;
  }

  result(_totals: Totals, { q }: Measure): Result {
    return resultOf({ number: this.#sketch.quantile(q), error: this.#coarse ? COARSE_ERROR : RELATIVE_ERROR });
  }
}
