import type { Severity } from '../event/severity.js';
import { randomBytes } from 'node:crypto';
import { nowText } from '../event/clock.js';

export { severities, type Severity } from '../event/severity.js';

/**
 * An alert as its source raises it (a plugin, a rule). It contains copies, because the process and its container may
 * soon be gone.
 */
export interface NewAlert {
  readonly severity: Severity;
  readonly title: string;
  readonly message: string;
  /** What raised it: "plugin:NAME". */
  readonly source: string;
  readonly session: string;
  /** The time of the event that caused it; null if there is none. */
  readonly time: string | null;
  readonly tracker: string | null;
  readonly process: object | null;
  readonly container: object | null;
  /** Alerts with the same source, session and key are combined for five minutes. Null: never combined. */
  readonly key: string | null;
}

export interface Alert extends Omit<NewAlert, 'time'> {
  readonly id: string;
  /** From 0, over the life of the server. */
  readonly seq: number;
  readonly raisedAt: string;
  /** The time of the event that caused it; without an event, when it was raised. */
  readonly time: string;
  /** How often it was raised. */
  count: number;
  lastAt: string;
  /** Alerts that a slow reader did not get just before this one; 0 in a list. */
  readonly missedBefore: number;
}

const MAX_ALERTS = 10_000;
const SAME_MS = 300_000;
const MAX_WAITING = 1000;

/** Counts of one source and severity since the server started. */
export interface AlertCount {
  readonly severity: Severity;
  readonly source: string;
  /** Number of alerts; alerts combined by their key count once. */
  alerts: number;
  /** How often they were raised, including repetitions. */
  raised: number;
}

/**
 * The newest alerts of the server, and their subscribers. A slow subscriber loses its oldest alerts, is told how many, and
 * delays nobody.
 */
export class AlertBook {
  #alerts: Alert[] = [];
  #nextSeq = 0;
  readonly #recent = new Map<string, { readonly alert: Alert; readonly until: number }>();
  readonly #readers = new Set<AlertReader>();
  readonly #onAlert: (alert: Alert) => void;
  readonly #counts = new Map<string, AlertCount>();

  /** `onAlert` is called synchronously with each new alert. It must be cheap and must not throw. */
  constructor(onAlert: (alert: Alert) => void = () => {}) {
    this.#onAlert = onAlert;
  }

  raise(raised: NewAlert): void {
    const now = Date.now();
    const at = nowText();
    const counted = this.#countOf(raised);
    counted.raised++;
    const key = raised.key === null ? null : JSON.stringify([raised.source, raised.session, raised.key]);
    const known = key === null ? undefined : this.#recent.get(key);
    if (known && known.until > now) {
      known.alert.count++;
      known.alert.lastAt = at;
      return;
    }
    const alert: Alert = {
      ...raised,
      time: raised.time ?? at,
      id: randomBytes(8).toString('hex'),
      seq: this.#nextSeq++,
      raisedAt: at,
      count: 1,
      lastAt: at,
      missedBefore: 0,
    };
    counted.alerts++;
    if (key !== null) this.#remember(key, alert, now);
    this.#alerts.push(alert);
    if (this.#alerts.length > MAX_ALERTS * 1.1) this.#alerts = this.#alerts.slice(-MAX_ALERTS);
    for (const reader of this.#readers) reader.push(alert);
    this.#onAlert(alert);
  }

  /** Counts by source and severity. A source that never raised an alert has none. */
  counts(): readonly AlertCount[] {
    return [...this.#counts.values()];
  }

  /** Newest first. */
  list(first: number, matches: (alert: Alert) => boolean): Alert[] {
    const found: Alert[] = [];
    for (
      let i = this.#alerts.length - 1;
      i >= Math.max(0, this.#alerts.length - MAX_ALERTS) && found.length < first;
      i--
    ) {
      const alert = this.#alerts[i];
      if (alert && matches(alert)) found.push(alert);
    }
    return found;
  }

  /** Subscribes to alerts from now on. */
  follow(matches: (alert: Alert) => boolean): AsyncIterableIterator<Alert> {
    const reader = new AlertReader(matches, (closed) => this.#readers.delete(closed));
    this.#readers.add(reader);
    return reader;
  }

  #countOf({ severity, source }: NewAlert): AlertCount {
    const key = `${severity} ${source}`;
    const known = this.#counts.get(key) ?? { severity, source, alerts: 0, raised: 0 };
    this.#counts.set(key, known);
    return known;
  }

  /** Ends all subscriptions: subscribers receive what is queued for them, and then the end. */
  end(): void {
    for (const reader of this.#readers) reader.end();
  }

  #remember(key: string, alert: Alert, now: number): void {
    this.#recent.delete(key);
    this.#recent.set(key, { alert, until: now + SAME_MS });
    // In the order of their end.
    for (const [oldest, { until }] of this.#recent) {
      if (until > now && this.#recent.size <= MAX_ALERTS) break;
      this.#recent.delete(oldest);
    }
  }
}

class AlertReader implements AsyncIterableIterator<Alert> {
  readonly #matches: (alert: Alert) => boolean;
  readonly #onClose: (reader: AlertReader) => void;
  readonly #alerts: Alert[] = [];
  readonly #waiting: ((result: IteratorResult<Alert, undefined>) => void)[] = [];
  /** Left the queue unread, just before the first of those that wait. */
  #missed = 0;
  #ended = false;

  constructor(matches: (alert: Alert) => boolean, onClose: (reader: AlertReader) => void) {
    this.#matches = matches;
    this.#onClose = onClose;
  }

  push(alert: Alert): void {
    if (!this.#matches(alert)) return;
    const waiting = this.#waiting.shift();
    if (waiting) return waiting({ done: false, value: alert });
    this.#alerts.push(alert);
    if (this.#alerts.length <= MAX_WAITING) return;
    this.#alerts.shift();
    this.#missed++;
  }

  next(): Promise<IteratorResult<Alert, undefined>> {
    const alert = this.#alerts.shift();
    if (alert) {
      const missedBefore = this.#missed;
      this.#missed = 0;
      return Promise.resolve({ done: false, value: missedBefore ? { ...alert, missedBefore } : alert });
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the subscription. Queued alerts are still delivered. */
  end(): void {
    this.#ended = true;
    this.#onClose(this);
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  return(): Promise<IteratorResult<Alert, undefined>> {
    this.#alerts.length = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
