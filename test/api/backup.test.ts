import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import type { DuckStore } from '../../src/storage/duckdb/index.js';
import { batchAt } from '../support/record.js';
import { end, everything, record, slicesOf, storesOfTest } from '../support/store.js';
import { until } from '../support/until.js';
import { createFixture, createServer } from './support.js';

const run = promisify(execFile);
const { directory, opened, atEnd } = storesOfTest();

async function serve(store: DuckStore | null) {
  const fixture = await createFixture({
    tokens: [
      { secret: 'operator', role: 'operator' },
      { secret: 'viewer', role: 'viewer' },
    ],
  });
  const server = await createServer({ ...fixture.services, stores: new Map(store ? [['EMBEDDED', store]] : []) });
  atEnd(() => server.close());
  atEnd(() => fixture.services.manager.close());
  const { origin } = new URL(server.url);
  return (token = 'operator', path = '/backup/eunomia.duckdb'): Promise<Response> =>
    fetch(`${origin}${path}`, { headers: { authorization: `Bearer ${token}` } });
}

/** Asks DuckDB in a process of its own. */
async function ask(file: string, sql: string): Promise<unknown> {
  const code = `
    const { DuckDBInstance } = require('@duckdb/node-api');
    (async () => {
      const connection = await (await DuckDBInstance.create(${JSON.stringify(file)}, { access_mode: 'READ_ONLY' })).connect();
      console.log(JSON.stringify((await connection.runAndReadAll(${JSON.stringify(sql)})).getRowsJson()));
    })();`;
  const { stdout } = await run(process.execPath, ['-e', code], { cwd: root });
  return JSON.parse(stdout);
}

async function left(path: string): Promise<readonly string[]> {
  return (await readdir(path)).filter((name) => name.includes('.copy-'));
}

async function message(response: Response): Promise<string | undefined> {
  return ((await response.json()) as { errors: { message: string }[] }).errors[0]?.message;
}

it(
  'is a whole store of one moment, which other tools read while the server goes on recording',
  { timeout: 120_000 },
  async () => {
    const path = await directory();
    const store = opened(path);
    const sink = await store.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 5000)]), null);
    const backup = await serve(store);
    let seq = 5000;
    let isRead = false;
    const recording = (async () => {
      for (; !isRead; seq += 100) {
        await sink.write(slicesOf([batchAt(seq, 100)]), null);
        await sink.flush();
      }
    })();
    const response = await backup();
    const bytes = Buffer.from(await response.arrayBuffer());
    isRead = true;
    await recording;
    expect({ status: response.status, type: response.headers.get('content-type') }).toEqual({
      status: 200,
      type: 'application/vnd.duckdb',
    });
    expect(await left(path)).toEqual([]);
    const restored = join(path, 'restored');
    await mkdir(restored, { mode: 0o700 });
    const file = join(restored, 'eunomia.duckdb');
    await writeFile(file, bytes);
    const [[count, last, processes]] = (await ask(
      file,
      'SELECT count(*), max(e._seq), count(p.id) FROM event_exit e JOIN processes p ON p.id = e.process',
    )) as [[string, string, string]];
    expect(Number(count)).toBeGreaterThanOrEqual(5000);
    expect([Number(last) + 1, Number(processes)]).toEqual([Number(count), Number(count)]);
    expect(await ask(file, 'SELECT id FROM sessions')).toEqual([['a']]);
    // A server that is given the file goes on with it; what ran is interrupted, as after a crash.
    const again = opened(restored);
    expect(await again.sessions()).toMatchObject([
      { id: 'a', state: 'STOPPED', stopReason: 'INTERRUPTED', events: Number(count) },
    ]);
    await sink.finish({ ...end, received: seq });
    let events = 0;
    for await (const part of store.read({ ...everything(['exit']), session: 'a' })) events += part.events.length;
    expect(events).toBe(seq);
  },
);

it('leaves nothing of a client that goes away, and of a server that was killed', { timeout: 60_000 }, async () => {
  const path = await directory();
  const store = opened(path);
  const sink = await store.record(record('a', ['exit']));
  for (let i = 0; i < 20; i++) await sink.write(slicesOf([batchAt(i * 5000, 5000)]), null);
  await sink.finish(end);
  const fixture = await createFixture();
  const server = await createServer({ ...fixture.services, stores: new Map([['EMBEDDED', store]]) });
  atEnd(() => server.close());
  const { hostname, port } = new URL(server.url);
  const client = request({ hostname, port, path: '/backup/eunomia.duckdb', headers: { 'x-eunomia': '1' } });
  client.on('error', () => undefined).end();
  await until('the copy is begun', async () => (await left(path)).length > 0);
  client.destroy();
  await until('nothing is left', async () => (await left(path)).length === 0);
  const paused = request({ hostname, port, path: '/backup/eunomia.duckdb', headers: { 'x-eunomia': '1' } });
  paused.on('error', () => undefined).end();
  await once(paused, 'response');
  expect(await left(path)).toEqual([]);
  paused.destroy();
  await store.close();
  await writeFile(join(path, 'eunomia.duckdb.copy-0123456789ab'), 'what a server left that was killed');
  const next = opened(path);
  await next.open();
  expect(await left(path)).toEqual([]);
});

it('fails where there is no room, and leaves nothing', { timeout: 60_000 }, async () => {
  const path = await directory();
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=0700', 'tmpfs', path]);
  atEnd(() => run('umount', [path]));
  const store = opened(path);
  atEnd(() => store.close());
  const sink = await store.record(record('a', ['exit']));
  await sink.write(slicesOf([batchAt(0, 5000)]), null);
  await sink.flush();
  const backup = await serve(store);
  await writeFile(join(path, 'filler'), Buffer.alloc(24 << 20));
  const response = await backup();
  expect(response.status).toBe(503);
  expect(await message(response)).toMatch(/no room for a copy of the history.*make room/);
  expect(await left(path)).toEqual([]);
  await sink.write(slicesOf([batchAt(5000, 100)]), null);
  await sink.finish(end);
  expect(await store.sessions()).toMatchObject([{ events: 5100 }]);
});

it('is for operators, one at a time, and of the embedded store', { timeout: 60_000 }, async () => {
  const path = await directory();
  const store = opened(path);
  const sink = await store.record(record('a', ['exit']));
  for (let i = 0; i < 20; i++) await sink.write(slicesOf([batchAt(i * 5000, 5000)]), null);
  const backup = await serve(store);
  const refused = await backup('viewer');
  expect(refused.status).toBe(403);
  expect(await message(refused)).toMatch(/^backup needs the role operator/);
  expect(await message(await backup('operator', '/backup/eunomia.duckdb?to=/etc'))).toMatch(
    /^query: a backup has no parameters/,
  );
  expect((await backup('operator', '/backup/other.duckdb')).status).toBe(404);
  const first = backup();
  await until('the copy is begun', async () => (await left(path)).length > 0);
  const second = await backup();
  expect([second.status, await message(second)]).toEqual([
    503,
    expect.stringMatching(/a backup is being made already/),
  ]);
  expect((await (await first).arrayBuffer()).byteLength).toBeGreaterThan(100_000);
  await sink.finish(end);
  const none = await serve(null);
  expect(await message(await none())).toMatch(/this server has no EMBEDDED store/);
});
