import { textOfMs } from '../../event/clock.js';
import { nanosOf, textOfNanos } from '../../record/nanos.js';
import { readRecord } from '../facts.js';
import type { LastKnown, SessionEnd, SessionRecord } from '../store.js';
import type { Database } from './database.js';
import { quote, type EventTable } from './table.js';

/** The table of sessions. All of these write, and run between two transactions. */

/** Returns the number that its rows have: more than `above`, and than all that are there. */
export async function beginSession(database: Database, session: SessionRecord, above: number): Promise<number> {
  const [row] = await database.write('SELECT coalesce(max(number), 0) FROM sessions');
  const number = Math.max(above, Number(row?.[0] ?? 0)) + 1;
  await database.write('INSERT INTO sessions VALUES (?::INTEGER, ?, ?, NULL, 0, 0)', [
    String(number),
    session.id,
    JSON.stringify(session),
  ]);
  return number;
}

export async function updateSession(database: Database, number: number, session: SessionRecord): Promise<void> {
  await database.write('UPDATE sessions SET facts = ? WHERE number = ?::INTEGER', [
    JSON.stringify(session),
    String(number),
  ]);
}

export async function endSession(database: Database, number: number, end: SessionEnd, nextSeq: number): Promise<void> {
  await database.write('UPDATE sessions SET ended = ?, next_seq = ?::BIGINT WHERE number = ?::INTEGER', [
    JSON.stringify(end),
    String(nextSeq),
    String(number),
  ]);
}

/** Of what is known of a session, writes what is not in the file yet. */
export async function tellLastKnown(database: Database, number: number, { session, offs }: LastKnown): Promise<void> {
  await updateSession(database, number, session);
  for (const { gap, from } of offs) {
    const values = [String(number), String(from), String(nanosOf(gap.from)), String(nanosOf(gap.to)), String(gap.lost)];
    await database.write(
      `INSERT INTO gaps SELECT $1::INTEGER, $2::BIGINT, $3::BIGINT, $4::BIGINT, $5::BIGINT, $6::BIGINT, 'OFF' WHERE NOT EXISTS (` +
        `FROM gaps WHERE _session = $1::INTEGER AND place = 'OFF' AND from_time = $3::BIGINT AND to_time = $4::BIGINT)`,
      [...values, String(gap.dropped)],
    );
  }
}

/**
 * Ends a session whose last events are not in the file and never will be: they become one gap behind those that are,
 * with what is known of its counts. `problem` is why they are missing.
 */
export async function endUnwritten(
  database: Database,
  number: number,
  end: SessionEnd,
  nextSeq: number,
  tables: readonly EventTable[],
  problem: string | null,
): Promise<void> {
  const [events] = await database.write(
    `SELECT max(time), coalesce(max(_seq) + 1, 0), count(*) FROM (${ofAll(tables, 'time, _seq', `_session = ${number}`)})`,
  );
  const [told] = await database.write(
    `SELECT coalesce(sum(lost), 0)::BIGINT, coalesce(sum(dropped), 0)::BIGINT FROM gaps WHERE _session = ${number}`,
  );
  const [session] = await database.write(`SELECT missing FROM sessions WHERE number = ${number}`);
  const dropped = Math.max(0, nextSeq - Number(events?.[2] ?? 0) - Number(told?.[1] ?? 0) - Number(session?.[0] ?? 0));
  const lost = Math.max(0, end.lost - Number(told?.[0] ?? 0));
  const error = `${dropped} of its events were not stored before the server ended${problem === null ? '' : `: ${problem}`}`;
  await endSession(database, number, dropped ? { ...end, error: end.error ?? error } : end, nextSeq);
  if (!lost && !dropped) return;
  const from = events?.[0] == null ? nanosOf(end.startedAt ?? end.stoppedAt) : BigInt(events[0]);
  await database.write(
    'INSERT INTO gaps VALUES (?::INTEGER, ?::BIGINT, ?::BIGINT, ?::BIGINT, ?::BIGINT, ?::BIGINT, ?)',
    [
      String(number),
      String(events?.[1] ?? 0),
      String(from),
      String(nanosOf(end.stoppedAt)),
      String(lost),
      String(dropped),
      dropped ? 'STORE' : 'KERNEL',
    ],
  );
}

/** Returns the numbers of what it has removed. */
export async function removeSession(database: Database, id: string, tables: readonly EventTable[]): Promise<number[]> {
  const numbers = (await database.write('SELECT number FROM sessions WHERE id = ?', [id])).map(([number]) =>
    Number(number),
  );
  for (const number of numbers) await removeNumber(database, number, tables);
  return numbers;
}

async function removeNumber(database: Database, number: number, tables: readonly EventTable[]): Promise<void> {
  await database.write('BEGIN');
  await removeRows(database, number, tables);
  await database.write('COMMIT');
}

/** A session with all that belongs to it, within a transaction. */
export async function removeRows(database: Database, number: number, tables: readonly EventTable[]): Promise<void> {
  for (const name of [...tables.map((table) => table.name), 'gaps', 'containers', 'processes', 'lineage'])
    await database.write(`DELETE FROM ${quote(name)} WHERE _session = ?::INTEGER`, [String(number)]);
  await database.write('DELETE FROM sessions WHERE number = ?::INTEGER', [String(number)]);
}

/** `select` of the events of all tables. */
export function ofAll(tables: readonly EventTable[], select: string, where: string): string {
  return tables.map(({ name }) => `SELECT ${select} FROM ${quote(name)} WHERE ${where}`).join(' UNION ALL ');
}

/** Sessions that a server left without an end: it was killed, or the machine stopped. They end with their last event. */
export async function adoptInterrupted(database: Database, tables: readonly EventTable[]): Promise<void> {
  const rows = await database.write('SELECT number, facts FROM sessions WHERE ended IS NULL');
  const now = textOfMs(Date.now());
  for (const [number, facts] of rows) {
    const [last] = await database.write(
      `SELECT max(time), coalesce(max(_seq) + 1, 0) FROM (${ofAll(tables, 'time, _seq', `_session = ${Number(number)}`)})`,
    );
    const session = readRecord(facts);
    if (!session) continue; // it is left out, and told, where it is asked for
    const { startedAt, createdAt } = session;
    const stoppedAt = last?.[0] == null ? (startedAt ?? createdAt) : textOfNanos(BigInt(last[0]));
    const nextSeq = Number(last?.[1] ?? 0);
    const end: SessionEnd = {
      startedAt,
      state: 'STOPPED',
      stoppedAt,
      stopReason: 'INTERRUPTED',
      error: `the server ended without stopping it; its events are stored up to ${stoppedAt}`,
      lost: 0,
      received: nextSeq,
      discarded: 0,
      receivedBytes: 0,
      processes: null,
    };
    await endSession(database, Number(number), end, nextSeq);
    await database.write('INSERT INTO gaps VALUES (?::INTEGER, ?::BIGINT, ?::BIGINT, ?::BIGINT, 0, 0, ?)', [
      String(number),
      String(nextSeq),
      String(nanosOf(stoppedAt)),
      String(nanosOf(now)),
      'STORE',
    ]);
  }
}
