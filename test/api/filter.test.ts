import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createServer, createFixture, dataOf, post, startedId, type Fixture } from './support.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;
let client: Client;

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
  client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
});

afterEach(async () => {
  await client.dispose();
  await fixture.services.manager.close();
  await server.close();
});

const start = async (): Promise<string> =>
  startedId(
    await post(server.url, {
      query: 'mutation { startSession(input: { trackers: [{ exec: {} }], capture: DEMANDED }) { id } }',
    }),
  );

it('sends a subscriber what matches, counts the rest, and captures what the filter reads', async () => {
  const id = await start();
  const where = { expr: 'process.pid >= 10 && process.pid < 13 && args != null' };
  const stream = client.iterate<{ events: { events: { process: { pid: number } }[] } }>({
    query:
      'subscription ($id: ID!, $where: EventFilter) { events(session: $id, where: $where) { events { process { pid } } } }',
    variables: { id, where },
  });
  const first = stream.next();
  const session = fixture.services.manager.get(id);
  await until('args are captured', () => session?.captured().includes('args') ?? false);
  fixture.kernel.emit(20);
  expect(
    (await first).value?.data?.events.events.map(({ process }: { process: { pid: number } }) => process.pid),
  ).toEqual([10, 11, 12]);
  const { subscribers } = (await session?.stats()) ?? {};
  expect(subscribers?.[0]).toMatchObject({ received: 20, discarded: 17, delivered: 3, queued: 0 });
  await stream.return?.();
});

it('pages and aggregates what matches', async () => {
  const id = await start();
  fixture.kernel.emit(100);
  const query = `query ($id: ID!, $where: EventFilter) { session(id: $id) {
    events(first: 2, where: $where) { nodes { process { pid } } pageInfo { hasNextPage hasPreviousPage endCursor } totalCount }
    last: events(last: 2, where: $where) { nodes { process { pid } } pageInfo { hasPreviousPage hasNextPage } }
    aggregate(groupBy: ["process.comm"], where: $where) { count }
  } }`;
  const { json } = await post(server.url, {
    query,
    variables: { id, where: { process: { pid: { in: [5, 50, 95] } } } },
  });
  expect(json).toEqual({
    data: {
      session: {
        events: {
          nodes: [{ process: { pid: 5 } }, { process: { pid: 50 } }],
          pageInfo: { hasNextPage: true, hasPreviousPage: false, endCursor: expect.any(String) },
          totalCount: null,
        },
        last: {
          nodes: [{ process: { pid: 50 } }, { process: { pid: 95 } }],
          pageInfo: { hasPreviousPage: true, hasNextPage: false },
        },
        aggregate: expect.arrayContaining([{ count: '1' }]),
      },
    },
  });
});

it('goes on after a page of a filter', async () => {
  const id = await start();
  fixture.kernel.emit(100);
  const query =
    'query ($id: ID!, $after: Cursor) { session(id: $id) { events(first: 2, after: $after, where: { expr: ' +
    '"process.pid in [5, 50, 95]" }) { nodes { process { pid } } pageInfo { hasNextPage endCursor } } } }';
  type Page = { nodes: { process: { pid: number } }[]; pageInfo: { hasNextPage: boolean; endCursor: string } };
  const page = async (after: string | null): Promise<Page> =>
    dataOf((await post<{ session: { events: Page } }>(server.url, { query, variables: { id, after } })).json).session
      .events;
  const one = await page(null);
  const two = await page(one.pageInfo.endCursor);
  expect([...one.nodes, ...two.nodes].map(({ process }) => process.pid)).toEqual([5, 50, 95]);
  expect(two.pageInfo.hasNextPage).toBe(false);
});

it.each([
  ['{ process: { pid: { in: [] } } }', 'where.process.pid.in: is empty'],
  ['{ expr: "process.pdi == 1" }', 'where.expr: 1:1: no event of exec has the field "process.pdi"'],
  ['{ open: { path: { eq: "x" } } }', 'where.open: the session has no tracker open; it has exec'],
])('refuses %s with its place', async (where, message) => {
  const id = await start();
  const { json } = await post(server.url, {
    query: `{ session(id: "${id}") { events(where: ${where}) { totalCount } } }`,
  });
  expect(json.errors?.[0]).toMatchObject({
    message: expect.stringContaining(message),
    path: ['session', 'events'],
    extensions: { code: 'BAD_USER_INPUT' },
  });
});

it('refuses a trace with a bad filter before it runs', async () => {
  const { json } = await post(server.url, {
    query:
      'mutation { trace(input: { trackers: [{ exec: {} }] }, for: "5m") { events(where: { expr: "args.foo()" }) { totalCount } } }',
  });
  expect(json.errors?.[0]?.message).toContain('there is no method foo()');
  expect(fixture.services.manager.list()).toEqual([]);
});
