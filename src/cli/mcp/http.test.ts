import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hostOf, hostsOf, serveHttp } from './http.js';
import type { Tool } from './tool.js';

const SILENT_MS = 1_000;
/** Longer than a connection may be silent. */
const slow: Tool = {
  name: 'slow',
  description: 'A tool that takes its time.',
  inputSchema: { type: 'object', properties: {}, required: [], additionalProperties: false },
  changes: false,
  async call() {
    await sleep(3 * SILENT_MS);
    return { text: 'done', isError: false };
  },
};
const ending = new AbortController();
let url: string;
let ended: Promise<void>;

beforeAll(async () => {
  url = await new Promise<string>((ready, reject) => {
    const serving = {
      version: '1',
      admit: async () => undefined,
      toolsFor: () => [slow],
      ready,
      signal: ending.signal,
    };
    ended = serveHttp({ host: '127.0.0.1', port: 0 }, serving, SILENT_MS);
    ended.catch(reject);
  });
});
afterAll(async () => {
  ending.abort();
  await ended;
});

it('waits for a tool longer than a connection may be silent, and closes one that is silent without', async () => {
  const { hostname, port } = new URL(url);
  const idle = connect(Number(port), hostname);
  await once(idle, 'connect');
  const closed = once(idle, 'close');
  idle.resume();
  const client = new Client({ name: 'a test', version: '1' });
  const requestInit = { headers: { authorization: 'Bearer x' } };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }) as Transport);
  expect(await client.callTool({ name: 'slow' })).toMatchObject({ content: [{ text: 'done' }] });
  await client.close();
  await closed;
});

it.each([
  ['LocalHost', 401],
  ['127.0.0.1', 401],
  ['[::1]', 401],
  ['evil.example', 403],
  ['localhost.evil.example', 403],
  ['evil@localhost', 403],
])('knows its own names in the header Host, however they are written: %s', async (name, status) => {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(`POST /mcp HTTP/1.1\r\nHost: ${name}:${port}\r\nContent-Length: 0\r\n\r\n`);
  const [data] = (await once(socket, 'data')) as [Buffer];
  expect(String(data)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  socket.destroy();
});

it.each([
  [80, 'localhost', true],
  [80, 'LOCALHOST:80', true],
  [80, '[::1]', true],
  [80, 'gateway.example', true],
  [80, 'localhost:8080', false],
  [80, 'evil.example', false],
  [8080, 'localhost:8080', true],
  [8080, 'localhost', false],
  [8080, 'localhost:80', false],
  [180, 'localhost:180', true],
])('on port %d, the header Host %s is that of the server: %s', (port, host, isOwn) => {
  expect(hostsOf('gateway.example', port).has(hostOf(host))).toBe(isOwn);
});
