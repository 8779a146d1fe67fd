import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import type { Session } from '../../src/session/session.js';
import { createCertificate } from '../support/certificate.js';
import { dial, dialWebSocket, flood, frame, identify } from '../support/socket.js';
import { createServer, createFixture, post, startedId, type Fixture, type FixtureOptions } from './support.js';
import { heldBytes } from '../support/memory.js';
import { until } from '../support/until.js';

/** Clients that do not read, do not speak, or speak out of turn. */

const secret = 'the-secret-of-the-operator';
const authorization = `Bearer ${secret}`;

let fixture: Fixture;
let server: ApiServer;
const sockets: Socket[] = [];
const clients: Client[] = [];

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture({ tokens: [{ role: 'operator', secret }], ...options });
  server = await createServer(fixture.services);
}

async function serveAgain(options: FixtureOptions): Promise<void> {
  await server.close();
  await serve(options);
}

beforeEach(() => serve());

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(clients.splice(0).map((client) => client.dispose()));
  await server.close();
  await fixture.services.manager.close();
});

function kept<Kept extends Socket>(socket: Kept): Kept {
  sockets.push(socket);
  socket.on('error', () => undefined);
  return socket;
}

async function start(): Promise<Session> {
  const id = startedId(
    await post(
      server.url,
      { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' },
      { authorization },
    ),
  );
  const session = fixture.services.manager.get(id);
  if (!session) throw new Error('no session');
  return session;
}

function connect(): Client {
  const client = createClient({
    url: server.url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { authorization },
    retryAttempts: 0,
  });
  clients.push(client);
  return client;
}

const VERSION = { query: '{ server { version } }' };
const answersOf = (client: Client) => client.iterate(VERSION).next();
const subscription = (session: Session, replay = 0): string =>
  `subscription { events(session: "${session.id}", replay: ${replay}) { events { bootNs } gap { dropped } } }`;
const subscribers = async (session: Session): Promise<number> => (await session.stats()).subscribers.length;

/** A WebSocket whose messages can be looked at, with its identity shown. */
async function open(): Promise<{
  socket: WebSocket;
  messages: { id?: string; type: string; payload?: unknown }[];
  send(message: object): void;
}> {
  const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
  const messages: { id?: string; type: string; payload?: unknown }[] = [];
  socket.on('message', (data) => messages.push(JSON.parse(String(data))));
  await once(socket, 'open');
  const send = (message: object): void => socket.send(JSON.stringify(message));
  send({ type: 'connection_init', payload: { authorization } });
  await until('the acknowledgement', () => messages.some(({ type }) => type === 'connection_ack'));
  return { socket, messages, send };
}

describe('an id that is used again', () => {
  it('leaves no subscription behind when its first one is completed before it began', async () => {
    const session = await start();
    const { socket, messages, send } = await open();
    for (let i = 0; i < 50; i++) {
      send({ id: 'a', type: 'subscribe', payload: { query: subscription(session) } });
      send({ id: 'a', type: 'complete' });
    }
    send({ id: 'a', type: 'subscribe', payload: { query: subscription(session) } });
    // The only subscriber of a moment may still be an earlier one, which is leaving.
    await until('events of the last one', async () => {
      if ((await subscribers(session)) === 1) fixture.kernel.emit(3);
      return messages.some(({ type }) => type === 'next');
    });
    const [first, ...others] = messages.filter(({ type }) => type === 'next');
    expect(first).toMatchObject({ id: 'a', payload: { data: { events: { events: [{}, {}, {}] } } } });
    expect(others.every(({ id }) => id === 'a')).toBe(true);
    expect(messages.some(({ type }) => type === 'complete' || type === 'error')).toBe(false);
    socket.close();
    await until('nothing outlives the socket', async () => (await subscribers(session)) === 0);
  });

  it('is refused while its operation is under way, whatever the id is', async () => {
    const session = await start();
    for (const id of ['a', '__proto__', 'é'.repeat(300)]) {
      const { socket, send } = await open();
      const closed = once(socket, 'close');
      send({ id, type: 'subscribe', payload: { query: subscription(session) } });
      send({ id, type: 'subscribe', payload: { query: subscription(session) } });
      const [code, reason] = await closed;
      expect(code).toBe(4409);
      expect(Buffer.byteLength(String(reason))).toBeLessThanOrEqual(123);
      await until('nothing outlives the socket', async () => (await subscribers(session)) === 0);
    }
  });

  it('counts towards the limit of operations until nothing of its operation is left', async () => {
    const session = await start();
    const { socket, messages, send } = await open();
    for (let i = 0; i < 100; i++) send({ id: `s${i}`, type: 'subscribe', payload: { query: subscription(session) } });
    await until('as many as are allowed', async () => (await subscribers(session)) === 100);
    send({ id: 'more', type: 'subscribe', payload: { query: subscription(session) } });
    await until('the refusal', () => messages.some(({ type }) => type === 'error'));
    expect(messages.find(({ type }) => type === 'error')).toMatchObject({
      id: 'more',
      payload: [{ extensions: { code: 'LIMIT_EXCEEDED', limit: 'operations' } }],
    });
    send({ id: 's0', type: 'complete' });
    await until('one has gone', async () => (await subscribers(session)) === 99);
    send({ id: 'more', type: 'subscribe', payload: { query: subscription(session) } });
    await until('its place is taken', async () => (await subscribers(session)) === 100);
    socket.terminate();
    await until('nothing outlives the socket', async () => (await subscribers(session)) === 0);
  });

  it('is the client’s own in answers to it', async () => {
    const { messages, send } = await open();
    send({ id: 'ü "1"', type: 'subscribe', payload: VERSION });
    await until('the response', () => messages.some(({ type }) => type === 'complete'));
    expect(messages.slice(1)).toEqual([
      { id: 'ü "1"', type: 'next', payload: { data: { server: { version: '0.1.0' } } } },
      { id: 'ü "1"', type: 'complete' },
    ]);
  });
});

describe('a client that does not read', () => {
  const MOST = 64 << 20;
  const FEW = 24 << 20; // what the kernel's buffers at both ends hold, and the server's bound

  it.each([
    ['pings of the protocol, before any token', { type: 'ping', payload: { text: 'x'.repeat(60_000) } }, 1, false],
    ['pings of WebSocket, before any token', 'x'.repeat(100), 9, false],
    ['pings', { type: 'ping', payload: { text: 'x'.repeat(60_000) } }, 1, true],
    [
      'queries that are refused',
      { id: '1', type: 'subscribe', payload: { query: '{ a b c d e f g h i j k l m n o p q r s t }' } },
      1,
      true,
    ],
  ] as const)('is not read from either: %s', async (_what, message, opcode, known) => {
    await serveAgain({ limits: { identifyMs: 60_000 } });
    const socket = kept(await dialWebSocket(server.url));
    if (known) await identify(socket, { authorization });
    socket.pause();
    // Each operation has an id of its own: one that is in use would end the connection.
    const one = (i: number): Buffer =>
      frame(typeof message === 'object' && 'id' in message ? { ...message, id: String(i) } : message, opcode);
    const many = Buffer.concat(Array.from({ length: Math.ceil(65_536 / one(0).length) }, (_, i) => one(i)));
    const before = heldBytes();
    expect(await flood(socket, many, { quietMs: 300, mostBytes: MOST })).toBeLessThan(FEW);
    expect(heldBytes() - before).toBeLessThan(MOST * 2);
    // The others are served as before.
    expect((await answersOf(connect())).value).toMatchObject({ data: { server: { version: '0.1.0' } } });
  });

  it('is made one result at a time, however many subscriptions it has', async () => {
    const session = await start();
    fixture.kernel.emit(200_000);
    const socket = kept(await dialWebSocket(server.url, { authorization }));
    await identify(socket);
    for (let i = 0; i < 100; i++)
      socket.write(frame({ id: `s${i}`, type: 'subscribe', payload: { query: subscription(session, 200_000) } }));
    await until('all are there', async () => (await subscribers(session)) === 100);
    let delivered = -1;
    await until('nothing more is taken', async () => {
      const before = delivered;
      delivered = (await session.stats()).subscribers.reduce((sum, each) => sum + each.delivered, 0);
      return delivered === before;
    });
    // Each took the delivery that it waits to send; only what the kernel's buffers took was made: 20 bytes an event.
    expect(delivered).toBeLessThan(100 * 8192 + FEW / 20);
    expect((await answersOf(connect())).value).toMatchObject({ data: { server: { version: '0.1.0' } } });
  });

  it('has results in bounded memory: more are refused, and there is room again when it is gone', async () => {
    const session = await start();
    fixture.kernel.emit(100);
    const page = `{ session(id: "${session.id}") { events(first: 100000) { nodes { bootNs time process { pid comm } } } } }`;
    const socket = kept(await dialWebSocket(server.url, { authorization }));
    await identify(socket);
    let text = '';
    socket.on('data', (data) => (text += String(data)));
    // A trace that lasts keeps the result of each of the others, which ask for as much as they may, from being done.
    for (let i = 0; i < 40; i++)
      socket.write(
        frame({
          id: `s${i}`,
          type: 'subscribe',
          payload: {
            query: `mutation { trace(input: { trackers: [{ exec: {} }] }, for: "10m") {
              events(first: 100000) { nodes { bootNs time process { pid comm } } } } }`,
          },
        }),
      );
    socket.resume();
    await until('some are refused', () => text.includes('"limit":"responses"'));
    expect((await post(server.url, { query: page }, { authorization })).status).toBe(503);
    socket.destroy();
    await until(
      'there is room',
      async () => (await post(server.url, { query: page }, { authorization })).status === 200,
    );
  });

  it('is disconnected after a while, over WebSocket, SSE and a download', async () => {
    await serveAgain({ limits: { stalledMs: 400 } });
    const session = await start();
    let stop: NodeJS.Timeout | undefined;
    try {
      const body = JSON.stringify({ query: subscription(session) });
      const [viaWs, viaSse, viaDownload] = await Promise.all([
        dialWebSocket(server.url, { authorization }),
        dial(server.url),
        dial(server.url),
      ]);
      for (const socket of [viaWs, viaSse, viaDownload]) kept(socket).pause();
      await identify(viaWs);
      viaWs.write(frame({ id: 'a', type: 'subscribe', payload: { query: subscription(session) } }));
      const host = new URL(server.url).host;
      viaSse.write(
        `POST /graphql HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\nContent-Type: ` +
          `application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      viaDownload.write(
        `GET /export/${session.id}.ndjson?follow=true HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\nX-Eunomia: 1\r\n\r\n`,
      );
      await until('all read', async () => (await subscribers(session)) === 3);
      stop = setInterval(() => fixture.kernel.emit(20_000), 5);
      await until('all are gone', async () => (await subscribers(session)) === 0);
    } finally {
      clearInterval(stop);
    }
  });

  it('is not disconnected while it waits for a response, or for events', async () => {
    await serveAgain({ limits: { stalledMs: 100 } });
    const trace = await post(
      server.url,
      { query: 'mutation { trace(input: { trackers: [{ exec: {} }] }, for: "700ms") { state } }' },
      { authorization },
    );
    expect(trace.json.data).toEqual({ trace: { state: 'STOPPED' } });
    const session = await start();
    const reading = connect()
      .iterate({ query: subscription(session) })
      .next();
    await until('it reads', async () => (await subscribers(session)) === 1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    fixture.kernel.emit(1);
    expect((await reading).value).toMatchObject({ data: { events: { events: [{}] } } });
  });
});

describe('a client that does not say who it is', () => {
  it('shuts out nobody who does: WebSockets that stay silent', async () => {
    const silent = await Promise.all(Array.from({ length: 300 }, () => dialWebSocket(server.url).then(kept)));
    expect((await answersOf(connect())).value).toMatchObject({ data: { server: { version: '0.1.0' } } });
    expect((await post(server.url, VERSION, { authorization })).status).toBe(200);
    for (const socket of silent) socket.resume();
    await until('the oldest are gone', () => silent.filter(({ destroyed }) => destroyed).length >= 300 - 128);
  });

  it('shuts out nobody who does: connections without a request', async () => {
    await Promise.all(Array.from({ length: 300 }, () => dial(server.url).then(kept)));
    const session = await start();
    const reading = connect()
      .iterate({ query: subscription(session) })
      .next();
    await until('it reads', async () => (await subscribers(session)) === 1);
    await Promise.all(Array.from({ length: 300 }, () => dial(server.url).then(kept)));
    fixture.kernel.emit(1); // who is known stays
    expect((await reading).value).toMatchObject({ data: { events: { events: [{}] } } });
  });

  it('has no place: all places are there for others', async () => {
    await serveAgain({ limits: { connections: 1 } });
    await Promise.all(Array.from({ length: 20 }, () => dialWebSocket(server.url).then(kept)));
    const session = await start();
    const reading = connect()
      .iterate({ query: subscription(session) })
      .next();
    await until('it reads', async () => (await subscribers(session)) === 1);
    // One more, which shows its token after the handshake.
    await expect(answersOf(connect())).rejects.toMatchObject({
      code: 1013,
      reason: expect.stringContaining('at most 1'),
    });
    fixture.kernel.emit(1);
    expect((await reading).value).toMatchObject({ data: { events: { events: [{}] } } });
  });

  it.each(['ping', 'connection_init'])('has little to say: a %s of 100 KB ends its connection', async (type) => {
    const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
    await once(socket, 'open');
    socket.send(JSON.stringify({ type, payload: { authorization, text: 'x'.repeat(100_000) } }));
    const [code, reason] = await once(socket, 'close');
    expect({ code, reason: String(reason) }).toEqual({
      code: 4400,
      reason: 'Invalid message: more than 65536 bytes before the acknowledgement',
    });
  });

  it.each([
    ['nothing', ''],
    ['headers that never end', 'GET /graphql HTTP/1.1\r\nHost: x\r\nX-A: b\r\n'],
    ['half a WebSocket', 'GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n'],
  ])('is disconnected soon when it sends %s', async (_what, text) => {
    await serveAgain({ limits: { identifyMs: 300 } });
    const socket = kept(await dial(server.url));
    socket.resume();
    if (text) socket.write(text);
    await once(socket, 'close');
  });

  it('is disconnected soon when it opens a WebSocket and sends no connection_init', async () => {
    await serveAgain({ limits: { identifyMs: 300 } });
    const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
    expect((await once(socket, 'close'))[0]).toBe(4408);
  });

  it('is disconnected soon when its TLS handshake never ends, and evicted before when there are many', async () => {
    const tls = await createCertificate();
    try {
      const address = (): { host: string; port: number } => {
        const { hostname, port } = new URL(server.url);
        return { host: hostname, port: Number(port) };
      };
      const silentOnes = (length: number): Promise<Socket[]> =>
        Promise.all(
          Array.from({ length }, async () => {
            const socket = kept(createConnection(address()));
            socket.resume();
            await once(socket, 'connect');
            return socket;
          }),
        );
      const ask = async (): Promise<string> => {
        const secure = kept(connectTls({ ...address(), rejectUnauthorized: false }));
        await once(secure, 'secureConnect');
        secure.write(
          'GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: x\r\nX-Eunomia: 1\r\nAuthorization: ' +
            `${authorization}\r\nConnection: close\r\n\r\n`,
        );
        let text = '';
        for await (const chunk of secure) text += String(chunk);
        return text;
      };
      // No time ends any of them here.
      await serveAgain({ tls, limits: { identifyMs: 600_000, strangers: 5 } });
      const many = await silentOnes(20);
      await until('the oldest are gone', () => many.filter(({ destroyed }) => destroyed).length >= 15);
      // Who is known is not evicted: one that is in the middle of a request while others come.
      expect(await ask()).toContain('"__typename":"Query"');
      await serveAgain({ tls, limits: { identifyMs: 1000 } });
      const few = await silentOnes(3);
      await until('all are gone', () => few.every(({ destroyed }) => destroyed));
    } finally {
      await tls.remove();
    }
  });
});

/** By hand, as subscriptions-transport-ws 0.11 does: the package is deprecated. It sends `start` as soon as the socket is open. */
describe('a client of subscriptions-transport-ws', () => {
  it('is told what to use, by each message that it shows, and then closed', async () => {
    const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-ws');
    const messages: unknown[] = [];
    socket.on('message', (data) => messages.push(JSON.parse(String(data))));
    await once(socket, 'open');
    expect(socket.protocol).toBe('graphql-ws');
    socket.send(JSON.stringify({ type: 'connection_init', payload: {} }));
    socket.send(
      JSON.stringify({ id: '1', type: 'start', payload: { query: 'subscription { sessionChanged { id } }' } }),
    );
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
    const payload = {
      message: expect.stringMatching(/speaks graphql-transport-ws.* use the client of .*"graphql-ws"/),
    };
    expect(messages).toEqual([
      { type: 'connection_error', payload },
      { type: 'error', id: '1', payload },
    ]);
    expect([code, String(reason)]).toEqual([4406, 'use the protocol graphql-transport-ws']);
  });

  it.each(['{', '[', 'null', '{"type":"start","id":{}}', '['.repeat(100_000)])(
    'is closed after %.20s',
    async (text) => {
      const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-ws');
      await once(socket, 'open');
      socket.send(text);
      expect(await once(socket, 'close')).toEqual([4406, expect.anything()]);
    },
  );

  it('that also knows the protocol is served', async () => {
    const socket = new WebSocket(server.url.replace('http', 'ws'), ['graphql-ws', 'graphql-transport-ws']);
    await once(socket, 'open');
    expect(socket.protocol).toBe('graphql-transport-ws');
    socket.terminate();
  });
});
