import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { influx1, type Database } from '../support/influx.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { scratch } from '../support/workload.js';

/** The server, its kernel programs and a real InfluxDB, asked as a client asks. */
const run = promisify(execFile);
let database: Database;

beforeAll(async () => {
  database = await (await influx1('influx-server')).up();
});
afterAll(() => database.kill());

const serve = (): Promise<TestServer> =>
  startServer([
    '--engine',
    'none',
    '--data-dir',
    'none',
    '--influx-url',
    database.url,
    '--influx-spool',
    join(scratch, 'server-spool'),
  ]);

it('sessions persisted to InfluxDB are read from it, events and rollups, also after a restart', async () => {
  const first = await serve();
  const input = (mode: string) =>
    `{ trackers: [{ exec: {} }, { exit: {} }], persist: { store: INFLUX, mode: ${mode} } }`;
  const events = await startSession(first, input('EVENTS'));
  const rollup = await startSession(first, '{ trackers: [{ exec: {} }, { exit: {} }], persist: { store: INFLUX } }');
  for (let i = 0; i < 20; i++) await run('/bin/echo', [`influx-${i}`]);
  await stopSession(first, events);
  await stopSession(first, rollup);
  const { session } = await first.query<{ session: { stats: { delivered: string } } }>(
    'query ($id: ID!) { session(id: $id) { stats { delivered } } }',
    { id: rollup },
  );
  const { server } = await first.query<{ server: { node: object } }>('{ server { node { id name } } }');
  await first.end('SIGTERM');

  const second = await serve();
  // Another node, since nothing lasts without a data directory: the session's is that of the server that recorded it.
  const after = await second.query<{ server: { node: object }; session: { node: object } }>(
    `{ server { node { id name } } session(id: "${events}") { node { id name } } }`,
  );
  expect(after.session.node).toEqual(server.node);
  expect(after.server.node).not.toEqual(server.node);
  const asked =
    `history(store: INFLUX, sessions: ["${events}"], trackers: ["exec"], where: { exec: { args: { any: { prefix: ` +
    '"influx-" } } } })';
  const { history } = await second.query<{
    history: { events: { nodes: { args: string[] }[] }; aggregate: { count: string; key: { value: string }[] }[] };
  }>(
    `{ ${asked} { events(first: 100) { nodes { ... on ExecEvent { args } } } aggregate(groupBy: ` +
      '["process.comm"]) { count key { value } } } }',
  );
  expect(history.events.nodes.map(({ args }) => args[1])).toEqual(Array.from({ length: 20 }, (_, i) => `influx-${i}`));
  expect(history.aggregate).toEqual([{ count: '20', key: [{ value: 'echo' }] }]);

  const sums = await second.query<{ history: { aggregate: { count: string }[] } }>(
    `{ history(store: INFLUX, sessions: ["${rollup}"], trackers: ["exec", "exit"]) { aggregate(groupBy: ["tracker"]) { count } } }`,
  );
  expect(sums.history.aggregate.reduce((sum, { count }) => sum + Number(count), 0)).toBe(
    Number(session.stats.delivered),
  );

  const { stores } = await second.query<{ stores: object[] }>('{ stores { kind state sessions problem } }');
  expect(stores).toEqual([{ kind: 'INFLUX', state: 'READY', sessions: 2, problem: null }]);
});

it('a database that is away harms nobody: sessions run, points wait, the store says why', async () => {
  const server = await startServer([
    '--engine',
    'none',
    '--data-dir',
    'none',
    '--influx-url',
    'http://127.0.0.1:9',
    '--influx-spool',
    join(scratch, 'away-spool'),
  ]);
  const id = await startSession(server, '{ trackers: [{ exec: {} }], persist: { store: INFLUX, mode: EVENTS } }');
  await run('/bin/echo', ['away']);
  await stopSession(server, id);
  const { stores, session } = await server.query<{ stores: object[]; session: { events: { totalCount: string } } }>(
    'query ($id: ID!) { stores { kind state problem } session(id: $id) { events { totalCount } } }',
    { id },
  );
  expect(stores).toEqual([
    { kind: 'INFLUX', state: 'PAUSED', problem: expect.stringMatching(/ECONNREFUSED.* wait in the spool/) as string },
  ]);
  expect(Number(session.events.totalCount)).toBeGreaterThan(0);
  await expect(server.query('{ history(store: INFLUX) { events { nodes { time } } } }')).rejects.toThrow(
    /STORE_UNAVAILABLE/,
  );
});
