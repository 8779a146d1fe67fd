import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import type { Session } from '../../src/session/session.js';
import { createFixture, createServer, post, type Fixture, type FixtureOptions, startedSession } from './support.js';
import { blocksRunBy } from '../support/page.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;
const ending: (() => unknown)[] = [];

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
}

beforeEach(() => serve());

afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
  await fixture.services.manager.close();
  await server.close();
});

const start = (input?: string): Promise<Session> => startedSession(fixture, server, input);

async function cursorOf({ id }: Session): Promise<string> {
  const { json } = await post(server.url, { query: `{ session(id: "${id}") { cursor } }` });
  const { cursor = '' } = (json.data?.['session'] ?? {}) as { cursor?: string };
  return cursor;
}

const subscribers = async (session: Session): Promise<number> => (await session.stats()).subscribers.length;

/** One frame of the stream, by its fields. */
type Frame = Readonly<Record<string, string>>;

interface EventSourceStream {
  readonly frames: AsyncGenerator<Frame>;
  /** Breaks the connection, as a network does. */
  readonly cut: () => void;
}

/** Reads a stream as an EventSource does: ids count also in frames without data. */
async function connect(query: string, lastEventId: string | null): Promise<EventSourceStream> {
  const gone = new AbortController();
  const response = await fetch(`${server.url}?query=${encodeURIComponent(query)}`, {
    headers: {
      accept: 'text/event-stream',
      'sec-fetch-site': 'same-origin',
      'x-eunomia': '1',
      ...(lastEventId !== null && { 'last-event-id': lastEventId }),
    },
    signal: gone.signal,
  });
  expect(response.status).toBe(200);
  const { body } = response;
  if (!body) throw new Error('no body');
  const frames = async function* (): AsyncGenerator<Frame> {
    let text = '';
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += decoder.decode(part.value, { stream: true });
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n');
        text = text.slice(end + 2);
        const fields = lines.flatMap((line) => {
          const [, name, value] = /^(\w+):? ?(.*)$/.exec(line) ?? [];
          return name === undefined || value === undefined ? [] : [[name, value] as const];
        });
        if (fields.length > 0) yield Object.fromEntries(fields);
      }
    }
  };
  const stream = { frames: frames(), cut: () => gone.abort() };
  ending.push(stream.cut);
  return stream;
}

const bootNsOf = (data: string): number[] =>
  (JSON.parse(data) as { data: { events: { events: { bootNs: string }[] } } }).data.events.events.map(({ bootNs }) =>
    Number(bootNs),
  );

/** Goes on with a stream through connections that break after each so many events, until `count` have come. */
async function readThrough(query: string, count: number, cutAfter: () => number): Promise<number[]> {
  const seen: number[] = [];
  let id: string | null = null;
  for (let connections = 0; seen.length < count; connections++) {
    if (connections > 200) throw new Error('it makes no progress');
    const { frames, cut } = await connect(query, id);
    const most = cutAfter();
    let had = 0;
    try {
      for await (const frame of frames) {
        if (frame['id'] !== undefined) ({ id } = frame as { id: string });
        if (frame['event'] === 'next') {
          const events = bootNsOf(frame['data'] ?? '');
          seen.push(...events);
          had += events.length;
        }
        if (had >= most || seen.length >= count) break;
      }
    } catch {
      // As a client sees a connection that breaks.
    }
    cut();
  }
  return seen;
}

const EVENTS = (id: string, args = '', selection = 'bootNs'): string =>
  `subscription { events(session: "${id}", maxDelay: "0ms"${args}) { events { ${selection} } } }`;

describe('an EventSource that reconnects', () => {
  // The second is made by the executor, and not written as text: `session` has a resolver.
  it.each(['bootNs', 'bootNs session { id }'])('gets each event of { %s } once, whatever breaks', async (selection) => {
    const session = await start();
    const query = EVENTS(session.id, '', selection);
    const first = await connect(query, null);
    const { value: opening } = await first.frames.next();
    expect(opening).toMatchObject({ id: expect.any(String) });
    await until('it has subscribed', async () => (await subscribers(session)) === 1);
    // It breaks before the first event.
    first.cut();
    await until('it has gone', async () => (await subscribers(session)) === 0);
    fixture.kernel.emit(7);
    const again = await connect(query, opening?.['id'] ?? null);
    const seen: number[] = [];
    let last = '';
    for await (const frame of again.frames) {
      if (frame['event'] !== 'next') continue;
      seen.push(...bootNsOf(frame['data'] ?? ''));
      last = frame['id'] ?? '';
      if (seen.length >= 7) break;
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6]);
    fixture.kernel.emit(300);
    const cuts = [1, 3, 50];
    const rest = await readThrough(
      EVENTS(session.id, `, after: "${last}"`, selection),
      300,
      () => cuts.shift() ?? Infinity,
    );
    expect(rest).toEqual(Array.from({ length: 300 }, (_, i) => i + 7));
  });

  it('goes on after Last-Event-ID, whatever the document asks to begin with', async () => {
    const session = await start();
    fixture.kernel.emit(10);
    const { frames, cut } = await connect(EVENTS(session.id, ', replay: 10'), null);
    const ids: string[] = [];
    for await (const frame of frames) {
      ids.push(frame['id'] ?? '');
      if (frame['event'] === 'next') break;
    }
    cut();
    fixture.kernel.emit(2);
    const again = await connect(EVENTS(session.id, ', replay: 10'), ids.at(-1) ?? null);
    for await (const frame of again.frames) {
      if (frame['event'] !== 'next') continue;
      expect(bootNsOf(frame['data'] ?? '')).toEqual([10, 11]);
      break;
    }
  });

  it('gets what it asked for once more where none of it had come', async () => {
    const session = await start();
    fixture.kernel.emit(10);
    const { frames } = await connect(EVENTS(session.id, ', replay: 4'), null);
    const { value: opening } = await frames.next();
    const { frames: again } = await connect(EVENTS(session.id, ', replay: 4'), opening?.['id'] ?? null);
    for await (const frame of again) {
      if (frame['event'] !== 'next') continue;
      expect(bootNsOf(frame['data'] ?? '')).toEqual([6, 7, 8, 9]);
      break;
    }
  });

  it('is told that its place is none of the session', async () => {
    const [session, other] = [await start(), await start()];
    const cursor = await cursorOf(other);
    const response = await fetch(`${server.url}?query=${encodeURIComponent(EVENTS(session.id))}`, {
      headers: { accept: 'text/event-stream', 'x-eunomia': '1', 'last-event-id': cursor },
    });
    const told = await response.text();
    expect(told).toContain('BAD_CURSOR');
    expect(told).toMatch(/Last-Event-ID: the cursor is of the session/);
    expect(told).not.toContain('after:');
  });

  it('gets no ids where a stream has no places', async () => {
    const { frames } = await connect('subscription { sessionChanged { id } }', null);
    await start();
    for await (const frame of frames) {
      expect(frame['id']).toBeUndefined();
      if (frame['event'] === 'next') break;
    }
  });
});

/** The code of docs/api.md behind its marker. */
async function recipe(): Promise<{
  resuming: (client: object) => { iterate(request: object): AsyncIterable<unknown> };
}> {
  const [code] = blocksRunBy('test/api/resume.test.ts', 1).map(({ text }) => text);
  if (code === undefined) throw new Error('docs/api.md has no recipe');
  return (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as Awaited<ReturnType<typeof recipe>>;
}

const DOCUMENT = `subscription ($session: ID!, $after: Cursor) {
  events(session: $session, after: $after, maxDelay: "0ms") { cursor gap { dropped } events { bootNs } }
}`;

interface Told {
  readonly data: { readonly events: { readonly events: { readonly bootNs: string }[]; readonly gap: object | null } };
}

describe('the recipe of the documentation', () => {
  it.each(['graphql-ws', 'graphql-sse'])('resumes exactly with %s, whose connections break', async (library) => {
    const session = await start();
    const { resuming } = await recipe();
    const open = new Set<() => void>();
    const cut = (): void => {
      for (const breakOff of open) breakOff();
      open.clear();
    };
    let connections = 0;
    const client =
      library === 'graphql-ws'
        ? createWsClient({
            url: server.url.replace('http', 'ws'),
            webSocketImpl: WebSocket,
            retryAttempts: 1000,
            retryWait: () => Promise.resolve(),
            shouldRetry: () => true,
            on: {
              connected: (socket) => {
                connections++;
                open.add(() => (socket as WebSocket).terminate());
              },
            },
          })
        : createSseClient({
            url: server.url,
            retryAttempts: 1000,
            retry: () => Promise.resolve(),
            fetchFn: async (url: string, init: RequestInit) => {
              const gone = new AbortController();
              connections++;
              open.add(() => gone.abort());
              init.signal?.addEventListener('abort', () => gone.abort());
              return fetch(url, { ...init, signal: gone.signal });
            },
          });
    ending.push(() => void client.dispose());
    const cursor = await cursorOf(session);
    const total = 300;
    const seen: number[] = [];
    const emitted: Promise<void> = (async () => {
      for (let i = 0; i < total; i += 10) {
        // Some come while nobody is there.
        fixture.kernel.emit(10);
        if (i % 60 === 0) cut();
        await until('it has gone on', () => seen.length >= i - 20);
      }
    })();
    const stream = resuming(client).iterate({ query: DOCUMENT, variables: { session: session.id, after: cursor } });
    for await (const result of stream) {
      const { events, gap } = (result as Told).data.events;
      expect(gap).toBeNull();
      seen.push(...events.map(({ bootNs }) => Number(bootNs)));
      if (seen.length >= total) break;
    }
    await emitted;
    expect(seen).toEqual(Array.from({ length: total }, (_, i) => i));
    expect(connections).toBeGreaterThan(2);
  });

  it('tells of what it missed where that is no longer there', async () => {
    await server.close();
    await serve();
    const session = await start('{ trackers: [{ exec: {} }], bufferBytes: 65536 }');
    const { resuming } = await recipe();
    const client = createWsClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
    });
    ending.push(() => void client.dispose());
    const cursor = await cursorOf(session);
    for (let i = 0; i < 30; i++) fixture.kernel.emit(1000);
    await until('all were there', () => session.nextSeq === 30_000 && session.oldestSeq > 0);
    for await (const result of resuming(client).iterate({
      query: DOCUMENT,
      variables: { session: session.id, after: cursor },
    })) {
      expect((result as Told).data.events.gap).toEqual({ dropped: String(session.oldestSeq) });
      break;
    }
  });
});
