import { stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { finish } from '../../base/turn.js';
import { copyTables } from './copy.js';
import { checkDirectory } from './directory.js';
import { pack } from './pack.js';
import { readRows, type PackedRows } from './packed.js';
import type { Bound, QueryLane, SqlRow } from './protocol.js';
import {
  createTable,
  evolveTable,
  kindOfSql,
  lineageColumns,
  processColumns,
  sharedColumns,
  type EventColumn,
  type EventTable,
} from './table.js';

const VERSION = 1;
/**
 * Of the log, at which what was written since the last checkpoint goes from memory into the file: up to there, DuckDB keeps it in twice as
 * many bytes of memory. A checkpoint holds up commits for a moment. After a crash, so much is read again.
 */
const CHECKPOINT_BYTES = '16MB';
/**
 * Readers share two connections. What takes long has one of them, a query at a time in the order of asking: its parts are small, so that
 * all who ask for many advance, and what is short never waits for it.
 */
const READERS = 2;

/** DuckDB's three headers, before its blocks. */
const HEADERS_BYTES = 3 * 4096;

const tables = [
  'CREATE TABLE IF NOT EXISTS meta (version INTEGER)',
  // `ended` is null while it runs; `missing` counts what retention took.
  'CREATE TABLE IF NOT EXISTS sessions (number INTEGER, id VARCHAR, facts VARCHAR, ended VARCHAR, missing BIGINT, next_seq BIGINT)',
  'CREATE TABLE IF NOT EXISTS gaps (_session INTEGER, _seq BIGINT, from_time BIGINT, to_time BIGINT, lost ' +
    'BIGINT, dropped BIGINT, place VARCHAR)',
  'CREATE TABLE IF NOT EXISTS containers (_session INTEGER, id INTEGER, facts VARCHAR)',
  createTable('processes', processColumns),
  createTable('lineage', lineageColumns),
];

export interface TableColumn extends EventColumn {
  readonly unused: boolean;
}

/** The file, open. */
export class Database {
  readonly file: string;
  readonly writer: DuckDBConnection;
  /** Of each table of events, its columns as they lie there; those that no field has any more are `unused`. */
  readonly columns = new Map<string, readonly TableColumn[]>();
  readonly #instance: DuckDBInstance;
  readonly #closed = new AbortController();
  readonly #readers: DuckDBConnection[];
  readonly #turns: Promise<unknown>[];
  /** Queries that each reader has before it. */
  readonly #busy: number[];

  private constructor(
    file: string,
    instance: DuckDBInstance,
    [writer, ...readers]: readonly [DuckDBConnection, ...DuckDBConnection[]],
  ) {
    this.file = file;
    this.#instance = instance;
    this.writer = writer;
    this.#readers = readers;
    this.#turns = readers.map(() => Promise.resolve());
    this.#busy = readers.map(() => 0);
  }

  /** Opens or makes the file, with all tables. Rejects with STORE_UNAVAILABLE, which says why and what to do. */
  static async open(file: string, events: readonly EventTable[], memoryBytes: number): Promise<Database> {
    await checkDirectory(dirname(file), file);
    let instance: DuckDBInstance;
    try {
      instance = await DuckDBInstance.create(file, {
        threads: '2',
        memory_limit: `${memoryBytes}B`,
        checkpoint_threshold: CHECKPOINT_BYTES,
        temp_directory: join(dirname(file), 'temporary'),
        autoload_known_extensions: 'false',
        autoinstall_known_extensions: 'false',
      });
    } catch (error) {
      throw explain(error, file);
    }
    try {
      const connections = await Promise.all(Array.from({ length: 1 + READERS }, () => instance.connect()));
      const [writer, ...readers] = connections;
      if (!writer) throw new RangeError('no connection');
      const database = new Database(file, instance, [writer, ...readers]);
      await database.#checkLength();
      await database.#prepare(events);
      return database;
    } catch (error) {
      instance.closeSync();
      throw explain(error, file);
    }
  }

  /** Runs on the writer's connection, inside its transaction. */
  async write(sql: string, values: readonly Bound[] = []): Promise<SqlRow[]> {
    return rowsOf(this.writer, sql, values);
  }

  /** Runs beside the writer, on what is committed. Returns few rows; reads next to nothing, unless the lane is another. */
  async read(sql: string, values: readonly Bound[] = [], lane: QueryLane = 'SHORT'): Promise<SqlRow[]> {
    return rowsIn(await this.readParts(sql, values, lane));
  }

  /** The same, for another thread. */
  readParts(sql: string, values: readonly Bound[], lane: QueryLane): Promise<PackedRows[]> {
    const turn = this.#readerFor(lane);
    const reader = this.#readers[turn];
    if (!reader) throw new RangeError('no reader');
    const count = (by: number): void => void (this.#busy[turn] = (this.#busy[turn] ?? 0) + by);
    count(1);
    const result = (this.#turns[turn] ?? Promise.resolve())
      .then(() => partsOf(reader, sql, values))
      .finally(() => count(-1));
    this.#turns[turn] = result.catch(() => undefined);
    return result;
  }

  /** The first one is for what takes long, and for the other where it is idle. */
  #readerFor(lane: QueryLane): number {
    const [long = 0, short = 0] = this.#busy;
    return lane === 'LONG' || (long === 0 && short > 0) ? 0 : 1;
  }

  /** Bytes that the data takes, with what a checkpoint has not yet moved out of the log. */
  async bytes(by: 'read' | 'write' = 'read'): Promise<number> {
    // DuckDB tells the size of its log as "1.5 MiB": rounded, and a fraction of a byte when taken at its word.
    const log = await stat(`${this.file}.wal`).catch(() => null);
    return (await this.blockBytes(by)) + (log?.size ?? 0);
  }

  /** Bytes in the blocks of the file; free ones are not counted, for they are used again. */
  async blockBytes(by: 'read' | 'write' = 'read'): Promise<number> {
    const [row] = await this[by]('SELECT (used_blocks * block_size)::BIGINT FROM pragma_database_size()');
    return Number(row?.[0] ?? 0);
  }

  /**
   * Copies all that is committed into another file, in a transaction of its own: neither who writes nor who reads waits for it. `leave`:
   * bytes of the file system that it does not take. Rejects as `copyTables` does.
   */
  async copy(to: string, leave: number, signal: AbortSignal): Promise<void> {
    const closed = AbortSignal.any([signal, this.#closed.signal]);
    const connection = await this.#instance.connect();
    try {
      const needs = await this.bytes();
      await copyTables({ connection, to, free: () => freeBytes(dirname(to)), leave, needs, signal: closed });
    } finally {
      connection.closeSync();
    }
  }

  close(): void {
    this.#closed.abort();
    for (const connection of [this.writer, ...this.#readers]) connection.closeSync();
    this.#instance.closeSync();
  }

  /**
   * DuckDB opens a file that was cut at its end, and misses what lay there only once it is read. Blocks at the end that are free need not
   * be there: DuckDB cuts them off itself when it closes the file.
   */
  async #checkLength(): Promise<void> {
    const [row] = await this.write('SELECT total_blocks, block_size FROM pragma_database_size()');
    const [blocks = 0, blockBytes = 0] = (row ?? []).map(Number);
    const { size } = await stat(this.file);
    if (size >= HEADERS_BYTES + blocks * blockBytes) return;
    const needed = HEADERS_BYTES + (await this.#blocksInUse(blocks)) * blockBytes;
    if (size < needed)
      throw new EunomiaError(
        'STORE_UNAVAILABLE',
        `${this.file} is damaged: it ends after ${size} bytes, and has to have ${needed}; put a copy of it in ` +
          `its place, or, to go on without what it holds, move it and ${this.file}.wal away; then start again`,
      );
  }

  /** How many blocks there are up to the last one in use; `all` where the file cannot tell. Looks at each segment of each table. */
  async #blocksInUse(all: number): Promise<number> {
    try {
      const names = await this.write('SELECT table_name FROM duckdb_tables() WHERE NOT internal');
      const parts = names.map(
        ([name]) =>
          'SELECT greatest(max(block_id), max(list_max(additional_block_ids))) AS last ' +
          `FROM pragma_storage_info('${String(name)}')`,
      );
      const [row] = await this.write(
        `SELECT max(last) FROM (${['SELECT max(block_id) AS last FROM pragma_metadata_info()', ...parts].join(' UNION ALL ')})`,
      );
      return row?.[0] == null ? all : Number(row[0]) + 1;
    } catch {
      return all;
    }
  }

  /** Few statements, whatever the number of trackers: a commit waits for the disk, and `duckdb_columns` lists those of all tables. */
  async #prepare(events: readonly EventTable[]): Promise<void> {
    const before = await this.#columns();
    const [row] = before.has('meta') ? await this.write('SELECT max(version) FROM meta') : [];
    const version = row?.[0] ?? null;
    if (version !== null && Number(version) > VERSION)
      throw new EunomiaError(
        'STORE_UNAVAILABLE',
        `${this.file} was written by a later version of Eunomia (its format is ${String(version)}, this one ` +
          `reads up to ${VERSION}); start that version, or give another --data-dir`,
      );
    await this.write('BEGIN');
    for (const sql of tables) await this.write(sql);
    if (version === null) await this.write(`INSERT INTO meta VALUES (${VERSION})`);
    for (const { name, own } of events)
      if (!before.has(name)) await this.write(createTable(name, [...sharedColumns, ...own]));
    await this.write('COMMIT');
    for (const table of events) {
      const there = before.get(table.name);
      for (const sql of there ? evolveTable(table, there) : []) await this.write(sql);
    }
    const after = await this.#columns();
    for (const { name: table, own } of events) {
      const known = new Map([...sharedColumns, ...own].map((column) => [column.name, column]));
      const columns = [...(after.get(table) ?? [])].map(([name, type]) => {
        const column = known.get(name);
        return column ? { ...column, unused: false } : { name, kind: kindOfSql(type), unused: true };
      });
      this.columns.set(table, columns);
    }
  }

  /** Of each table that is there, its columns in their order, with their types. */
  async #columns(): Promise<ReadonlyMap<string, ReadonlyMap<string, string>>> {
    const found = new Map<string, Map<string, string>>();
    const rows = await this.write(
      'SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index',
    );
    for (const [table, name, type] of rows.map((row) => row.map(String))) {
      const columns = found.get(table ?? '') ?? new Map<string, string>();
      found.set(table ?? '', columns.set(name ?? '', type ?? ''));
    }
    return found;
  }
}

async function rowsOf(connection: DuckDBConnection, sql: string, values: readonly Bound[]): Promise<SqlRow[]> {
  return rowsIn(await partsOf(connection, sql, values));
}

function rowsIn(parts: readonly PackedRows[]): SqlRow[] {
  return finish(readRows(parts, (row) => row));
}

async function partsOf(connection: DuckDBConnection, sql: string, values: readonly Bound[]): Promise<PackedRows[]> {
  const result = await connection.run(sql, [...values]);
  const parts: PackedRows[] = [];
  for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
    const types = Array.from({ length: chunk.columnCount }, (_, i) => result.columnTypeId(i));
    parts.push(pack(chunk, types));
  }
  return parts;
}

/** What DuckDB's message means to the person who runs the server. */
export function explain(error: unknown, file: string): EunomiaError {
  if (error instanceof EunomiaError) return error;
  const message = messageOf(error);
  const says = (text: string) => new EunomiaError('STORE_UNAVAILABLE', text, { cause: error });
  const pid = /PID (\d+)/.exec(message)?.[1];
  if (/Could not set lock|Conflicting lock/.test(message))
    return says(
      `${file} is in use by ${pid ? `the process ${pid}` : 'another process'}: another Eunomia server, as a ` +
        'rule; stop that, or give another --data-dir',
    );
  if (/No space left|ENOSPC|disk is full|out of disk/i.test(message))
    return says(
      `there is no room left on the file system of ${file}: ${firstLine(message)}; make room, or set --retention-bytes`,
    );
  if (
    /not a valid DuckDB|Serialization|corrupt|checksum|magic bytes|Could not read|replay|INTERNAL Error/i.test(message)
  ) {
    return says(
      `${file} cannot be read: it is damaged or no file of ours (${firstLine(message)}); to go on without what ` +
        `it holds, move it and ${file}.wal away and start again`,
    );
  }
  return says(`${file}: ${firstLine(message)}`);
}

function firstLine(text: string): string {
  return text.split('\n')[0]?.slice(0, 300) ?? '';
}

/** Bytes that are free for us on the file system of a directory. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}
