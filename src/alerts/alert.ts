import type { AlertContainer, AlertProcess } from '../event/alert.js';
import type { Severity } from '../event/severity.js';
import type { EventsAfter, NewEvidence } from './evidence.js';
import type { Silence } from './silence.js';

export { severities, type Severity } from '../event/severity.js';

/**
 * An alert as its source raises it (a plugin, a rule). It contains copies, because the process and its container may
 * soon be gone.
 */
export interface NewAlert {
  readonly severity: Severity;
  readonly title: string;
  readonly message: string;
  /** What raised it: "plugin:NAME", "rule:NAME". */
  readonly source: string;
  /** Null if it is of no session. */
  readonly session: string | null;
  /** The time of the event that caused it; null if there is none. */
  readonly time: string | null;
  /** Id of that event; null or absent if there is none. */
  readonly eventId?: string | null;
  readonly tracker: string | null;
  readonly process: object | null;
  readonly container: object | null;
  /**
   * Alerts with the same source and key are combined; those of plugins only within a session, since a plugin works in each on its own.
   * Null: never combined.
   */
  readonly key: string | null;
  /** For how long they are combined; null or absent: five minutes. */
  readonly intervalMs?: number | null;
  /** The rule's name; null or absent if no rule raised it. */
  readonly rule?: string | null;
  readonly tags?: readonly string[];
  /** Ids of ATT&CK's techniques and tactics: "T1059.004". */
  readonly attack?: readonly string[];
  /** Names of the webhooks that it is sent to; null or absent: all. */
  readonly webhooks?: readonly string[] | null;
  /** What there was at that moment. A function is called only when a new alert is made of it, at once. */
  readonly evidence?: NewEvidence | null | (() => NewEvidence | null);
  /** All of it as it is now, with the same key, where it may tell of an earlier time. Called only when a new alert is made, at once. */
  readonly renewed?: () => NewAlert;
}

export type AlertState = 'OPEN' | 'ACKNOWLEDGED' | 'RESOLVED';
export type AlertAction = 'ACKNOWLEDGED' | 'RESOLVED' | 'REOPENED' | 'COMMENTED' | 'ACTED';

/** What somebody, or an action of its rule, did with an alert. */
export interface AlertChange {
  readonly action: AlertAction;
  readonly by: string;
  /** RFC 3339 with nanoseconds. */
  readonly at: string;
  readonly comment: string | null;
  /** The session with evidence that was started; null for none. */
  readonly session: string | null;
  /** Its place among all that happens to alerts: see `Alert.revision`. */
  readonly revision: number;
}

export interface Alert {
  readonly id: string;
  /** From 0, over the life of the journal. */
  readonly seq: number;
  /** The place of its being raised among all that happens to alerts: raised and changed. */
  readonly revision: number;
  readonly severity: Severity;
  readonly title: string;
  readonly message: string;
  readonly source: string;
  readonly session: string | null;
  /** Of the event that caused it; null if there is none. */
  readonly eventId: string | null;
  readonly tracker: string | null;
  readonly process: AlertProcess | null;
  readonly container: AlertContainer | null;
  readonly key: string | null;
  readonly intervalMs: number;
  readonly rule: string | null;
  readonly tags: readonly string[];
  readonly attack: readonly string[];
  /** Names of the webhooks that it is sent to; null for all. */
  readonly webhooks: readonly string[] | null;
  /** JSON of an `Evidence`; null if there is none. */
  readonly evidence: string | null;
  /** Null where none are gathered. */
  after: EventsAfter | null;
  /** The silence that kept it from being sent out. */
  readonly silencedBy: Silence | null;
  readonly raisedAt: string;
  /** The time of the event that caused it; without an event, when it was raised. */
  readonly time: string;
  /** How often it was raised. */
  count: number;
  lastAt: string;
  state: AlertState;
  /** The oldest first. */
  history: readonly AlertChange[];
  /** Alerts that a slow reader did not get just before this one; 0 in a list. */
  readonly missedBefore: number;
}

/** Where changes of state lead. */
export const stateAfter: Readonly<Record<Exclude<AlertAction, 'COMMENTED' | 'ACTED'>, AlertState>> = {
  ACKNOWLEDGED: 'ACKNOWLEDGED',
  RESOLVED: 'RESOLVED',
  REOPENED: 'OPEN',
};

/** Id of the session that collects what happened after it; null for none. */
export function evidenceSessionOf({ history }: Pick<Alert, 'history'>): string | null {
  return history.find(({ session }) => session !== null)?.session ?? null;
}

/** A copy of what is told of a process. */
export function processOf(process: Partial<AlertProcess> | null): AlertProcess | null {
  if (process === null) return null;
  const { pid = 0, ppid = null, uid = null, comm = null, startTime = null } = process;
  return { pid, ppid, uid, comm, startTime };
}

/** A copy of what is told of a container. */
export function containerOf(container: Partial<AlertContainer> | null): AlertContainer | null {
  if (container === null) return null;
  const { id = '', name = null, image = null } = container;
  return { id, name, image };
}
