import { getIntrospectionQuery } from 'graphql';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { requests, turns } from '../../src/base/turn.js';
import { dial, dialWebSocket, flood, frame, identify } from '../support/socket.js';
import { until } from '../support/until.js';
import { createFixture, createServer, post, startedId, type Fixture, type FixtureOptions } from './support.js';

/** What one client may legally do leaves room for all others. Turns are counted, not milliseconds. */

let fixture: Fixture;
let server: ApiServer;
let reading = false;
let readers: Promise<unknown> = Promise.resolve();
let served = 0;

/** Readers that take all they can get: each of their turns is spent to its end. */
function readWithoutEnd(count: number): void {
  reading = true;
  readers = Promise.all(
    Array.from({ length: count }, async () => {
      while (reading) {
        await turns.next();
        served++;
        while (reading && turns.isOpen);
      }
    }),
  );
}

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
}

/** As on a machine where a turn is over after each piece: work waits wherever it can. Returns how often it did. */
function countTurns(): () => number {
  const later = () => new Promise<void>((resolve) => setImmediate(resolve));
  for (const each of [turns, requests]) vi.spyOn(each, 'isOpen', 'get').mockReturnValue(false);
  vi.spyOn(requests, 'next').mockImplementation(later);
  const next = vi.spyOn(turns, 'next').mockImplementation(later);
  return () => next.mock.calls.length;
}

afterEach(async () => {
  vi.restoreAllMocks();
  reading = false;
  await readers;
  await server.close();
  await fixture.services.manager.close();
});

describe('a request', () => {
  it('is served before each of many readers that never end has had one turn', async () => {
    await serve();
    await post(server.url, { query: '{ __typename }' }); // the connection is known, the document parsed
    readWithoutEnd(400);
    await new Promise((resolve) => setImmediate(resolve));
    const before = served;
    const { json } = await post(server.url, { query: '{ __typename server { version } }' });
    expect(json.data).toMatchObject({ __typename: 'Query' });
    // It waits for rounds of the event loop, each with one turn in it.
    expect(served - before).toBeLessThan(200);
  });
});

describe('what one client sends at once', () => {
  /** The turns that requests take where each has room for one piece. */
  function countRequestTurns(): () => number {
    vi.spyOn(requests, 'isOpen', 'get').mockReturnValue(false);
    const next = vi
      .spyOn(requests, 'next')
      .mockImplementation(() => new Promise<void>((resolve) => setImmediate(resolve)));
    return () => next.mock.calls.length;
  }
  // It is refused, and so takes no turn for its result.
  const refused = { query: '{ nope }' };

  it('as a batch has a turn for each operation', async () => {
    await serve();
    const turnsTaken = countRequestTurns();
    const { json } = await post(
      server.url,
      Array.from({ length: 10 }, () => refused),
    );
    expect(json).toHaveLength(10);
    expect(turnsTaken()).toBeGreaterThanOrEqual(10);
  });

  it('over WebSocket has a turn for each message', async () => {
    await serve();
    const socket = await dialWebSocket(server.url);
    await identify(socket);
    const turnsTaken = countRequestTurns();
    const messages = Array.from({ length: 40 }, (_, i) => frame({ id: `${i}`, type: 'subscribe', payload: refused }));
    socket.write(Buffer.concat(messages));
    let text = '';
    socket.on('data', (data) => (text += String(data)));
    socket.resume();
    await until('all have their response', () => text.split('GRAPHQL_VALIDATION_FAILED').length === 41);
    expect(turnsTaken()).toBeGreaterThanOrEqual(40);
    socket.destroy();
  });

  it('over HTTP is served request by request, and no more is read than some that wait', async () => {
    await serve();
    const { host } = new URL(server.url);
    const requestOf = (query: string): string => {
      const body = JSON.stringify({ query });
      return `POST /graphql HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    };
    const start = 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }';
    const sessions = () => fixture.services.manager.list();
    const socket = await dial(server.url);
    let text = '';
    socket.on('data', (data) => (text += String(data)));
    const served = (): number => text.split('HTTP/1.1 200').length - 1;
    socket.write(requestOf('mutation { trace(input: { trackers: [{ exec: {} }] }, for: "10m") { id } }'));
    socket.write(requestOf(start).repeat(30));
    // What the buffers of the kernel hold, and what was read at once: the rest is not taken.
    const many = Buffer.from(requestOf('{ __typename }').repeat(500));
    expect(await flood(socket, many, { quietMs: 300, mostBytes: 64 << 20 })).toBeLessThan(24 << 20);
    // The client can be quiet before a busy server has started the trace.
    await until('the trace runs', () => sessions().length > 0);
    expect(sessions()).toHaveLength(1);
    await sessions()[0]?.stop('REQUESTED');
    await until('those that waited are served', () => served() > 100);
    expect(sessions()).toHaveLength(31);
    socket.destroy();
  });
});

describe('a page of events', () => {
  const EVENTS = 3_000;
  const FIELDS =
    'edges { cursor node { ...Event } } ... on EventConnection { again: nodes { bootNs } totalCount pageInfo { ' +
    'endCursor } } gaps { lost }';
  const FRAGMENT =
    'fragment Event on TraceEvent { bootNs process { pid comm } ... on ExecEvent { filename parentComm } }';

  interface Page {
    readonly edges: readonly unknown[];
    readonly again: readonly unknown[];
    readonly gaps: readonly unknown[];
    readonly totalCount: string;
    readonly pageInfo: { readonly endCursor: string };
  }

  async function session(): Promise<string> {
    await serve();
    const id = startedId(
      await post(server.url, { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' }),
    );
    for (let made = 0; made < EVENTS; made += 500) fixture.kernel.emit(500, { lost: 1 });
    return id;
  }

  async function read(id: string, first: number, after: string | null, fields: string): Promise<Page> {
    const query =
      'query ($id: ID!, $first: Int!, $after: Cursor) { session(id: $id) { page: events(first: $first, after: ' +
      `$after) { ${fields} } } } ${FRAGMENT}`;
    const { json } = await post(server.url, { query, variables: { id, first, after } });
    expect(json.errors).toBeUndefined();
    const session: unknown = json.data?.['session'];
    return (session as { readonly page: Page }).page;
  }

  /** The same, in pages that are executed in one piece. */
  async function readShort(id: string): Promise<{ edges: unknown[]; again: unknown[] }> {
    const edges: unknown[] = [];
    const again: unknown[] = [];
    for (let after: string | null = null; edges.length < EVENTS;) {
      const page: Page = await read(id, 200, after, FIELDS);
      edges.push(...page.edges);
      again.push(...page.again);
      after = page.pageInfo.endCursor;
    }
    return { edges, again };
  }

  /** Sees each event whose process's name is read. */
  function spyOnComm(id: string, see: (pid: number) => void): ReturnType<typeof vi.spyOn> {
    const event = fixture.services.manager.get(id)?.page({ first: 1 }).events[0];
    const prototype = Object.getPrototypeOf(event?.process) as { readonly comm: string };
    return vi.spyOn(prototype, 'comm', 'get').mockImplementation(function (this: { readonly pid: number }) {
      see(this.pid);
      return `worker-${this.pid % 4}`;
    });
  }

  it.each([
    ['compiled', FIELDS],
    ['by graphql-js', `${FIELDS} __nodes: nodes { bootNs }`],
  ])('is executed in turns, %s, and holds what short pages hold', async (_how, fields) => {
    const id = await session();
    const short = await readShort(id);
    const turnsTaken = countTurns();
    const inOneTurn = new Map<number, number>();
    spyOnComm(id, () => inOneTurn.set(turnsTaken(), (inOneTurn.get(turnsTaken()) ?? 0) + 1));
    const page = await read(id, EVENTS, null, fields);
    expect([...inOneTurn.values()].reduce((sum, count) => sum + count)).toBe(EVENTS);
    expect(Math.max(...inOneTurn.values())).toBeLessThanOrEqual(256);
    vi.restoreAllMocks();
    expect(page.totalCount).toBe(String(EVENTS));
    expect(page.gaps).toHaveLength(6);
    expect(page.edges).toEqual(short.edges);
    expect(page.again).toEqual(short.again);
  });

  it('is made into text in turns over WebSocket, too', async () => {
    const id = await session();
    const short = await readShort(id);
    const client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket });
    const query = `{ session(id: "${id}") { page: events(first: ${EVENTS}) { ${FIELDS} } } } ${FRAGMENT}`;
    const turnsTaken = countTurns();
    const results = [];
    for await (const result of client.iterate<{ session: { page: Page } }>({ query })) results.push(result);
    await client.dispose();
    expect(results).toHaveLength(1);
    expect(results[0]?.data?.session.page.edges).toEqual(short.edges);
    // Of its text alone: 64 entries of a list a turn.
    expect(turnsTaken()).toBeGreaterThan(EVENTS / 64);
  });

  it('tells of an event that the schema does not allow as graphql-js does', async () => {
    const id = await session();
    const comm = spyOnComm(id, (pid) => {
      if (pid === 1_500) throw new Error('broken');
    });
    const { json } = await post(server.url, {
      query: `{ session(id: "${id}") { events(first: ${EVENTS}) { nodes { process { pid comm } } } } }`,
    });
    expect(comm).toHaveBeenCalled();
    expect(json.errors?.[0]?.path).toEqual(['session', 'events', 'nodes', 1_500, 'process', 'comm']);
  });
});

describe('introspection of the whole schema', () => {
  it('is executed in turns, once for those that ask at the same time, and gives what it gives at once', async () => {
    await serve();
    const query = getIntrospectionQuery();
    const ask = async (): Promise<unknown> => (await post(server.url, { query })).json;
    const turnsTaken = countTurns();
    const [cut, same] = await Promise.all([ask(), ask()]);
    // Two or more turns a type, and twice the text's.
    expect(turnsTaken()).toBeGreaterThan(300);
    const taken = turnsTaken();
    vi.restoreAllMocks();
    expect(same).toEqual(cut);
    await server.close();
    await fixture.services.manager.close();
    await serve();
    expect(await ask()).toEqual(cut);
    expect(taken).toBeLessThan(5_000);
  });
});

describe('filters of one operation', () => {
  it('are compiled in a turn each', async () => {
    await serve();
    const id = startedId(
      await post(server.url, { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' }),
    );
    fixture.kernel.emit(10);
    const aliases = Array.from(
      { length: 20 },
      (_, i) => `a${i}: events(where: { expr: "process.pid == ${i}" }) { totalCount }`,
    );
    const turnsTaken = countTurns();
    const { json } = await post(server.url, { query: `{ session(id: "${id}") { ${aliases.join(' ')} } }` });
    expect(json.errors).toBeUndefined();
    // One to compile it, one to look through what the session holds.
    expect(turnsTaken()).toBeGreaterThanOrEqual(40);
  });
});

describe('fields of a query', () => {
  it('begin in a turn each: aliases of a list are no one piece', async () => {
    await serve();
    vi.spyOn(requests, 'isOpen', 'get').mockReturnValue(false);
    const next = vi.spyOn(requests, 'next').mockImplementation(() => new Promise((resolve) => setImmediate(resolve)));
    const aliases = Array.from({ length: 20 }, (_, i) => `a${i}: containers { nodes { name } }`);
    const { json } = await post(server.url, { query: `{ ${aliases.join(' ')} }` });
    expect(json.data?.['a19']).toEqual({ nodes: [{ name: 'web-1' }] });
    expect(next.mock.calls.length).toBeGreaterThanOrEqual(20);
  });

  it('that are long lists are executed in turns', async () => {
    await serve();
    const { alerts } = fixture.services;
    for (let i = 0; i < 2_000; i++)
      alerts.raise({
        severity: 'LOW',
        title: `alert ${i}`,
        message: '',
        source: 'plugin:test',
        session: 's1',
        time: null,
        tracker: null,
        process: null,
        container: null,
        key: null,
      });
    const turnsTaken = countTurns();
    vi.spyOn(requests, 'isOpen', 'get').mockReturnValue(true); // the text, which has turns of its own, is none of these
    const { json } = await post(server.url, { query: '{ alerts(first: 2000) { nodes { title } } }' });
    expect(json.data?.['alerts']).toEqual({
      nodes: Array.from({ length: 2_000 }, (_, i) => ({ title: `alert ${1_999 - i}` })),
    });
    // 256 entries a turn.
    expect(turnsTaken()).toBeGreaterThanOrEqual(7);
  });
});
