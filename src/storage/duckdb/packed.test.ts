import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { temporaryDirectory } from '../../../test/support/store.js';
import { Database } from './database.js';
import { areFew, readRows } from './packed.js';
import type { QueryLane } from './protocol.js';

const closing: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function opened(): Promise<Database> {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  const database = await Database.open(join(path, 'eunomia.duckdb'), [], 256 << 20);
  closing.push(() => database.close());
  return database;
}

it('gives values of all kinds back, with nulls among them', async () => {
  const long = `\uFEFF${'ä'.repeat(5000)}`;
  const columns = [
    ['true', true],
    ['(-2147483648)::INTEGER', -2_147_483_648],
    ['4294967295::UINTEGER', 4_294_967_295],
    ['(-9223372036854775808)::BIGINT', -9_223_372_036_854_775_808n],
    ['18446744073709551615::UBIGINT', 18_446_744_073_709_551_615n],
    ['(-170141183460469231731687303715884105728)::HUGEINT', -(1n << 127n)],
    ['0.1::DOUBLE', 0.1],
    ["'\uFEFFaccount'", '\uFEFFaccount'],
    ["''", ''],
    [`'${long}'`, long],
    ['7::SMALLINT', 7], // of no column of ours
  ] as const;
  const database = await opened();
  const selected = columns.map(([sql]) => `CASE WHEN i % 3 = 1 THEN NULL ELSE ${sql} END`).join(', ');
  const rows = await database.read(`SELECT ${selected}, 'all' FROM range(5000) r(i) ORDER BY i`);
  expect(rows).toHaveLength(5000);
  const full = [...columns.map(([, value]) => value), 'all'];
  const empty = [...columns.map(() => null), 'all'];
  rows.forEach((row, i) => {
    if (i < 7 || i % 500 === 0) expect(row).toEqual(i % 3 === 1 ? empty : full);
  });
});

it('reads many rows in pieces of which each is short', async () => {
  const database = await opened();
  const parts = await database.readParts("SELECT i, 'text ' || i FROM range(6000) r(i)", [], 'LONG');
  let rows = 0;
  let most = 0;
  let since = 0;
  const work = readRows(parts, () => rows++);
  while (!work.next().done) {
    most = Math.max(most, rows - since);
    since = rows;
  }
  expect(rows).toBe(6000);
  expect(most).toBeLessThanOrEqual(128);
  expect(areFew(parts)).toBe(false);
});

it('reads what is short beside what takes long, of which one is read at a time', async () => {
  const database = await opened();
  const ended: QueryLane[] = [];
  const ask = async (lane: QueryLane, rows: number): Promise<void> => {
    await database.readParts(`SELECT sum(hash(i) % 7) FROM range(${rows}) r(i)`, [], lane);
    ended.push(lane);
  };
  await Promise.all([ask('LONG', 40_000_000), ask('LONG', 40_000_000), ask('LONG', 40_000_000), ask('SHORT', 1)]);
  expect(ended.indexOf('SHORT')).toBe(0);
});
