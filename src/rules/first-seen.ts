import { BoundedMap } from './bounded.js';

const MAX_SUBJECTS = 500;
/** Of each subject. */
const MAX_VALUES = 4000;

interface Baseline {
  readonly sinceMs: number;
  readonly values: BoundedMap<true>;
}

/** As it is kept over restarts. */
export interface StoredBaseline {
  readonly subject: string;
  /** ms since 1970. */
  readonly since: number;
  readonly values: readonly string[];
}

/** What was seen of each subject (an image), so that a value that is new can be told from those that are usual. */
export class FirstSeenBook {
  readonly #learnMs: number;
  readonly #baselines = new BoundedMap<Baseline>(MAX_SUBJECTS);
  #evictedValues = 0;
  /** Values that were new, over its life. */
  learned = 0;

  constructor(learnMs: number) {
    this.#learnMs = learnMs;
  }

  /** Subjects and values that were forgotten to make room. */
  get evicted(): number {
    return this.#baselines.evicted + this.#evictedValues;
  }

  /** Whether the value is new to a subject that was watched for long enough. `atMs`: since 1970. */
  isNew(subject: string, value: string, atMs: number): boolean {
    let baseline = this.#baselines.get(subject);
    if (!baseline) this.#baselines.set(subject, (baseline = { sinceMs: atMs, values: new BoundedMap(MAX_VALUES) }));
    if (baseline.values.get(value)) return false;
    this.learned++;
    const { evicted } = baseline.values;
    baseline.values.set(value, true);
    this.#evictedValues += baseline.values.evicted - evicted;
    return atMs - baseline.sinceMs >= this.#learnMs;
  }

  stored(): readonly StoredBaseline[] {
    return [...this.#baselines.entries()].map(([subject, { sinceMs, values }]) => ({
      subject,
      since: sinceMs,
      values: [...values.entries()].map(([value]) => value),
    }));
  }

  restore(stored: readonly StoredBaseline[]): void {
    for (const { subject, since, values } of stored) {
      const baseline = { sinceMs: since, values: new BoundedMap<true>(MAX_VALUES) };
      for (const value of values) baseline.values.set(value, true);
      this.#baselines.set(subject, baseline);
    }
  }
}
