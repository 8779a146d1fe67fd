import { decimal } from '../../base/decimal.js';
import { addSlices, Aggregator, type AggregateRow } from '../../analysis/aggregate/index.js';
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import {
  OTHER,
  type HistogramSample,
  type Labels,
  type MetricFamily,
  type MetricsSource,
  type Sample,
} from '../../event/metric.js';
import type { Session } from '../../session/session.js';
import type { EventStream } from '../../session/stream/stream.js';
import type { Caller } from '../../access/caller.js';
import type { Sessions } from '../../service/sessions.js';
import type { ExportedConfig, ExportedMetric } from './config.js';

/** The server itself: its sessions run until it ends. */
const server: Caller = { who: 'the metrics configuration', role: 'operator', signal: new AbortController().signal };

/** Aggregates as metrics, as the configuration says: runs the sessions that they need for as long as the server runs. */
export class ExportedMetrics implements MetricsSource {
  readonly #config: ExportedConfig;
  readonly #service: Pick<Sessions, 'startConfigured'>;
  readonly #log: Log;
  #sessions: readonly (Session | null)[] = [];
  #tallies: readonly Tally[] = [];

  constructor(config: ExportedConfig, service: Pick<Sessions, 'startConfigured'>, log: Log) {
    this.#config = config;
    this.#service = service;
    this.#log = log;
  }

  /** A session that cannot start is told in the log and by `eunomia_configured_session_up`; the others run. */
  async start(): Promise<void> {
    this.#sessions = await Promise.all(
      this.#config.sessions.map(({ spec, plugins }) =>
        this.#service.startConfigured(server, spec, plugins).catch((error: unknown) => {
          this.#log.error(
            { session: spec.name, error: messageOf(error) },
            'starting a session of the metrics configuration',
          );
          return null;
        }),
      ),
    );
    this.#tallies = this.#config.metrics.map(
      (metric) => new Tally(metric, this.#sessions[metric.session] ?? null, this.#log),
    );
  }

  metrics(): MetricFamily[] {
    const missed = this.#tallies.map((tally) => ({ labels: { metric: tally.metric.name }, value: tally.missed }));
    return [
      ...this.#tallies.map((tally) => tally.family()),
      {
        name: 'eunomia_configured_session_up',
        type: 'gauge',
        help: '1 while a session of the metrics configuration runs.',
        samples: this.#config.sessions.map(({ spec: { name } }, i) => ({
          labels: { session: name ?? '' },
          value: this.#sessions[i]?.state === 'RUNNING' ? 1 : 0,
        })),
      },
      {
        name: 'eunomia_configured_metric_missed_total',
        type: 'counter',
        help: 'Events that a configured metric does not count: lost in the kernel, or dropped since the server was busy.',
        samples: missed,
      },
    ];
  }
}

/** One metric that is kept up to date with its session. */
class Tally {
  readonly metric: ExportedMetric;
  /** Lost in the kernel, or dropped since the server was busy. */
  missed = 0;
  #aggregator: Aggregator;
  /** Of a gauge: when its window ends, and the rows of the window before. */
  #windowEnd: number;
  #lastWindow: readonly AggregateRow[] = [];

  constructor(metric: ExportedMetric, session: Session | null, log: Log) {
    this.metric = metric;
    this.#aggregator = new Aggregator(metric.aggregate);
    this.#windowEnd = Date.now() + (metric.windowMs ?? Number.POSITIVE_INFINITY);
    const stream = session?.subscribe({ demand: metric.demand, where: metric.where });
    if (stream)
      this.#read(stream).catch((error: unknown) =>
        log.error(
          { metric: metric.name, err: error },
          'counting for a configured metric: it stands still from here on',
        ),
      );
  }

  family(): MetricFamily {
    this.#turn();
    const { name, help, type, windowMs, aggregate, scale } = this.metric;
    const rows = windowMs === null ? this.#aggregator.rows() : this.#lastWindow;
    if (type !== 'histogram') return { name, help, type, samples: this.#samples(rows) };
    const bounds = aggregate.measures[0]?.buckets ?? [];
    return { name, help, type, bounds: bounds.map((bound) => decimal(bound * scale)), samples: this.#histograms(rows) };
  }

  async #read(stream: EventStream): Promise<void> {
    for await (const { slices, gap } of stream) {
      if (gap) this.missed += gap.lost + gap.dropped;
      this.#turn();
      await addSlices(this.#aggregator, slices);
    }
  }

  /** A gauge begins anew with each window. One in which nothing came has no rows: what was true before is not repeated. */
  #turn(): void {
    const { windowMs, aggregate } = this.metric;
    const late = Date.now() - this.#windowEnd;
    if (windowMs === null || late < 0) return;
    this.#lastWindow = late < windowMs ? this.#aggregator.rows() : [];
    this.#windowEnd += windowMs * (1 + Math.floor(late / windowMs));
    this.#aggregator = new Aggregator(aggregate);
  }

  #samples(rows: readonly AggregateRow[]): Sample[] {
    const found = new Map<string, Sample>();
    for (const row of rows) {
      const number = row.values[0]?.number;
      if (number === null || number === undefined) continue;
      const [key, labels] = this.#labels(row);
      const before = this.metric.type === 'counter' ? (found.get(key)?.value ?? 0) : 0;
      found.set(key, { labels, value: decimal(before + number * this.metric.scale) });
    }
    return [...found.values()];
  }

  #histograms(rows: readonly AggregateRow[]): HistogramSample[] {
    const found = new Map<string, HistogramSample>();
    for (const { values, ...row } of rows) {
      const [histogram, total] = values;
      const [key, labels] = this.#labels(row);
      const before = found.get(key);
      const counts = histogram?.buckets?.map(({ count }, i) => count + (before?.counts[i] ?? 0)) ?? [];
      found.set(key, { labels, counts, sum: decimal((total?.number ?? 0) * this.metric.scale + (before?.sum ?? 0)) });
    }
    return [...found.values()];
  }

  /** With a key: a value that is "other", or empty, stands as one series with what these words mean. */
  #labels({ key, other }: Pick<AggregateRow, 'key' | 'other'>): [string, Labels] {
    const values = this.metric.labels.map((_label, i) => (other ? OTHER : (key[i]?.value ?? '')));
    return [JSON.stringify(values), Object.fromEntries(this.metric.labels.map((label, i) => [label, values[i] ?? '']))];
  }
}
