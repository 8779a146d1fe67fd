import { once } from 'node:events';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { EunomiaError } from '../../src/base/errors.js';
import type { Session } from '../../src/session/session.js';
import { dial, dialWebSocket, frame, identify } from '../support/socket.js';
import { createServer, createFixture, post, type Fixture, type FixtureOptions, startedSession } from './support.js';
import { until } from '../support/until.js';

/** What a reader gets when a session ends, by whatever end: all of it, or the number of what is missing, and never a silent rest. */

let fixture: Fixture;
let server: ApiServer;

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
}

afterEach(async () => {
  await server.close();
  await fixture.services.manager.close();
});

const start = (input?: string): Promise<Session> => startedSession(fixture, server, input);

interface Told {
  events: number;
  /** Dropped and lost, as gaps tell them. */
  missing: number;
  errors: string[];
  /** Whether the stream's regular end came. */
  complete: boolean;
}

interface Result {
  readonly data?: {
    readonly events: {
      readonly events: readonly unknown[];
      readonly gap: { readonly dropped: string; readonly lost: string } | null;
    };
  } | null;
  readonly errors?: readonly { readonly extensions?: { readonly code?: string } }[];
}

function tally(told: Told, { data, errors }: Result): void {
  told.events += data?.events.events.length ?? 0;
  told.missing += Number(data?.events.gap?.dropped ?? 0) + Number(data?.events.gap?.lost ?? 0);
  for (const { extensions } of errors ?? []) told.errors.push(extensions?.code ?? '');
}

const nothing = (): Told => ({ events: 0, missing: 0, errors: [], complete: false });
const query = (session: Session): string =>
  `subscription { events(session: "${session.id}") { events { bootNs time process { pid comm startTime } ... on ` +
  'ExecEvent { filename parentComm } } gap { dropped lost } } }';

/** A subscription over WebSocket; each message is read `everyMs` after the one before. */
async function overWebSocket(
  session: Session,
  everyMs: number,
): Promise<{ readonly told: Promise<Told>; readonly code: Promise<number> }> {
  const told = nothing();
  const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
  await once(socket, 'open');
  const code = once(socket, 'close').then(([reason]) => Number(reason));
  socket.on('message', (data) => {
    const message = JSON.parse(String(data)) as { type: string; payload?: Result };
    if (message.type === 'connection_ack')
      socket.send(JSON.stringify({ id: 'a', type: 'subscribe', payload: { query: query(session) } }));
    if (message.type === 'next' && message.payload) tally(told, message.payload);
    if (message.type === 'complete') told.complete = true;
    if (everyMs === 0) return;
    socket.pause();
    setTimeout(() => socket.resume(), everyMs);
  });
  socket.send(JSON.stringify({ type: 'connection_init' }));
  return { code, told: code.then(() => told) };
}

/** The same over server-sent events. */
function overSse(session: Session, everyMs: number): Promise<Told> {
  const told = nothing();
  const read = async (): Promise<Told> => {
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ query: query(session) }),
    });
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString('utf8');
      const messages = text.split('\n\n');
      text = messages.pop() ?? '';
      for (const message of messages) {
        if (message.startsWith('event: complete')) told.complete = true;
        if (message.startsWith('event: next'))
          tally(told, JSON.parse(message.slice(message.indexOf('data: ') + 6)) as Result);
      }
      if (everyMs) await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    return told;
  };
  return read().catch(() => told);
}

async function overDownload(session: Session): Promise<Told> {
  const response = await fetch(new URL(`/export/${session.id}.ndjson?follow=true&fields=bootNs`, server.url), {
    headers: { 'x-eunomia': '1' },
  });
  const lines = (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { end?: { items: string; lost: string; dropped: string }; bootNs?: string });
  const events = lines.filter(({ bootNs }) => bootNs !== undefined).length;
  const end = lines.at(-1)?.end;
  if (Number(end?.items) !== events) throw new Error(`the end tells of ${end?.items} events; there are ${events}`);
  return { events, missing: Number(end?.lost) + Number(end?.dropped), errors: [], complete: true };
}

async function inProcess(session: Session): Promise<Told> {
  const told = nothing();
  for await (const { events, gap } of session.subscribe({ demand: new Map() })) {
    told.events += events.length;
    told.missing += (gap?.dropped ?? 0) + (gap?.lost ?? 0);
  }
  return { ...told, complete: true };
}

const readers = (session: Session, count: number): Promise<unknown> =>
  until(`${count} readers`, async () => (await session.stats()).subscribers.length === count);

/** Events in chunks, some of them with losses. Returns how many were produced. */
async function produce(session: Session, chunks: number): Promise<number> {
  for (let i = 0; i < chunks; i++) fixture.kernel.emit(2000, { lost: i % 5 === 0 ? 3 : 0 });
  return (await session.stats()).produced;
}

describe('all that a session saw is told to each reader', () => {
  const ends: [what: string, input: string, end: (session: Session) => Promise<unknown>, reason: string][] = [
    ['stopSession', '{ trackers: [{ exec: {} }] }', ({ id }) => fixture.services.manager.stop(id), 'REQUESTED'],
    ['its duration', '{ trackers: [{ exec: {} }], for: "5s" }', ({ done }) => done, 'DURATION'],
    ['its removal', '{ trackers: [{ exec: {} }] }', ({ id }) => fixture.services.manager.remove(id), 'REQUESTED'],
    ['the end of the server', '{ trackers: [{ exec: {} }] }', () => server.close(), 'SHUTDOWN'],
  ];
  it.each(ends)('at %s: over WebSocket, SSE, as a download and in process', async (_what, input, end, reason) => {
    await serve({ limits: { drainMs: 60_000 } });
    const session = await start(input);
    const ws = await overWebSocket(session, 0);
    const all = [ws.told, overSse(session, 0), overDownload(session), inProcess(session)];
    await readers(session, 4);
    const produced = await produce(session, 20);
    await end(session);
    expect(session).toMatchObject({ state: 'STOPPED', stopReason: reason });
    if (reason !== 'SHUTDOWN') await server.close();
    for (const told of await Promise.all(all)) {
      expect(told.events + told.missing).toBe(produced);
      // They had the time to read all: what is missing was lost in the kernel.
      expect(told).toMatchObject({ errors: [], complete: true, missing: 4 * 3 });
    }
    expect(await ws.code).toBe(1001);
  });

  it.each([
    ['the end of the server', () => server.close()],
    ['its removal', (session: Session) => fixture.services.manager.remove(session.id)],
  ])('at %s, by readers that are too slow for it: the rest is the gap of their last message', async (_what, end) => {
    await serve({ limits: { drainMs: 200, subscriberBytes: 64 << 20 } });
    const session = await start();
    const ws = await overWebSocket(session, 60);
    const sse = overSse(session, 15);
    await readers(session, 2);
    const produced = await produce(session, 60);
    await end(session);
    await until('they have got their last message', () => !session.hasReaders);
    await server.close();
    const all = await Promise.all([ws.told, sse]);
    for (const told of all) {
      expect(told.events + told.missing).toBe(produced);
      expect(told.missing).toBeGreaterThan(12 * 3); // more than the kernel's own losses
      expect(told.complete).toBe(true);
    }
  });

  it('at the end of the server, which does not wait for one that reads nothing', async () => {
    await serve({ limits: { drainMs: 200 } });
    const session = await start();
    const stalled = await dialWebSocket(server.url);
    await identify(stalled);
    stalled.write(frame({ id: 'a', type: 'subscribe', payload: { query: query(session) } }));
    const silent = await dial(server.url); // and one that never says anything
    await readers(session, 1);
    await produce(session, 40);
    await server.close();
    expect(session.hasReaders).toBe(false);
    stalled.destroy();
    silent.destroy();
  });

  it('when the kernel thread dies: readers get what came, and then the error; the session has ended with the reason', async () => {
    await serve();
    const session = await start();
    const ws = await overWebSocket(session, 0);
    const sse = overSse(session, 0);
    await readers(session, 2);
    fixture.kernel.emit(5000);
    await until('all is read', async () => (await session.stats()).subscribers.every(({ queued }) => queued === 0));
    fixture.kernel.onDeath(new EunomiaError('KERNEL_THREAD_ENDED', 'the kernel thread has ended'));
    await session.done;
    expect(session).toMatchObject({ state: 'STOPPED', stopReason: 'ERROR', error: 'the kernel thread has ended' });
    await expect(fixture.services.manager.died).resolves.toMatchObject({ code: 'KERNEL_THREAD_ENDED' });
    await until('they were told', () => !session.hasReaders);
    await server.close();
    for (const told of await Promise.all([ws.told, sse]))
      expect(told).toMatchObject({ events: 5000, missing: 0, errors: ['KERNEL_THREAD_ENDED'], complete: true });
    // Who comes later is told as well.
    const late = session.subscribe({ demand: new Map(), replay: 10 });
    expect((await late.next()).value?.events).toHaveLength(10);
    await expect(late.next()).rejects.toMatchObject({ code: 'KERNEL_THREAD_ENDED' });
  });

  it('ends other subscriptions with the server too: changes of sessions come to their end, alerts end', async () => {
    await serve();
    const client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
    const states: string[] = [];
    const alerts = (async () => {
      for await (const _ of client.iterate({ query: 'subscription { alerts { id } }' }));
      return 'ended';
    })();
    const changes = (async () => {
      for await (const { data } of client.iterate<{ sessionChanged: { state: string } }>({
        query: 'subscription { sessionChanged { state } }',
      }))
        states.push(data?.sessionChanged.state ?? '');
      return 'ended';
    })();
    await start();
    await until('the session is told of', () => states.includes('RUNNING'));
    await server.close();
    expect(await Promise.all([alerts, changes])).toEqual(['ended', 'ended']);
    expect(states.at(-1)).toBe('STOPPED');
    await client.dispose();
  });
});

describe('a session that is stopped while it starts', () => {
  it('is detached once it is attached, and leaves nothing', async () => {
    await serve();
    const { manager } = fixture.services;
    const load = fixture.kernel.load.bind(fixture.kernel);
    let go: () => void = () => {};
    const held = new Promise<void>((resolve) => (go = resolve));
    fixture.kernel.load = async (...given) => {
      const source = await load(...given);
      await held;
      return source;
    };
    const starting = post(server.url, {
      query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }',
    });
    await until('it starts', () => manager.list()[0]?.state === 'STARTING');
    const [session] = manager.list();
    const stopped = manager.stop(session?.id ?? '');
    go();
    await stopped;
    expect((await starting).json.errors?.[0]?.extensions?.['code']).toBe('STOPPED');
    expect(fixture.kernel.sources.filter(({ open }) => open)).toEqual([]);
    expect(manager.list()).toEqual([]);
  });
});
