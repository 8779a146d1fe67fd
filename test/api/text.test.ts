import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { layoutOf, packed, recordOf } from '../support/record.js';
import { createServer, createFixture, post, startedId, type Fixture } from './support.js';
import { until } from '../support/until.js';

// Results that are written as text: of the real layout of the tracker exit.

let fixture: Fixture;
let server: ApiServer;
let clients: Client[] = [];

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.dispose()));
  clients = [];
  await fixture.services.manager.close();
  await server.close();
});

const layout = layoutOf('exit');
const comm = Buffer.from('ünï "q"');

function emit(from: number, count: number): void {
  fixture.kernel.deliver(
    packed(Array.from({ length: count }, (_, i) => recordOf(layout, { bootNs: from + i, pid: from + i, comm }))),
  );
}

function connect(): Client {
  const client = createWsClient({
    url: server.url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    lazy: true,
  });
  clients.push(client);
  return client;
}

type Event = Readonly<Record<string, unknown>>;

async function read(stream: AsyncIterable<unknown>): Promise<Event[]> {
  const events: Event[] = [];
  for await (const result of stream)
    events.push(...(result as { data: { events: { events: Event[] } } }).data.events.events);
  return events;
}

it(
  'brings the same events to all readers of one selection, over WebSocket and server-sent events, in small ' +
    'messages and in large ones',
  async () => {
    const id = startedId(
      await post(server.url, { query: 'mutation { startSession(input: { trackers: [{ exit: {} }] }) { id } }' }),
    );
    const session = fixture.services.manager.get(id);
    const query =
      `subscription { events(session: "${id}") { events { bootNs process { pid comm } ... on ExitEvent { signal ` +
      'exitCode } } cursor } }';
    const labelled = query.replace('process {', 'container { labels { name } } process {');
    const sse = createSseClient({ url: server.url, retryAttempts: 0 });
    const reading = [
      ...[1, 2, 3].map(() => read(connect().iterate({ query }))),
      read(connect().iterate({ query: query.replace('bootNs', 'bootNs at: time') })),
      read(sse.iterate({ query })),
      read(connect().iterate({ query: labelled })),
    ];
    await until(
      'all subscriptions are there',
      async () => (await session?.stats())?.subscribers.length === reading.length,
    );
    // Three in one message, a message that goes out in parts, more than one delivery holds.
    const sizes = [3, 2_000, 20_000];
    sizes.forEach((size, i) =>
      emit(
        sizes.slice(0, i).reduce((sum, each) => sum + each, 0),
        size,
      ),
    );
    await fixture.services.manager.stop(id);
    const total = sizes.reduce((sum, each) => sum + each, 0);
    const expected = Array.from({ length: total }, (_, i) => ({
      bootNs: String(i),
      process: { pid: i, comm: 'ünï "q"' },
      signal: null,
      exitCode: 0,
    }));
    const [first, second, third, timed, events, other] = await Promise.all(reading);
    for (const each of [first, second, third, events]) expect(each).toEqual(expected);
    expect(timed?.map(({ bootNs }) => bootNs)).toEqual(expected.map(({ bootNs }) => bootNs));
    expect(timed?.at(-1)).toMatchObject({ at: '2026-01-31T08:15:30.000022002Z' });
    expect(other?.at(-1)).toEqual({ ...expected.at(-1), container: null });
    sse.dispose();
  },
);

it('tells of a value that does not fit the schema, and goes on', async () => {
  const id = startedId(
    await post(server.url, { query: 'mutation { startSession(input: { trackers: [{ exit: {} }] }) { id } }' }),
  );
  const session = fixture.services.manager.get(id);
  const results: unknown[] = [];
  const reading = (async () => {
    for await (const result of connect().iterate({
      query: `subscription { events(session: "${id}") { events { process { pid } } } }`,
    }))
      results.push(result);
  })();
  await until('the subscription is there', async () => (await session?.stats())?.subscribers.length === 1);
  fixture.kernel.deliver(packed([recordOf(layout, { pid: 2 ** 31 })]));
  await until('the first result', () => results.length === 1);
  emit(7, 1);
  await fixture.services.manager.stop(id);
  await reading;
  expect(results).toMatchObject([
    { errors: [{ path: ['events', 'events', 0, 'process', 'pid'] }] },
    { data: { events: { events: [{ process: { pid: 7 } }] } } },
  ]);
});
