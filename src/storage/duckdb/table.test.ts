import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, it } from 'vitest';
import { fieldType } from '../../event/scalar.js';
import { RowBatch } from '../../record/row.js';
import { eventWith } from '../../../test/support/event.js';
import { batchAt } from '../../../test/support/record.js';
import { catalog, end, everything, firstOf, record, slicesOf, storesOfTest } from '../../../test/support/store.js';
import { Database } from './database.js';
import { evolveTable, tableOf } from './table.js';

const { directory, opened } = storesOfTest();

describe('a table', () => {
  const tracker = catalog.need('exit');

  it('has a column for each field of the tracker, by its GraphQL type', () => {
    expect(tableOf(tracker)).toMatchObject({
      name: 'event_exit',
      own: [
        { name: 'exitCode', kind: 'int32' },
        { name: 'signal', kind: 'text' },
        { name: 'coreDumped', kind: 'bool' },
        { name: 'lifetimeNs', kind: 'uint64' },
      ],
    });
    expect(
      ['[String!]!', 'Int64!', 'Errno', 'DateTime!', 'UInt32!', 'Float'].map((type) => fieldType(type).column),
    ).toEqual(['list', 'int64', 'text', 'time', 'uint32', 'double']);
  });

  it('grows with the tracker: what was stored before has null there', async () => {
    const path = await directory();
    const less = { ...tracker, fields: tracker.fields.filter(({ path: field }) => field !== 'signal') };
    const older = opened(path, { catalog: { trackers: [less], get: () => less } });
    const sink = await older.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 10)]), null);
    await sink.finish(end);
    await older.close();
    const store = opened(path);
    const more = await store.record(record('b', ['exit']));
    await more.write(slicesOf([batchAt(0, 10)]), null);
    await more.finish(end);
    const { events } = await store.history(everything(['exit']), firstOf(100));
    expect(events).toHaveLength(20);
    expect(events.every(({ event }) => Reflect.get(event, 'signal') === null)).toBe(true);
  });

  it('of a file that a later version wrote is refused, and nothing is added to it', async () => {
    const file = join(await directory(), 'eunomia.duckdb');
    const [exit = tableOf(tracker), ...others] = catalog.trackers.map(tableOf);
    const later = await Database.open(file, [exit], 512 << 20);
    await later.write('UPDATE meta SET version = 2');
    later.close();
    await expect(Database.open(file, [exit, ...others], 512 << 20)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/later version of Eunomia \(its format is 2, .* up to 1\)/) as string,
    });
    const same = await DuckDBInstance.create(file);
    const connection = await same.connect();
    const rows = await (await connection.run("FROM duckdb_tables() WHERE table_name LIKE 'event%'")).getRows();
    connection.closeSync();
    same.closeSync();
    expect(rows).toHaveLength(1);
  });

  it('of an older file has the fields under their names now, for all trackers', async () => {
    const renamed = catalog.trackers.filter(({ formerNames }) => Object.keys(formerNames).length);
    expect(renamed.length).toBeGreaterThan(0);
    const path = await directory();
    const fresh = opened(path);
    const names = renamed.map(({ name }) => name);
    const sink = await fresh.record(record('a', names));
    const events = renamed.map(({ name, formerNames }, i) =>
      eventWith(name, {
        ...Object.fromEntries(Object.keys(formerNames).map((field) => [field, `${field} of ${name}`])),
        time: `2026-01-31T08:15:30.${String(i).padStart(9, '0')}Z`,
      }),
    );
    const clock = { seconds: 1_769_847_330, nanoseconds: 0 };
    await sink.write(slicesOf([new RowBatch(events, { clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 })]), null);
    await sink.finish(end);
    await fresh.close();
    const file = await DuckDBInstance.create(join(path, 'eunomia.duckdb'));
    const connection = await file.connect();
    for (const { name, formerNames } of renamed)
      for (const [now, then] of Object.entries(formerNames))
        await connection.run(`ALTER TABLE "event_${name}" RENAME COLUMN "${now}" TO "${then}"`);
    connection.closeSync();
    file.closeSync();
    for (const store of [opened(path), opened(path)]) {
      const read = (await store.history(everything(names), firstOf(100))).events;
      expect(read).toHaveLength(renamed.length);
      for (const { event } of read)
        for (const field of Object.keys(catalog.need(event.tracker).formerNames))
          expect(Reflect.get(event, field)).toBe(`${field} of ${event.tracker}`);
      await store.close();
    }
  });

  it('keeps a column whose type has changed under another name', () => {
    const there = new Map([
      ['exitCode', 'VARCHAR'],
      ['exitCode_varchar', 'VARCHAR'],
      ['signal', 'VARCHAR'],
      ['coreDumped', 'BOOLEAN'],
      ['lifetimeNs', 'UBIGINT'],
      ['gone', 'INTEGER'],
    ]);
    expect(evolveTable(tableOf(tracker), there)).toEqual([
      'ALTER TABLE "event_exit" RENAME COLUMN "exitCode" TO "exitCode_varchar_"',
      'ALTER TABLE "event_exit" ADD COLUMN "exitCode" INTEGER',
    ]);
  });
});
