import type { Measure } from './index.js';
import { mismatch, resultOf, wholeOf, type Result, type State, type Totals } from './state.js';
import type { Cell } from '../value.js';

/** Events of the group, or a second. Both are known without a state of their own, so that all groups share one. */
export class Events implements State {
  readonly bytes = 0;
  add(): void {}

  merge(): void {}

  result({ count, seconds }: Totals, { fn }: Measure): Result {
    if (fn === 'COUNT') return wholeOf(count);
    return resultOf({ number: seconds ? count / seconds : null });
  }
}

/** Events that have a value. */
export class Count implements State {
  readonly bytes = 24;
  #count = 0;

  add(cell: Cell, weight: number): void {
    if (cell.value !== null) this.#count += cell.countOf(weight);
  }

  merge(other: State): void {
    if (!(other instanceof Count)) throw mismatch();
    this.#count += other.#count;
  }

  result(): Result {
    return wholeOf(this.#count);
  }
}
