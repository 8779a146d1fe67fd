/** The vocabulary of metrics: what any part of the server can offer to Prometheus without knowing how it is exposed. */

export type Labels = Readonly<Record<string, string>>;

/** The newest observation of a bucket, and where to find it. At most 128 characters of names and values (OpenMetrics). */
export interface Exemplar {
  readonly labels: Labels;
  readonly value: number;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
}

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

export interface HistogramSample {
  readonly labels: Labels;
  /** Observations of each bucket, not cumulative; one more than `bounds`: the last is for those above all bounds. */
  readonly counts: ArrayLike<number>;
  readonly sum: number;
  readonly exemplars?: readonly (Exemplar | null)[];
}

interface Described {
  /** As Prometheus wants it: `eunomia_…`, base units (`_seconds`, `_bytes`), `_total` at the end of a counter's. */
  readonly name: string;
  readonly help: string;
}

/** One metric with all its series. A label never holds a pid, a path or anything else without bound. */
export type MetricFamily =
  | (Described & { readonly type: 'counter' | 'gauge'; readonly samples: readonly Sample[] })
  | (Described & {
      readonly type: 'histogram';
      readonly bounds: readonly number[];
      readonly samples: readonly HistogramSample[];
    });

/**
 * A part that has metrics. Asked at each scrape, a few times a minute; what it tells of a counter must not fall. When it throws, or answers
 * after more than two seconds, its metrics are missing from that scrape, and the others are there.
 */
export interface MetricsSource {
  metrics(): readonly MetricFamily[] | Promise<readonly MetricFamily[]>;
}

/** What a label holds for all that is beyond its cap. */
export const OTHER = 'other';

/**
 * The values of a label, at most so many: the first ones that come get their name, the others are `other` together. Who has been idle for
 * a while makes room, so that containers that come and go do not use the label up.
 */
export class LabelValues {
  readonly #max: number;
  readonly #idleMs: number;
  readonly #onLeave: (value: string) => void;
  /** Value → when it was last seen, the longest ago first. */
  readonly #seen = new Map<string, number>();
  /** Not given a name of their own, as far as they are remembered: enough to tell that there are some. */
  refused = 0;

  /** `onLeave` is called with a value that made room: its series are to be forgotten. */
  constructor(max: number, idleMs: number, onLeave: (value: string) => void) {
    this.#max = max;
    this.#idleMs = idleMs;
    this.#onLeave = onLeave;
  }

  /** The value, or `other`. */
  of(value: string, nowMs: number): string {
    if (!this.#seen.delete(value) && this.#seen.size >= this.#max && !this.#makeRoom(nowMs)) {
      this.refused++;
      return OTHER;
    }
    this.#seen.set(value, nowMs);
    return value;
  }

  get size(): number {
    return this.#seen.size;
  }

  #makeRoom(nowMs: number): boolean {
    for (const [value, seenAt] of this.#seen) {
      if (nowMs - seenAt < this.#idleMs) return false;
      this.#seen.delete(value);
      this.#onLeave(value);
      return true;
    }
    return false;
  }
}
