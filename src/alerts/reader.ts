import type { Alert } from './alert.js';

const MAX_WAITING = 1000;

/** What one subscriber has not read yet. */
interface Backlog {
  add(alert: Alert): void;
  /** The next one to be read; undefined when there is none. */
  take(): Alert | undefined;
  clear(): void;
}

/** Alerts for one subscriber, which delays nobody. */
class Reader implements AsyncIterableIterator<Alert> {
  readonly #matches: (alert: Alert) => boolean;
  readonly #onClose: () => void;
  readonly #backlog: Backlog;
  readonly #waiting: ((result: IteratorResult<Alert, undefined>) => void)[] = [];
  #ended = false;

  constructor(backlog: Backlog, matches: (alert: Alert) => boolean, onClose: () => void) {
    this.#backlog = backlog;
    this.#matches = matches;
    this.#onClose = onClose;
  }

  push(alert: Alert): void {
    if (!this.#matches(alert)) return;
    const waiting = this.#waiting.shift();
    if (waiting) waiting({ done: false, value: alert });
    else this.#backlog.add(alert);
  }

  next(): Promise<IteratorResult<Alert, undefined>> {
    const value = this.#backlog.take();
    if (value) return Promise.resolve({ done: false, value });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the subscription. Queued alerts are still delivered. */
  end(): void {
    this.#ended = true;
    this.#onClose();
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  return(): Promise<IteratorResult<Alert, undefined>> {
    this.#backlog.clear();
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** New alerts of one subscriber. If it is slow it loses its oldest ones, and is told how many. */
export class AlertReader extends Reader {
  constructor(matches: (alert: Alert) => boolean, onClose: (reader: AlertReader) => void) {
    super(new Newest(), matches, () => onClose(this));
  }
}

/** Alerts that changed, for one subscriber: one that changes again before it was sent is sent once, as it is then. */
export class ChangeReader extends Reader {
  readonly #changed: Changed;

  constructor(matches: (alert: Alert) => boolean, onClose: (reader: ChangeReader) => void) {
    const changed = new Changed();
    super(changed, matches, () => onClose(this));
    this.#changed = changed;
  }

  /** The server has forgotten the alert. */
  forget(alert: Alert): void {
    this.#changed.forget(alert);
  }
}

class Newest implements Backlog {
  readonly #alerts: Alert[] = [];
  /** Left the queue unread, just before the first of those that wait. */
  #missed = 0;

  add(alert: Alert): void {
    this.#alerts.push(alert);
    if (this.#alerts.length <= MAX_WAITING) return;
    this.#alerts.shift();
    this.#missed++;
  }

  take(): Alert | undefined {
    const alert = this.#alerts.shift();
    if (!alert) return undefined;
    const missedBefore = this.#missed;
    this.#missed = 0;
    return missedBefore ? { ...alert, missedBefore } : alert;
  }

  clear(): void {
    this.#alerts.length = 0;
  }
}

class Changed implements Backlog {
  readonly #alerts = new Set<Alert>();

  add(alert: Alert): void {
    this.#alerts.add(alert);
  }

  take(): Alert | undefined {
    const [first] = this.#alerts;
    if (first) this.#alerts.delete(first);
    return first;
  }

  forget(alert: Alert): void {
    this.#alerts.delete(alert);
  }

  clear(): void {
    this.#alerts.clear();
  }
}
