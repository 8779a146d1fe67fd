import type { Caller } from '../access/caller.js';
import { severities, type Alert, type Severity } from '../alerts/book.js';
import { listingOf, type Listing } from './listing.js';
import type { PageRequest } from './session/handle.js';
import type { Parts } from './parts.js';

const MAX_PAGE = 10_000;

export interface AlertsRequest extends Omit<PageRequest, 'where'> {
  /** This and severer ones; all when null. */
  readonly severity: Severity | null;
  readonly session: string | null;
}

/** What plugins and rules raised. */
export class Alerts {
  readonly #parts: Pick<Parts, 'alerts'>;

  constructor(parts: Pick<Parts, 'alerts'>) {
    this.#parts = parts;
  }

  /** The newest first. Throws BAD_USER_INPUT or BAD_CURSOR. */
  page(_caller: Caller, { severity, session, ...range }: AlertsRequest): Listing<Alert> {
    const severe = atLeast(severity);
    const matches = (alert: Alert): boolean => severe(alert) && (session === null || alert.session === session);
    const all = this.#parts.alerts.list(Number.POSITIVE_INFINITY, matches);
    return listingOf(all, range, { name: 'alerts', keyOf: ({ seq }) => [-seq], most: MAX_PAGE });
  }

  /** Null when there is none, or not any more. */
  byId(_caller: Caller, id: string): Alert | null {
    return this.#parts.alerts.list(1, (alert) => alert.id === id)[0] ?? null;
  }

  follow(_caller: Caller, severity: Severity | null): AsyncIterableIterator<Alert> {
    return this.#parts.alerts.follow(atLeast(severity));
  }
}

function atLeast(severity: Severity | null): (alert: Alert) => boolean {
  const least = severity === null ? 0 : severities.indexOf(severity);
  return (alert) => severities.indexOf(alert.severity) >= least;
}
