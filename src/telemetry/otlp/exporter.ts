import type { OtlpConfig } from '../../base/config.js';
import { messageOf } from '../../base/errors.js';
import { compileGlob, type TextPredicate } from '../../base/glob.js';
import type { Log } from '../../base/log.js';
import type { MetricFamily, MetricsSource } from '../../event/metric.js';
import type { RecorderInput } from '../../session/recorder.js';
import type { Session } from '../../session/session.js';
import { packBatch } from '../../record/wire.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { ExportedAlert, ExportedField, ExportedSession, ResourceFacts, Signal } from './protocol.js';
import { ExportThread } from './thread.js';

export interface ExporterOptions {
  readonly config: OtlpConfig;
  /** PEM. */
  readonly ca: string | null;
  readonly catalog: Catalog;
  readonly version: string;
  readonly resource: ResourceFacts;
  /** What /metrics tells. */
  readonly families: () => Promise<readonly MetricFamily[]>;
  readonly log: Log;
}

/** Bytes of a session's records that may wait for the collector; the oldest are dropped, and told as a gap. */
const QUEUE_BYTES = 16 << 20;
const ALERTS = 10_000;
/** How long the end of the server waits for the collector. */
const CLOSE_MS = 2000;
/** A session asks for it by this label. */
const LABEL = { name: 'otlp', value: 'true' } as const;

/** Sends events, alerts and metrics to an OpenTelemetry collector. Nothing that the collector does keeps the live side waiting. */
export class OtlpExporter implements MetricsSource {
  readonly #options: ExporterOptions;
  readonly #thread: ExportThread;
  readonly #named: readonly TextPredicate[];
  readonly #sources = new Map<RecorderInput, Promise<void>>();
  readonly #timer: NodeJS.Timeout | null;
  #alerts: ExportedAlert[] = [];
  #sendingAlerts: Promise<void> | null = null;
  /** Events and alerts that did not go out, of sessions that have ended and of threads that failed. */
  #dropped = 0;

  constructor(options: ExporterOptions) {
    const { config, ca, catalog, version, resource, log } = options;
    this.#options = options;
    this.#named = config.events.map((glob) => compileGlob(glob));
    this.#thread = new ExportThread(
      {
        url: config.url,
        headers: config.headers,
        ca,
        resource,
        version,
        startedAtMs: Date.now(),
        fields: fieldsOf(catalog),
      },
      (signal, problem) => {
        if (problem === null) log.info({ signal }, 'OTLP: the collector takes what is sent again');
        else log.warn({ signal, problem, url: config.url }, 'OTLP: what is to be exported is not taken');
      },
    );
    this.#timer = config.metricsMs === null ? null : setInterval(() => void this.#measure(), config.metricsMs).unref();
  }

  /** To be called with each session before it starts. */
  follow(session: Session): void {
    const { id, spec } = session;
    const asks =
      spec.labels.some(({ name, value }) => name === LABEL.name && value === LABEL.value) ||
      this.#named.some((matches) => spec.name !== null && matches(spec.name));
    if (!asks) return;
    const source = session.record(QUEUE_BYTES);
    const reading = this.#read(source, {
      id,
      name: spec.name,
      trackers: spec.trackers.map(({ name }) => name),
    }).finally(() => {
      this.#sources.delete(source);
      this.#dropped += source.stats.dropped;
    });
    this.#sources.set(source, reading);
  }

  raise(alert: ExportedAlert): void {
    if (!this.#options.config.alerts) return;
    this.#alerts.push(copyOf(alert));
    if (this.#alerts.length > ALERTS) {
      this.#alerts.shift();
      this.#dropped++;
    }
    this.#sendingAlerts ??= this.#sendAlerts().finally(() => (this.#sendingAlerts = null));
  }

  metrics(): MetricFamily[] {
    const signals: readonly Signal[] = ['logs', 'metrics'];
    const active = [...this.#sources.keys()].map(({ stats }) => stats);
    const counter = (name: string, help: string, of: 'sent' | 'refused' | 'failures'): MetricFamily => ({
      name: `eunomia_otlp_${name}_total`,
      type: 'counter',
      help,
      samples: signals.map((signal) => ({ labels: { signal }, value: this.#thread.counts(signal)[of] })),
    });
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
    return [
      counter(
        'sent',
        'Log records (events, gaps and alerts) and metric points that the OTLP collector has taken.',
        'sent',
      ),
      counter('refused', 'Log records and metric points that the OTLP collector refused for good.', 'refused'),
      counter('failures', 'Requests to the OTLP collector that failed and were made again.', 'failures'),
      {
        name: 'eunomia_otlp_dropped_total',
        type: 'counter',
        help: 'Events and alerts that were not sent, since the collector was away or too slow for the bounded queues.',
        samples: [{ labels: { signal: 'logs' }, value: this.#dropped + sum(active.map(({ dropped }) => dropped)) }],
      },
      {
        name: 'eunomia_otlp_queued',
        type: 'gauge',
        help: 'Events, alerts and metric points that wait for the OTLP collector.',
        samples: signals.map((signal) => ({
          labels: { signal },
          value:
            this.#thread.counts(signal).queued +
            (signal === 'logs' ? this.#alerts.length + sum(active.map(({ queued }) => queued)) : 0),
        })),
      },
      {
        name: 'eunomia_otlp_up',
        type: 'gauge',
        help: '1 while the OTLP collector takes what is sent.',
        samples: signals.map((signal) => ({
          labels: { signal },
          value: this.#thread.counts(signal).problem === null ? 1 : 0,
        })),
      },
    ];
  }

  /** Sends what waits, for a moment; to be called when all sessions have ended. Idempotent. */
  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    let late: NodeJS.Timeout | undefined;
    await Promise.race([this.#finish(), new Promise((resolve) => (late = setTimeout(resolve, CLOSE_MS)))]);
    clearTimeout(late);
    await this.#thread.close();
  }

  async #finish(): Promise<void> {
    await Promise.all([...this.#sources.values(), this.#sendingAlerts]);
    if (this.#options.config.metricsMs !== null) await this.#measure();
    await this.#thread.call('flush', null).catch(() => undefined);
  }

  async #read(source: RecorderInput, session: ExportedSession): Promise<void> {
    for (let result = await source.next(); !result.done; result = await source.next()) {
      const { slices, gap } = result.value;
      if (gap) await this.#thread.call('gap', { session, gap }).catch(() => undefined);
      for (const { batch, from, to } of slices) {
        try {
          const { message, transfer } = packBatch(batch);
          await this.#thread.call('events', { session, message, from, to }, transfer);
        } catch {
          this.#dropped += to - from; // the thread has said why
        }
      }
    }
  }

  async #sendAlerts(): Promise<void> {
    for (let alert = this.#alerts.shift(); alert; alert = this.#alerts.shift()) {
      await this.#thread.call('alert', alert).catch(() => this.#dropped++);
    }
  }

  async #measure(): Promise<void> {
    try {
      const families = await this.#options.families();
      this.#thread.metrics({ families, atMs: Date.now() });
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'OTLP: metrics are missing this time');
    }
  }
}

/** A copy: the container's facts may change until it goes out, the alert counts on, and not all of it is sent. */
function copyOf(alert: ExportedAlert): ExportedAlert {
  const { id, severity, title, message, source, session, time, raisedAt, tracker, rule = null, tags, attack } = alert;
  const { process, container } = alert;
  return {
    ...{ id, severity, title, message, source, session, time, raisedAt, tracker, rule },
    ...{ tags: tags ?? [], attack: attack ?? [] },
    process: process && { ...process },
    container: container && { ...container },
  };
}

function fieldsOf(catalog: Catalog): Record<string, ExportedField[]> {
  return Object.fromEntries(
    catalog.trackers.map(({ name, fields }) => [
      name,
      fields.map(({ path, type }) => ({ path, wide: /^U?Int64/.test(type) })),
    ]),
  );
}
