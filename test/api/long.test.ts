import { createClient } from 'graphql-ws';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { executeLocally } from '../../src/api/graphql/local.js';
import type { ApiServer } from '../../src/api/http/server.js';
import { callerOf, createFixture, createServer, post, startedId, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;
let query: string;
/** The same result, made by the executor alone. */
let expected: unknown;

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
  const start = 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }';
  const session = startedId(await post(server.url, { query: start }));
  fixture.kernel.emit(3_000);
  query = `{ session(id: "${session}") { events(first: 3000) { nodes { time bootNs cursor process { comm pid } } } } }`;
  const result = await executeLocally(fixture.service, { query }, callerOf('admin'));
  expected = JSON.parse(JSON.stringify(result));
  if (JSON.stringify(expected).length < 300_000) throw new Error('it is not long');
});

afterEach(async () => {
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

async function send(body: unknown, accept: string) {
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept, 'accept-encoding': 'identity' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  expect(response.headers.get('content-length')).toBe(String(Buffer.byteLength(text)));
  return { status: response.status, type: response.headers.get('content-type'), json: JSON.parse(text) as unknown };
}

it.each(['application/json', 'application/graphql-response+json'])(
  'a long result is sent in parts as %s, whole and with its length',
  async (type) => {
    expect(await send({ query }, type)).toEqual({ status: 200, type: `${type}; charset=utf-8`, json: expected });
  },
);

it('long results of a batch are each at their place, beside short ones and errors', async () => {
  const short = { query: '{ __typename }' };
  const batch = [short, { query }, { query: '{ nothing }' }, short, { query }];
  const { status, json } = await send(batch, 'application/json');
  expect(status).toBe(200);
  const typename = { data: { __typename: 'Query' } };
  expect(json).toEqual([
    typename,
    expected,
    { errors: [expect.objectContaining({ message: expect.any(String) })] },
    typename,
    expected,
  ]);
});

it('a long result with an error is made in pieces, too, alone and in a batch', async () => {
  const id = /"\w+"/.exec(query)?.[0];
  const wrong = query.replace(/\}$/, `wrong: session(id: ${id}) { report(container: "nosuch") { complete } } }`);
  const { data, errors } = JSON.parse(
    JSON.stringify(await executeLocally(fixture.service, { query: wrong }, callerOf('admin'))),
  ) as { data: object; errors: readonly object[] };
  expect(errors).toHaveLength(1);
  const written = vi.spyOn(JSON, 'stringify');
  for (const [body, result] of [
    [{ query: wrong }, { errors, data }],
    [
      [{ query: wrong }, { query }],
      [{ errors, data }, expected],
    ],
  ] as const) {
    const { status, json } = await send(body, 'application/json');
    expect(status).toBe(200);
    expect(json).toEqual(result);
  }
  const lengths = written.mock.results.map(({ value }) => String(value).length);
  written.mockRestore();
  expect(Math.max(...lengths)).toBeLessThan(100_000);
});

it('a long result is one message of a WebSocket', async () => {
  const client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket });
  const results: unknown[] = [];
  for await (const result of client.iterate({ query })) results.push(result);
  await client.dispose();
  expect(results).toEqual([expected]);
});

it.each([
  ['text/event-stream', ':\n\nevent: next\ndata: ', '\n\nevent: complete\ndata:\n\n'],
  ['multipart/mixed', '', '\r\n-----\r\n'],
])('a long result and a batch with one are whole for a client that accepts %s alone', async (accept, head, tail) => {
  const type = 'application/json; charset=utf-8';
  const short = { query: '{ __typename }' };
  const cases = [
    { body: short, result: { data: { __typename: 'Query' } } },
    { body: { query }, result: expected },
    { body: [short, { query }], result: [{ data: { __typename: 'Query' } }, expected] },
  ];
  for (const { body, result } of cases) {
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept },
      body: JSON.stringify(body),
    });
    expect(response.headers.get('content-type')).toContain(accept);
    const text = await response.text();
    const parts = text.split('\r\n\r\n');
    const json =
      accept === 'multipart/mixed' ? (parts[1] ?? '').slice(0, -tail.length) : text.slice(head.length, -tail.length);
    const whole =
      accept === 'multipart/mixed'
        ? `\r\n---\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}${tail}`
        : `${head}${json}${tail}`;
    expect(text).toBe(whole);
    expect(JSON.parse(json)).toEqual(result);
  }
});
