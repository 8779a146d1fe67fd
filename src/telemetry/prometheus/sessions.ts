import { LabelValues, type MetricFamily, type MetricsSource } from '../../event/metric.js';
import type { SessionManager } from '../../session/manager.js';
import type { Session } from '../../session/session.js';
import type { SessionState, SessionStats } from '../../session/spec.js';
import { sessionLabel } from './label.js';

export interface SessionTotalsOptions {
  readonly manager: () => SessionManager;
  readonly maxSessions: number;
  readonly idleMs: number;
}

const counters = {
  produced: 'Events that hooks produced: `produced = lost + received`.',
  lost: 'Events lost in the kernel, since the ring had no room.',
  received: 'Events that the server read from the ring: `received = discarded + delivered + queued`.',
  discarded: 'Events that the target or a filter left out in the server.',
  delivered: 'Events that the session delivered; the sum of its `eunomia_events_total`.',
  dropped: 'Events that slow subscribers did not get, over all subscribers.',
  evicted: 'Events that the session let go of, since it holds a bounded number of bytes.',
} as const;
type Counter = keyof typeof counters;
const counterNames = Object.keys(counters) as Counter[];

interface Total extends Record<Counter, number> {
  receivedBytes: number;
}

interface Gauges {
  running: number;
  subscribers: number;
  subscriberQueued: number;
  queued: number;
  retained: number;
  retainedBytes: number;
  ringPeak: number;
  ringBytes: number;
}

const states: readonly SessionState[] = ['STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'FAILED'];
const nothing = (): Total => ({
  produced: 0,
  lost: 0,
  received: 0,
  discarded: 0,
  delivered: 0,
  dropped: 0,
  evicted: 0,
  receivedBytes: 0,
});

/** The counts of sessions by their names. What sessions counted that are gone is kept, so that a sum never falls. */
export class SessionTotals implements MetricsSource {
  readonly #options: SessionTotalsOptions;
  readonly #labels: LabelValues;
  readonly #totals = new Map<string, Total>();
  /** What of a session is in the totals. */
  readonly #counted = new WeakMap<Session, Total>();
  #gauges = new Map<string, Gauges>();

  constructor(options: SessionTotalsOptions) {
    this.#options = options;
    this.#labels = new LabelValues(options.maxSessions, options.idleMs, (session) => this.#totals.delete(session));
  }

  /** Counts a session for the last time: it may be forgotten before the next scrape. */
  async ended(session: Session): Promise<void> {
    this.#count(session, await session.stats(), Date.now());
  }

  async metrics(): Promise<MetricFamily[]> {
    const sessions = this.#options.manager().list();
    const stats = await Promise.all(sessions.map((session) => session.stats()));
    const nowMs = Date.now();
    this.#gauges = new Map();
    sessions.forEach((session, i) => {
      const its = stats[i];
      if (its) this.#gauge(this.#count(session, its, nowMs), session, its);
    });
    return [...this.#counterFamilies(), ...this.#gaugeFamilies(), stateFamily(sessions), this.#limit()];
  }

  #count(session: Session, stats: SessionStats, nowMs: number): string {
    const label = this.#labels.of(sessionLabel(session), nowMs);
    const total = this.#totals.get(label) ?? nothing();
    const before = this.#counted.get(session) ?? nothing();
    const now = nothing();
    for (const name of [...counterNames, 'receivedBytes'] as const) {
      now[name] = stats[name];
      total[name] += now[name] - before[name];
    }
    this.#totals.set(label, total);
    this.#counted.set(session, now);
    return label;
  }

  #gauge(label: string, { state, spec }: Session, stats: SessionStats): void {
    const gauges = this.#gauges.get(label) ?? {
      running: 0,
      subscribers: 0,
      subscriberQueued: 0,
      queued: 0,
      retained: 0,
      retainedBytes: 0,
      ringPeak: 0,
      ringBytes: 0,
    };
    gauges.subscribers += stats.subscribers.length;
    gauges.subscriberQueued += stats.subscribers.reduce((sum, { queued }) => sum + queued, 0);
    gauges.queued += stats.queued;
    gauges.retained += stats.retained;
    gauges.retainedBytes += stats.retainedBytes;
    if (state === 'RUNNING') {
      gauges.running++;
      // Of sessions with one name, the fullest ring.
      if (stats.ringPeakBytes / spec.ringBytes >= gauges.ringPeak / (gauges.ringBytes || 1)) {
        gauges.ringPeak = stats.ringPeakBytes;
        gauges.ringBytes = spec.ringBytes;
      }
    }
    this.#gauges.set(label, gauges);
  }

  #counterFamilies(): MetricFamily[] {
    const family = (name: string, help: string, of: keyof Total): MetricFamily => ({
      name,
      help,
      type: 'counter',
      samples: [...this.#totals].map(([session, total]) => ({ labels: { session }, value: total[of] })),
    });
    return [
      ...counterNames.map((name) => family(`eunomia_session_${name}_total`, counters[name], name)),
      family(
        'eunomia_session_received_bytes_total',
        'Bytes of the records that the server read from the ring.',
        'receivedBytes',
      ),
    ];
  }

  #gaugeFamilies(): MetricFamily[] {
    const family = (
      name: string,
      help: string,
      of: keyof Gauges,
      when: (gauges: Gauges) => boolean = () => true,
    ): MetricFamily => ({
      name,
      help,
      type: 'gauge',
      samples: [...this.#gauges]
        .filter(([, gauges]) => when(gauges))
        .map(([session, gauges]) => ({ labels: { session }, value: gauges[of] })),
    });
    const runs = ({ running }: Gauges): boolean => running > 0;
    return [
      family('eunomia_session_running', 'Running sessions of this name.', 'running'),
      family('eunomia_session_subscribers', 'Readers of the session at this moment.', 'subscribers'),
      family(
        'eunomia_session_subscriber_queued_events',
        'Events that wait for subscribers to take them.',
        'subscriberQueued',
      ),
      family(
        'eunomia_session_queued_events',
        'Events that wait in the server until their container is known.',
        'queued',
      ),
      family('eunomia_session_retained_events', 'Events that the session holds.', 'retained'),
      family('eunomia_session_retained_bytes', 'Bytes of the records that the session holds.', 'retainedBytes'),
      family(
        'eunomia_session_ring_peak_bytes',
        'The most that waited in the kernel ring at once within the last 30 to 60 seconds.',
        'ringPeak',
        runs,
      ),
      family('eunomia_session_ring_size_bytes', 'Size of the kernel ring.', 'ringBytes', runs),
    ];
  }

  #limit(): MetricFamily {
    const { maxSessions } = this.#options.manager();
    return {
      name: 'eunomia_sessions_limit',
      type: 'gauge',
      help: 'Sessions that may run at once.',
      samples: [{ labels: {}, value: maxSessions }],
    };
  }
}

function stateFamily(sessions: readonly Session[]): MetricFamily {
  return {
    name: 'eunomia_sessions',
    type: 'gauge',
    help: 'Sessions that the server knows, by state.',
    samples: states.map((state) => ({
      labels: { state },
      value: sessions.filter((session) => session.state === state).length,
    })),
  };
}
