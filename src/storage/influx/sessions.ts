import type { Catalog } from '../../catalog/catalog.js';
import { isTime } from '../facts.js';
import type { SessionRecord, StoredRecord } from '../store.js';
import type { StoredPoint } from './client.js';
import { measurementOf, OWN_TAGS, SEQ, SESSIONS, SPOOL } from './column.js';
import type { Database } from './database.js';
import { originalTag, originalText, tag, textValue } from './line.js';
import { nanosecondsOf, timeOfNanoseconds } from './point.js';
import { allTime, trackersOf } from './range.js';
import { recordOf, type SessionWriter } from './session.js';
import type { Sender } from './sender.js';
import type { InfluxSink } from './sink.js';

const MAX_SESSIONS = 10_000;

/** How far the events of a session go. */
type Extent = Pick<StoredRecord, 'events' | 'nextSeq' | 'stoppedAt'>;

/** The sessions that a database knows, and those that are being written to it. */
export class InfluxSessions {
  readonly #database: Database;
  readonly #catalog: Catalog;
  readonly #writer: SessionWriter;
  readonly #sender: Pick<Sender, 'stats' | 'push'>;
  /** Points of this server's predecessor. */
  readonly #left: number;
  /** Those that were interrupted before this server began, once all that was left of them is in the database. */
  readonly #interrupted = new Map<string, Extent>();
  readonly #live = new Map<string, { readonly record: SessionRecord; readonly sink: InfluxSink }>();
  /** How many have ended, or were removed, and how many points there were when the last one did. */
  #ends = 0;
  #lastEnd = 0;

  /** `sender`: before it was given anything. */
  constructor(database: Database, catalog: Catalog, writer: SessionWriter, sender: Pick<Sender, 'stats' | 'push'>) {
    this.#database = database;
    this.#catalog = catalog;
    this.#writer = writer;
    this.#sender = sender;
    this.#left = sender.stats.accepted;
  }

  /** A session is being written from now on. */
  begin(record: SessionRecord, sink: InfluxSink): void {
    this.#live.set(record.id, { record, sink });
  }

  /** It is no longer being written: the sender has its end. Or it is being removed. */
  end(id: string): void {
    this.#live.delete(id);
    this.#ends++;
    this.#lastEnd = this.#sender.stats.accepted;
  }

  /** How many are being written. */
  get live(): number {
    return this.#live.size;
  }

  async all(): Promise<readonly StoredRecord[]> {
    const before = new Map(this.#live);
    const isSettled = this.#asking();
    const rows = await this.#database.records(SESSIONS, { ...allTime(), sessions: null }, MAX_SESSIONS);
    const known = new Map<string, StoredRecord>();
    // One after the other: only those that were interrupted take a question, and that once.
    for (const row of rows.filter(isOfSession)) {
      const record = recordOf(row, this.#writer);
      const live = this.#live.get(record.id) ?? before.get(record.id);
      known.set(
        record.id,
        live && isOpen(record) ? this.#liveRecord(live.record, live.sink) : await this.#ended(record, row, isSettled),
      );
    }
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
    const isSettled = this.#asking();
    const [row] = await this.#database.records(SESSIONS, { ...allTime(), sessions: [id] }, 1);
    return row && isOfSession(row) ? this.#ended(recordOf(row, this.#writer), row, isSettled) : null;
  }

  /** Tells other servers of those that were interrupted. Resolves with false while the database has not all of them yet. */
  async settle(): Promise<boolean> {
    const isSettled = this.#asking();
    await this.all();
    return isSettled();
  }

  /**
   * To be called before the database is asked. Returns whether one that runs by its answer, and is not being written, was interrupted:
   * else points that its server left in the spool, or the end of one that has just ended, may be on their way.
   */
  #asking(): () => boolean {
    const ends = this.#ends;
    const { accepted, queued } = this.#sender.stats;
    const isThere = accepted - queued >= Math.max(this.#left, this.#lastEnd);
    return () => isThere && this.#ends === ends;
  }

  /** One that nobody ended has ended with its last event, as far as what is stored tells. */
  async #ended(record: StoredRecord, row: StoredPoint, isSettled: () => boolean): Promise<StoredRecord> {
    if (!isOpen(record)) return record;
    const known = this.#interrupted.get(record.id);
    const ended = { ...record, ...(known ?? (await this.#extent(record))) };
    if (!known && isSettled()) {
      const { events, nextSeq, stoppedAt } = ended;
      this.#interrupted.set(record.id, { events, nextSeq, stoppedAt });
      this.#tell(ended, row);
    }
    return ended;
  }

  /** Completes the session's point, for other servers, which cannot know that it was interrupted. */
  #tell({ id, state, stopReason, error, stoppedAt, events, nextSeq }: StoredRecord, row: StoredPoint): void {
    const host = row.columns[OWN_TAGS.host];
    // A session without a spool is that of a version before; that it is ours is likely, and no more.
    if (typeof host !== 'string' || originalText(String(row.columns[SPOOL] ?? '')) !== this.#writer.spool) return;
    const fields = {
      state: textValue(state),
      stopReason: textValue(stopReason ?? ''),
      error: textValue(error ?? ''),
      ...(stoppedAt === null ? {} : { stoppedAt: textValue(stoppedAt) }),
      events: `${events}i`,
      nextSeq: `${nextSeq}i`,
    };
    const text = Object.entries(fields).map(([field, value]) => `${field}=${value}`);
    const tags = `${tag(OWN_TAGS.host, originalTag(host))}${tag(OWN_TAGS.session, id)}`;
    void this.#sender.push([`${SESSIONS}${tags} ${text.join(',')} ${nanosecondsOf(row.time)}`]);
  }

  /** How far the events of a session go that nobody ended. */
  async #extent({ id, mode, trackers: names, startedAt, createdAt }: StoredRecord): Promise<Extent> {
    const begin = startedAt ?? createdAt;
    // In rollups no event has a place, or a time of its own.
    if (mode === 'ROLLUP') return { events: 0, nextSeq: 0, stoppedAt: null };
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
    const events = valuesOf('count').reduce((sum, count) => sum + count, 0);
    const nextSeq = Math.max(-1, ...valuesOf('max')) + 1;
    const last = await Promise.all(
      trackers.map((tracker) =>
        this.#database.events({
          from,
          to,
          sessions: [id],
          filter: null,
          tracker,
          places: { from: nextSeq - 1, to: nextSeq },
          limit: 1,
          backwards: false,
        }),
      ),
    );
    const [time] = last.flatMap(({ rows: [row] }) => (row && isTime(row.time) ? [row.time] : []));
    return { events, nextSeq, stoppedAt: time === undefined ? begin : timeOfNanoseconds(nanosecondsOf(time)) };
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
      missing: dropped + sink.omitted,
      removed: 0,
      omitted: sink.omitted,
      nextSeq,
      oldest: null,
      newest: null,
    };
  }
}

/** Of one that was interrupted, and of which no server has told how far it goes. */
function isOpen({ stopReason, nextSeq }: StoredRecord): boolean {
  return stopReason === 'INTERRUPTED' && nextSeq === Number.MAX_SAFE_INTEGER;
}

function isOfSession({ time, columns }: StoredPoint): boolean {
  return isTime(time) && typeof columns[OWN_TAGS.session] === 'string' && columns[OWN_TAGS.session] !== '';
}
