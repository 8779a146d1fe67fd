import { nanosOf } from '../../record/nanos.js';
import { readEnd, readRecord } from '../facts.js';
import type { Database } from './database.js';
import type { Removed, SqlRow } from './protocol.js';
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
/** A smaller table is written anew when this share of its rows is deleted. */
const DEAD_SHARE = 0.1;
/** Of a session with fewer processes, those that no event has are left. */
const MANY_PROCESSES = 1000;

export interface RetentionOptions {
  /** It is read while the writer goes on. */
  readonly database: Database;
  readonly tables: readonly EventTable[];
  readonly maxAgeMs: number | null;
  readonly maxBytes: number | null;
  readonly exclusively: Exclusively;
  /** Called before processes of a session are deleted that no stored event refers to: no later event may refer to them. */
  readonly forget: (session: number) => void;
  /** Called with how many events each session has lost, and how many of the processes that had ended. */
  readonly removed: (sessions: Removed['sessions']) => void;
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
   * a reader may hold that up, and more deletions would not help. Of a large table, one group does not count so, since DuckDB
   * frees it when all of its rows are deleted.
   */
  #excess(maxBytes: number): Promise<number> {
    return this.#options.exclusively(async (database) => {
      if ((await database.bytes('write')) <= maxBytes) return 0;
      for (const table of await this.#rows(database)) await rewrite(database, table);
      await free(database);
      // Where a reader holds the checkpoint up, the log is no measure: it grows with each deletion.
      const bytes = await database.blockBytes('write');
      if (bytes <= maxBytes) return 0;
      let [held, pending] = [0, 0];
      for (const { rows, live } of await this.#rows(database)) {
        held += rows;
        pending += live > GROUP_ROWS ? Math.max(0, rows - live - GROUP_ROWS) : rows - live;
      }
      const kept = held - pending;
      return kept * bytes <= held * maxBytes ? 0 : Math.ceil(kept - (held * maxBytes * KEPT_SHARE) / bytes);
    });
  }

  /** Of each table the rows that the file holds, deleted ones whose room is not free among them, and those that are not deleted. */
  async #rows(database: Database): Promise<TableRows[]> {
    const sizes = await database.write('SELECT table_name, estimated_size FROM duckdb_tables()');
    const held = new Map(sizes.map(([name, rows]) => [name, Number(rows)]));
    const counts = [];
    for (const { name } of this.#options.tables) {
      const [row] = await database.write(`SELECT count(*) FROM ${quote(name)}`);
      const live = Number(row?.[0] ?? 0);
      counts.push({ name, rows: Math.max(live, held.get(name) ?? 0), live });
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
  #read(columns: string, where: string, rest = ''): Promise<SqlRow[]> {
    const { database, tables } = this.#options;
    return database.read(`SELECT ${columns} FROM (${ofAll(tables, 'time', where)}) ${rest}`, [], 'LONG');
  }

  async #deleteBefore(database: Database, cut: bigint): Promise<void> {
    const { tables, removed } = this.#options;
    const isOld = `time < ${cut}`;
    const lost = new Map<number, number>();
    const gone = new Map<number, number>();
    for (const { name } of tables)
      for (const [number, events] of await database.write(
        `SELECT _session, count(*) FROM ${quote(name)} WHERE ${isOld} GROUP BY _session`,
      ))
        lost.set(Number(number), (lost.get(Number(number)) ?? 0) + Number(events));
    await database.write('BEGIN');
    for (const { name } of tables) await database.write(`DELETE FROM ${quote(name)} WHERE ${isOld}`);
    for (const [number, facts, ended] of await database.write('SELECT number, facts, ended FROM sessions')) {
      const session = Number(number);
      const events = lost.get(session);
      if (ended !== null && (events ?? endedBefore(facts, ended, cut)) && !(await this.#hasEvents(database, session)))
        await removeRows(database, session, tables);
      else if (events !== undefined) {
        await this.#shrink(database, session, events);
        gone.set(session, await this.#shrinkLineage(database, session, cut));
      }
    }
    await database.write('COMMIT');
    if (lost.size) removed([...lost].map(([number, events]) => ({ number, events, processes: gone.get(number) ?? 0 })));
  }

  async #hasEvents(database: Database, session: number): Promise<boolean> {
    for (const { name } of this.#options.tables)
      if ((await database.write(`SELECT 1 FROM ${quote(name)} WHERE _session = ${session} LIMIT 1`)).length)
        return true;
    return false;
  }

  /** Counts what a session lost, and deletes the processes that no event refers to any more, once these are many. */
  async #shrink(database: Database, session: number, events: number): Promise<void> {
    await database.write(`UPDATE sessions SET missing = missing + ${events} WHERE number = ${session}`);
    const [[processes] = []] = await database.write(`SELECT count(*) FROM processes WHERE _session = ${session}`);
    if (Number(processes) < MANY_PROCESSES) return;
    const left = ofAll(this.#options.tables, 'process', `_session = ${session}`);
    const [[kept] = []] = await database.write(`SELECT count(*) FROM (${left})`);
    // Not each time: it reads all events of the session, and gives each process that lives another row.
    if (Number(processes) < 2 * Number(kept)) return;
    this.#options.forget(session);
    await database.write(
      `DELETE FROM processes WHERE _session = ${session} AND id NOT IN (SELECT DISTINCT process FROM (${left}))`,
    );
  }

  /**
   * Deletes the processes that had ended before the cut, once they are many: no event is left of them. But not the ancestors of those that
   * are left. Returns how many.
   */
  async #shrinkLineage(database: Database, session: number, cut: bigint): Promise<number> {
    const of = `FROM lineage WHERE _session = ${session}`;
    const [[all, old] = []] = await database.write(`SELECT count(*), count(*) FILTER (ended < ${cut}) ${of}`);
    if (Number(old) < MANY_PROCESSES || 2 * Number(old) < Number(all)) return 0;
    const kept =
      `WITH RECURSIVE kept(pid, start) AS (SELECT pid, start ${of} AND (ended IS NULL OR ended >= ${cut}) ` +
      'UNION SELECT l.ppid, l.parentStart FROM lineage l JOIN kept k ON l.pid = k.pid AND l.start = k.start ' +
      `WHERE l._session = ${session} AND l.parentStart IS NOT NULL) SELECT row(pid, start) FROM kept`;
    const deleted = await database.write(`DELETE ${of} AND row(pid, start) NOT IN (${kept}) RETURNING pid, start`);
    return new Set(deleted.map((row) => row.join(':'))).size;
  }
}

interface TableRows {
  readonly name: string;
  /** Deleted ones whose room is not free among them. */
  readonly rows: number;
  readonly live: number;
}

/**
 * Gives a table that has no whole group of rows another one, so that the old one is free with the next checkpoint: else all of its events
 * would have to go. One that still has an old group has been written anew before, and a reader holds that.
 */
async function rewrite(database: Database, { name, rows, live }: TableRows): Promise<void> {
  if (live > GROUP_ROWS || rows > GROUP_ROWS || rows - live < rows * DEAD_SHARE) return;
  const table = quote(name);
  await database.write('BEGIN');
  await database.write(`CREATE OR REPLACE TEMP TABLE _kept AS SELECT * FROM ${table}`);
  await database.write(`DELETE FROM ${table}`);
  await database.write(`INSERT INTO ${table} SELECT * FROM _kept`);
  await database.write('DROP TABLE _kept');
  await database.write('COMMIT');
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
