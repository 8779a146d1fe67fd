import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import fc from 'fast-check';
import { Database } from './duckdb/database.js';
import { isTime } from './facts.js';
import { recordOf } from './influx/session.js';
import { end, openStore, record } from '../../test/support/store.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-damage-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('a store file that was cut at its end is refused, wherever the cut is, and is left as it is', async () => {
  const file = join(folder, 'eunomia.duckdb');
  const made = await Database.open(file, [], 64 << 20);
  await made.write("INSERT INTO sessions SELECT range, 'id' || range, repeat('x', 500), NULL, 0, 0 FROM range(40000)");
  made.close();
  const whole = readFileSync(file);
  for (const size of [
    whole.length - 1,
    whole.length - 4096,
    Math.floor(whole.length * 0.9),
    Math.floor(whole.length / 2),
    3 * 4096,
    4096,
    1,
  ]) {
    writeFileSync(file, whole.subarray(0, size));
    await expect(Database.open(file, [], 64 << 20)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/is damaged.*move it and .*\.wal away/) as string,
    });
    expect(readFileSync(file).equals(whole.subarray(0, size))).toBe(true);
  }
  writeFileSync(file, whole);
  const again = await Database.open(file, [], 64 << 20);
  expect(await again.read('SELECT count(*), sum(length(facts))::BIGINT FROM sessions')).toEqual([
    [40_000n, 20_000_000n],
  ]);
  again.close();
});

it('a store file from whose end DuckDB has cut free blocks is whole, and one that lacks more is not', async () => {
  const file = join(folder, 'eunomia.duckdb');
  const opened = () => Database.open(file, [], 64 << 20);
  let store = await opened();
  await store.write("INSERT INTO sessions SELECT range, 'kept', sha256(range::VARCHAR), NULL, 0, 0 FROM range(30000)");
  await store.write('CHECKPOINT');
  await store.write('CREATE TABLE large AS SELECT sha256(range::VARCHAR) AS text FROM range(90000)');
  store.close();
  store = await opened();
  await store.write('DROP TABLE large');
  store.close();
  // What a checkpoint has freed, the next one cuts off.
  store = await opened();
  await store.write('CREATE TABLE small AS SELECT 1');
  store.close();
  const whole = readFileSync(file);
  store = await opened();
  const [[blocks, blockBytes] = []] = await store.read('SELECT total_blocks, block_size FROM pragma_database_size()');
  expect(whole.length).toBeLessThan(Number(blocks) * Number(blockBytes)); // what its header says
  expect(await store.read('SELECT count(*), sum(length(facts))::BIGINT FROM sessions')).toEqual([
    [30_000n, 1_920_000n],
  ]);
  store.close();
  writeFileSync(file, whole.subarray(0, whole.length - 1));
  await expect(opened()).rejects.toMatchObject({ message: expect.stringContaining('is damaged') as string });
});

it('a store whose texts were overwritten with anything leaves out what cannot be read, says so, and gives the rest', async () => {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const hostile = [
    '',
    '{',
    'null',
    '[]',
    '{"id":7}',
    '{"id":"b","trackers":"x"}',
    '{"id":"b","trackers":[],"createdAt":"soon"}',
    '9'.repeat(400),
  ];
  const store = openStore(folder);
  const unended = hostile.map((_text, i) => `unended-${i}`);
  const unknown = hostile.map((_text, i) => `unknown-${i}`);
  for (const id of [...unended, ...unknown]) await (await store.record(record(id, ['exit']))).finish(end);
  await store.record(record('running', ['exit']));
  await store.close();
  const instance = await DuckDBInstance.create(join(folder, 'eunomia.duckdb'));
  const connection = await instance.connect();
  for (const [i, text] of hostile.entries()) {
    await connection.run('UPDATE sessions SET ended = ? WHERE id = ?', [text, `unended-${i}`]);
    await connection.run('UPDATE sessions SET facts = ? WHERE id = ?', [text, `unknown-${i}`]);
  }
  await connection.run("UPDATE sessions SET facts = 'x' WHERE id = 'running'");
  connection.closeSync();
  instance.closeSync();
  const problems: string[] = [];
  const again = openStore(folder, { onProblem: (problem) => problems.push(problem) });
  const sessions = await again.sessions();
  expect(sessions.map(({ id }) => id)).toEqual(unended);
  for (const session of sessions)
    expect(session).toMatchObject({ state: 'STOPPED', error: 'how it ended cannot be read: the store is damaged' });
  expect(problems).toHaveLength(hostile.length + 1);
  expect(problems[0]).toContain(`session number ${hostile.length + 1} cannot be read: the file is damaged`);
  expect((await again.status()).state).toBe('READY');
  await again.close();
});

it('whatever stands in an InfluxDB under our names, sessions and events of it can be told or are left out', () => {
  const values = fc.dictionary(
    fc.constantFrom(
      'eunomia_session',
      'session',
      'state',
      'labels',
      'trackers',
      'options',
      'capture',
      'mode',
      'createdAt',
      'startedAt',
      'stoppedAt',
      'stopReason',
      'lost',
      'received',
      'events',
      'nextSeq',
      'missing',
      'spec',
      'spec_1',
      'node_id',
      'node_name',
      'host',
    ),
    fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.constant(null), fc.json()),
  );
  const writer = { host: 'host', node: { id: 'n', name: 'node' }, spool: 's' };
  fc.assert(
    fc.property(values, fc.string(), (columns, time) => {
      const { state, mode, capture, labels, trackers, startedAt, nextSeq } = recordOf({ time, columns }, writer);
      expect(['STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'FAILED']).toContain(state);
      expect(['EVENTS', 'ROLLUP']).toContain(mode);
      expect(['DEFAULT', 'DEMANDED', 'ALL']).toContain(capture);
      expect(labels.every((label) => typeof label.name === 'string' && typeof label.value === 'string')).toBe(true);
      expect(trackers.every((name) => typeof name === 'string')).toBe(true);
      expect(startedAt === null || isTime(startedAt)).toBe(true);
      expect(Number.isFinite(nextSeq)).toBe(true);
    }),
  );
  for (const time of ['', 'soon', '2026-13-45T00:00:00Z', 'NaN', '2026-01-01']) expect(isTime(time)).toBe(false);
});
