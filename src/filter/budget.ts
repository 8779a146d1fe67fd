import type { Comparison } from './ast.js';
import type { Fail } from './pattern.js';

const MAX_COMPARISONS = 1000;
const MAX_DEPTH = 50;
/** Conditions, with what macros and lists of constants are expanded to. */
const MAX_CONDITIONS = 20_000;
// Each is worth tens of plain comparisons, and one pattern's program is bounded by itself.
const MAX_PATTERNS = 50;
const MAX_VALUES = 10_000;
/** Of the saved filters that are named, each as often as it is: four of the largest. */
const MAX_SAVED_BYTES = 256 << 10;

/** The maximum cost of a filter, which is evaluated for every event. */
export class FilterBudget {
  #comparisons = 0;
  #conditions = 0;
  #patterns = 0;
  #values = 0;
  #savedBytes = 0;

  take({ op, value }: Comparison, fail: Fail): void {
    if (++this.#comparisons > MAX_COMPARISONS)
      fail(
        `is comparison ${this.#comparisons} of the filter; at most ${MAX_COMPARISONS} are allowed; \`in\` takes many values at once`,
      );
    if ((op === 'glob' || op === 'regex') && ++this.#patterns > MAX_PATTERNS)
      fail(`is pattern ${this.#patterns} of the filter; at most ${MAX_PATTERNS} are allowed; join them with "|"`);
    if (Array.isArray(value) && (this.#values += value.length) > MAX_VALUES)
      fail(`brings the values of the filter to ${this.#values}; at most ${MAX_VALUES} are allowed`);
  }

  /** A saved filter is named. A request bounds what is written in it, and not what it names again and again. */
  saved(filter: unknown, fail: Fail): void {
    this.#savedBytes += Buffer.byteLength(JSON.stringify(filter));
    if (this.#savedBytes > MAX_SAVED_BYTES)
      fail(
        `brings the saved filters that the filter names to ${this.#savedBytes} bytes as JSON; at most ${MAX_SAVED_BYTES} are allowed`,
      );
  }

  /** A condition of any kind: what compares nothing costs time to convert, too. */
  condition(depth: number, fail: Fail): void {
    if (++this.#conditions > MAX_CONDITIONS)
      fail(
        `is condition ${this.#conditions} of the filter, with what its macros and lists are expanded to; ` +
          `at most ${MAX_CONDITIONS} are allowed`,
      );
    this.depth(depth, fail);
  }

  depth(depth: number, fail: Fail): void {
    if (depth > MAX_DEPTH) fail(`is nested more than ${MAX_DEPTH} deep`);
  }
}
