import { nanosOf } from '../../record/nanos.js';
import { readEnd, readRecord } from '../facts.js';
import type { Database } from './database.js';
import type { Row } from './protocol.js';
import { ofAll, removeRows } from './sessions.js';
import { quote, type EventTable } from './table.js';

/** Work on the writer's connection, between two transactions; the writer waits for it. */
export type Exclusively = <Result>(work: (database: Database) => Promise<Result>) => Promise<Result>;

/** A file that is too large is cut to this share of the bound, so that the next events do not exceed it at once. */
const KEPT_SHARE = 0.95;
/** Deletions of one run; the rest follows with the next run. */
const ROUNDS = 8;
/** Events of one deletion, about: the writer waits meanwhile. */
const MOST_DELETED = 4_000_000;
/** A cut is sought by counting so many parts of a range, and may be so many events late. */
const PARTS = 1024n;
const PRECISION = 10_000;
/** DuckDB frees the rows of a table in groups of so many. */
const GROUP_ROWS = 122_880;

export interface RetentionOptions {
  /** It is read while the writer goes on. */
  readonly database: Database;
  readonly tables: readonly EventTable[];
  readonly maxAgeMs: number | null;
  readonly maxBytes: number | null;
  readonly exclusively: Exclusively;
  /** Called before processes of these sessions are deleted that no stored event refers to: no later event may refer to them. */
  readonly forget: (sessions: ReadonlySet<number>) => void;
  /** Called with how many events each session has lost. */
  readonly removed: (events: ReadonlyMap<number, number>) => void;
}

/**
 * Deletes what is too old or too much: the events before a point in time, and the sessions that ended before it and have no
 * events left. What another session loses is counted as missing.
 */
export class Retention {
  readonly #options: RetentionOptions;
  #running: Promise<void> | null = null;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Resolves when it has ended; a call during a run ends with that run. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => (this.#running = null));
    return this.#running;
  }

  async #run(): Promise<void> {
    const { maxAgeMs, maxBytes, exclusively } = this.#options;
    if (maxAgeMs !== null) await this.#deleteOlder(BigInt(Date.now() - maxAgeMs) * 1_000_000n);
    for (let round = 0; maxBytes !== null && round < ROUNDS; round++) {
      const excess = await this.#excess(maxBytes);
      const cut = excess > 0 ? await this.#cut(Math.min(excess, MOST_DELETED), null) : null;
      if (cut === null) break;
      await exclusively((database) => this.#deleteBefore(database, cut));
    }
  }

  async #deleteOlder(limit: bigint): Promise<void> {
    const { exclusively } = this.#options;
    for (let round = 0; round < ROUNDS; round++) {
      const cut = await this.#cut(MOST_DELETED, limit);
      await exclusively((database) => this.#deleteBefore(database, cut ?? limit));
      if (cut !== null) await exclusively(free);
      if (cut === null || cut >= limit) return;
    }
  }

  /**
   * How many events have to go for the file to keep its bound; 0 for none. Deleted events whose room is not free yet count as gone:
   * a reader may hold that up, and more deletions would not help. One group of each table does not count so, since DuckDB
   * frees it when all of its rows are deleted.
   */
  #excess(maxBytes: number): Promise<number> {
    return this.#options.exclusively(async (database) => {
      if ((await database.bytes()) <= maxBytes) return 0;
      await free(database);
      // Where a reader holds the checkpoint up, the log is no measure: it grows with each deletion.
      const bytes = await database.blockBytes();
      if (bytes <= maxBytes) return 0;
      let [held, pending] = [0, 0];
      for (const { rows, live } of await this.#rows(database)) {
        held += rows;
        pending += Math.max(0, rows - live - GROUP_ROWS);
      }
      const kept = held - pending;
      return kept * bytes <= held * maxBytes ? 0 : Math.ceil(kept - (held * maxBytes * KEPT_SHARE) / bytes);
    });
  }

  /** Of each table the rows that the file holds, deleted ones whose room is not free among them, and those that are not deleted. */
  async #rows(database: Database): Promise<{ readonly rows: number; readonly live: number }[]> {
    const sizes = await database.write('SELECT table_name, estimated_size FROM duckdb_tables()');
    const held = new Map(sizes.map(([name, rows]) => [name, Number(rows)]));
    const counts = [];
    for (const { name } of this.#options.tables) {
      const [row] = await database.write(`SELECT count(*) FROM ${quote(name)}`);
      const live = Number(row?.[0] ?? 0);
      counts.push({ rows: Math.max(live, held.get(name) ?? 0), live });
    }
    return counts;
  }

  /**
   * A time before which about `most` events lie, of those before `limit`, if there is one; or all of them, where they are fewer.
   * Null when there are none.
   */
  async #cut(most: number, limit: bigint | null): Promise<bigint | null> {
    const [range] = await this.#read('min(time), max(time)', limit === null ? 'true' : `time < ${limit}`);
    if (range?.[0] == null || range[1] == null) return null;
    let [low, high] = [BigInt(range[0]), BigInt(range[1]) + 1n];
    for (let before = 0; ;) {
      const width = (high - low + PARTS - 1n) / PARTS;
      const parts = await this.#read(
        `(time - ${low}) // ${width} AS part, count(*)`,
        `time >= ${low} AND time < ${high}`,
        'GROUP BY part ORDER BY part',
      );
      const crossed = parts.find(([, events]) => (before += Number(events)) >= most);
      if (!crossed) return high;
      const [part, events] = [BigInt(crossed[0] ?? 0), Number(crossed[1])];
      low += part * width;
      if (low + width < high) high = low + width;
      if (width === 1n || events <= PRECISION) return high;
      before -= events;
    }
  }

  /** Reads all tables of events, while the writer goes on. */
  #read(columns: string, where: string, rest = ''): Promise<Row[]> {
    const { database, tables } = this.#options;
    return database.read(`SELECT ${columns} FROM (${ofAll(tables, 'time', where)}) ${rest}`, [], 'LONG');
  }

  async #deleteBefore(database: Database, cut: bigint): Promise<void> {
    const { tables, forget, removed } = this.#options;
    const isOld = `time < ${cut}`;
    const lost = new Map<number, number>();
    for (const { name } of tables)
      for (const [number, events] of await database.write(
        `SELECT _session, count(*) FROM ${quote(name)} WHERE ${isOld} GROUP BY _session`,
      ))
        lost.set(Number(number), (lost.get(Number(number)) ?? 0) + Number(events));
    forget(new Set(lost.keys()));
    await database.write('BEGIN');
    for (const { name } of tables) await database.write(`DELETE FROM ${quote(name)} WHERE ${isOld}`);
    for (const [number, facts, ended] of await database.write('SELECT number, facts, ended FROM sessions')) {
      const session = Number(number);
      const events = lost.get(session);
      if (ended !== null && (events ?? endedBefore(facts, ended, cut)) && !(await this.#hasEvents(database, session)))
        await removeRows(database, session, tables);
      else if (events !== undefined) await this.#shrink(database, session, events);
    }
    await database.write('COMMIT');
    if (lost.size) removed(lost);
  }

  async #hasEvents(database: Database, session: number): Promise<boolean> {
    for (const { name } of this.#options.tables)
      if ((await database.write(`SELECT 1 FROM ${quote(name)} WHERE _session = ${session} LIMIT 1`)).length)
        return true;
    return false;
  }

  /** Counts what a session lost, and deletes the processes that only those events referred to. */
  async #shrink(database: Database, session: number, events: number): Promise<void> {
    await database.write(`UPDATE sessions SET missing = missing + ${events} WHERE number = ${session}`);
    const left = ofAll(this.#options.tables, 'process', `_session = ${session}`);
    await database.write(`DELETE FROM processes WHERE _session = ${session} AND id NOT IN (${left})`);
  }
}

/**
 * DuckDB frees what was deleted, unless a reader still needs it. Without a change since the last checkpoint it would not look
 * again for what a reader held up then: the table is that change.
 */
async function free(database: Database): Promise<void> {
  await database.write('CREATE TABLE IF NOT EXISTS _change (nothing INTEGER)');
  await database.write('DROP TABLE _change');
  try {
    await database.write('CHECKPOINT');
  } catch {
    // A reader is at it: the next run tries again.
  }
}

function endedBefore(facts: unknown, ended: unknown, cut: bigint): boolean {
  const session = readRecord(facts);
  return session !== null && nanosOf(readEnd(ended, session.startedAt ?? session.createdAt).stoppedAt) < cut;
}
