import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';
import { EunomiaError } from '../../base/errors.js';
import { securePrivate } from '../../base/file.js';

/** Copies of the file: all that is committed at one moment, while the store goes on. */

/** How often it is looked whether there is still room for those who record. */
const LOOK_MS = 200;
const COPY = 'eunomia_copy';

/** Beside the file, for its directory is ours alone. */
export function copyName(file: string): string {
  return `${file}.copy-${randomBytes(6).toString('hex')}`;
}

/** Deletes copies that a server left behind which was killed, by names as ours; nobody else has the file open. Never rejects. */
export async function removeCopies(file: string): Promise<void> {
  const directory = dirname(file);
  const names = await readdir(directory).catch(() => []);
  const before = `${basename(file)}.copy-`;
  const copies = names.filter(
    (name) => name.startsWith(before) && /^[0-9a-f]{12}(?:\.wal)?$/.test(name.slice(before.length)),
  );
  await Promise.all(copies.map((name) => rm(join(directory, name), { force: true }).catch(() => undefined)));
}

export interface CopyOptions {
  /** One of its own: it is used until the end, and can be interrupted. */
  readonly connection: DuckDBConnection;
  readonly to: string;
  /** Bytes that are free on the file system, and how many of them are left to others. */
  readonly free: () => Promise<number>;
  readonly leave: number;
  /** Bytes that the copy takes, about. */
  readonly needs: number;
  /** Aborts when nobody wants it any more. */
  readonly signal: AbortSignal;
}

/**
 * Writes all tables into a new file, as one transaction sees them. Rejects with STORE_UNAVAILABLE when there is not enough room, with
 * CANCELLED, and with what DuckDB says; nothing is left then.
 */
export async function copyTables({ connection, to, free, leave, needs, signal }: CopyOptions): Promise<void> {
  const room = await free();
  if (room < needs + leave) throw noRoom(room, needs + leave);
  let stopped: EunomiaError | null = null;
  const stop = (error: EunomiaError): void => {
    stopped ??= error;
    connection.interrupt();
  };
  const cancel = (): void =>
    stop(new EunomiaError('CANCELLED', 'the client has gone away, and nobody waits for the copy'));
  const looking = setInterval(() => {
    // Another program may take the room, and the copy may need more than was thought.
    // Where it cannot be told, the copy itself fails if it has to.
    free().then(
      (left) => left < leave && stop(noRoom(left, leave)),
      () => undefined,
    );
  }, LOOK_MS);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    if (signal.aborted) cancel();
    const run = async (sql: string): Promise<unknown> => {
      if (stopped) throw stopped;
      return connection.run(sql);
    };
    const tables = await tablesOf(connection);
    await run(`ATTACH '${to.replaceAll("'", "''")}' AS ${COPY}`);
    await securePrivate(to);
    await run('BEGIN');
    for (const table of tables) await run(`CREATE TABLE ${COPY}.${table} AS FROM ${table}`);
    await run('COMMIT');
    await run(`DETACH ${COPY}`);
  } catch (error) {
    await connection.run('ROLLBACK').catch(() => undefined);
    await connection.run(`DETACH ${COPY}`).catch(() => undefined);
    for (const name of [to, `${to}.wal`]) await rm(name, { force: true });
    throw stopped ?? error;
  } finally {
    clearInterval(looking);
    signal.removeEventListener('abort', cancel);
  }
}

/** As identifiers. */
async function tablesOf(connection: DuckDBConnection): Promise<readonly string[]> {
  const rows = await connection.runAndReadAll(
    'SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT internal ORDER BY table_name',
  );
  return rows.getRows().map(([name]) => `"${String(name).replaceAll('"', '""')}"`);
}

function noRoom(free: number, needed: number): EunomiaError {
  return new EunomiaError(
    'STORE_UNAVAILABLE',
    `there is no room for a copy of the history on its file system: it needs ${mebibytes(needed)} MiB, of which some are left to ` +
      `what is recorded, and ${mebibytes(free)} MiB are free; make room, or set --retention-bytes`,
  );
}

/** No shift: that is of 32 bits. */
function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}
