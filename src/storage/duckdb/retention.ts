import type { Database } from './database.js';
import { ofAll, removeNumber } from './sessions.js';
import { quote, type EventTable } from './table.js';

/** A slice of time that is deleted at once when the file is too large: this share of the oldest session's events. */
const SHARE = 0.25;
/** Deletions of one run: the rest follows with the next, so that others have their turn. */
const ROUNDS = 8;

/**
 * Deletes what is too old or too much, the oldest first, and gives its room back. Sessions that have ended go as a whole; of one that
 * runs the oldest events go, and are counted as missing.
 */
export class Retention {
  readonly #database: Database;
  readonly #tables: readonly EventTable[];
  readonly #maxAgeMs: number | null;
  readonly #maxBytes: number | null;

  constructor(database: Database, tables: readonly EventTable[], maxAgeMs: number | null, maxBytes: number | null) {
    this.#database = database;
    this.#tables = tables;
    this.#maxAgeMs = maxAgeMs;
    this.#maxBytes = maxBytes;
  }

  /** Runs on the writer's connection, between two transactions. */
  async run(): Promise<void> {
    let deleted = false;
    if (this.#maxAgeMs !== null) deleted = await this.#deleteBefore(BigInt(Date.now() - this.#maxAgeMs) * 1_000_000n);
    if (this.#maxBytes !== null) {
      for (let round = 0; round < ROUNDS && (await this.#bytes()) > this.#maxBytes; round++) {
        if (!(await this.#deleteOldest())) break;
        deleted = true;
        await this.#compact();
      }
    }
    if (deleted) await this.#compact();
  }

  /** After a checkpoint, since what was deleted is free only then. */
  async #bytes(): Promise<number> {
    const bytes = await this.#database.bytes();
    if (bytes <= (this.#maxBytes ?? bytes)) return bytes;
    await this.#compact();
    return this.#database.bytes();
  }

  /**
   * DuckDB gives the blocks of rows that are deleted free with a checkpoint; readers of older rows hold that up, and it
   * comes with the next.
   */
  async #compact(): Promise<void> {
    try {
      await this.#database.write('CHECKPOINT');
    } catch {
      // A reader is at it.
    }
  }

  async #deleteBefore(nanos: bigint): Promise<boolean> {
    let deleted = false;
    const rows = await this.#database.write(
      `SELECT number, ended IS NOT NULL, (SELECT max(time) FROM (${ofAll(this.#tables, 'time', '_session = number')})) FROM sessions`,
    );
    for (const [number, ended, newest] of rows) {
      const past = newest !== null && newest !== undefined && BigInt(newest) < nanos;
      if (ended === true && past) {
        await removeNumber(this.#database, Number(number), this.#tables);
        deleted = true;
      } else if (await this.#slice(Number(number), ended === true, 'time', nanos)) deleted = true;
    }
    return deleted;
  }

  async #deleteOldest(): Promise<boolean> {
    const all = ofAll(this.#tables, '_session, time, _seq', 'true');
    const [oldest] = await this.#database.write(
      `SELECT _session, min(_seq), max(_seq), any_value(ended IS NOT NULL) FROM (${all}) JOIN sessions ON number ` +
        '= _session GROUP BY _session ORDER BY min(time) LIMIT 1',
    );
    if (!oldest) return false;
    const [number, first, last, ended] = oldest;
    const from = BigInt(first ?? 0);
    const to = from + (BigInt(last ?? 0) - from) / BigInt(1 / SHARE) + 1n;
    const few = BigInt(last ?? 0) - from < 10_000n;
    if (ended === true && few) {
      await removeNumber(this.#database, Number(number), this.#tables);
      return true;
    }
    return this.#slice(Number(number), ended === true, '_seq', to);
  }

  /** Deletes a session's events before a time or a place. */
  async #slice(number: number, ended: boolean, column: 'time' | '_seq', before: bigint): Promise<boolean> {
    const values = [String(number), String(before)];
    let events = 0n;
    await this.#database.write('BEGIN');
    for (const { name } of this.#tables) {
      const [row] = await this.#database.write(
        `DELETE FROM ${quote(name)} WHERE _session = ?::INTEGER AND ${quote(column)} < ?::BIGINT`,
        values,
      );
      events += BigInt(row?.[0] ?? 0);
    }
    if (events > 0n)
      await this.#database.write('UPDATE sessions SET missing = missing + ?::BIGINT WHERE number = ?::INTEGER', [
        String(events),
        String(number),
      ]);
    // Of a session that runs, the writer may name any of its processes again.
    if (events > 0n && ended)
      await this.#database.write(
        `DELETE FROM processes WHERE _session = ?::INTEGER AND id NOT IN (${ofAll(this.#tables, 'process', `_session = ${number}`)})`,
        [String(number)],
      );
    await this.#database.write('COMMIT');
    return events > 0n;
  }
}
