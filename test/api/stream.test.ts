import { createConnection } from 'node:net';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import type { Session } from '../../src/session/session.js';
import {
  createServer,
  createFixture,
  keepEmitting,
  post,
  type Fixture,
  type FixtureOptions,
  startedSession,
} from './support.js';
import { dialWebSocket, frame, identify } from '../support/socket.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;
let clients: Client[] = [];

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
}

beforeEach(() => serve());

afterEach(async () => {
  await Promise.all(clients.map((client) => client.dispose()));
  clients = [];
  await fixture.services.manager.close();
  await server.close();
});

const wsUrl = (): string => server.url.replace('http', 'ws');

function connect(connectionParams?: Record<string, unknown>): Client {
  const client = createWsClient({
    url: wsUrl(),
    webSocketImpl: WebSocket,
    connectionParams,
    retryAttempts: 0,
    lazy: true,
  });
  clients.push(client);
  return client;
}

const start = (input?: string): Promise<Session> => startedSession(fixture, server, input);

interface Batch {
  events: { bootNs: string; args?: string[] | null }[];
  gap: { dropped: string; lost: string; where: string } | null;
  cursor: string;
}

/** Reads batches until so many events came or the stream ended. */
async function read(
  stream: AsyncIterable<unknown>,
  count: number,
): Promise<{ events: Batch['events']; dropped: number; cursor: string }> {
  const events: Batch['events'] = [];
  let dropped = 0;
  let cursor = '';
  for await (const result of stream) {
    const { events: batch } = (result as { data: { events: Batch } }).data;
    events.push(...batch.events);
    dropped += Number(batch.gap?.dropped ?? 0);
    cursor = batch.cursor;
    if (events.length >= count) break;
  }
  return { events, dropped, cursor };
}

const EVENTS = (id: string, args = '', more = '') =>
  `subscription { events(session: "${id}"${args}) { events { bootNs ${more} } gap { dropped lost where } cursor } }`;

describe('over WebSocket', () => {
  it('streams a session’s events and ends with it', async () => {
    const session = await start();
    const reading = read(connect().iterate({ query: EVENTS(session.id) }), Infinity);
    await until('the subscription is there', async () => (await session.stats()).subscribers.length === 1);
    fixture.kernel.emit(5);
    fixture.kernel.emit(3);
    await fixture.services.manager.stop(session.id);
    expect((await reading).events.map(({ bootNs }) => Number(bootNs))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(await session.stats()).toMatchObject({ subscribers: [], dropped: 0 });
  });

  it('replays what is held, then goes on live; goes on after a cursor without gap or duplicate', async () => {
    const session = await start();
    fixture.kernel.emit(10);
    const first = await read(connect().iterate({ query: EVENTS(session.id, ', replay: 4') }), 4);
    expect(first.events.map(({ bootNs }) => Number(bootNs))).toEqual([6, 7, 8, 9]);
    fixture.kernel.emit(2);
    const second = await read(connect().iterate({ query: EVENTS(session.id, `, after: "${first.cursor}"`) }), 2);
    expect(second.events.map(({ bootNs }) => Number(bootNs))).toEqual([10, 11]);
  });

  it('captures a field while someone selects it, and no longer', async () => {
    const session = await start('{ trackers: [{ exec: {} }, { open: {} }], capture: DEMANDED }');
    const masks = () => fixture.kernel.sources[0]?.masks;
    expect(masks()).toEqual([0n, 0n]);
    const args = '$with: Boolean!';
    const query =
      `subscription (${args}) { events(session: "${session.id}") { events { ...Part ... on OpenEvent { p: path ` +
      '@skip(if: $with) } } } } fragment Part on ExecEvent { cwd @include(if: $with) args }';
    const stream = connect().iterate({ query, variables: { with: false } });
    const reading = read(stream, 2);
    await until('args is captured', () => masks()?.[0] === 1n);
    expect(masks()).toEqual([1n, 1n]);
    fixture.kernel.emit(2);
    expect((await reading).events).toEqual([{ args: ['run', '0'] }, { p: '/etc/1' }]);
    await until('nothing is captured', () => masks()?.[0] === 0n);
    expect(masks()).toEqual([0n, 0n]);
  });

  it('lets a client that never reads lose its own events only, and counts them', async () => {
    await server.close();
    await serve({ limits: { subscriberBytes: 100_000 } });
    const session = await start();
    // A bare socket that says who it is and subscribes, and never reads what comes.
    const stalled = await dialWebSocket(server.url);
    await identify(stalled);
    stalled.write(frame({ id: '1', type: 'subscribe', payload: { query: EVENTS(session.id) } }));
    await until('the stalled client has subscribed', async () => (await session.stats()).subscribers.length === 1);
    stalled.pause();
    const reading = read(connect().iterate({ query: EVENTS(session.id) }), Infinity);
    await until('the other client has subscribed', async () => (await session.stats()).subscribers.length === 2);
    const total = 400_000;
    for (let sent = 0; sent < total; sent += 1000) {
      fixture.kernel.emit(1000);
      await until('the fast client keeps up', async () => (await session.stats()).subscribers[1]?.queued === 0);
    }
    const [slow] = (await session.stats()).subscribers;
    expect(slow?.dropped).toBeGreaterThan(0);
    expect((slow?.delivered ?? 0) + (slow?.dropped ?? 0) + (slow?.queued ?? 0)).toBe(slow?.received);
    expect(slow?.received).toBe(total);
    await fixture.services.manager.stop(session.id);
    const fast = await reading;
    expect(fast.dropped).toBe(0);
    expect(fast.events).toHaveLength(total);
    stalled.destroy();
    await until('the stalled client has gone', async () => (await session.stats()).subscribers.length === 0);
  });

  it('tells of each session and of each change', async () => {
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { data } of connect().iterate<{ sessionChanged: { state: string } }>({
        query: 'subscription { sessionChanged { state } }',
      })) {
        seen.push(data?.sessionChanged.state ?? '');
        if (seen.includes('STOPPED')) break;
      }
    })();
    await until('a change is told', async () => {
      await fixture.services.manager.stop((await start()).id);
      return seen.includes('STOPPED');
    });
    await watching;
    expect(seen.at(-1)).toBe('STOPPED');
  });

  it('says of a wrong argument what would be right', async () => {
    const session = await start();
    for await (const { errors } of connect().iterate({ query: EVENTS(session.id, ', replay: -1') })) {
      expect(errors?.[0]).toMatchObject({
        message: 'replay: -1 is out of range; give 0 to 1,000,000 events',
        extensions: { code: 'BAD_USER_INPUT' },
      });
    }
    for await (const { errors } of connect().iterate({ query: EVENTS('nope') }))
      expect(errors?.[0]).toMatchObject({ extensions: { code: 'UNKNOWN_SESSION' } });
  });

  it('stops a trace when its client completes it', async () => {
    const client = connect();
    const stream = client.iterate({
      query: 'mutation { trace(input: { trackers: [{ exec: {} }] }, for: "60s") { id } }',
    });
    void stream.next().catch(() => undefined);
    await until('the trace runs', () => fixture.services.manager.list()[0]?.state === 'RUNNING');
    await stream.return?.();
    await until('the trace has stopped', () => fixture.services.manager.list()[0]?.state === 'STOPPED');
    expect(fixture.services.manager.list()[0]?.stopReason).toBe('ABANDONED');
  });

  it('ends subscriptions when the server is closed', async () => {
    const session = await start();
    const ended = read(connect().iterate({ query: EVENTS(session.id) }), Infinity);
    await until('the subscription is there', async () => (await session.stats()).subscribers.length === 1);
    await server.close();
    expect((await ended).events).toEqual([]);
    expect((await session.stats()).subscribers).toEqual([]);
  });

  it('refuses a message that is too long without a word on stderr', async () => {
    const client = connect();
    await expect(
      client.iterate({ query: `{ server { version } } # ${'x'.repeat(2 << 20)}` }).next(),
    ).rejects.toMatchObject({ code: 1009 });
  });

  it('refuses a handshake from another origin', async () => {
    const foreign = new WebSocket(wsUrl(), 'graphql-transport-ws', { origin: 'http://evil.example' });
    const status = await new Promise((resolve) => {
      foreign.on('unexpected-response', (_request, response) => resolve(response.statusCode));
      foreign.on('error', () => undefined);
    });
    expect(status).toBe(403);
  });

  it('limits connections', async () => {
    await server.close();
    await serve({ limits: { connections: 1 } });
    const session = await start();
    const first = connect();
    const reading = read(first.iterate({ query: EVENTS(session.id) }), Infinity);
    await until('the first is there', async () => (await session.stats()).subscribers.length === 1);
    const second = new WebSocket(wsUrl(), 'graphql-transport-ws');
    const status = await new Promise((resolve) => {
      second.on('unexpected-response', (_request, response) => resolve(response.statusCode));
      second.on('error', () => undefined);
    });
    expect(status).toBe(503);
    await first.dispose();
    await reading.catch(() => undefined);
    await until('the first has gone', async () => (await session.stats()).subscribers.length === 0);
    const sse = createSseClient({ url: server.url, retryAttempts: 0 });
    fixture.kernel.emit(1);
    expect((await read(sse.iterate({ query: EVENTS(session.id, ', replay: 1') }), 1)).events).toHaveLength(1);
    sse.dispose();
  });
});

describe('over server-sent events', () => {
  it('streams events to graphql-sse, and ends with the session', async () => {
    const session = await start();
    const sse = createSseClient({ url: server.url, retryAttempts: 0 });
    const reading = read(sse.iterate({ query: EVENTS(session.id) }), Infinity);
    await until('the subscription is there', async () => (await session.stats()).subscribers.length === 1);
    fixture.kernel.emit(5);
    await fixture.services.manager.stop(session.id);
    expect((await reading).events).toHaveLength(5);
    sse.dispose();
  });

  it('streams over GET too, and ends when the client goes', async () => {
    const session = await start();
    const controller = new AbortController();
    const response = await fetch(`${server.url}?query=${encodeURIComponent(EVENTS(session.id))}`, {
      headers: { accept: 'text/event-stream', 'x-eunomia': '1' },
      signal: controller.signal,
    });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    await until('the subscription is there', async () => (await session.stats()).subscribers.length === 1);
    controller.abort();
    await until('the subscription has gone', async () => (await session.stats()).subscribers.length === 0);
  });

  it('takes nothing for a client that does not read: its events wait, are dropped and counted', async () => {
    await server.close();
    await serve({ limits: { subscriberBytes: 100_000 } });
    const session = await start();
    const { hostname, port } = new URL(server.url);
    const body = JSON.stringify({ query: EVENTS(session.id) });
    const stalled = createConnection({ host: hostname, port: Number(port) });
    stalled.write(
      `POST /graphql HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Type: application/json\r\nAccept: ` +
        `text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    stalled.pause();
    await until('the subscription is there', async () => (await session.stats()).subscribers.length === 1);
    const stop = keepEmitting(fixture.kernel, 5_000, 1);
    await until('events are dropped', async () => ((await session.stats()).subscribers[0]?.dropped ?? 0) > 100_000);
    stop();
    const [slow] = (await session.stats()).subscribers;
    // What was taken is no more than what sockets hold.
    expect((slow?.delivered ?? 0) * 25).toBeLessThan(20_000_000);
    stalled.destroy();
    await until('the stalled client has gone', async () => (await session.stats()).subscribers.length === 0);
  });

  it('asks for a stream where none is accepted', async () => {
    const session = await start();
    const answer = await post(server.url, { query: EVENTS(session.id) }, { accept: 'application/json' });
    expect(answer).toMatchObject({
      status: 406,
      json: {
        errors: [{ message: expect.stringContaining('text/event-stream'), extensions: { code: 'NOT_ACCEPTABLE' } }],
      },
    });
    expect((await session.stats()).subscribers).toEqual([]);
  });
});

describe('with tokens', () => {
  const operator = 'the-operator-secret';
  const viewer = 'the-viewer-secret';
  const start = 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }';

  beforeEach(async () => {
    await server.close();
    await serve({
      tokens: [
        { secret: operator, role: 'operator' },
        { secret: viewer, role: 'viewer' },
      ],
    });
  });

  it('asks for one over HTTP', async () => {
    const none = await post(server.url, { query: '{ server { version } }' });
    expect(none).toMatchObject({ status: 401, json: { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] } });
    expect(none.headers.get('www-authenticate')).toBe('Bearer');
    expect(
      await post(server.url, { query: '{ server { version } }' }, { authorization: 'Bearer wrong' }),
    ).toMatchObject({ status: 401 });
    expect(
      await post(server.url, { query: '{ server { version } }' }, { authorization: `Bearer ${viewer}` }),
    ).toMatchObject({ status: 200, json: { data: { server: { version: '0.1.0' } } } });
  });

  it('lets a viewer query, and an operator act', async () => {
    const refused = await post(server.url, { query: start }, { authorization: `Bearer ${viewer}` });
    expect(refused).toMatchObject({
      status: 403,
      json: { errors: [{ message: expect.stringContaining('role operator'), extensions: { code: 'FORBIDDEN' } }] },
    });
    expect(fixture.services.manager.list()).toEqual([]);
    expect(
      (await post(server.url, { query: start }, { authorization: `Bearer ${operator}` })).json.errors,
    ).toBeUndefined();
  });

  it('closes a WebSocket without a token with 4401, with a wrong one with 4403, and takes the right one', async () => {
    const query = '{ server { version } }';
    await expect(connect().iterate({ query }).next()).rejects.toMatchObject({ code: 4401 });
    await expect(connect({ authorization: 'Bearer wrong' }).iterate({ query }).next()).rejects.toMatchObject({
      code: 4403,
    });
    expect(
      (
        await connect({ authorization: `Bearer ${viewer}` })
          .iterate({ query })
          .next()
      ).value,
    ).toMatchObject({ data: { server: { version: '0.1.0' } } });
    const forbidden = connect({ authorization: `Bearer ${viewer}` })
      .iterate({ query: start })
      .next();
    await expect(forbidden).rejects.toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
  });

  it('takes the Authorization header of a handshake', async () => {
    const socket = new WebSocket(wsUrl(), 'graphql-transport-ws', { headers: { authorization: `Bearer ${viewer}` } });
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ type: 'connection_init' }));
    expect(JSON.parse(String(await new Promise((resolve) => socket.once('message', resolve))))).toEqual({
      type: 'connection_ack',
    });
    socket.close();
  });
});
