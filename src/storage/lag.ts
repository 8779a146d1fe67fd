import { thousandths } from '../base/decimal.js';

const FIRST_STEP_MS = 500;
const MAX_MARKS = 4096;

/** How old the oldest of what was taken in order, and not dealt with, is: too old by half a second at most, or by a 2,000th of its age. */
export class Lag {
  #marks: { readonly upTo: number; readonly at: number }[] = [];
  /** What comes within it shares a mark, at the time of the first. */
  #stepMs = FIRST_STEP_MS;

  /** So many were taken in all. */
  took(total: number, nowMs: number): void {
    const last = this.#marks.at(-1);
    if (last && nowMs - last.at < this.#stepMs) this.#marks[this.#marks.length - 1] = { upTo: total, at: last.at };
    else this.#marks.push({ upTo: total, at: nowMs });
    if (this.#marks.length <= MAX_MARKS) return;
    this.#stepMs *= 2;
    this.#marks = this.#marks.flatMap(({ at, upTo }, i) =>
      i % 2 ? [] : [{ upTo: this.#marks[i + 1]?.upTo ?? upTo, at }],
    );
  }

  /** 0 when the first `done` are all. */
  ageMs(done: number, nowMs: number): number {
    let first = 0;
    while ((this.#marks[first]?.upTo ?? Number.POSITIVE_INFINITY) <= done) first++;
    if (first > 0) this.#marks.splice(0, first);
    const [oldest] = this.#marks;
    if (oldest) return thousandths(Math.max(0, nowMs - oldest.at));
    this.#stepMs = FIRST_STEP_MS;
    return 0;
  }
}
