import { BoundedMap } from './bounded.js';

const MAX_SUBJECTS = 500;
/** Of each subject. */
const MAX_VALUES = 4000;

interface Baseline {
  sinceMs: number;
  readonly values: BoundedMap<true>;
}

/** As it is kept over restarts. */
export interface StoredBaseline {
  readonly subject: string;
  /** ms since 1970. */
  readonly since: number;
  readonly values: readonly string[];
}

/** What a rule has learned. */
export interface Learned {
  /** Its `firstSeen`: another one learns anew. */
  readonly of: string;
  readonly book: FirstSeenBook;
}

/** What was seen of each subject (an image), so that a value that is new can be told from those that are usual. */
export class FirstSeenBook {
  #baselines = new BoundedMap<Baseline>(MAX_SUBJECTS);
  #evictedValues = 0;
  /** While the history is read, nothing is new. */
  #isReading = false;
  /** Values that were new, over its life. */
  learned = 0;

  /** Subjects and values that were forgotten to make room. */
  get evicted(): number {
    return this.#baselines.evicted + this.#evictedValues;
  }

  get isEmpty(): boolean {
    return this.#baselines.size === 0;
  }

  get isReading(): boolean {
    return this.#isReading;
  }

  /** What the history has counts as seen: `learn` is called for it, in any order, between these two. */
  beginHistory(): void {
    this.#isReading = true;
  }

  /** Of a part, what is usual cannot be told from what is new: its subjects are learned from `nowMs` (since 1970) on, as new ones are. */
  endHistory(isWhole: boolean, nowMs: number): void {
    this.#isReading = false;
    if (!isWhole) for (const [, baseline] of this.#baselines.entries()) baseline.sinceMs = nowMs;
  }

  /** Nobody reads it to its end: nothing was learned, and the next one begins with it again. */
  dropHistory(): void {
    this.#isReading = false;
    this.#baselines = new BoundedMap<Baseline>(MAX_SUBJECTS);
  }

  /** The value was seen at this time, in ms since 1970. */
  learn(subject: string, value: string, atMs: number): void {
    this.isNew(subject, value, atMs, 0);
    const baseline = this.#baselines.get(subject);
    if (baseline && atMs < baseline.sinceMs) baseline.sinceMs = atMs;
  }

  /** Whether the value is new to a subject that was watched for `learnMs` or longer. `atMs`: since 1970. */
  isNew(subject: string, value: string, atMs: number, learnMs: number): boolean {
    let baseline = this.#baselines.get(subject);
    if (!baseline) this.#baselines.set(subject, (baseline = { sinceMs: atMs, values: new BoundedMap(MAX_VALUES) }));
    if (baseline.values.get(value)) return false;
    this.learned++;
    const { evicted } = baseline.values;
    baseline.values.set(value, true);
    this.#evictedValues += baseline.values.evicted - evicted;
    return !this.#isReading && atMs - baseline.sinceMs >= learnMs;
  }

  /**
   * Each is copied when it is asked for, since the book may go on learning meanwhile. The subject that was used last comes first.
   * None while the history is read: a server that ends meanwhile begins with it again.
   */
  *stored(): Generator<StoredBaseline, void> {
    if (this.#isReading) return;
    for (const [subject, { sinceMs, values }] of [...this.#baselines.entries()].reverse())
      yield { subject, since: sinceMs, values: [...values.entries()].map(([value]) => value) };
  }

  /** Of several, the one that was used last is to come last. */
  restore({ subject, since, values }: StoredBaseline): void {
    const baseline = { sinceMs: since, values: new BoundedMap<true>(MAX_VALUES) };
    for (const value of values) baseline.values.set(value, true);
    this.#baselines.set(subject, baseline);
  }
}
