import type { PluginWork } from '../../event/work.js';
import { LabelValues, type MetricFamily, type MetricsSource } from '../../event/metric.js';

const counters = {
  events: ['events', 'Events that the plugin was handed and took.'],
  failed: ['failed_events', 'Events of calls that threw or never ended.'],
  dropped: ['dropped_events', 'Events that the plugin did not get, since it was too slow.'],
  calls: ['calls', 'Calls of the plugin that ended.'],
  alerts: ['alerts', 'Alerts that the plugin raised.'],
  suppressed: ['suppressed', 'Results, alerts and log lines of the plugin that were over a limit.'],
  errors: ['errors', 'Errors of the plugin, failed reloads included.'],
  failures: ['failures', 'Times that the plugin was ended: it threw ten times in a row, looped, or filled its memory.'],
  restarts: ['restarts', 'Times that the plugin was started again after a failure.'],
  reloads: ['reloads', 'Times that new code of the plugin was put in force.'],
} as const satisfies Partial<Record<keyof PluginWork['counts'], readonly [string, string]>>;

/** Names of plugins with a label of their own; as many can be loaded at once. */
const MAX_PLUGINS = 64;
const IDLE_MS = 600_000;

/** What plugins cost and how they fare: `eunomia_plugin_…`. */
export class WorkMetrics implements MetricsSource {
  readonly #work: () => readonly PluginWork[];
  readonly #labels = new LabelValues(MAX_PLUGINS, IDLE_MS, () => {});

  constructor(work: () => readonly PluginWork[]) {
    this.#work = work;
  }

  metrics(): MetricFamily[] {
    const nowMs = Date.now();
    // Names of plugins that are gone for long make room; those beyond it are left out, since a sum of some of them would fall.
    const all = this.#work().filter(({ plugin }) => this.#labels.of(plugin, nowMs) === plugin);
    const family = (
      name: string,
      type: 'counter' | 'gauge',
      help: string,
      of: (work: PluginWork) => number,
    ): MetricFamily => ({
      name: `eunomia_plugin_${name}`,
      type,
      help,
      samples: all.map((work) => ({ labels: { plugin: work.plugin }, value: of(work) })),
    });
    return [
      ...Object.entries(counters).map(([count, [name, help]]) =>
        family(`${name}_total`, 'counter', help, ({ counts }) => counts[count as keyof typeof counters]),
      ),
      family(
        'busy_seconds_total',
        'counter',
        'Time that the calls of the plugin took in its thread, by the clock.',
        ({ counts }) => counts.busyMs / 1000,
      ),
      family('queued_events', 'gauge', 'Events that wait for the plugin.', ({ queued }) => queued),
      family(
        'memory_bytes',
        'gauge',
        'Memory of the plugin in all of its sessions, as last measured.',
        ({ memoryBytes }) => memoryBytes,
      ),
      {
        name: 'eunomia_plugin_sessions',
        type: 'gauge',
        help: 'Sessions that the plugin is attached to, by its state there.',
        samples: all.flatMap(({ plugin, states }) =>
          Object.entries(states).map(([state, value]) => ({ labels: { plugin, state }, value })),
        ),
      },
    ];
  }
}
