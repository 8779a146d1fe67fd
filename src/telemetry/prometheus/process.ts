import { collectDefaultMetrics, Registry } from 'prom-client';
import type { MetricFamily, MetricsSource } from '../../event/metric.js';

/** Between two measurements of the event loop's delay: each is a timer, which wakes a server that is otherwise asleep. */
const LOOP_DELAY_EVERY_MS = 100;

/**
 * CPU, memory, garbage collection and event-loop delay of the server's process, as prom-client measures them, from the moment that somebody
 * asks first. One a process.
 */
export class ProcessMetrics implements MetricsSource {
  #registry: Registry | null = null;

  async metrics(): Promise<MetricFamily[]> {
    const families = await (this.#registry ??= begin()).getMetricsAsJSON();
    return families.flatMap(({ name, help, type, values }): MetricFamily[] => {
      // Its one histogram, of garbage collections, keeps its buckets to itself; count and sum are left.
      const kind = String(type);
      // Its sums of gauges are named as counters are; the gauges themselves are there too.
      if (kind !== 'counter' && (kind !== 'gauge' || name.endsWith('_total'))) return [];
      return [
        { name, help, type: kind, samples: values.map(({ labels, value }) => ({ labels: textLabels(labels), value })) },
      ];
    });
  }
}

function begin(): Registry {
  const register = new Registry();
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: LOOP_DELAY_EVERY_MS });
  return register;
}

function textLabels(labels: object): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]));
}
