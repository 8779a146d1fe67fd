/** The types of metrics: any part of the server can provide metrics without knowing how they are exposed. */

export type Labels = Readonly<Record<string, string>>;

/**
 * The newest observation in a bucket, and where to find it. Names and values have at most 128 characters (OpenMetrics).
 */
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
  /**
   * Number of observations per bucket, not cumulative. Has one more element than `bounds`: the last counts observations
   * above all bounds.
   */
  readonly counts: ArrayLike<number>;
  readonly sum: number;
  readonly exemplars?: readonly (Exemplar | null)[];
}

interface Described {
  /**
   * The name by Prometheus' conventions: `eunomia_…`, base units (`_seconds`, `_bytes`), `_total` at the end of a
   * counter.
   */
  readonly name: string;
  readonly help: string;
}

/** A metric with all its series. Labels never contain pids, paths or other unbounded values. */
export type MetricFamily =
  | (Described & { readonly type: 'counter' | 'gauge'; readonly samples: readonly Sample[] })
  | (Described & {
      readonly type: 'histogram';
      readonly bounds: readonly number[];
      readonly samples: readonly HistogramSample[];
    });

/**
 * A part of the server that provides metrics. It is called at each scrape, a few times a minute. Its counters must
 * never decrease. If it throws, or takes more than two seconds, its metrics are missing from that scrape; others are
 * not affected.
 */
export interface MetricsSource {
  metrics(): readonly MetricFamily[] | Promise<readonly MetricFamily[]>;
}

/** The label value for everything beyond the limit. */
export const OTHER = 'other';

/**
 * A bounded set of label values: the first ones keep their name, all others become `other`. A value that has been idle
 * for a while makes room, so that short-lived containers do not exhaust the label.
 */
export class LabelValues {
  readonly #max: number;
  readonly #idleMs: number;
  readonly #onLeave: (value: string) => void;
  /** Maps a value to when it was last seen, in ascending order of time. */
  readonly #seen = new Map<string, number>();
  /** Values that became `other`, as far as they are remembered: enough to know that there are some. */
  refused = 0;

  /** `onLeave` is called with a value that made room, so that its series can be deleted. */
  constructor(max: number, idleMs: number, onLeave: (value: string) => void) {
    this.#max = max;
    this.#idleMs = idleMs;
    this.#onLeave = onLeave;
  }

  /** Returns the value, or `other`. */
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
