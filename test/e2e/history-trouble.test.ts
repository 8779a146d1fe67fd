import { execFile } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { root } from '../../src/kernel/paths.js';
import { startServer, startSession, statsOf, stopSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { start } from '../support/workload.js';

const run = promisify(execFile);
const undoing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const undo of undoing.splice(0).reverse()) await undo();
});

async function directory(): Promise<string> {
  const { path, remove } = await temporaryDirectory();
  undoing.push(remove);
  return path;
}

const serve = (path: string, ...flags: string[]): Promise<TestServer> =>
  startServer(['--engine', 'none', '--log-level', 'silent', '--data-dir', path, ...flags]);

interface Status {
  readonly state: string;
  readonly problem: string | null;
}

async function store(server: TestServer): Promise<Status> {
  const { stores } = await server.query<{ stores: readonly [Status] }>('{ stores { state problem } }');
  return stores[0];
}

async function until<Value>(look: () => Promise<Value>, holds: (value: Value) => boolean, ms = 30_000): Promise<Value> {
  for (const deadline = Date.now() + ms; ; await sleep(50)) {
    const value = await look();
    if (holds(value)) return value;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms; the last: ${JSON.stringify(value)}`);
  }
}

const failed = ({ state }: Status): boolean => state === 'FAILED';

async function worksWithoutHistory(server: TestServer): Promise<void> {
  await expect(startSession(server, '{ trackers: [{ exec: {} }], persist: {} }')).rejects.toThrow(/STORE_UNAVAILABLE/);
  const id = await startSession(server, '{ trackers: [{ exec: {} }] }');
  await run('/bin/true');
  await stopSession(server, id);
  expect((await statsOf(server, id)).delivered).toBeGreaterThan(0);
}

describe('a data directory that cannot be used', () => {
  it('is named with the process that has it, and the server runs without history', async () => {
    const path = await directory();
    const first = await serve(path);
    await until(
      () => store(first),
      ({ state }) => state === 'READY',
    );
    const second = await serve(path);
    const { problem } = await until(() => store(second), failed);
    expect(problem).toMatch(new RegExp(`in use by the process ${first.pid}`));
    await worksWithoutHistory(second);
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        join(root, 'dist/main.js'),
        'serve',
        '--port',
        '0',
        '--engine',
        'none',
        '--log-level',
        'silent',
        '--data-dir',
        path,
        '--require-history',
      ],
      { encoding: 'utf8' },
    );
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringMatching(/in use by the process/) });
    // What was in its way has gone: it goes on by itself.
    await first.end('SIGTERM');
    await until(
      () => store(second),
      ({ state }) => state === 'READY',
    );
  }, 60_000);

  it('keeps a damaged file as it is and says what to do', async () => {
    const path = await directory();
    const file = join(path, 'eunomia.duckdb');
    await writeFile(file, 'this is no database, '.repeat(1000));
    const server = await serve(path);
    const { problem } = await until(() => store(server), failed);
    expect(problem).toMatch(/cannot be read: it is damaged or no file of ours .*move it and .*\.wal away/);
    expect(await readFile(file, 'utf8')).toHaveLength(21_000);
    await worksWithoutHistory(server);
  });

  it('that cannot be made is an error with its path', async () => {
    const path = join(await directory(), 'file');
    await writeFile(path, '');
    const server = await serve(join(path, 'data'));
    expect((await until(() => store(server), failed)).problem).toMatch(
      /data directory .* cannot be written: ENOTDIR.*--data-dir none/,
    );
  });
});

describe('a disk that is full', () => {
  it('pauses the store alone, and what waited is written when there is room', async () => {
    const path = await directory();
    await run('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', path]);
    undoing.push(() => run('umount', [path]));
    const server = await serve(path);
    undoing.push(() => server.end('SIGTERM'));
    const child = start(process.execPath, [
      '-e',
      `const fs = require('node:fs'); let n = 0; setInterval(() => { for (let i = 0; i < 400; i++) try { fs.openSync('/' + Math.random() + '/' + n++); } catch {} }, 10);`,
    ]);
    const id = await startSession(
      server,
      `{ trackers: [{ open: {} }], target: { pids: [${child.pid}], descendants: false }, persist: {} }`,
    );
    const persistence = async () => {
      const { session } = await server.query<{
        session: {
          persistence: { state: string; error: string | null; dropped: string; written: string; pending: string };
        };
      }>(`query ($id: ID!) { session(id: $id) { persistence { state error dropped written pending } } }`, { id });
      return session.persistence;
    };
    const paused = await until(persistence, ({ state }) => state === 'PAUSED', 60_000);
    expect(paused.error).toMatch(/no room left/);
    const { delivered } = await statsOf(server, id);
    await until(
      () => statsOf(server, id),
      (stats) => stats.delivered > delivered + 1000,
    );
    child.kill();
    await run('mount', ['-o', 'remount,size=400m', path]);
    const after = await until(persistence, ({ state, pending }) => state === 'WRITING' && pending === '0', 60_000);
    const stats = await statsOf(server, id);
    expect(Number(after.written) + Number(after.dropped)).toBe(stats.delivered);
    expect(after.dropped).toBe('0');
    await stopSession(server, id);
    const { session } = await server.query<{ session: { aggregate: { count: string }[] } }>(
      'query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["tracker"]) { count } } }',
      { id },
    );
    expect(session.aggregate).toEqual([{ count: String(stats.delivered) }]);
  }, 120_000);
});
