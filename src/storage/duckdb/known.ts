import { createContainer, type Container } from '../../inventory/container.js';
import { EunomiaError } from '../../base/errors.js';
import type { Lane as TurnLane } from '../../base/turn.js';
import { textOfNanos } from '../../record/nanos.js';
import { readEnd, readIdentified, readRecord } from '../facts.js';
import type { EventQuery, StoredRecord } from '../store.js';
import type { KnownContainer } from './condition.js';
import type { Bound, QueryLane, SqlRow } from './protocol.js';
import type { EventTable } from './table.js';

export interface QueryOptions<Made> {
  /** Default: SHORT. */
  readonly lane?: QueryLane;
  /** What is made of each row, many of them in turns. Default: its values. */
  readonly make?: (row: SqlRow) => Made;
  /** In whose turns it is made; those of requests by default. */
  readonly turn?: TurnLane | undefined;
}

/** Asks the store's thread. Rejects with STORE_UNAVAILABLE, or with what DuckDB says. */
export type Query = <Made = SqlRow>(
  sql: string,
  values?: readonly Bound[],
  options?: QueryOptions<Made>,
) => Promise<readonly Made[]>;

/** What the file says of sessions and containers, and the numbers that sessions have in it. */
export class StoredFacts {
  readonly #query: Query;
  readonly #tables: readonly EventTable[];
  readonly #onUnreadable: (number: number) => void;
  /** Of sessions that are there, by their ids. */
  readonly #numbers = new Map<string, number>();
  #containers = new Map<number, { readonly text: string; readonly facts: Container }>();
  /** Sessions whose facts are no text of ours: told once. */
  readonly #unreadable = new Set<number>();

  constructor(query: Query, tables: readonly EventTable[], onUnreadable: (number: number) => void) {
    this.#query = query;
    this.#tables = tables;
    this.#onUnreadable = onUnreadable;
  }

  /** A session was begun. */
  add(id: string, number: number): void {
    this.#numbers.set(id, number);
  }

  /** A session was removed. */
  delete(id: string): void {
    this.#numbers.delete(id);
  }

  /** The container of this number, as it was known when it was last asked for. */
  readonly containerOf = (id: number): object | null => this.#containers.get(id)?.facts ?? null;

  /**
   * Sessions that meet an SQL condition on `sessions`, in the order of their beginning. Those that cannot be read are
   * left out, and told of once.
   */
  async records(where: string, values: readonly Bound[]): Promise<StoredRecord[]> {
    const rows = await this.#query(
      `SELECT number, facts, ended, missing, next_seq FROM sessions WHERE ${where} ORDER BY number`,
      values,
    );
    if (!rows.length) return [];
    const parts = this.#tables.map(
      ({ name }) =>
        `SELECT _session, count(*) AS n, min(time) AS a, max(time) AS b, max(_seq) AS s FROM "${name}" ` +
        `${rows.length === 1 ? `WHERE _session = ${Number(rows[0]?.[0])}` : ''} GROUP BY _session`,
    );
    // Each question waits its turn among others: what can be asked at once is.
    const [gaps, extents] = await Promise.all([
      this.#query(
        `SELECT _session, sum(dropped)::BIGINT, coalesce(sum(dropped) FILTER (WHERE place = 'OFF'), 0)::BIGINT ` +
          'FROM gaps GROUP BY _session',
      ),
      this.#query(
        `SELECT _session, sum(n)::BIGINT, min(a), max(b), max(s) FROM (${parts.join(' UNION ALL ')}) GROUP BY _session`,
        [],
        { lane: rows.length === 1 ? 'SHORT' : 'LONG' },
      ),
    ]);
    const told = new Map(
      gaps.map(([number, dropped, omitted]) => [
        Number(number),
        { dropped: Number(dropped), omitted: Number(omitted) },
      ]),
    );
    const counts = new Map(extents.map((row) => [Number(row[0]), row]));
    return rows.flatMap(([number, facts, ended, missing, nextSeq]) => {
      const session = readRecord(facts);
      if (!session) {
        this.#tellUnreadable(Number(number));
        return [];
      }
      const end = ended === null ? null : readEnd(ended, session.startedAt ?? session.createdAt);
      const [, events, oldest, newest, seq] = counts.get(Number(number)) ?? [];
      this.#numbers.set(session.id, Number(number));
      const next = Math.max(Number(nextSeq), seq == null ? 0 : Number(seq) + 1);
      const gap = told.get(Number(number));
      const absent = Math.max(Number(missing), next - Number(events ?? 0));
      return [
        {
          ...session,
          startedAt: end?.startedAt ?? session.startedAt,
          state: end?.state ?? 'RUNNING',
          stoppedAt: end?.stoppedAt ?? null,
          stopReason: end?.stopReason ?? null,
          error: end?.error ?? null,
          lost: end?.lost ?? 0,
          received: end === null || end.stopReason === 'INTERRUPTED' ? null : end.received,
          discarded: end?.discarded ?? 0,
          receivedBytes: end?.receivedBytes ?? 0,
          processes: end?.processes ?? null,
          events: Number(events ?? 0),
          missing: absent,
          removed: Math.max(0, absent - (gap?.dropped ?? 0)),
          omitted: Math.min(absent, gap?.omitted ?? 0),
          nextSeq: next,
          oldest: timeOf(oldest),
          newest: timeOf(newest),
        },
      ];
    });
  }

  #tellUnreadable(number: number): void {
    if (this.#unreadable.has(number)) return;
    this.#unreadable.add(number);
    this.#onUnreadable(number);
  }

  /** Place of the first event that is stored of a session, and behind its last. */
  async extent(number: number): Promise<{ readonly first: number; readonly end: number }> {
    const places = this.#tables.map(
      ({ name }) => `SELECT min(_seq) AS a, max(_seq) AS b FROM "${name}" WHERE _session = ${number}`,
    );
    const [[first, last] = []] = await this.#query(`SELECT min(a), max(b) FROM (${places.join(' UNION ALL ')})`);
    return { first: Number(first ?? 0), end: last == null ? 0 : Number(last) + 1 };
  }

  /** Of all sessions: number to id. */
  async ids(): Promise<Map<number, string>> {
    return new Map(
      (await this.#query('SELECT number, id FROM sessions')).map(([number, id]) => [Number(number), String(id)]),
    );
  }

  /** Rejects with UNKNOWN_SESSION. */
  async numberOf(id: string): Promise<number> {
    const number = await this.numberIfAny(id);
    if (number !== null) return number;
    throw new EunomiaError(
      'UNKNOWN_SESSION',
      `the store has no session "${id.slice(0, 64)}"; \`sessions\` lists those there are`,
    );
  }

  async numberIfAny(id: string): Promise<number | null> {
    const known = this.#numbers.get(id);
    if (known !== undefined) return known;
    const [row] = await this.#query('SELECT number FROM sessions WHERE id = ?', [id]);
    if (!row) return null;
    this.#numbers.set(id, Number(row[0]));
    return Number(row[0]);
  }

  /** Numbers of the sessions that a query is for; null for all. */
  async scope({ sessions }: EventQuery): Promise<readonly number[] | null> {
    return sessions === null ? null : Promise.all(sessions.map((id) => this.numberOf(id)));
  }

  /** What was said of containers last. A text that did not change keeps its object. */
  async knownContainers(numbers: readonly number[] | null): Promise<KnownContainer[]> {
    const entries = await this.#query(
      `SELECT id, facts FROM containers${numbers ? ` WHERE _session IN (${numbers.join(', ') || 'NULL'})` : ''}`,
      [],
      {
        make: ([id, text]) => {
          const known = this.#containers.get(Number(id));
          const entry =
            known?.text === text && known
              ? known
              : { text: String(text), facts: { ...createContainer('', 'unknown'), ...readIdentified(text) } };
          return [Number(id), entry] as const;
        },
      },
    );
    // At once, and from what is known now: others ask at the same time.
    this.#containers = new Map([...(numbers ? this.#containers : []), ...entries]);
    return entries.map(([id, { facts }]) => ({ id, facts }));
  }
}

/** Nanoseconds since 1970 as RFC 3339; null where there is no time. */
export function timeOf(nanos: unknown): string | null {
  return nanos === null || nanos === undefined ? null : textOfNanos(BigInt(nanos as bigint));
}
