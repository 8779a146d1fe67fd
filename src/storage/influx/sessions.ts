import type { NodeFacts } from '../../event/node.js';
import type { Catalog } from '../../catalog/catalog.js';
import { isTime } from '../facts.js';
import type { SessionRecord, StoredRecord } from '../store.js';
import type { StoredRow } from './client.js';
import { measurementOf, OWN_TAGS, SEQ, SESSIONS } from './column.js';
import type { Database } from './database.js';
import { allTime, trackersOf } from './range.js';
import { recordOf } from './session.js';
import type { InfluxSink } from './sink.js';

const MAX_SESSIONS = 10_000;

/** The server that writes to the database. */
interface Writer {
  readonly host: string;
  readonly node: NodeFacts;
}

/** The sessions that a database knows, and those that are being written to it. */
export class InfluxSessions {
  readonly #database: Database;
  readonly #catalog: Catalog;
  readonly #writer: Writer;
  readonly #live = new Map<string, { readonly record: SessionRecord; readonly sink: InfluxSink }>();

  constructor(database: Database, catalog: Catalog, writer: Writer) {
    this.#database = database;
    this.#catalog = catalog;
    this.#writer = writer;
  }

  /** A session is being written from now on. */
  begin(record: SessionRecord, sink: InfluxSink): void {
    this.#live.set(record.id, { record, sink });
  }

  /** It is no longer being written. */
  end(id: string): void {
    this.#live.delete(id);
  }

  /** How many are being written. */
  get live(): number {
    return this.#live.size;
  }

  async all(): Promise<readonly StoredRecord[]> {
    const rows = await this.#database.records(SESSIONS, { ...allTime(), sessions: null }, MAX_SESSIONS);
    const known = new Map(
      rows
        .filter(isOfSession)
        .map((row) => recordOf(row, this.#writer.host))
        .map((record) => [record.id, record]),
    );
    for (const [id, { record, sink }] of this.#live) known.set(id, this.#liveRecord(record, sink));
    return [...known.values()];
  }

  /** Those of these ids; all for null. */
  async known(ids: readonly string[] | null): Promise<readonly StoredRecord[]> {
    return (await this.all()).filter(({ id }) => ids === null || ids.includes(id));
  }

  async find(id: string): Promise<StoredRecord | null> {
    const live = this.#live.get(id);
    if (live) return this.#liveRecord(live.record, live.sink);
    const [row] = await this.#database.records(SESSIONS, { ...allTime(), sessions: [id] }, 1);
    const record = row && isOfSession(row) ? recordOf(row, this.#writer.host) : null;
    return record && record.stopReason === 'INTERRUPTED' ? { ...record, ...(await this.#extent(record)) } : record;
  }

  /** How far the events of a session go that nobody ended. */
  async #extent({ id, trackers: names }: StoredRecord): Promise<{ readonly events: number; readonly nextSeq: number }> {
    const { from, to } = allTime();
    const trackers = trackersOf(names, this.#catalog);
    const partials = (['count', 'max'] as const).map((fn) => ({ slot: fn, fn, column: SEQ, q: 0 }));
    const measurements = trackers.map(({ name }) => measurementOf(name));
    const { rows } = await this.#database.aggregate({
      trackers,
      from,
      to,
      sessions: [id],
      filter: null,
      source: 'RAW',
      measurements,
      columns: [],
      groups: [],
      partials,
      windowMs: null,
      maxGroups: names.length,
    });
    const valuesOf = (slot: string): number[] => rows.flatMap((row) => (row.slot === slot ? [row.value] : []));
    return {
      events: valuesOf('count').reduce((sum, count) => sum + count, 0),
      nextSeq: Math.max(-1, ...valuesOf('max')) + 1,
    };
  }

  #liveRecord(record: SessionRecord, sink: InfluxSink): StoredRecord {
    const { written, pending, dropped, nextSeq } = sink.progress;
    return {
      ...record,
      node: this.#writer.node,
      state: 'RUNNING',
      stoppedAt: null,
      stopReason: null,
      error: null,
      lost: 0,
      received: null,
      discarded: 0,
      receivedBytes: 0,
      events: written + pending,
      missing: dropped,
      removed: 0,
      nextSeq,
      oldest: null,
      newest: null,
    };
  }
}

function isOfSession({ time, columns }: StoredRow): boolean {
  return isTime(time) && typeof columns[OWN_TAGS.session] === 'string' && columns[OWN_TAGS.session] !== '';
}
