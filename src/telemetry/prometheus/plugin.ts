import type { HistogramSample, MetricFamily, MetricsSource, Sample } from '../../event/metric.js';

/** One series of a plugin as it is now, as the part that runs plugins tells it. */
export interface PluginSeries {
  readonly plugin: string;
  /** Id of the session. */
  readonly session: string;
  /** As the plugin declared it. */
  readonly metric: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of a histogram the sum. */
  readonly value: number;
  /** Of a histogram, cumulative, the last with the bound Infinity; empty for others. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
}

/**
 * Metrics that plugins declare: `plugin_NAME_METRIC`, so that none can pass for the server's own, with the labels
 * `session` and the plugin's.
 */
export class DeclaredMetrics implements MetricsSource {
  readonly #samples: () => readonly PluginSeries[];
  readonly #labelOf: (session: string) => string;

  /** `labelOf` makes the label of a session's id; sessions of one label are summed up. */
  constructor(samples: () => readonly PluginSeries[], labelOf: (session: string) => string) {
    this.#samples = samples;
    this.#labelOf = labelOf;
  }

  metrics(): MetricFamily[] {
    const byName = new Map<string, PluginSeries[]>();
    for (const series of this.#samples()) {
      const name = nameOf(series);
      const first = byName.get(name)?.[0];
      // Versions of a plugin may differ in what a metric is: the one that was there first stands.
      if (first && !isAlike(first, series)) continue;
      byName.set(name, [...(byName.get(name) ?? []), series]);
    }
    return [...byName].map(([name, all]): MetricFamily => {
      const { type, help, buckets } = all[0] ?? { type: 'gauge', help: '', buckets: [] };
      if (type !== 'histogram') return { name, help, type, samples: this.#sum(all) };
      return {
        name,
        help,
        type,
        bounds: buckets.map(({ le }) => le).filter(Number.isFinite),
        samples: this.#histograms(all),
      };
    });
  }

  #labels({ session, labels }: PluginSeries): Record<string, string> {
    return { ...labels, session: this.#labelOf(session) };
  }

  #sum(all: readonly PluginSeries[]): Sample[] {
    const found = new Map<string, Sample>();
    for (const series of all) {
      const labels = this.#labels(series);
      const key = JSON.stringify(labels);
      found.set(key, { labels, value: series.value + (found.get(key)?.value ?? 0) });
    }
    return [...found.values()];
  }

  #histograms(all: readonly PluginSeries[]): HistogramSample[] {
    const found = new Map<string, HistogramSample>();
    for (const series of all) {
      const labels = this.#labels(series);
      const key = JSON.stringify(labels);
      const before = found.get(key);
      const counts = series.buckets.map(
        ({ count }, i) => count - (series.buckets[i - 1]?.count ?? 0) + (before?.counts[i] ?? 0),
      );
      found.set(key, { labels, counts, sum: series.value + (before?.sum ?? 0) });
    }
    return [...found.values()];
  }
}

function nameOf({ plugin, metric, type }: PluginSeries): string {
  const name = `plugin_${plugin}_${metric}`.replace(/[^a-zA-Z0-9_]/g, '_');
  return type === 'counter' && !name.endsWith('_total') ? `${name}_total` : name;
}

function isAlike(one: PluginSeries, other: PluginSeries): boolean {
  return (
    one.type === other.type &&
    one.buckets.length === other.buckets.length &&
    one.buckets.every(({ le }, i) => le === other.buckets[i]?.le)
  );
}
