import type { Log } from '../../base/log.js';
import type { SessionManager } from '../../session/manager.js';
import type { SessionObserver } from '../../session/observer.js';
import type { TrackerRuntime } from '../../record/runtime.js';
import { EventCounts } from './events.js';
import { Metrics } from './exposition.js';
import { ProcessMetrics } from './process.js';
import { SessionTotals } from './sessions.js';
import { StoreMetrics, type LoadedStore } from './store.js';

/** Containers that have a label of their own; the others are `other`. */
export const MAX_CONTAINERS = 500;
/** Names of sessions that have a label of their own. */
const MAX_SESSIONS = 100;
/** Ten minutes: forty scrapes at the usual interval. */
const IDLE_MS = 600_000;

export interface BuiltinMetricsOptions {
  readonly trackers: ReadonlyMap<string, TrackerRuntime>;
  /** Asked at a scrape: sessions and metrics need each other. */
  readonly manager: () => SessionManager;
  readonly stores?: () => Iterable<LoadedStore>;
  readonly log: Log;
}

/** The metrics that are always there: of events, sessions and the process. Observes all sessions. */
export class BuiltinMetrics implements SessionObserver {
  readonly metrics: Metrics;
  readonly #events: EventCounts;
  readonly #sessions: SessionTotals;
  readonly #stores: StoreMetrics;
  readonly #log: Log;
  #failed = false;

  constructor({ trackers, manager, stores = () => [], log }: BuiltinMetricsOptions) {
    this.#log = log;
    this.metrics = new Metrics(log);
    this.#events = new EventCounts({
      trackers,
      maxContainers: MAX_CONTAINERS,
      maxSessions: MAX_SESSIONS,
      idleMs: IDLE_MS,
    });
    this.#sessions = new SessionTotals({ manager, maxSessions: MAX_SESSIONS, idleMs: IDLE_MS });
    this.#stores = new StoreMetrics(stores, manager);
    for (const source of [this.#sessions, this.#stores, this.#events, new ProcessMetrics()]) this.metrics.add(source);
  }

  readonly onBatch: SessionObserver['onBatch'] = (session, batch) => {
    try {
      this.#events.add(session, batch);
    } catch (error) {
      if (!this.#failed)
        this.#log.error(
          { err: error, session: session.id },
          'counting events for /metrics: its counts are too low from here on',
        );
      this.#failed = true;
    }
  };

  readonly onEnd: SessionObserver['onEnd'] = (session) => {
    this.#stores.ended(session);
    this.#sessions
      .ended(session)
      .catch((error: unknown) =>
        this.#log.error({ err: error, session: session.id }, 'counting a session that has ended'),
      );
  };
}
