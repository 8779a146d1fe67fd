import { METHODS } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { ApiServer } from '../../src/api/http/server.js';
import { ROUTES } from '../../src/api/http/routes.js';
import { sendRaw, type RawResponse } from '../support/raw.js';
import { createServer, createFixture, post, startedId, type Fixture } from './support.js';
import { until } from '../support/until.js';

/** The server has tokens, and the requests of this file have none. */
let fixture: Fixture;
let server: ApiServer;

beforeAll(async () => {
  fixture = await createFixture({ tokens: [{ secret: 'the-secret', role: 'operator' }] });
  server = await createServer(fixture.services);
  const started = await post(
    server.url,
    { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' },
    { authorization: 'Bearer the-secret' },
  );
  subscription = encodeURIComponent(
    `subscription { events(session: "${startedId(started)}", replay: 10) { events { tracker } } }`,
  );
  fixture.kernel.emit(5);
  spellings = spellingsOf(host());
});

afterAll(async () => {
  await fixture.services.manager.close();
  await server.close();
});

const host = (): string => new URL(server.url).host;
const query = encodeURIComponent('{ server { version } }');
let subscription: string;
let spellings: readonly string[];

const paths = [...new Set(ROUTES.map(({ path }) => (typeof path === 'string' ? path : '/export/x.ndjson')))];
const spellingsOf = (host: string): string[] =>
  paths.flatMap((path) => {
    const name = path.slice(1);
    return [
      path,
      `${path}/`,
      `/${path}`,
      `//${path}`,
      `/x${path}`,
      `/.${path}`,
      `/x/..${path}`,
      `${path};x`,
      `${path};x=/graphql`,
      `${path}/?query=${query}`,
      `${path}?query=${query}`,
      `${path}?query=${subscription}`,
      `/?a=${path}`,
      `/?a=${path}&query=${query}`,
      `/x?${path}`,
      `/%67raphql?query=${query}`,
      `/%2e${path}`,
      `/${name.replace(/^./, (first) => `%${first.charCodeAt(0).toString(16)}`)}`,
      `${path}%00`,
      `${path}%20`,
      `${path}%3Fquery=${query}`,
      `${path}#x`,
      `${path}\\`,
      path.toUpperCase(),
      `http://${host}${path}`,
      `http://${host}${path}?query=${query}`,
      `HTTP://evil.example${path}`,
      `ws://${host}${path}`,
      name,
      `*${path}`,
    ];
  });
const forms = ['*', 'localhost:80', '', '/', '//', '/..', '/graphql/graphql', `?query=${query}`];

const hosts = ['localhost', 'x/graphql?', `x/graphql?query=${query}#`, 'evil.example', 'a@b', ''];
const accepts = [
  'application/json',
  'text/event-stream',
  'text/html',
  'text/html, text/event-stream',
  'multipart/mixed',
];

/** What a stranger may get: nothing, and the pages that tell nothing. */
function isHarmless({ status, head, body }: RawResponse): boolean {
  if ([400, 401, 403, 404, 405].includes(status))
    return status === 400 || /"errors":\[\{"message"/.test(body) || body === '';
  if (status === 302) return /location: \/graphql\r?$/im.test(head);
  if (status === 200) return body.trimStart().startsWith('<!doctype html>') || body === 'ok\n' || body === '';
  return false;
}

describe('a stranger, at a server with tokens', () => {
  it('gets nothing by any route, method and spelling', async () => {
    const responses: string[] = [];
    let requests = 0;
    const methods = METHODS.filter((method) => method !== 'QUERY');
    for (const target of [...new Set([...spellings, ...forms])]) {
      for (const method of target.includes('graphql') ? ['GET', 'POST', 'OPTIONS', 'HEAD', 'PUT'] : ['GET', 'POST'])
        await check(method, target);
    }
    for (const path of paths) for (const method of methods) await check(method, path);
    async function check(method: string, target: string): Promise<void> {
      requests += 1;
      const body = method === 'POST' ? JSON.stringify({ query: '{ server { version } }' }) : '';
      const response = await sendRaw(
        server.url,
        `${method} ${target} HTTP/1.1\r\nHost: ${host()}\r\nContent-Type: application/json\r\nContent-Length: ` +
          `${body.length}\r\nx-eunomia: 1\r\nConnection: close\r\n\r\n${body}`,
      );
      if (!isHarmless(response))
        responses.push(`${method} ${target}: ${response.status} ${response.body.slice(0, 100)}`);
      if (response.status === 200 && method !== 'GET' && method !== 'HEAD') responses.push(`${method} ${target}: 200`);
    }
    expect(requests).toBeGreaterThan(400);
    expect(responses).toEqual([]);
    expect(fixture.services.manager.list()).toHaveLength(1);
  });

  it('gets nothing as a stream of server-sent events, or by what the Host header says', async () => {
    const responses: string[] = [];
    for (const target of [
      `/graphql?query=${subscription}`,
      `/graphql/?query=${subscription}`,
      `//graphql?query=${subscription}`,
      `/x?query=${subscription}`,
    ]) {
      for (const accept of accepts) {
        for (const name of hosts) {
          const response = await sendRaw(
            server.url,
            `GET ${target} HTTP/1.1\r\nHost: ${name}\r\nAccept: ${accept}\r\nx-eunomia: 1\r\nConnection: close\r\n\r\n`,
          );
          if (!isHarmless(response))
            responses.push(`${target} ${accept} ${name}: ${response.status} ${response.body.slice(0, 100)}`);
        }
      }
    }
    expect(responses).toEqual([]);
  });

  it('gets a WebSocket at /graphql alone, and no response there without a token', async () => {
    const upgrade = (target: string, method = 'GET'): Promise<RawResponse> =>
      sendRaw(
        server.url,
        `${method} ${target} HTTP/1.1\r\nHost: ${host()}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ' +
          'graphql-transport-ws\r\n\r\n',
      );
    const upgraded: string[] = [];
    for (const target of [...spellings, ...forms]) {
      const { status, body } = await upgrade(target);
      if (status === 101) upgraded.push(target);
      else
        expect([target, status, status === 400 || body.startsWith('{"errors":[{"message":')]).toEqual([
          target,
          status === 400 ? 400 : 404,
          true,
        ]);
    }
    expect(upgraded).toEqual(['/graphql', `/graphql?query=${query}`, `/graphql?query=${subscription}`]);
    expect((await upgrade('/graphql', 'POST')).status).toBe(405);
    const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
    const messages: string[] = [];
    socket.on('message', (data: Buffer) => messages.push(String(data)));
    let code = 0;
    socket.on('close', (closed) => (code = closed));
    socket.on('open', () =>
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: '{ server { version } }' } })),
    );
    await until('the socket is closed', () => code !== 0);
    expect({ code, messages }).toEqual({ code: 4401, messages: [] });
  });

  it('is told whether the server is healthy, and no more', async () => {
    for (const path of ['/healthz', '/readyz']) {
      const { status, body } = await sendRaw(server.url, `GET ${path} HTTP/1.1\r\nHost: ${host()}\r\n\r\n`);
      expect({ status, body }).toEqual({ status: 200, body: 'ok\n' });
    }
  });

  it('is told that the server can do no more than end, but not why', async () => {
    const { server: facts } = fixture.services;
    const { health } = facts;
    facts.health = () => ({ healthy: false, problem: 'the kernel thread has ended', dead: true });
    for (const path of ['/healthz', '/readyz']) {
      const { status, body } = await sendRaw(server.url, `GET ${path} HTTP/1.1\r\nHost: ${host()}\r\n\r\n`);
      expect({ status, body }).toEqual({ status: 503, body: 'unhealthy\n' });
    }
    // One that replays starts no sessions, and does its work.
    facts.health = () => ({ healthy: false, problem: 'it replays', dead: false });
    expect(await sendRaw(server.url, `GET /healthz HTTP/1.1\r\nHost: ${host()}\r\n\r\n`)).toMatchObject({
      status: 200,
    });
    facts.health = health;
  });
});
