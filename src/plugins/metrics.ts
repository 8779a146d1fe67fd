import type { MetricDefinition } from '../plugin.js';
import type { MetricChange } from './protocol.js';

/** One series as it is now. Counters and histograms never fall while the server runs. */
export interface PluginMetricSample {
  readonly plugin: string;
  /** Id of the session. */
  readonly session: string;
  /** As the plugin declared it. */
  readonly metric: string;
  readonly type: MetricDefinition['type'];
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of a histogram the sum. */
  readonly value: number;
  /** Of a histogram, cumulative, the last with the bound Infinity; empty for others. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
}

/** What exporters of metrics ask plugins. */
export interface PluginMetrics {
  samples(): readonly PluginMetricSample[];
}

/** Series of one metric, over restarts of the plugin. Its thread bounds them; so does this, for a thread that does not. */
const SERIES = 200;

/** Sums up what the calls of one plugin in one session report. */
export class MetricBook {
  readonly #series = new Map<string, { readonly definition: MetricDefinition; readonly change: MetricChange }>();
  readonly #counts = new Map<string, number>();

  add(changes: readonly MetricChange[], definitions: Readonly<Record<string, MetricDefinition>>): void {
    for (const change of changes) {
      const definition = Object.hasOwn(definitions, change.metric) ? definitions[change.metric] : undefined;
      if (!definition) continue;
      const key = JSON.stringify([change.metric, definition, change.labels]);
      const known = this.#series.get(key)?.change;
      if (!known) {
        const count = (this.#counts.get(change.metric) ?? 0) + 1;
        if (count > SERIES) continue;
        this.#counts.set(change.metric, count);
        this.#series.set(key, { definition, change: { ...change, buckets: [...change.buckets] } });
        continue;
      }
      known.value = definition.type === 'gauge' ? change.value : known.value + change.value;
      change.buckets.forEach((count, i) => (known.buckets[i] = (known.buckets[i] ?? 0) + count));
    }
  }

  samples(plugin: string, session: string): PluginMetricSample[] {
    return [...this.#series.values()].map(({ definition: { type, help, labels = [], buckets = [] }, change }) => {
      let sum = 0;
      return {
        plugin,
        session,
        metric: change.metric,
        type,
        help,
        labels: Object.fromEntries(labels.map((label, i) => [label, change.labels[i] ?? ''])),
        value: change.value,
        buckets: change.buckets.map((count, i) => ({
          le: buckets[i] ?? Number.POSITIVE_INFINITY,
          count: (sum += count),
        })),
      };
    });
  }
}
