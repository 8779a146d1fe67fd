import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { finish, inTurns, turns } from '../../base/turn.js';
import type { Alike } from '../../event/alike.js';
import type { TraceEvent } from '../../event/event.js';
import type { FilterFields } from '../../filter/index.js';
import type { ProcessCollector } from '../../graph/collector.js';
import type { PastProcesses } from '../../graph/past.js';
import type { Catalog } from '../../catalog/catalog.js';
import type {
  AggregateShape,
  AlikeFields,
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
  StoredRow,
  StoreLoad,
  StoreStatus,
  WholeQuery,
} from '../store.js';
import { copyName } from './copy.js';
import { checkDirectory } from './directory.js';
import { EmbeddedEvents } from './events.js';
import { StoredFacts, timeOf, type Query, type QueryOptions } from './known.js';
import { areFew, readRows } from './packed.js';
import type { Bound, SqlRow } from './protocol.js';
import { DuckSink } from './sink.js';
import { tableOf, type EventTable } from './table.js';
import { PastCache } from './past.js';
import { StoreThread } from './thread.js';

export interface DuckOptions {
  readonly directory: string;
  readonly catalog: Pick<Catalog, 'trackers' | 'get'>;
  readonly fields: FilterFields;
  readonly retentionMs: number | null;
  readonly retentionBytes: number | null;
  readonly memoryBytes: number;
  /** How often what is too old or too much is deleted. */
  readonly retainEveryMs: number;
  readonly onProblem: (problem: string) => void;
}

const FILE = 'eunomia.duckdb';
/** How long `load` waits for the thread. */
const LOAD_MS = 500;

/**
 * A DuckDB file. All of DuckDB is in a thread of its own, which is started when there is a file already (sessions of it may have been cut
 * off, events may have become too old), and otherwise with the first session that is recorded: it takes a second of CPU time and 75 MB.
 */
export class DuckStore implements Store {
  readonly kind = 'EMBEDDED';
  readonly #options: DuckOptions;
  readonly #tables: readonly EventTable[];
  readonly #thread: StoreThread;
  readonly #query: Query;
  readonly #sinks = new Map<number, DuckSink>();
  readonly #facts: StoredFacts;
  readonly #past: PastCache;
  readonly #reader: EmbeddedEvents;
  readonly #retaining: NodeJS.Timeout;
  #closed: Promise<void> | null = null;

  constructor(options: DuckOptions) {
    this.#options = options;
    this.#tables = options.catalog.trackers.map(tableOf);
    const { retentionMs, retentionBytes, memoryBytes } = options;
    const file = join(options.directory, FILE);
    this.#thread = new StoreThread({
      file,
      tables: this.#tables,
      memoryBytes,
      retentionMs,
      retentionBytes,
    });
    this.#thread.onSeen = ({ number, processes }) => this.#sinks.get(number)?.seen(processes);
    this.#thread.onProgress = ({ packets }) => {
      for (const { number, events, bytes, nextSeq } of packets)
        this.#sinks.get(number)?.committed(events, bytes, nextSeq);
    };
    this.#thread.onRemoved = ({ sessions }) => {
      for (const { number, events, processes } of sessions) this.#sinks.get(number)?.removed(events, processes);
    };
    this.#thread.onCondition = ({ state, problem }) => {
      if (problem !== null) options.onProblem(problem);
      if (state === 'FAILED') for (const sink of this.#sinks.values()) sink.abandon();
    };
    this.#query = async <Made = SqlRow>(
      sql: string,
      values: readonly Bound[] = [],
      // Without `make`, what is made of a row is the row.
      { lane = 'SHORT', make = (row: SqlRow) => row as Made, turn }: QueryOptions<Made> = {},
    ) => {
      const { parts } = await this.#thread.ask('query', { sql, values, lane });
      const work = readRows(parts, make);
      return areFew(parts) ? finish(work) : inTurns(work, undefined, turns, turn);
    };
    this.#facts = new StoredFacts(this.#query, this.#tables, (number) =>
      options.onProblem(
        `${file}: what the store knows of its session number ${number} cannot be read: ` +
          'the file is damaged; the session is left out',
      ),
    );
    const { catalog, fields } = options;
    this.#past = new PastCache(this.#query, (number) => {
      const sink = this.#sinks.get(number);
      return sink !== undefined && !sink.isEnded;
    });
    this.#reader = new EmbeddedEvents({
      query: this.#query,
      facts: this.#facts,
      tables: this.#tables,
      catalog,
      fields,
      pastOf: (number) => this.#past.of(number),
    });
    const limited = retentionMs !== null || retentionBytes !== null;
    this.#retaining = setInterval(
      () => limited && void this.retain().catch(() => undefined),
      options.retainEveryMs,
    ).unref();
    if (existsSync(file)) void this.open();
  }

  /** Resolves once it is known whether the file can be used; never rejects. */
  async open(): Promise<void> {
    if (!this.#closed) await this.#thread.open();
  }

  /** Whether the thread with the file runs, or is about to. */
  get isOpen(): boolean {
    return this.#thread.isStarted && !this.#closed;
  }

  /** A directory that cannot be used is told of now, and tried again, not only when the first session is recorded. */
  async check(): Promise<void> {
    const { directory } = this.#options;
    if (!this.#thread.isStarted) await checkDirectory(directory, join(directory, FILE)).catch(() => void this.open());
  }

  async processes(session: string): Promise<PastProcesses | null> {
    if (!this.#thread.isStarted) return null;
    await this.#ready();
    const number = await this.#facts.numberIfAny(session);
    return number === null ? null : this.#past.of(number);
  }

  async record(session: SessionRecord, collector: ProcessCollector | null = null): Promise<SessionSink> {
    await this.#ready();
    const { number } = await this.#thread.ask('begin', { session });
    const sink = new DuckSink(number, this.#thread, collector);
    this.#sinks.set(number, sink);
    this.#facts.add(session.id, number);
    return sink;
  }

  async sessions(): Promise<readonly StoredRecord[]> {
    if (!this.#thread.isStarted) return [];
    await this.#ready();
    return this.#facts.records('true', []);
  }

  async session(id: string): Promise<StoredRecord | null> {
    if (!this.#thread.isStarted) return null;
    await this.#ready();
    return (await this.#facts.records('id = ?', [id]))[0] ?? null;
  }

  async page(query: PageQuery): Promise<StoredPage> {
    await this.#ready();
    return this.#reader.page(query);
  }

  async *read(query: WholeQuery): AsyncIterable<Pick<StoredPage, 'events' | 'gaps'>> {
    await this.#ready();
    yield* this.#reader.read(query);
  }

  async containers(query: EventQuery): Promise<readonly StoredContainer[]> {
    await this.#ready();
    return this.#reader.containers(query);
  }

  async history(query: EventQuery, range: HistoryRange): Promise<StoredPage> {
    await this.#ready();
    return this.#reader.history(query, range);
  }

  async gaps(query: GapQuery): Promise<readonly SessionGap[]> {
    await this.#ready();
    return this.#reader.gaps(query);
  }

  async *scan(query: EventQuery): AsyncIterable<readonly TraceEvent[]> {
    await this.#ready();
    yield* this.#reader.scan(query);
  }

  async aggregate(query: EventQuery, shape: AggregateShape): Promise<readonly StoredRow[] | null> {
    await this.#ready();
    return this.#reader.aggregate(query, shape);
  }

  async alike(query: EventQuery, fields: AlikeFields): Promise<readonly Alike[] | null> {
    await this.#ready();
    return this.#reader.alike(query, fields);
  }

  /** One at a time. */
  async copy(signal: AbortSignal): Promise<string> {
    await this.#ready();
    const to = copyName(join(this.#options.directory, FILE));
    const stop = (): void => this.#thread.stopCopy();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const copied = this.#thread.ask('copy', { to });
      if (signal.aborted) stop();
      await copied;
      return to;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async remove(session: string): Promise<void> {
    await this.#ready();
    await this.#thread.ask('remove', { session });
    this.#facts.delete(session);
  }

  async retain(): Promise<void> {
    if (!this.#thread.isStarted) return;
    await this.#ready();
    await this.#thread.ask('retain', {});
  }

  async load(): Promise<StoreLoad> {
    if (!this.#thread.isStarted) return { up: !this.#closed, bytes: 0, spool: null, points: null, lagMs: 0 };
    const up = this.#thread.condition.state === 'READY';
    // Behind a long query nobody waits for the size of the file.
    const bytes = up
      ? await Promise.race([
          this.#thread.ask('status', {}).then(
            ({ bytes: size }) => size,
            () => null,
          ),
          sleep(LOAD_MS, null, { ref: false }),
        ])
      : null;
    return { up, bytes, spool: null, points: null, lagMs: 0 };
  }

  async status(): Promise<StoreStatus> {
    await this.open();
    const { directory, retentionMs, retentionBytes } = this.#options;
    const { state, problem } = this.#thread.condition;
    const fixed = {
      kind: this.kind,
      state,
      problem,
      location: join(directory, FILE),
      retentionMs,
      retentionBytes,
    } as const;
    try {
      if (this.#closed) throw new EunomiaError('STORE_UNAVAILABLE', 'the store is closed');
      const { bytes } = await this.#thread.ask('status', {});
      const all = this.#tables
        .map(({ name }) => `SELECT min(time) AS a, max(time) AS b FROM "${name}"`)
        .join(' UNION ALL ');
      const [[count] = [], [oldest, newest] = []] = await Promise.all([
        this.#query('SELECT count(*) FROM sessions'),
        this.#query(`SELECT min(a), max(b) FROM (${all})`),
      ]).then(([a, b]) => [a[0], b[0]]);
      return { ...fixed, bytes, sessions: Number(count ?? 0), oldest: timeOf(oldest), newest: timeOf(newest) };
    } catch (error) {
      // A store that cannot be read is not ready, whatever its thread makes of it.
      const unread = fixed.state === 'READY' ? { state: 'PAUSED' as const, problem: messageOf(error) } : {};
      return { ...fixed, ...unread, bytes: null, sessions: 0, oldest: null, newest: null };
    }
  }

  close(): Promise<void> {
    clearInterval(this.#retaining);
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    const problem = await this.#thread.close();
    if (problem !== null) this.#options.onProblem(`${problem}; what was lost at the end is not counted in the file`);
  }

  async #ready(): Promise<void> {
    await this.open();
    const { state, problem } = this.#thread.condition;
    if (this.#closed || state !== 'READY')
      throw new EunomiaError('STORE_UNAVAILABLE', `the store is not available: ${problem ?? 'it is closed'}`);
  }
}
