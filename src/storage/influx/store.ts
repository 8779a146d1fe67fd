import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeFacts } from '../../event/node.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { TraceEvent } from '../../event/event.js';
import type { FilterFields } from '../../filter/index.js';
import type {
  AggregateShape,
  EventQuery,
  GapQuery,
  HistoryRange,
  PageQuery,
  SessionGap,
  SessionRecord,
  SessionSink,
  Store,
  StoredContainer,
  StoredPage,
  StoredRecord,
  StoredRow as AggregateRow,
  StoreLoad,
  StoreStatus,
  WholeQuery,
} from '../store.js';
import { aggregate } from './aggregate.js';
import type { InfluxClient } from './client.js';
import { Database } from './database.js';
import { InfluxEvents } from './events.js';
import { PointWriter } from './point.js';
import { trackersOf } from './range.js';
import { RollupWriter, type MakeGroups } from './rollup.js';
import type { Sender } from './sender.js';
import { InfluxSessions } from './sessions.js';
import { InfluxSink } from './sink.js';

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

export interface InfluxStoreOptions {
  readonly client: InfluxClient;
  readonly sender: Sender;
  /** The server's name: a tag of all points. */
  readonly host: string;
  /** The server, as its sessions remember it. */
  readonly node: NodeFacts;
  /** Without secrets. */
  readonly location: string;
  readonly retentionMs: number;
  readonly catalog: Catalog;
  readonly fields: FilterFields;
  readonly makeGroups: MakeGroups;
}

/** History in an InfluxDB: sessions, their events or rollups, and gaps, as points. Queries go to the database; writes never wait for it. */
export class InfluxStore implements Store {
  readonly kind = 'INFLUX';
  readonly #options: InfluxStoreOptions;
  readonly #database: Database;
  readonly #sessions: InfluxSessions;
  readonly #events: InfluxEvents;
  #closed = false;

  constructor(options: InfluxStoreOptions) {
    this.#options = options;
    const { client, location, catalog, host, node, fields, sender } = options;
    this.#database = new Database(client, location);
    this.#sessions = new InfluxSessions(this.#database, catalog, { host, node, spool: sender.spoolId }, sender);
    this.#events = new InfluxEvents(this.#database, this.#sessions, catalog, fields);
    options.sender.start();
  }

  /** None are stored. */
  processes(): Promise<null> {
    return Promise.resolve(null);
  }

  async record(record: SessionRecord): Promise<SessionSink> {
    const { host, node, sender, makeGroups, catalog } = this.#options;
    const trackers = trackersOf(record.trackers, catalog);
    const writer =
      record.mode === 'EVENTS'
        ? new PointWriter({ host, session: record.id, trackers })
        : new RollupWriter({ host, session: record.id, trackers, make: makeGroups });
    const sink = new InfluxSink({
      record,
      host,
      node,
      sender,
      writer,
      onFinish: () => this.#sessions.end(record.id),
    });
    this.#sessions.begin(record, sink);
    await sender.push([sink.sessionLine(null)]);
    return sink;
  }

  sessions(): Promise<readonly StoredRecord[]> {
    return this.#sessions.all();
  }

  session(id: string): Promise<StoredRecord | null> {
    return this.#sessions.find(id);
  }

  page(query: PageQuery): Promise<StoredPage> {
    return this.#events.page(query);
  }

  read(query: WholeQuery): AsyncIterable<Pick<StoredPage, 'events' | 'gaps'>> {
    return this.#events.read(query);
  }

  history(query: EventQuery, range: HistoryRange): Promise<StoredPage> {
    return this.#events.history(query, range);
  }

  gaps(query: GapQuery): Promise<readonly SessionGap[]> {
    return this.#events.gaps(query);
  }

  scan(query: EventQuery): AsyncGenerator<readonly TraceEvent[]> {
    return this.#events.scan(query);
  }

  async containers(query: EventQuery): Promise<readonly StoredContainer[]> {
    const known = new Map<string, StoredContainer>();
    for await (const events of this.scan(query)) {
      for (const { container } of events)
        if (container) known.set((container as StoredContainer).id, container as StoredContainer);
    }
    return [...known.values()];
  }

  /** Its points have not all fields of events. */
  alike(): Promise<null> {
    return Promise.resolve(null);
  }

  aggregate(query: EventQuery, shape: AggregateShape): Promise<readonly AggregateRow[] | null> {
    const { catalog } = this.#options;
    return aggregate({ database: this.#database, sessions: this.#sessions, catalog }, query, shape);
  }

  async remove(session: string): Promise<void> {
    this.#sessions.end(session);
    await this.#database.forget(session);
  }

  async load(): Promise<StoreLoad> {
    const { stats, lagMs } = this.#options.sender;
    const { state, written, rejected, dropped, spooled, spoolBytes } = stats;
    return {
      up: state !== 'AWAY' && state !== 'REFUSED',
      bytes: null,
      spool: { points: spooled, bytes: spoolBytes },
      points: { written, rejected, dropped },
      lagMs,
    };
  }

  async status(): Promise<StoreStatus> {
    const { sender, location, retentionMs } = this.#options;
    const { state, problem, spooled, spoolBytes, dropped, rejected } = sender.stats;
    const counts = [
      ...(spooled
        ? [`${spooled.toLocaleString('en-US')} points (${spoolBytes.toLocaleString('en-US')} bytes) wait in the spool`]
        : []),
      ...(dropped ? [`${dropped.toLocaleString('en-US')} points were dropped since the spool was full`] : []),
      ...(rejected ? [`${rejected.toLocaleString('en-US')} points were rejected`] : []),
    ];
    const words = [...(problem === null ? [] : [problem]), ...counts].join('; ');
    const records = state === 'AWAY' || state === 'REFUSED' ? null : await this.sessions().catch(() => null);
    const times = (records ?? []).map(({ createdAt }) => createdAt).sort();
    return {
      kind: 'INFLUX',
      state: state === 'REFUSED' ? 'FAILED' : state === 'AWAY' ? 'PAUSED' : 'READY',
      problem: words || null,
      location,
      bytes: null,
      sessions: records?.length ?? this.#sessions.live,
      oldest: times[0] ?? null,
      newest: times.at(-1) ?? null,
      retentionMs: retentionMs || null,
      retentionBytes: null,
    };
  }

  /**
   * Completes the sessions that this server's predecessor did not end, so that other servers that share the database know it. The database
   * need not respond yet. Resolves when it is done, or the store was closed.
   */
  async settle(): Promise<void> {
    for (let wait = FIRST_WAIT_MS; !this.#closed; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      if (await this.#sessions.settle().catch(() => false)) return;
      await sleep(wait, undefined, { ref: false });
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#options.sender.close();
  }
}
