import { ValueType, type HrTime } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  DataPointType,
  type MetricData,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import type { MetricFamily } from '../../event/metric.js';

/** What /metrics tells, as OTLP's: under the same names, so that the same queries and dashboards fit. Sums are since the server's start. */
export function metricsOf(
  families: readonly MetricFamily[],
  resource: Resource,
  version: string,
  startedAtMs: number,
  atMs: number,
): ResourceMetrics {
  const startTime = timeOf(startedAtMs);
  const endTime = timeOf(atMs);
  return {
    resource,
    scopeMetrics: [
      {
        scope: { name: 'eunomia', version },
        metrics: families
          .filter(({ samples }) => samples.length > 0)
          .map((family) => metricOf(family, { startTime, endTime })),
      },
    ],
  };
}

/** Points, as the collector counts them. */
export function pointsOf(families: readonly MetricFamily[]): number {
  return families.reduce((sum, { samples }) => sum + samples.length, 0);
}

function metricOf(family: MetricFamily, times: { readonly startTime: HrTime; readonly endTime: HrTime }): MetricData {
  const { name, help } = family;
  const common = {
    descriptor: { name, description: help, unit: unitOf(name), valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  if (family.type === 'histogram') {
    const boundaries = [...family.bounds];
    return {
      ...common,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: family.samples.map(({ labels, counts, sum }) => {
        const all = Array.from({ length: boundaries.length + 1 }, (_, i) => counts[i] ?? 0);
        return {
          ...times,
          attributes: labels,
          value: { buckets: { boundaries, counts: all }, sum, count: all.reduce((total, count) => total + count, 0) },
        };
      }),
    };
  }
  const dataPoints = family.samples.map(({ labels, value }) => ({ ...times, attributes: labels, value }));
  return family.type === 'counter'
    ? { ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }
    : { ...common, dataPointType: DataPointType.GAUGE, dataPoints };
}

/** UCUM, as OTLP wants it, from the name's. */
function unitOf(name: string): string {
  if (/_seconds(_total)?$/.test(name)) return 's';
  return /_bytes(_total)?$/.test(name) ? 'By' : '';
}

function timeOf(ms: number): HrTime {
  return [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)];
}
