import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { itNarrow } from '../support/narrow.js';
import { startTracker, type TrackOptions } from '../support/session.js';
import { unixSource } from '../support/unix.js';
import { compileC, ended, firstLine, run, scratch, start } from '../support/workload.js';

let program = '';
beforeAll(async () => {
  program = await compileC('unixload', unixSource);
});

const mine = { pids: [process.pid] };
const STREAM = 1;
const DGRAM = 2;
const SEQPACKET = 5;
let number = 0;
const fresh = (prefix = `${scratch}/`) => `${prefix}unix-test-${process.pid}-${number++}`;

interface Connection {
  readonly options?: TrackOptions;
  readonly type?: number;
  readonly how?: string;
  readonly name?: string;
  /** What the client calls it, where that is something else. */
  readonly called?: string;
}

/** One process connects to another. */
async function connection({ options = mine, type = STREAM, how = 'call', name = fresh(), called = name }: Connection) {
  // A request of io_uring that is under way is not seen.
  const early = how === 'call' ? null : await startTracker('unix', options);
  const server = start(program, ['serve', how, String(type), name]);
  const served = ended(server);
  expect(await firstLine(server)).toBe('ready');
  const tracked = early ?? (await startTracker('unix', options));
  const client = await run(program, ['connect', how, String(type), called], { cwd: scratch });
  const { code, stdout } = await served;
  const [result, listener] = client.stdout.split(' ').map(Number);
  expect([code, client.code, result]).toEqual([0, 0, 0]);
  const events = await tracked.stop();
  const stats = await tracked.stats();
  await rm(name, { force: true });
  const pids = { server: server.pid ?? 0, client: client.pid };
  return { events, stats, name, pids, told: { client: listener, server: Number(stdout.split('\n').at(-1)) } };
}

describe('the tracker unix', () => {
  it.each([
    ['call', 'a stream', STREAM, '/'],
    ['call', 'packets in sequence', SEQPACKET, '/'],
    ['call', 'an abstract name', STREAM, '@'],
    ['call', 'an abstract name as long as the array', STREAM, '+'],
    ['call', 'an abstract name with a NUL', STREAM, '@/'],
    ['call', 'an abstract name with bytes that are no text', STREAM, '@!'],
    ['uring', 'a stream', STREAM, '/'],
    ['multishot', 'an abstract name', STREAM, '@'],
  ])(
    'reports a connect and its accept, each with the other process, as SO_PEERCRED has it: %s, %s',
    async (how, _, type, prefix) => {
      const file = prefix === '/';
      const name = fresh(file ? undefined : prefix);
      const run = await connection({ how, type, name });
      const { server, client } = run.pids;
      expect(run.told).toEqual({ client: server, server: client });
      const common = {
        tracker: 'unix',
        errno: null,
        path: file ? name : name.replace(/^\+|\//g, '@').replace('!', '\\xff'),
        abstract: !file,
        socketType: type === STREAM ? 'SOCK_STREAM' : 'SOCK_SEQPACKET',
        peerComm: 'unixload',
        peerUid: 0,
        peerContainerId: null,
      };
      const requestedPath = how === 'call' ? common.path : null;
      const at = (operation: string) => run.events.filter((event) => event['unixOperation'] === operation);
      expect(at('CONNECT')).toMatchObject([
        { ...common, requestedPath, process: { pid: client, comm: 'unixload' }, peerPid: server, peerTid: server },
      ]);
      expect(at('ACCEPT')).toMatchObject([
        {
          ...common,
          requestedPath: null,
          process: { pid: server, comm: 'unixload' },
          peerPid: client,
          peerTid: client,
        },
      ]);
      expect(at('ACCEPT')[0]?.['peerStartTime']).toBe(at('CONNECT')[0]?.process.startTime);
      expect(run.events).toHaveLength(2);
      expect(run.stats).toMatchObject({ produced: 2, received: 2, lost: 0, discarded: 0 });
    },
  );

  itNarrow('reports calls of the 32-bit ABI', async () => {
    const { events, name, pids } = await connection({ how: 'narrow' });
    expect(events.map((e) => [e['unixOperation'], e['path'], e.process.pid, e['peerPid']])).toEqual(
      expect.arrayContaining([
        ['CONNECT', name, pids.client, pids.server],
        ['ACCEPT', name, pids.server, pids.client],
      ]),
    );
  });

  it('has the path as it was passed beside the name that the socket has', async () => {
    const name = fresh();
    const called = name.replace(`${scratch}/`, '../' + scratch.split('/').at(-1) + '/');
    const { events } = await connection({ name, called });
    expect(events.find((event) => event['unixOperation'] === 'CONNECT')).toMatchObject({
      path: name,
      requestedPath: called,
    });
  });

  it('knows the name, and not the process, of a datagram socket that is connected to', async () => {
    const { events, name, pids, told } = await connection({ type: DGRAM });
    expect(told.client).toBe(0);
    expect(events).toMatchObject([
      {
        unixOperation: 'CONNECT',
        path: name,
        socketType: 'SOCK_DGRAM',
        process: { pid: pids.client },
        peerPid: null,
        peerComm: null,
        peerStartTime: null,
      },
    ]);
  });

  it('reports connects that fail, with what was passed', async () => {
    const long = join(scratch, 'x'.repeat(107 - scratch.length));
    const tracked = await startTracker('unix', mine);
    for (const path of ['/no/socket', '@nobody', long]) {
      const { pid, stdout } = await run(program, ['connect', 'call', '1', path]);
      const errno = path.startsWith('@') ? 'ECONNREFUSED' : 'ENOENT';
      expect(stdout).toMatch(path.startsWith('@') ? /^-111 / : /^-2 /);
      const fields = { errno, path, requestedPath: path, abstract: path.startsWith('@'), peerPid: null };
      expect(await tracked.next((event) => event.process.pid === pid)).toMatchObject({
        unixOperation: 'CONNECT',
        ...fields,
      });
    }
  });

  it('is filtered in the kernel by both processes, operation, path and error', async () => {
    const name = fresh();
    for (const [options, seen] of [
      [mine, ['ACCEPT', 'CONNECT']],
      [{ ...mine, options: { operations: ['ACCEPT'] } }, ['ACCEPT']],
      [{ ...mine, where: 'unixOperation == "CONNECT"' }, ['CONNECT']],
      [{ where: `path == "${name}"` }, ['ACCEPT', 'CONNECT']],
      [{ where: `requestedPath == "${name}"` }, ['CONNECT']],
      [{ ...mine, where: 'path.startsWith("/no/")' }, []],
      [{ ...mine, where: 'errno == "ENOENT"' }, []],
      [{ ...mine, where: 'peerPid == 1' }, []],
      [{ ...mine, where: 'peerPid == null' }, []],
      [{ comms: ['unixload'] }, ['ACCEPT', 'CONNECT']],
      [{ comms: ['nobody'] }, []],
      [{ pids: [process.pid], descendants: false }, []],
    ] as const) {
      const { events, stats } = await connection({ options: options as TrackOptions, name });
      expect([options, events.map((event) => event['unixOperation']).sort()]).toEqual([options, seen]);
      expect([options, stats.produced, stats.discarded]).toEqual([options, seen.length, 0]);
    }
  });

  it('has the right peer for each of many connections at once', async () => {
    const count = 500;
    const name = fresh();
    const tracked = await startTracker('unix', mine);
    const { pid, code, stdout } = await run(program, ['crowd', String(count), name]);
    expect(code).toBe(0);
    const events = await tracked.stop();
    const of = (operation: string) => events.filter((event) => event['unixOperation'] === operation);
    const clients = stdout.split('\n').map(Number);
    expect(new Set(clients).size).toBe(count);
    expect(of('ACCEPT').map((event) => event['peerPid'])).toEqual(clients);
    expect(
      of('CONNECT')
        .map((event) => event.process.pid)
        .sort(),
    ).toEqual([...clients].sort());
    expect(new Set(of('CONNECT').map((event) => event['peerPid']))).toEqual(new Set([pid]));
    expect(new Set(events.map((event) => event['path']))).toEqual(new Set([name]));
    await rm(name, { force: true });
  });

  it('is of a session that targets either of the two processes', async () => {
    const name = fresh();
    const server = start(program, ['serve', 'call', '1', name]);
    const served = ended(server);
    await firstLine(server);
    const tracked = await startTracker('unix', { pids: [server.pid ?? 0] });
    const client = await run(program, ['connect', 'call', '1', name]);
    await served;
    expect((await tracked.stop()).map((e) => [e['unixOperation'], e.process.pid]).sort()).toEqual([
      ['ACCEPT', server.pid],
      ['CONNECT', client.pid],
    ]);
  });

  it('counts exactly what a small ring has no room for', async () => {
    const tracked = await startTracker('unix', { ...mine, ringBytes: 4096, bufferBytes: 1 << 16 });
    expect((await run(program, ['fail', '20000'])).code).toBe(0);
    await tracked.stop();
    const { produced, lost, received } = await tracked.stats();
    expect(produced).toBe(20_000);
    expect(lost).toBeGreaterThan(0);
    expect(lost + received).toBe(produced);
  });
});
