import { once } from 'node:events';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { Responses } from '../../src/api/http/responses.js';
import type { ApiServer } from '../../src/api/http/server.js';
import { EunomiaError } from '../../src/base/errors.js';
import { SessionBuffer } from '../../src/session/buffer.js';
import { LiveSession } from '../../src/service/session/live.js';
import { until } from '../support/until.js';
import { createFixture, createServer, post, startedId, type Fixture } from './support.js';

/** What one client has under way at once, so that others have their share. */

let fixture: Fixture;
let server: ApiServer;
let session: string;

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
  const query = 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }';
  session = startedId(await post(server.url, { query }));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

/** Counts how many calls of a method that returns a promise are under way at once, at most. */
function countUnderWay<Target extends object>(target: Target, method: keyof Target & string): () => number {
  let now = 0;
  let most = 0;
  const original = Reflect.get(target, method) as (...args: unknown[]) => Promise<unknown>;
  vi.spyOn(target as Record<string, (...args: unknown[]) => Promise<unknown>>, method).mockImplementation(
    async function (this: unknown, ...args) {
      most = Math.max(most, ++now);
      try {
        await new Promise((resolve) => setImmediate(resolve));
        return await original.apply(this, args);
      } finally {
        now -= 1;
      }
    },
  );
  return () => most;
}

async function dialled(): Promise<{ readonly socket: WebSocket; readonly messages: { id: string; type: string }[] }> {
  const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
  const messages: { id: string; type: string }[] = [];
  await once(socket, 'open');
  socket.send('{"type":"connection_init"}');
  await once(socket, 'message');
  socket.on('message', (data: Buffer) => messages.push(JSON.parse(String(data)) as (typeof messages)[number]));
  return { socket, messages };
}

const subscribe = (id: string, query: string) => JSON.stringify({ id, type: 'subscribe', payload: { query } });
const page = (first: number) => `{ session(id: "${session}") { events(first: ${first}) { nodes { time } } } }`;

it('large results of a connection are made one after the other, and none is refused for those that wait', async () => {
  fixture.kernel.emit(9_000);
  let now = 0;
  let most = 0;
  const { reserve } = Responses.prototype;
  vi.spyOn(Responses.prototype, 'reserve').mockImplementation(function (this: Responses, ...args) {
    const share = reserve.apply(this, args);
    if (share instanceof EunomiaError) return share;
    most = Math.max(most, ++now);
    return { ...share, free: () => ((now -= 1), share.free()) };
  });
  const { socket, messages } = await dialled();
  for (let i = 0; i < 60; i++) socket.send(subscribe(String(i), page(9_000)));
  await until('all are answered', () => messages.filter(({ type }) => type !== 'next').length === 60);
  expect(messages.filter(({ type }) => type === 'next')).toHaveLength(60);
  expect(messages.filter(({ type }) => type === 'error')).toEqual([]);
  expect(most).toBe(1);
  socket.close();
});

it('a large result that its client completed while it waited is never made', async () => {
  fixture.kernel.emit(9_000);
  const { socket, messages } = await dialled();
  const pages = vi.spyOn(SessionBuffer.prototype, 'page');
  socket.send(subscribe('1', page(9_000)));
  socket.send(subscribe('2', page(9_000)));
  socket.send('{"id":"2","type":"complete"}');
  socket.send(subscribe('3', page(9_000)));
  await until('the others are complete', () => messages.filter(({ type }) => type === 'complete').length === 2);
  expect(new Set(messages.map(({ id }) => id))).toEqual(new Set(['1', '3']));
  expect(pages.mock.calls.length).toBe(2);
  socket.close();
});

it.each([
  ['pages', 'events(first: 300) { totalCount }', 'page'],
  ['aggregates', 'aggregate(groupBy: ["process.pid"]) { count }', 'aggregate'],
  ['reports', 'report { markdown }', 'report'],
] as const)('%s of one operation are read two at a time', async (_name, field, method) => {
  fixture.kernel.emit(100);
  const most = countUnderWay(LiveSession.prototype, method);
  const fields = Array.from({ length: 10 }, (_, i) => `a${i}: ${field}`).join(' ');
  const { json } = await post(server.url, { query: `{ session(id: "${session}") { ${fields} } }` });
  expect(json).not.toHaveProperty('errors');
  expect(most()).toBe(2);
});

it('a page of few events waits for none of its client that take long', async () => {
  fixture.kernel.emit(10);
  let go: () => void = () => {};
  const held = new Promise<void>((resolve) => (go = resolve));
  vi.spyOn(LiveSession.prototype, 'aggregate').mockImplementation(() => held.then(() => []));
  const { socket, messages } = await dialled();
  for (let i = 0; i < 5; i++)
    socket.send(
      subscribe(`long ${i}`, `{ session(id: "${session}") { aggregate(groupBy: ["process.pid"]) { count } } }`),
    );
  socket.send(subscribe('short', page(10)));
  await until('the page is there', () => messages.some(({ id, type }) => id === 'short' && type === 'complete'));
  expect(messages.every(({ id }) => id === 'short')).toBe(true);
  go();
  await until('all are there', () => messages.filter(({ type }) => type === 'complete').length === 6);
  socket.close();
});
