import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { isDeepStrictEqual, promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { influx1, type Database } from '../support/influx.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { until, untilHolds } from '../support/until.js';
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
    history: {
      events: { nodes: { id: string; args: string[] }[] };
      aggregate: { count: string; key: { value: string }[] }[];
    };
  }>(
    `{ ${asked} { events(first: 100) { nodes { id ... on ExecEvent { args } } } aggregate(groupBy: ` +
      '["process.comm"]) { count key { value } } } }',
  );
  expect(history.events.nodes.map(({ args }) => args[1])).toEqual(Array.from({ length: 20 }, (_, i) => `influx-${i}`));
  expect(history.aggregate).toEqual([{ count: '20', key: [{ value: 'echo' }] }]);

  const [, some] = history.events.nodes;
  expect(
    await second.query('query ($id: ID!) { node(id: $id) { id ... on ExecEvent { args session { id } } } }', {
      id: some?.id,
    }),
  ).toEqual({ node: { ...some, session: { id: events } } });

  const sums = await second.query<{ history: { aggregate: { count: string }[] } }>(
    `{ history(store: INFLUX, sessions: ["${rollup}"], trackers: ["exec", "exit"]) { aggregate(groupBy: ["tracker"]) { count } } }`,
  );
  expect(sums.history.aggregate.reduce((sum, { count }) => sum + Number(count), 0)).toBe(
    Number(session.stats.delivered),
  );

  const { stores } = await second.query<{ stores: object[] }>('{ stores { kind state sessions problem } }');
  expect(stores).toEqual([{ kind: 'INFLUX', state: 'READY', sessions: 2, problem: null }]);
});

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly stopReason: string | null;
}

it('two servers on one database know whose sessions are cut off, while the other restarts and is killed', async () => {
  const server = (name: string): Promise<TestServer> =>
    startServer([
      ...['--engine', 'none', '--data-dir', 'none', '--influx-url', database.url],
      ...['--influx-bucket', 'shared', '--influx-spool', join(scratch, `two-${name}`)],
    ]);
  const listed = async (asked: TestServer): Promise<Readonly<Record<string, string>>> => {
    const { sessions } = await asked.query<{ sessions: { nodes: Listed[] } }>(
      '{ sessions(first: 100) { nodes { id state stopReason } } }',
    );
    return Object.fromEntries(sessions.nodes.map(({ id, state, stopReason }) => [id, stopReason ?? state]));
  };
  const lists = async (asked: TestServer, expected: Readonly<Record<string, string>>): Promise<void> => {
    await until('the list is so', async () => isDeepStrictEqual(await listed(asked), expected)).catch(async () =>
      expect(await listed(asked)).toEqual(expected),
    );
  };
  const begin = (asked: TestServer, mode: string): Promise<string> =>
    startSession(asked, `{ trackers: [{ exec: {} }], persist: { store: INFLUX, mode: ${mode} } }`);

  const a = await server('a');
  const b = await server('b');
  const [ofA, rolledOfA, ofB, rolledOfB] = [
    await begin(a, 'EVENTS'),
    await begin(a, 'ROLLUP'),
    await begin(b, 'EVENTS'),
    await begin(b, 'ROLLUP'),
  ];
  const running = { [ofA]: 'RUNNING', [rolledOfA]: 'RUNNING', [ofB]: 'RUNNING', [rolledOfB]: 'RUNNING' };
  await lists(a, running);
  await lists(b, running);

  for (const change of ['stopSession(id: $id)', 'updateSession(id: $id, input: { name: "mine" })'])
    await expect(b.query(`mutation ($id: ID!) { ${change} { id } }`, { id: ofA })).rejects.toThrow(
      /does not run here, but in the server of the node .*NOT_RUNNING/,
    );
  await lists(b, running);

  await a.end('SIGTERM');
  const ended = { ...running, [ofA]: 'SHUTDOWN', [rolledOfA]: 'SHUTDOWN' };
  const again = await server('a');
  await lists(again, ended);
  await lists(b, ended);

  const cut = await begin(again, 'EVENTS');
  const rolledCut = await begin(again, 'ROLLUP');
  await run('/bin/echo', ['before the end']);
  const all = { ...ended, [cut]: 'RUNNING', [rolledCut]: 'RUNNING' };
  await lists(b, all);
  interface Stored {
    readonly session: { readonly persistence: { readonly written: string } };
  }
  for (const id of [cut, rolledCut])
    await untilHolds(
      'its events are written',
      () => again.query<Stored>(`{ session(id: "${id}") { persistence { written } } }`),
      ({ session: { persistence } }) => persistence.written !== '0',
    );
  await again.end('SIGKILL');
  await lists(b, all); // it may come back
  const last = await server('a');
  const known = { ...ended, [cut]: 'INTERRUPTED', [rolledCut]: 'INTERRUPTED' };
  await lists(last, known);
  await lists(b, known);
  const asked = `{ session(id: "${cut}") { stoppedAt problem stats { delivered } events(last: 1) { totalCount } } }`;
  const { session } = await b.query<{ session: object }>(asked);
  expect(session).toMatchObject({ stoppedAt: expect.any(String) as string, problem: expect.any(String) as string });
  expect((await last.query<{ session: object }>(asked)).session).toEqual(session);

  await stopSession(b, ofB);
  await stopSession(b, rolledOfB);
  await lists(last, { ...known, [ofB]: 'REQUESTED', [rolledOfB]: 'REQUESTED' });
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
