import { setTimeout as sleep } from 'node:timers/promises';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { work } from '../support/workload.js';

const run = promisify(execFile);
const removing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const remove of removing.splice(0)) await remove();
});

async function directory(): Promise<string> {
  const { path, remove } = await temporaryDirectory();
  removing.push(remove);
  return path;
}

const serve = (path: string): Promise<TestServer> => startServer(['--engine', 'none', '--data-dir', path]);

interface Stored {
  readonly state: string;
  readonly stopReason: string | null;
  readonly persistence: { readonly state: string; readonly written: string; readonly dropped: string } | null;
  readonly events: {
    readonly nodes: readonly { readonly args: readonly string[] | null; readonly process: { readonly pid: number } }[];
    readonly gaps: readonly { readonly where: string }[];
  };
}

async function read(server: TestServer, id: string, events = 'first: 10000'): Promise<Stored> {
  const { session } = await server.query<{ session: Stored }>(
    'query ($id: ID!) { session(id: $id) { state stopReason persistence { state written dropped } ' +
      `events(${events}) { nodes { process { pid } ... on ExecEvent { args } } gaps { where } } } }`,
    { id },
  );
  return session;
}

describe('history', () => {
  it('returns a session after a restart as before it', async () => {
    const path = await directory();
    const first = await serve(path);
    const id = await startSession(first, '{ trackers: [{ exec: {} }], persist: {} }');
    for (let i = 0; i < 20; i++) await run('/bin/echo', [`history-${i}`]);
    await stopSession(first, id);
    const before = await read(first, id);
    expect(before.persistence).toMatchObject({ state: 'DONE', dropped: '0' });
    await first.end('SIGTERM');
    const second = await serve(path);
    const after = await read(second, id);
    expect(after.events).toEqual(before.events);
    expect(after.events.nodes.filter(({ args }) => args?.[1]?.startsWith('history-'))).toHaveLength(20);
    expect(after).toMatchObject({ state: 'STOPPED', stopReason: 'REQUESTED' });
    const { session } = await second.query<{ session: { aggregate: { count: string }[] } }>(
      'query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["process.comm"], where: { exec: { args: { any: ' +
        '{ prefix: "history-" } } } }) { count key { value } } } }',
      { id },
    );
    expect(session.aggregate).toEqual([{ count: '20', key: [{ value: 'echo' }] }]);
    const { history, stores } = await second.query<{
      history: { aggregate: { count: string }[]; events: { edges: { session: { id: string } }[] } };
      stores: object[];
    }>(
      '{ history(trackers: ["exec"], where: { process: { comm: { eq: "echo" } } }) { aggregate(groupBy: ' +
        '["process.comm"]) { count } events(first: 1) { edges { session { id } } } } stores { kind state sessions problem ' +
        '} }',
    );
    expect(Number(history.aggregate[0]?.count)).toBeGreaterThanOrEqual(20);
    expect(history.events.edges).toEqual([{ session: { id } }]);
    expect(stores).toEqual([{ kind: 'EMBEDDED', state: 'READY', sessions: 1, problem: null }]);
  });

  it('has every event that came before the server was asked to end', async () => {
    const path = await directory();
    const first = await serve(path);
    const id = await startSession(first, '{ trackers: [{ open: {} }], persist: {}, bufferBytes: 65536 }');
    await work('burst', '/no/history', 40_000, 4);
    await first.end('SIGTERM');
    const second = await serve(path);
    const { session } = await second.query<{ session: { stopReason: string; aggregate: { count: string }[] } }>(
      'query ($id: ID!) { session(id: $id) { stopReason aggregate(groupBy: ["path"], where: { open: { path: { ' +
        'prefix: "/no/history" } } }) { count } } }',
      { id },
    );
    expect(session).toEqual({ stopReason: 'SHUTDOWN', aggregate: [{ count: '160000' }] });
  });

  it('is intact up to the last second after kill -9', async () => {
    const path = await directory();
    const first = await serve(path);
    const id = await startSession(first, '{ trackers: [{ exec: {} }], persist: {} }');
    for (let i = 0; i < 10; i++) await run('/bin/echo', [`early-${i}`]);
    await sleep(1000);
    const late = run('/bin/echo', ['late']);
    await late;
    await first.end('SIGKILL');
    const second = await serve(path);
    const session = await read(second, id);
    expect(session).toMatchObject({ state: 'STOPPED', stopReason: 'INTERRUPTED' });
    expect(session.events.nodes.filter(({ args }) => args?.[1]?.startsWith('early-'))).toHaveLength(10);
    expect(session.events.gaps.at(-1)).toEqual({ where: 'STORE' });
  });
});
