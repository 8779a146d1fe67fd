import type { MetricFamily, MetricsSource } from '../event/metric.js';
import type { WebhookConfig } from './config.js';
import { Webhook, type WebhookOptions, type WebhookStats } from './webhook.js';

export { parseWebhooks, type WebhookConfig } from './config.js';
export type { WebhookStats } from './webhook.js';

/** All that alerts are sent to by HTTP. */
export class Webhooks implements MetricsSource {
  readonly #webhooks: readonly Webhook[];

  constructor(configs: readonly WebhookConfig[], options: Omit<WebhookOptions, 'config'>) {
    this.#webhooks = configs.map((config) => new Webhook({ ...options, config }));
  }

  stats(): WebhookStats[] {
    return this.#webhooks.map(({ stats }) => stats);
  }

  metrics(): MetricFamily[] {
    const all = this.stats();
    if (all.length === 0) return [];
    const family = (
      name: string,
      type: 'counter' | 'gauge',
      help: string,
      of: (stats: WebhookStats) => number,
    ): MetricFamily => ({
      name: `eunomia_webhook_${name}`,
      type,
      help,
      samples: all.map((stats) => ({ labels: { webhook: stats.name }, value: of(stats) })),
    });
    return [
      family(
        'delivered_total',
        'counter',
        'Alerts and changes that the webhook has taken.',
        ({ delivered }) => delivered,
      ),
      family('refused_total', 'counter', 'Alerts and changes that it refused for good.', ({ refused }) => refused),
      family('failures_total', 'counter', 'Requests that failed and were made again.', ({ failures }) => failures),
      family(
        'forgotten_total',
        'counter',
        'Alerts and changes that the server has forgotten before it could send them.',
        ({ forgotten }) => forgotten,
      ),
      family('pending', 'gauge', 'Alerts and changes that it has not come to yet.', ({ pending }) => pending),
      family('up', 'gauge', '1 while the webhook takes what is sent.', ({ problem }) => (problem === null ? 1 : 0)),
    ];
  }

  /** Sends what waits, for a moment; the rest the next server sends. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.#webhooks.map((webhook) => webhook.close()));
  }
}
