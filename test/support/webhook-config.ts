import type { WebhookConfig } from '../../src/webhook/config.js';

/** A webhook that is sent each alert as it is raised, but for `changes`. */
export function webhookConfig(changes: Partial<WebhookConfig> = {}): WebhookConfig {
  return {
    name: 'pager',
    url: 'http://127.0.0.1/',
    template: 'eunomia',
    body: null,
    secret: null,
    headers: {},
    ca: null,
    severity: 'INFO',
    rules: null,
    sources: null,
    on: ['raised'],
    ...changes,
  };
}
