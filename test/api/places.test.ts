import { once } from 'node:events';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { EunomiaError, KernelError } from '../../src/base/errors.js';
import { dial, dialWebSocket, frame } from '../support/socket.js';
import { createServer, createFixture, post, startedId, type Fixture } from './support.js';
import { until } from '../support/until.js';

/** Each way to be refused, or to leave, twenty times as often as there are places: what is counted is what it was before. */

const PLACES = 10;
const TIMES = 200;
const AT_ONCE = 20;
const secret = 'the-secret-of-the-admin';
const authorization = `Bearer ${secret}`;

let fixture: Fixture;
let server: ApiServer;
let session: string;

beforeEach(async () => {
  fixture = await createFixture({ tokens: [{ role: 'admin', secret }], limits: { connections: PLACES, sessions: 4 } });
  server = await createServer(fixture.services);
  session = startedId(await ask('mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }'));
  fixture.kernel.emit(100);
});

afterEach(async () => {
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

const ask = (query: unknown, headers: Record<string, string> = {}) =>
  post(server.url, typeof query === 'string' ? { query } : query, { authorization, ...headers });
const events = (id = session): string => `subscription { events(session: "${id}") { events { bootNs } } }`;

async function hammer(what: (i: number) => Promise<void>): Promise<void> {
  for (let done = 0; done < TIMES; done += AT_ONCE)
    await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => what(done + i)));
}

/** Whoever holds it holds the response, too: of one that nobody holds, Node ends the stream when it collects garbage. */
async function openStream(): Promise<{ status: number; response: Response; close(): void }> {
  const gone = new AbortController();
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: events() }),
    signal: gone.signal,
  });
  // A refusal is an event of a stream, with the status that it would have otherwise.
  return { status: response.status, response, close: () => gone.abort() };
}

/** All places can be had, no more, and nothing reads that nobody asked for. */
async function expectAllFree(): Promise<void> {
  const live = fixture.services.manager.get(session);
  await until('nobody reads', async () => (await live?.stats())?.subscribers.length === 0);
  expect(fixture.services.manager.list().filter(({ state }) => state !== 'STOPPED' && state !== 'FAILED')).toHaveLength(
    1,
  );
  expect(fixture.kernel.sources.filter(({ open }) => open)).toHaveLength(1);
  const streams = await Promise.all(Array.from({ length: PLACES }, openStream));
  expect(streams.map(({ status }) => status)).toEqual(Array(PLACES).fill(200));
  const oneMore = await openStream();
  expect(oneMore.status).toBe(503);
  for (const { close } of [...streams, oneMore]) close();
  await until('the streams are gone', async () => (await live?.stats())?.subscribers.length === 0);
}

describe('a place is free again after', () => {
  it('a batch of subscriptions, which is refused with the reason', async () => {
    await hammer(async () => {
      const { json } = await ask([{ query: events() }, { query: '{ __typename }' }], {
        accept: 'text/event-stream, application/json',
      });
      expect(json).toMatchObject([
        {
          errors: [
            { message: expect.stringContaining('cannot be part of a batch'), extensions: { code: 'BAD_REQUEST' } },
          ],
        },
        { data: { __typename: 'Query' } },
      ]);
    });
    await expectAllFree();
  });

  it.each(['text/event-stream-x', 'text/event-stream;q=0', 'application/json', 'image/png'])(
    'an Accept of %s, which is refused',
    async (accept) => {
      await hammer(async () => expect((await ask(events(), { accept })).status).toBe(406));
      await expectAllFree();
    },
  );

  it('a subscription that is refused', async () => {
    await hammer(async () => {
      const answer = await fetch(server.url, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json', accept: 'text/event-stream' },
        body: JSON.stringify({ query: events('nope') }),
      });
      expect(await answer.text()).toContain('UNKNOWN_SESSION');
    });
    await expectAllFree();
  });

  it('a client that is gone before its stream begins', async () => {
    const body = JSON.stringify({ query: events() });
    await hammer(async () => {
      const socket = await dial(server.url);
      socket.write(
        `POST /graphql HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\nAuthorization: ${authorization}\r\n` +
          `Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n` +
          `${body}`,
      );
      socket.resetAndDestroy();
      await once(socket, 'close');
    });
    await expectAllFree();
  });

  it('a client that goes while responses of its connection wait behind another one', async () => {
    const body = JSON.stringify({ query: events() });
    const one =
      `POST /graphql HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\nAuthorization: ${authorization}\r\n` +
      `Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const live = fixture.services.manager.get(session);
    for (let i = 0; i < 5; i++) {
      const socket = await dial(server.url);
      socket.write(one.repeat(PLACES));
      await until('the first reads', async () => (await live?.stats())?.subscribers.length === 1);
      socket.destroy();
      await until('nobody reads', async () => (await live?.stats())?.subscribers.length === 0);
    }
    await expectAllFree();
  });

  it('a download that is refused, and one whose client goes', async () => {
    const url = new URL(server.url);
    await hammer(async (i) => {
      if (i % 2 === 0) {
        const [path, status] = [
          ['/export/nope.ndjson', 404],
          [`/export/${session}.xls`, 400],
          [`/export/${session}.csv?fields=nope`, 400],
        ][i % 3] as [string, number];
        const answer = await fetch(new URL(path, url), { headers: { authorization, 'x-eunomia': '1' } });
        expect(answer.status).toBe(status);
        return void (await answer.text());
      }
      const socket = await dial(server.url);
      socket.write(
        `GET /export/${session}.ndjson?follow=true HTTP/1.1\r\nHost: ${url.host}\r\nAuthorization: ` +
          `${authorization}\r\nX-Eunomia: 1\r\n\r\n`,
      );
      if (i % 3 === 0) await once(socket, 'readable');
      socket.destroy();
      await once(socket, 'close');
    });
    await expectAllFree();
  });

  it('a WebSocket that is refused, says nothing, or goes in the middle', async () => {
    await hammer(async (i) => {
      const way = i % 6;
      if (way === 0) {
        const socket = new WebSocket(
          server.url.replace('http', 'ws'),
          'graphql-transport-ws',
          i % 4 ? { headers: { authorization } } : {},
        );
        await once(socket, 'open');
        socket.send(
          JSON.stringify({
            type: 'connection_init',
            payload: { authorization: i % 4 ? authorization : 'Bearer wrong' },
          }),
        );
        socket.send(i % 8 ? JSON.stringify({ id: 'a', type: 'subscribe', payload: { query: events() } }) : 'nonsense');
        if (i % 4) socket.close();
        return void (await once(socket, 'close'));
      }
      if (way === 1) {
        const socket = new WebSocket(server.url.replace('http', 'ws'), 'another-protocol', {
          headers: { authorization },
        });
        return void (await once(socket, 'error').catch(() => undefined));
      }
      if (way === 2) {
        // What ws itself refuses: no key.
        const socket = await dial(server.url);
        socket.write(
          `GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: ${authorization}\r\n\r\n`,
        );
        socket.resume();
        return void (await once(socket, 'close'));
      }
      const socket = await dialWebSocket(server.url, way === 3 ? { authorization } : {});
      if (way > 3) socket.write(frame({ type: 'connection_init', payload: { authorization } }));
      if (way > 4) socket.write(frame({ id: 'a', type: 'subscribe', payload: { query: events() } }));
      socket.destroy();
      await once(socket, 'close');
    });
    await expectAllFree();
  });

  it('a session that could not start', async () => {
    for (let i = 0; i < TIMES; i++) {
      const way = i % 3;
      fixture.kernel.refuse = way === 0 ? new KernelError('loading exec.bpf.o', 'EPERM', 'needs CAP_BPF') : null;
      const input = ['', ', persist: { store: EMBEDDED }', ', target: { pids: [1999999999] }'][way] ?? '';
      const { json } = await ask(`mutation { startSession(input: { trackers: [{ open: {} }]${input} }) { id } }`);
      expect(json.errors?.[0]?.extensions?.['code']).toBe(['KERNEL_ERROR', 'NO_STORE', 'BAD_USER_INPUT'][way]);
    }
    fixture.kernel.refuse = null;
    expect(fixture.services.manager.list()).toHaveLength(1);
    await expectAllFree();
  });

  it('a start whose last plugin finds no slot: the session does not run on without anybody knowing of it', async () => {
    const source =
      "import { definePlugin } from 'eunomia/plugin';\nexport default definePlugin({ name: 'p', version: " +
      "'1.0.0', summary: 'A test.', reads: { open: ['process'] }, onBatch() {} });";
    expect(
      (
        await post(
          server.url,
          {
            query: 'mutation ($input: LoadPluginInput!) { loadPlugin(input: $input) { name } }',
            variables: { input: { file: 'p.ts', source } },
          },
          { authorization },
        )
      ).json.errors,
    ).toBeUndefined();
    const attach = vi.spyOn(fixture.services.plugins, 'attach').mockImplementation(() => {
      throw new EunomiaError('TOO_MANY_PLUGINS', '32 plugins are at work');
    });
    for (let i = 0; i < 10; i++) {
      const { json } = await ask(
        'mutation { startSession(input: { trackers: [{ open: {} }], plugins: [{ name: "p" }] }) { id } }',
      );
      expect(json.errors?.[0]?.extensions?.['code']).toBe('TOO_MANY_PLUGINS');
    }
    attach.mockRestore();
    await expectAllFree();
  });
});

describe('the places of one identity', () => {
  it('leave some for others: SSE streams, WebSockets and downloads are counted together, and the error names the setting', async () => {
    const [own, other] = ['the-secret-of-a-viewer', 'the-secret-of-another'].map((one) => `Bearer ${one}`);
    const crowded = await createFixture({
      tokens: [
        { role: 'admin', secret: 'the-secret-of-a-viewer' },
        { role: 'admin', secret: 'the-secret-of-another' },
      ],
      limits: { connections: 6, identityConnections: 4 },
    });
    const at = await createServer(crowded.services);
    const closing: (() => void)[] = [];
    const held: Response[] = [];
    try {
      const query = 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }';
      const id = startedId(await post(at.url, { query }, { authorization: own ?? '' }));
      const stream = async (as: string | undefined): Promise<Response> => {
        const gone = new AbortController();
        closing.push(() => gone.abort());
        const response = await fetch(at.url, {
          method: 'POST',
          headers: { authorization: as ?? '', 'content-type': 'application/json', accept: 'text/event-stream' },
          body: JSON.stringify({ query: events(id) }),
          signal: gone.signal,
        });
        held.push(response);
        return response;
      };
      const socket = await dialWebSocket(at.url, { authorization: own ?? '' });
      closing.push(() => socket.destroy());
      for (let i = 0; i < 3; i++) expect((await stream(own)).status).toBe(200);

      const refused = await stream(own);
      expect(refused.status).toBe(503);
      const text = await refused.text();
      expect(text).toMatch(
        /4 WebSocket connections, SSE streams and downloads of this identity \(token\) are open, and at most 4 are allowed; .* --max-connections-per-identity/,
      );
      expect(text).toMatch(/"limit":"identityConnections","maximum":4,"actual":5/);
      await expect(dialWebSocket(at.url, { authorization: own ?? '' })).rejects.toThrow(/503/);
      const download = await fetch(new URL(`/export/${id}.ndjson`, at.url), {
        headers: { authorization: own ?? '', 'x-eunomia': '1' },
      });
      expect(download.status).toBe(503);

      for (let i = 0; i < 2; i++) expect((await stream(other)).status).toBe(200);
      expect(await (await stream(other)).text()).toMatch(/larger --max-connections"/);
      // What one closes is its own again.
      socket.destroy();
      await until('there is a place again', async () => (await stream(own)).status === 200);
    } finally {
      for (const close of closing) close();
      held.length = 0;
      await crowded.services.plugins.close();
      await at.close();
      await crowded.services.manager.close();
    }
  });
});
