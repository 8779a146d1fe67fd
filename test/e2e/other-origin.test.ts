import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { installClients, runClient } from '../support/clients.js';
import { startServer, startSession } from '../support/server.js';

const TOKEN = 'secret-of-an-operator';
let pages: Server;
let origin: string;
let folder: string;

beforeAll(async () => {
  folder = await installClients();
  pages = createServer((_request, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>'));
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
});
afterAll(() => pages.close());

/** What a page of the other origin gets in Chromium. */
async function visit(...args: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const server = await startServer(['--engine', 'none', '--token', `operator:${TOKEN}`, ...args], { token: TOKEN });
  const session = await startSession(server, '{ trackers: [{ exec: {} }], target: { comms: ["nobody"] } }');
  return runClient(folder, 'other-origin.mjs', [`${origin}/`, server.url, TOKEN, session]);
}

it('a page of an origin that --allow-origin names uses the server by fetch, server-sent events, downloads and WebSocket', async () => {
  expect(await visit('--allow-origin', 'https://app.example.com', '--allow-origin', origin)).toEqual({
    query: 'string',
    events: 'events',
    download: expect.stringMatching(/^200 attachment/),
    refusal: '401 Bearer',
    webSocket: 'connection_ack',
  });
});

it('a page of any other origin reads nothing over HTTP', async () => {
  const refused = 'TypeError: Failed to fetch';
  expect(await visit('--allow-origin', 'https://app.example.com')).toMatchObject({
    query: refused,
    events: refused,
    download: refused,
    refusal: refused,
  });
});
