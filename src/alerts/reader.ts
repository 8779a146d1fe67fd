import type { Alert } from './alert.js';

const MAX_WAITING = 1000;

/** New alerts of one subscriber. If it is slow it loses its oldest ones, and is told how many. */
export class AlertReader implements AsyncIterableIterator<Alert> {
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

/** Alerts that changed, for one subscriber: one that changes again before it was sent is sent once, as it is then. */
export class ChangeReader implements AsyncIterableIterator<Alert> {
  readonly #matches: (alert: Alert) => boolean;
  readonly #onClose: (reader: ChangeReader) => void;
  readonly #changed = new Set<Alert>();
  readonly #waiting: ((result: IteratorResult<Alert, undefined>) => void)[] = [];
  #ended = false;

  constructor(matches: (alert: Alert) => boolean, onClose: (reader: ChangeReader) => void) {
    this.#matches = matches;
    this.#onClose = onClose;
  }

  push(alert: Alert): void {
    if (!this.#matches(alert)) return;
    const waiting = this.#waiting.shift();
    if (waiting) waiting({ done: false, value: alert });
    else this.#changed.add(alert);
  }

  /** The server has forgotten the alert. */
  forget(alert: Alert): void {
    this.#changed.delete(alert);
  }

  next(): Promise<IteratorResult<Alert, undefined>> {
    for (const alert of this.#changed) {
      this.#changed.delete(alert);
      return Promise.resolve({ done: false, value: alert });
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
    this.#changed.clear();
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
