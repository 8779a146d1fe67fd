import type { Alert, NewAlert } from './alert.js';

/** With how many keys alerts may be combined at once. */
const MAX_KEYS = 10_000;

interface Recent {
  readonly alert: Alert;
  /** Milliseconds since 1970. */
  readonly until: number;
}

/** By what alerts are combined: by their keys, while an interval lasts, and while somebody has acknowledged one of them. */
export class Combined {
  readonly #isThere: (alert: Alert) => boolean;
  readonly #recent = new Map<string, Recent>();
  readonly #acknowledged = new Map<string, Alert>();

  /** `isThere`: whether the server has not forgotten it. */
  constructor(isThere: (alert: Alert) => boolean) {
    this.#isThere = isThere;
  }

  /** The alert that one with this key is combined with; null where it is a new one. */
  find(key: string, now: number): Alert | null {
    const recent = this.#recent.get(key);
    const alert = this.#acknowledged.get(key) ?? (recent && lasts(recent, now) ? recent.alert : null);
    return alert && this.#isThere(alert) ? alert : null;
  }

  /** Others are combined with this one from now on, for its interval. */
  begin(key: string, alert: Alert, now: number): void {
    this.#remember(key, { alert, until: now + alert.intervalMs }, now);
  }

  /** The alert is in another state. */
  changed(alert: Alert): void {
    const key = combinedBy(alert);
    if (key === null) return;
    const mine = this.#recent.get(key);
    if (this.#acknowledged.get(key) === alert) this.#acknowledged.delete(key);
    if (alert.state === 'ACKNOWLEDGED') {
      // Not where a newer one with this key was raised.
      if (mine === undefined || mine.alert.seq <= alert.seq) this.#acknowledged.set(key, alert);
    } else if (alert.state === 'RESOLVED') {
      if (mine?.alert === alert) this.#recent.delete(key);
    } else if (mine === undefined || mine.alert.seq < alert.seq) {
      const now = Date.now();
      const recent = { alert, until: Date.parse(alert.raisedAt) + alert.intervalMs };
      if (lasts(recent, now)) this.#remember(key, recent, now);
    }
  }

  /** The server has forgotten the alert. */
  forget(alert: Alert): void {
    const key = combinedBy(alert);
    if (key === null) return;
    if (this.#recent.get(key)?.alert === alert) this.#recent.delete(key);
    if (this.#acknowledged.get(key) === alert) this.#acknowledged.delete(key);
  }

  #remember(key: string, recent: Recent, now: number): void {
    this.#acknowledged.delete(key);
    this.#recent.delete(key);
    this.#recent.set(key, recent);
    if (this.#recent.size <= MAX_KEYS) return;
    for (const [old, one] of this.#recent) if (!lasts(one, now) || !this.#isThere(one.alert)) this.#recent.delete(old);
    for (const old of this.#recent.keys()) {
      if (this.#recent.size <= MAX_KEYS * 0.9) break;
      this.#recent.delete(old);
    }
  }
}

/** Whether others are combined with it. Not where the clock was set back behind its start: that would last for as long. */
function lasts({ alert, until }: Recent, now: number): boolean {
  return until > now && until - now <= alert.intervalMs;
}

/** Alerts with equal ones are combined; null is combined with none. */
export function combinedBy({
  source,
  session,
  rule,
  key,
}: Pick<NewAlert, 'source' | 'session' | 'rule' | 'key'>): string | null {
  return key === null ? null : JSON.stringify([source, rule == null ? session : null, key]);
}
