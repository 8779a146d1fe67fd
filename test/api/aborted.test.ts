import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PeerCheck } from '../../src/access/peer.js';
import type { ApiServer } from '../../src/api/http/server.js';
import { freePort } from '../support/port.js';
import { until } from '../support/until.js';
import { createServer, createFixture, post, type Fixture } from './support.js';

/** Clients that go away in the middle of a request. */

const HEAD = 'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
const START = JSON.stringify({ query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' });

async function dial(url: string, localPort?: number): Promise<Socket> {
  const { hostname: host, port } = new URL(url);
  const socket = connect({ host, port: Number(port), ...(localPort === undefined ? {} : { localPort }) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('a request that is aborted', () => {
  let fixture: Fixture;
  let server: ApiServer;
  const lines: { readonly level: number; readonly args?: readonly string[] }[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });

  beforeAll(async () => {
    fixture = await createFixture({ insecureNoAuth: true });
    server = await createServer({ ...fixture.services, log });
  });
  afterAll(async () => {
    await fixture.services.manager.close();
    await server.close();
  });
  const loud = (): readonly object[] => lines.filter(({ level }) => level > 20);

  it.each(['Content-Length: 1000', 'Transfer-Encoding: chunked'])(
    'in its body (%s) is no error of the server',
    async (length) => {
      lines.length = 0;
      await until('an aborted body was noticed', async () => {
        const socket = await dial(server.url);
        socket.write(`${HEAD}${length}\r\nExpect: 100-continue\r\n\r\n`);
        await once(socket, 'data'); // the request is being served
        socket.write(length.endsWith('chunked') ? '5\r\n{"que' : '{"que');
        socket.resetAndDestroy();
        await post(server.url, '{ __typename }');
        return lines.some(({ args }) => args?.join().includes('closed the connection before the body was complete'));
      });
      expect(loud()).toEqual([]);
    },
  );

  it.each([
    ['a batch that is too large', JSON.stringify(Array.from({ length: 11 }, () => ({ query: '{ __typename }' })))],
    ['a body that is not JSON', '{bad}'],
    ['a document that is not GraphQL', JSON.stringify({ query: '{' })],
  ])('by its client: neither is %s', async (_what, body) => {
    lines.length = 0;
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
      body,
    });
    expect(await response.text()).toContain('"errors"');
    expect(Math.trunc(response.status / 100)).toBe(4);
    expect(loud()).toEqual([]);
  });
});

describe('a connection that was reset, and whose port has a new owner', () => {
  /** The second connection is an operator's: whoever looks up the ends finds that one. */
  async function setUp(): Promise<{ fixture: Fixture; server: ApiServer; asked: Promise<void>; decide: () => void }> {
    const [asked, decided] = [gate(), gate()];
    const peers: PeerCheck = {
      async check() {
        asked.open();
        await decided.opened;
        return { operator: true };
      },
    };
    const fixture = await createFixture();
    const server = await createServer(fixture.services, peers);
    return { fixture, server, asked: asked.opened, decide: decided.open };
  }

  it.each([
    ['whose reset has been read', START],
    ['with a body that nobody reads meanwhile', START + ' '.repeat(900_000)],
  ])('%s, is not taken for the new one', async (_what, body) => {
    const { fixture, server, asked, decide } = await setUp();
    const localPort = await freePort();
    const first = await dial(server.url, localPort);
    first.write(`${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`);
    await asked;
    first.resetAndDestroy();
    await once(first, 'close');
    const second = await dial(server.url, localPort);
    decide();
    second.write(`GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: localhost\r\nx-eunomia: 1\r\n\r\n`);
    expect(String((await once(second, 'data'))[0])).toContain('HTTP/1.1 200');
    expect(fixture.services.manager.list()).toEqual([]);
    second.destroy();
    await server.close();
  });
});
