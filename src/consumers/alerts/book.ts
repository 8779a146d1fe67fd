import { randomBytes } from 'node:crypto';
import { nowText } from '../../pipeline/clock.js';

export type Severity = 'INFO' | 'LOW' | 'MEDIUM' | 'HIGH' | 'CRITICAL';
export const severities: readonly Severity[] = ['INFO', 'LOW', 'MEDIUM', 'HIGH', 'CRITICAL'];

/** What somebody raises: a plugin, a rule. Facts are copies: the process and its container may be gone soon. */
export interface NewAlert {
  readonly severity: Severity;
  readonly title: string;
  readonly message: string;
  /** Who found it: "plugin:NAME". */
  readonly source: string;
  readonly session: string;
  /** Of the event that shows it; null when there is none. */
  readonly time: string | null;
  readonly tracker: string | null;
  readonly process: object | null;
  readonly container: object | null;
  /** Alerts of one source and session with one key are one, for five minutes; null never. */
  readonly key: string | null;
}

export interface Alert extends Omit<NewAlert, 'time'> {
  readonly id: string;
  readonly raisedAt: string;
  /** Of the event; when it was raised, where there is none. */
  readonly time: string;
  /** How often it was raised. */
  count: number;
  lastAt: string;
}

const MAX_ALERTS = 10_000;
const SAME_MS = 300_000;
const MAX_WAITING = 1000;

/** The newest alerts of the server, and whoever waits for them. A reader that is slow loses its oldest; it delays nobody. */
export class AlertBook {
  #alerts: Alert[] = [];
  readonly #recent = new Map<string, { readonly alert: Alert; readonly until: number }>();
  readonly #readers = new Set<AlertReader>();
  readonly #onAlert: (alert: Alert) => void;

  /** `onAlert` sees each new alert, in the turn in which it is raised. It must be cheap, and must not throw. */
  constructor(onAlert: (alert: Alert) => void = () => {}) {
    this.#onAlert = onAlert;
  }

  raise(raised: NewAlert): void {
    const now = Date.now();
    const at = nowText();
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
      raisedAt: at,
      count: 1,
      lastAt: at,
    };
    if (key !== null) this.#remember(key, alert, now);
    this.#alerts.push(alert);
    if (this.#alerts.length > MAX_ALERTS * 1.1) this.#alerts = this.#alerts.slice(-MAX_ALERTS);
    for (const reader of this.#readers) reader.push(alert);
    this.#onAlert(alert);
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

  /** Alerts from now on. */
  follow(matches: (alert: Alert) => boolean): AsyncIterableIterator<Alert> {
    const reader = new AlertReader(matches, (closed) => this.#readers.delete(closed));
    this.#readers.add(reader);
    return reader;
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

  constructor(matches: (alert: Alert) => boolean, onClose: (reader: AlertReader) => void) {
    this.#matches = matches;
    this.#onClose = onClose;
  }

  push(alert: Alert): void {
    if (!this.#matches(alert)) return;
    const waiting = this.#waiting.shift();
    if (waiting) return waiting({ done: false, value: alert });
    this.#alerts.push(alert);
    if (this.#alerts.length > MAX_WAITING) this.#alerts.shift();
  }

  next(): Promise<IteratorResult<Alert, undefined>> {
    const alert = this.#alerts.shift();
    return alert
      ? Promise.resolve({ done: false, value: alert })
      : new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<Alert, undefined>> {
    this.#onClose(this);
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
