import { execFile } from 'node:child_process';
import { readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer, startSession, statsOf, stopSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { start } from '../support/workload.js';
import { untilHolds } from '../support/until.js';

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
    await untilHolds(
      'the store is ready',
      () => store(first),
      ({ state }) => state === 'READY',
    );
    const second = await serve(path);
    const { problem } = await untilHolds('the store has failed', () => store(second), failed);
    expect(problem).toMatch(new RegExp(`in use by the process ${first.pid}`));
    await worksWithoutHistory(second);
    await expect(
      run(process.execPath, [
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
      ]),
    ).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(/in use by the process/) as string });
    // What was in its way has gone: it goes on by itself.
    await first.end('SIGTERM');
    await untilHolds(
      'the store is ready',
      () => store(second),
      ({ state }) => state === 'READY',
    );
  });

  it('is refused before anything is loaded into the kernel', async () => {
    const path = join(await directory(), 'file');
    await writeFile(path, '');
    const calls = `${path}.strace`;
    const serve = ['serve', '--port', '0', '--engine', 'none', '--log-level', 'silent', '--require-history'];
    const command = [process.execPath, join(root, 'dist/main.js'), ...serve, '--data-dir', join(path, 'data')];
    await expect(
      run('strace', ['-f', '--seccomp-bpf', '-e', 'trace=bpf', '-o', calls, ...command]),
    ).rejects.toMatchObject({ code: 1 });
    expect(await readFile(calls, 'utf8')).not.toMatch(/bpf\(BPF_PROG_LOAD/);
  });

  it('keeps a damaged file as it is and says what to do', async () => {
    const path = await directory();
    const file = join(path, 'eunomia.duckdb');
    await writeFile(file, 'this is no database, '.repeat(1000));
    const server = await serve(path);
    const { problem } = await untilHolds('the store has failed', () => store(server), failed);
    expect(problem).toMatch(/cannot be read: it is damaged or no file of ours .*move it and .*\.wal away/);
    expect(await readFile(file, 'utf8')).toHaveLength(21_000);
    await worksWithoutHistory(server);
  });

  it('that cannot be made is an error with its path', async () => {
    const path = join(await directory(), 'file');
    await writeFile(path, '');
    const server = await serve(join(path, 'data'));
    expect((await untilHolds('the store has failed', () => store(server), failed)).problem).toMatch(
      /data directory .* cannot be used: ENOTDIR.*--data-dir none/,
    );
  });
});

/** Opens files that are not there, some 40,000 a second at most. */
const opener =
  "const fs = require('node:fs'); let n = 0; setInterval(() => { for (let i = 0; i < 400; i++) try { " +
  "fs.openSync('/' + Math.random() + '/' + n++); } catch {} }, 10);";

async function fill(path: string): Promise<void> {
  await run('dd', ['if=/dev/zero', `of=${join(path, 'other')}`, 'bs=4k']).catch(() => undefined);
  expect((await statfs(path)).bavail).toBe(0);
}

interface Ended {
  readonly stats: { readonly received: string };
  readonly events: { readonly gaps: readonly unknown[] };
  readonly aggregate: readonly { readonly count: string }[];
}

describe('a disk that is full', () => {
  it('pauses the store alone, and what waited is written when there is room', async () => {
    const path = await directory();
    await run('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', path]);
    undoing.push(() => run('umount', [path]));
    const server = await serve(path);
    undoing.push(() => server.end('SIGTERM'));
    const child = start(process.execPath, ['-e', opener]);
    const id = await startSession(
      server,
      `{ trackers: [{ open: {} }], target: { pids: [${child.pid}], descendants: false }, persist: {} }`,
    );
    const persistence = async () => {
      const { session } = await server.query<{
        session: {
          persistence: { state: string; problem: string | null; dropped: string; written: string; pending: string };
        };
      }>(`query ($id: ID!) { session(id: $id) { persistence { state problem dropped written pending } } }`, { id });
      return session.persistence;
    };
    const paused = await untilHolds('the store pauses', persistence, ({ state }) => state === 'PAUSED', 60_000);
    expect(paused.problem).toMatch(/no room left/);
    const { delivered } = await statsOf(server, id);
    await untilHolds(
      'more is delivered',
      () => statsOf(server, id),
      (stats) => stats.delivered > delivered + 1000,
    );
    child.kill();
    await run('mount', ['-o', 'remount,size=400m', path]);
    const after = await untilHolds(
      'what waited is written',
      persistence,
      ({ state, pending }) => state === 'WRITING' && pending === '0',
      60_000,
    );
    const stats = await statsOf(server, id);
    expect(Number(after.written) + Number(after.dropped)).toBe(stats.delivered);
    expect(after.dropped).toBe('0');
    await stopSession(server, id);
    const { session } = await server.query<{ session: { aggregate: { count: string }[] } }>(
      'query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["tracker"]) { count } } }',
      { id },
    );
    expect(session.aggregate).toEqual([{ count: String(stats.delivered) }]);
  });

  it('keeps what was lost at the end, counted, though not a byte was left, and how sessions ended', async () => {
    const path = await directory();
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', path]);
    undoing.push(() => run('umount', [path]));
    const server = await serve(path);
    const child = start(process.execPath, ['-e', opener]);
    const input = `{ trackers: [{ open: {} }], target: { pids: [${child.pid}], descendants: false }, persist: {} }`;
    const [running, stopped] = [await startSession(server, input), await startSession(server, input)];
    const state = async (id = running) =>
      (
        await server.query<{ session: { persistence: { state: string; written: string } } }>(
          'query ($id: ID!) { session(id: $id) { persistence { state written } } }',
          { id },
        )
      ).session.persistence;
    for (const id of [running, stopped])
      await untilHolds(
        'some is written',
        () => state(id),
        ({ written }) => Number(written) > 1000,
      );
    // Another program takes all the room there is.
    await fill(path);
    await untilHolds('the store pauses', state, (now) => now.state === 'PAUSED');
    await stopSession(server, stopped);
    const whole = await statsOf(server, running);
    await untilHolds(
      'more is delivered',
      () => statsOf(server, running),
      ({ delivered }) => delivered > whole.delivered + 1000,
    );
    child.kill();
    expect(await server.end('SIGTERM')).toBe(0);
    await run('mount', ['-o', 'remount,size=400m', path]);

    const next = await serve(path);
    undoing.push(() => next.end('SIGTERM'));
    await untilHolds(
      'the store is ready',
      () => store(next),
      (now) => now.state === 'READY',
    );
    for (const [id, stopReason] of [
      [running, 'SHUTDOWN'],
      [stopped, 'REQUESTED'],
    ] as const) {
      const { session } = await next.query<{ session: Ended }>(
        'query ($id: ID!) { session(id: $id) { state stopReason problem stats { received lost } events(last: 10) { ' +
          'gaps { where lost dropped } } aggregate(groupBy: ["tracker"]) { count } } }',
        { id },
      );
      const events = Number(session.aggregate[0]?.count);
      const missing = Number(session.stats.received) - events;
      expect(events).toBeGreaterThan(0);
      expect(missing).toBeGreaterThan(0);
      expect(session).toMatchObject({
        state: 'STOPPED',
        stopReason,
        problem: expect.stringMatching(
          new RegExp(`^${missing} of its events were not stored .*no room left`),
        ) as string,
        stats: { lost: '0' },
      });
      expect(session.events.gaps).toEqual([{ where: 'STORE', lost: '0', dropped: String(missing) }]);
    }
  });

  it('holds the end of a session that stops meanwhile, and writes it when there is room', async () => {
    const path = await directory();
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', path]);
    undoing.push(() => run('umount', [path]));
    const server = await serve(path);
    undoing.push(() => server.end('SIGTERM'));
    const child = start(process.execPath, ['-e', opener]);
    const id = await startSession(
      server,
      `{ trackers: [{ open: {} }], target: { pids: [${child.pid}], descendants: false }, persist: {}, bufferBytes: 65536 }`,
    );
    const state = async () =>
      (
        await server.query<{ session: { persistence: { state: string } } }>(
          'query ($id: ID!) { session(id: $id) { persistence { state } } }',
          { id },
        )
      ).session.persistence.state;
    await untilHolds(
      'some are evicted',
      () => statsOf(server, id),
      ({ evicted }) => evicted > 0,
    );
    await fill(path);
    await untilHolds('the store pauses', state, (now) => now === 'PAUSED');
    const { delivered } = await statsOf(server, id);
    await untilHolds(
      'more is delivered',
      () => statsOf(server, id),
      (stats) => stats.delivered > delivered + 2000,
    );
    child.kill();
    await stopSession(server, id);
    // Memory alone does not pass for the whole.
    for (const field of ['aggregate(groupBy: ["tracker"]) { count }', 'report { events }']) {
      await expect(server.query('query ($id: ID!) { session(id: $id) { ' + field + ' } }', { id })).rejects.toThrow(
        /STORE_UNAVAILABLE.*|cannot tell all events/,
      );
    }
    const get = () => fetch(new URL(`/export/${id}.ndjson`, server.url), { headers: { 'x-eunomia': '1' } });
    const refused = await get();
    expect({ status: refused.status, text: await refused.text() }).toEqual({
      status: 503,
      text: expect.stringContaining('STORE_UNAVAILABLE') as string,
    });
    await rm(join(path, 'other'));
    await untilHolds('all is written', state, (now) => now === 'DONE', 60_000);
    const whole = (await statsOf(server, id)).delivered;
    const { session } = await server.query<{ session: Pick<Ended, 'aggregate'> }>(
      'query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["tracker"]) { count } } }',
      { id },
    );
    expect(session.aggregate).toEqual([{ count: String(whole) }]);
    const lines = (await (await get()).text()).trim().split('\n');
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ end: { complete: true } });
  });
});
