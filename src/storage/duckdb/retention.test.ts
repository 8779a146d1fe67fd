import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordBatch } from '../../record/batch.js';
import { batchAt } from '../../../test/support/record.js';
import {
  catalog,
  end,
  everything,
  openStore,
  record,
  slicesOf,
  temporaryDirectory,
} from '../../../test/support/store.js';
import { Database } from './database.js';
import type { DuckStore } from './index.js';
import { Retention } from './retention.js';
import { tableOf } from './table.js';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

let directory: string;
beforeEach(async () => {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  directory = path;
});

const pageOf = (session: string) => ({
  ...everything(['exit']),
  session,
  fromSeq: 0,
  toSeq: null,
  limit: 1000,
  backwards: false,
});

describe('retention by age', () => {
  function opened(): DuckStore {
    const store = openStore(directory, { retentionMs: 86_400_000 });
    closing.push(() => store.close());
    return store;
  }

  it('deletes sessions that are too old, and of one that runs its old events, which are counted', async () => {
    const store = opened();
    const old = await store.record(record('old', ['exit']));
    await old.write(slicesOf([batchAt(0, 100)]), null); // of 1970
    await old.finish(end);
    const running = await store.record(record('running', ['exit']));
    await running.write(slicesOf([batchAt(0, 70), recent(70, 30)]), null);
    await running.flush();
    await store.retain();
    expect(await store.sessions()).toMatchObject([
      { id: 'running', events: 30, missing: 70, removed: 70, nextSeq: 100 },
    ]);
    expect(running.progress).toMatchObject({ written: 100, dropped: 0, removed: 70 });
    await running.write(slicesOf([recent(100, 5)]), null);
    await running.flush();
    expect((await store.page(pageOf('running'))).events).toHaveLength(35);
  });

  it('deletes the processes of a running session that no event has, once they are many, and knows them when they come back', async () => {
    const store = opened();
    const running = await store.record(record('running', ['exit']));
    await running.write(slicesOf([batchAt(0, 1500), recent(1500, 30)]), null);
    await running.flush();
    await store.retain();
    await running.write(slicesOf([recent(0, 5, 1530), recent(1500, 5, 1535)]), null);
    await running.finish(end);
    const pids = (await store.page(pageOf('running'))).events.map(({ event }) => event.process.pid);
    expect(pids).toEqual([...range(1500, 30), ...range(0, 5), ...range(1500, 5)]);
    await store.close();
    const database = await Database.open(join(directory, 'eunomia.duckdb'), tables, 512 << 20);
    closing.push(() => database.close());
    // 30 of before, of which 5 have another row since they came back.
    expect(await database.read('SELECT count(*), count(DISTINCT pid) FROM processes')).toEqual([[40n, 35n]]);
  });

  it('keeps the rows of processes that live, however often it runs', async () => {
    const store = opened();
    const running = await store.record(record('running', ['exit']));
    for (let run = 0; run < 4; run++) {
      await running.write(slicesOf([batchAt(0, 50), recent(0, 50, 50)]), null);
      await running.flush();
      await store.retain();
    }
    await running.finish(end);
    await store.close();
    const database = await Database.open(join(directory, 'eunomia.duckdb'), tables, 512 << 20);
    closing.push(() => database.close());
    expect(await database.read('SELECT count(*), count(DISTINCT pid) FROM processes')).toEqual([[50n, 50n]]);
  });

  it('deletes an old session that never had an event, and no other', async () => {
    const store = opened();
    const recently = new Date(Date.now() - 3_600_000).toISOString();
    for (const [id, stoppedAt] of [
      ['old', end.stoppedAt],
      ['recent', recently],
    ] as const)
      await (await store.record(record(id, ['exit']))).finish({ ...end, stoppedAt });
    await store.record(record('running', ['exit']));
    await store.retain();
    expect((await store.sessions()).map(({ id }) => id)).toEqual(['recent', 'running']);
  });
});

describe('retention by size', () => {
  const sessions = 4;
  const each = 600_000;
  const firstTime = 1_700_000_000_000_000_000n;

  /** Sessions one after the other, as large as they come. */
  async function filled(): Promise<Database> {
    const database = await Database.open(join(directory, 'eunomia.duckdb'), exitOnly, 512 << 20);
    closing.push(() => database.close());
    for (let session = 1; session <= sessions; session++) {
      const facts = JSON.stringify(record(`s${session}`, ['exit']));
      await database.write(`INSERT INTO sessions VALUES (${session}, 's${session}', ?, ?, 0, ${each})`, [
        facts,
        JSON.stringify({ ...end, stoppedAt: new Date().toISOString() }),
      ]);
      await database.write(
        'INSERT INTO event_exit (_session, _seq, time, bootNs, cgroupId, process, lifetimeNs) ' +
          `SELECT ${session}, i, ${firstTime} + ${(session - 1) * each} + i, i, hash(i), i % 100, hash(i + 1) FROM range(${each}) rows(i)`,
      );
    }
    await database.write('CHECKPOINT');
    return database;
  }

  async function eventsLeft(database: Database): Promise<number> {
    const [row] = await database.write('SELECT count(*) FROM event_exit');
    return Number(row?.[0]);
  }

  /** What fits, but for what is kept free, and for two of the groups that DuckDB frees. */
  function expectAboutKept(events: number): void {
    expect(events).toBeLessThanOrEqual(sessions * each * 0.6);
    expect(events).toBeGreaterThanOrEqual(sessions * each * 0.6 * 0.95 - 2 * 122_880);
  }

  function limited(database: Database, maxBytes: number, its = exitOnly): Retention {
    return new Retention({
      database,
      tables: its,
      maxAgeMs: null,
      maxBytes,
      exclusively: (work) => work(database),
      forget: () => undefined,
      removed: () => undefined,
    });
  }

  it('keeps the bound with one run, deletes the oldest, and little more than it must', async () => {
    const database = await filled();
    const most = (await database.bytes()) * 0.6;
    // One event far from all others: the cut is found all the same.
    await database.write(`UPDATE event_exit SET time = 0 WHERE _session = ${sessions} AND _seq = ${each - 1}`);
    const retention = limited(database, most);
    for (let run = 0; run < 3; run++) {
      await retention.run();
      expect(await database.bytes()).toBeLessThanOrEqual(most);
      expectAboutKept(await eventsLeft(database));
    }
    const left = await eventsLeft(database);
    const [[oldest] = []] = await database.read('SELECT min(time) FROM event_exit');
    expect(left).toBe(Number(firstTime + BigInt(sessions * each) - BigInt(oldest ?? 0)) - 1);
    const missing = await database.read(
      `SELECT sum(missing)::BIGINT + (${sessions} - count(*)) * ${each} FROM sessions`,
    );
    expect(Number(missing[0]?.[0])).toBe(sessions * each - left);
  });

  it('keeps what fits of many small tables, of which DuckDB frees none in part', async () => {
    const small = tables.slice(0, 8);
    const database = await Database.open(join(directory, 'eunomia.duckdb'), small, 512 << 20);
    closing.push(() => database.close());
    const rows = 60_000;
    for (const { name } of small)
      await database.write(
        `INSERT INTO "${name}" (_session, _seq, time, bootNs, cgroupId, process) ` +
          `SELECT 1, i, ${firstTime} + i, hash(i), hash(i + 1), i % 100 FROM range(${rows}) rows(i)`,
      );
    await database.write('CHECKPOINT');
    const most = (await database.bytes()) * 0.7;
    const retention = limited(database, most, small);
    for (let run = 0; run < 3; run++) await retention.run();
    expect(await database.bytes()).toBeLessThanOrEqual(most);
    for (const { name } of small) {
      const [[left] = []] = await database.read(`SELECT count(*) FROM "${name}"`);
      expect(Number(left)).toBeGreaterThan(rows * 0.45);
    }
  });

  // An update, as of a session's count, holds up the checkpoint itself; deletions alone only keep it from freeing their room.
  it.each(['with', 'without'])(
    'deletes nothing more while a reader holds what was deleted, %s updates',
    async (updates) => {
      const database = await filled();
      if (updates === 'without') await database.write('DELETE FROM sessions');
      const most = (await database.bytes()) * 0.6;
      const retention = limited(database, most);
      // On the reader for what is short: retention looks for its cut with the other one.
      await database.read('BEGIN');
      await database.read('SELECT count(*) FROM event_exit');
      await retention.run();
      const left = await eventsLeft(database);
      expectAboutKept(left);
      expect(await database.bytes()).toBeGreaterThan(most);
      for (let run = 0; run < 3; run++) await retention.run();
      expect(await eventsLeft(database)).toBe(left);
      await database.read('COMMIT');
      await retention.run();
      expect(await database.bytes()).toBeLessThanOrEqual(most);
      expect(await eventsLeft(database)).toBe(left);
    },
  );
});

const tables = catalog.trackers.map(tableOf);
/** The file has blocks for each table, also for an empty one: what fits does not depend on how many trackers there are. */
const exitOnly = tables.filter(({ tracker }) => tracker === 'exit');

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** Events of now, by the processes `pid` and those behind it. */
function recent(pid: number, count: number, seq = pid): RecordBatch {
  const batch = batchAt(pid, count);
  return new RecordBatch(batch.view.buffer as ArrayBuffer, batch.offsets, batch.context, {
    clock: { seconds: Math.floor(Date.now() / 1000), nanoseconds: 0 },
    seq,
    lost: 0,
    lostFrom: 0,
    lostTo: 0,
  });
}
