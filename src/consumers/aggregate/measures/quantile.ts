import type { Measure } from './index.js';
import { RELATIVE_ERROR, Sketch } from './sketch.js';
import { mismatch, resultOf, type Result, type State, type Totals } from './state.js';
import type { Cell } from '../value.js';

/** The value that a share `q` of the values does not pass, to a relative error. */
export class Quantile implements State {
  readonly #sketch = new Sketch();

  get bytes(): number {
    return 32 + this.#sketch.bytes;
  }

  add({ number }: Cell, weight: number): void {
    if (!Number.isNaN(number)) this.#sketch.add(number, weight);
  }

  merge(other: State): void {
    if (!(other instanceof Quantile)) throw mismatch();
    this.#sketch.merge(other.#sketch);
  }

  result(_totals: Totals, { q }: Measure): Result {
    return resultOf({ number: this.#sketch.quantile(q), error: RELATIVE_ERROR });
  }
}
