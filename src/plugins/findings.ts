import { thousandths } from '../base/decimal.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import type { PluginFacts } from './definition.js';
import { MetricBook } from './metrics.js';
import type { Done, PluginError, OutgoingAlert } from './protocol.js';
import { Results } from './results.js';

export interface SeenError extends PluginError {
  count: number;
  lastAt: string;
}

export interface FindingsOptions {
  /** The session's id. */
  readonly session: string;
  readonly log: Log;
  readonly raise: (alert: OutgoingAlert, plugin: string, session: string) => void;
}

const MAX_ERRORS = 20;

/** What came of a plugin in one session: its results, metrics, alerts and errors, and what it cost. */
export class Findings {
  readonly results: Results;
  readonly metrics = new MetricBook();
  readonly errors: SeenError[] = [];
  readonly counts = {
    events: 0,
    failed: 0,
    calls: 0,
    alerts: 0,
    suppressed: 0,
    errors: 0,
    failures: 0,
    restarts: 0,
    reloads: 0,
    busyMs: 0,
    memoryBytes: 0,
  };
  readonly #options: FindingsOptions;

  constructor(options: FindingsOptions) {
    this.#options = options;
    this.results = new Results(options.session);
  }

  /** Takes what a call returned. */
  take({ outcome, error, busyMs, memoryBytes }: Done, { name, version, metrics }: PluginFacts): void {
    const { session, log, raise } = this.#options;
    this.counts.busyMs = thousandths(this.counts.busyMs + busyMs);
    this.counts.memoryBytes = memoryBytes || this.counts.memoryBytes;
    this.counts.suppressed += outcome.suppressed;
    this.counts.alerts += outcome.alerts.length;
    this.results.add(outcome.results, version);
    this.metrics.add(outcome.metrics, metrics);
    for (const alert of outcome.alerts) raise(alert, name, session);
    for (const text of outcome.logs) log.info({ plugin: name, session }, text);
    if (error) this.see(error);
  }

  /** An error that was seen before is counted; of others, the newest are kept. */
  see({ message, at }: PluginError): void {
    this.counts.errors++;
    const known = this.errors.find((error) => error.message === message && error.at === at);
    if (known) {
      known.count++;
      known.lastAt = nowText();
      return;
    }
    this.errors.push({ message, at, count: 1, lastAt: nowText() });
    if (this.errors.length > MAX_ERRORS) this.errors.shift();
  }
}
