import type { MetricFamily, MetricsSource, Sample } from '../../event/metric.js';
import type { RecorderStats } from '../../session/recorder.js';
import type { StoreKind } from '../../session/spec.js';

/** What a store tells of itself. */
export interface LoadedStore {
  readonly kind: StoreKind;
  load(): Promise<{
    readonly up: boolean;
    readonly bytes: number | null;
    readonly spool: { readonly points: number; readonly bytes: number } | null;
    readonly points: Readonly<Record<'written' | 'rejected' | 'dropped', number>> | null;
    readonly lagMs: number;
  }>;
}

/** What is read of a session; the same object each time, for the same session. */
export interface PersistedSession {
  readonly recorder: { readonly stats: RecorderStats } | null;
}

/** Who knows the sessions. */
export interface PersistedSessions {
  list(): readonly PersistedSession[];
}

type Counts = Pick<RecorderStats, 'written' | 'dropped'>;
const recordingStates = ['WRITING', 'PAUSED', 'OFF', 'DONE', 'FAILED'] as const;

/** How far stores are behind what sessions deliver. What sessions counted that are gone stays in the sums. */
export class StoreMetrics implements MetricsSource {
  readonly #stores: () => Iterable<LoadedStore>;
  readonly #manager: () => PersistedSessions;
  readonly #totals = new Map<StoreKind, Counts>();
  readonly #counted = new WeakMap<PersistedSession, Counts>();

  constructor(stores: () => Iterable<LoadedStore>, manager: () => PersistedSessions) {
    this.#stores = stores;
    this.#manager = manager;
  }

  /** Counts a session for the last time: it may be forgotten before the next scrape. */
  ended(session: PersistedSession): void {
    this.#count(session);
  }

  async metrics(): Promise<MetricFamily[]> {
    const sessions = this.#manager().list();
    for (const session of sessions) this.#count(session);
    const all = sessions.flatMap(({ recorder }) => recorder?.stats ?? []);
    const loads = await Promise.all(
      [...this.#stores()].map(async (store) => ({
        kind: store.kind,
        its: all.filter((stats) => stats.store === store.kind),
        load: await store.load(),
      })),
    );
    type Loaded = (typeof loads)[number];
    const each = (of: (loaded: Loaded) => number | null | undefined): Sample[] =>
      loads.flatMap((loaded) => {
        const value = of(loaded);
        return value === null || value === undefined ? [] : [{ labels: { store: loaded.kind }, value }];
      });
    const family = (name: string, help: string, samples: readonly Sample[]): MetricFamily => ({
      name,
      help,
      type: name.endsWith('_total') ? 'counter' : 'gauge',
      samples,
    });
    return [
      family(
        'eunomia_store_up',
        '1 while the store can be written.',
        each(({ load }) => (load.up ? 1 : 0)),
      ),
      family(
        'eunomia_store_lag_seconds',
        'How long the oldest event that is not in the database has waited; 0 when all are.',
        each(({ its, load }) => lagOf(its, load.lagMs)),
      ),
      family(
        'eunomia_store_pending_events',
        'Events of persisted sessions that a crash of the server would take.',
        each(({ its }) => its.reduce((sum, { pending }) => sum + pending, 0)),
      ),
      family(
        'eunomia_store_written_events_total',
        'Events of persisted sessions that a crash of the server can no longer take: written, or on disk for the database.',
        each(({ kind }) => this.#totals.get(kind)?.written ?? 0),
      ),
      family(
        'eunomia_store_dropped_events_total',
        'Events of persisted sessions that were not stored, since the store was too slow or full.',
        each(({ kind }) => this.#totals.get(kind)?.dropped ?? 0),
      ),
      family(
        'eunomia_store_recordings',
        'Sessions that are persisted, by how they fare.',
        loads.flatMap(({ kind, its }) =>
          recordingStates.map((state) => ({
            labels: { store: kind, state },
            value: its.filter((stats) => stats.state === state).length,
          })),
        ),
      ),
      family(
        'eunomia_store_bytes',
        'Size of the embedded store on disk.',
        each(({ load }) => load.bytes),
      ),
      family(
        'eunomia_store_spool_points',
        'Points on disk that wait for InfluxDB.',
        each(({ load }) => load.spool?.points),
      ),
      family(
        'eunomia_store_spool_bytes',
        'Bytes of the points on disk that wait for InfluxDB.',
        each(({ load }) => load.spool?.bytes),
      ),
      family(
        'eunomia_store_points_total',
        'Points for InfluxDB by what became of them: written, rejected by it for good, or dropped since the spool was full.',
        loads.flatMap(({ kind, load }) =>
          Object.entries(load.points ?? {}).map(([outcome, value]) => ({ labels: { store: kind, outcome }, value })),
        ),
      ),
    ];
  }

  #count(session: PersistedSession): void {
    const stats = session.recorder?.stats;
    if (!stats) return;
    const before = this.#counted.get(session) ?? { written: 0, dropped: 0 };
    const total = this.#totals.get(stats.store) ?? { written: 0, dropped: 0 };
    // What a store drops after a crash of its own it may count anew: a sum never falls.
    const now = { written: Math.max(before.written, stats.written), dropped: Math.max(before.dropped, stats.dropped) };
    this.#totals.set(stats.store, {
      written: total.written + now.written - before.written,
      dropped: total.dropped + now.dropped - before.dropped,
    });
    this.#counted.set(session, now);
  }
}

/** Of the sessions that are being written, and of what is on its way to the database. */
function lagOf(recorders: readonly RecorderStats[], lagMs: number): number {
  return (
    Math.max(
      lagMs,
      ...recorders.map((stats) => (stats.state === 'WRITING' || stats.state === 'PAUSED' ? stats.lagMs : 0)),
    ) / 1000
  );
}
