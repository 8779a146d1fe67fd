import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { ApiServer } from '../../src/api/http/server.js';
import { root } from '../../src/base/paths.js';
import { sendRaw, type RawResponse } from '../support/raw.js';
import { createServer, createFixture, post, type Fixture } from './support.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;

beforeAll(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
});

afterAll(async () => {
  await fixture.services.manager.close();
  await server.close();
});

const HEAD = 'Host: localhost\r\nx-eunomia: 1\r\nConnection: close\r\n';
const get = (target: string): Promise<RawResponse> => sendRaw(server.url, `GET ${target} HTTP/1.1\r\n${HEAD}\r\n`);
const send = (body: string | Buffer, type = 'application/json'): Promise<RawResponse> =>
  sendRaw(
    server.url,
    Buffer.concat([
      Buffer.from(
        `POST /graphql HTTP/1.1\r\n${HEAD}Content-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`,
      ),
      Buffer.from(body),
    ]),
  );

const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
const document = encodeURIComponent('query ($input: StartSessionInput!) { session(id: "x") { id } }');

/** Asserts a client's error as this server sends them, and that it tells nothing of the server. */
function expectRefused(response: RawResponse, code?: string): void {
  expectSecretive(response);
  expect(`${response.status} ${response.body}`).toMatch(/^4\d\d /);
  const { errors } = JSON.parse(response.body) as { errors: { message: string; extensions: { code: string } }[] };
  expect(errors.length).toBeGreaterThan(0);
  for (const { message, extensions } of errors) {
    expect(message).not.toBe('');
    expect(extensions.code).toMatch(/^[A-Z_]+$/);
  }
  if (code !== undefined) expect(errors[0]?.extensions.code).toBe(code);
}

function expectSecretive({ head, body }: RawResponse): void {
  for (const text of [head, body]) {
    expect(text).not.toMatch(/^\s*at \S/m);
    expect(text).not.toMatch(/\\n\s*at \S/);
    expect(text).not.toContain(root);
    expect(text).not.toContain('node_modules');
    expect(text).not.toContain('node:internal');
  }
}

describe('a hostile request', () => {
  it.each([
    ['http://localhost/graphql?query={server{version}}', 'NOT_FOUND'],
    ['*', 'NOT_FOUND'],
    ['/graphql?variables={bad', 'BAD_REQUEST'],
    ['/graphql?query=%7Bserver%7Bversion%7D%7D&variables=%7Bbad', 'BAD_REQUEST'],
    ['/graphql?query=%7Bserver%7Bversion%7D%7D&extensions=%5B', 'BAD_REQUEST'],
    ['/graphql?query=%7Bserver%7Bversion%7D%7D&variables=%5B%5D', 'BAD_REQUEST'],
    ['/graphql?query=%7Bserver%7Bversion%7D%7D&query=%7B__typename%7D', 'BAD_REQUEST'],
    ['/graphql?query=%7Bserver%7Bversion%7D%7D&qeury=1', 'BAD_REQUEST'],
    ['/graphql?query=%', 'BAD_REQUEST'],
    ['/graphql?query=%zz', 'BAD_REQUEST'],
    ['/graphql?query=%ff%fe', 'BAD_REQUEST'],
    ['/graphql?query=%c0%80', 'BAD_REQUEST'],
    ['/graphql?query=%ed%a0%80', 'BAD_REQUEST'],
    ['/graphql?%=1', 'BAD_REQUEST'],
    ['/graphql', 'BAD_REQUEST'],
    ['/export/x.csv?where=%ff', 'BAD_REQUEST'],
    ['/export/x.csv?%', 'BAD_REQUEST'],
    ['/export/%00.csv', 'NOT_FOUND'],
    ['/export/..%2f..%2fetc%2fpasswd', 'NOT_FOUND'],
  ])('GET %s is refused with %s', async (target, code) => expectRefused(await get(target), code));

  it('with variables or extensions nested 5,000 deep in the query string is refused', async () => {
    for (const name of ['variables', 'extensions'])
      expectRefused(
        await get(`/graphql?query=${document}&${name}={%22input%22:${'['.repeat(5_000)}${']'.repeat(5_000)}}`),
        'BAD_REQUEST',
      );
  });

  it('with variables or extensions nested 5,000 deep in the body is refused, in a batch too', async () => {
    for (const name of ['variables', 'extensions']) {
      const operation = `{"query":"{ server { version } }","${name}":{"input":${nested(5_000)}}}`;
      expectRefused(await send(operation), 'BAD_REQUEST');
      expectRefused(await send(`[${operation}]`), 'BAD_REQUEST');
      expectRefused(
        await send(
          `query=%7B__typename%7D&${name}=${encodeURIComponent(nested(5_000))}`,
          'application/x-www-form-urlencoded',
        ),
        'BAD_REQUEST',
      );
    }
    expectRefused(await send('['.repeat(500_000)), 'BAD_REQUEST');
  });

  it('with more values than a filter may have is refused before they are parsed', async () => {
    const query = JSON.stringify('query ($input: [TrackerInput!]) { __typename }');
    for (const values of ['{},'.repeat(20_000), '1,'.repeat(50_000)]) {
      const response = await send(`{"query":${query},"variables":{"input":[${values}1]}}`);
      expectRefused(response, 'LIMIT_EXCEEDED');
      expect(JSON.parse(response.body)).toMatchObject({ errors: [{ extensions: { limit: 'values' } }] });
    }
    expectRefused(await send(`[${'{"query":"{ __typename }"},'.repeat(20_000)}{}]`), 'LIMIT_EXCEEDED');
  });

  it('does not get its own values back in each error, whatever their size', async () => {
    const unknown = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`key${i}`, 'x'.repeat(20)]));
    const input = { trackers: [{ exec: unknown }] };
    const long = 'x'.repeat(100_000);
    for (const [query, variables] of [
      ['mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }', { input }],
      ['query ($at: DateTime) { process(pid: 1, startTime: $at) { pid } }', { at: long }],
      [`{ process(pid: 1, startTime: "${long}") { pid } }`, {}],
    ] as const) {
      const response = await send(JSON.stringify({ query, variables }));
      expectRefused(response);
      expect(response.body.length).toBeLessThan(15_000);
    }
    const named = await send(JSON.stringify({ query: 'query a { __typename }', operationName: long }));
    expect(named.body.length).toBeLessThan(1_000);
    const { errors } = JSON.parse(
      (
        await send(
          JSON.stringify({ query: 'query ($n: Int) { alerts(first: $n) { totalCount } }', variables: { n: long } }),
        )
      ).body,
    ) as { errors: { message: string }[] };
    expect(errors[0]?.message).toMatch(
      /^Variable "\$n" got invalid value "x{60}[^"x]+"; Int cannot represent non-integer value: "x{60}[^"x]+"$/,
    );
  });

  it('with variables nested as deep as a filter may be is served', async () => {
    const where = Array.from({ length: 40 }).reduce<unknown>((inner) => ({ and: [inner] }), {
      process: { pid: { eq: 1 } },
    });
    const { json } = await post(server.url, {
      query: 'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
      variables: { input: { trackers: [{ exec: {} }], where } },
    });
    expect(json.errors).toBeUndefined();
  });

  it.each<[string, string | Buffer, string]>([
    ['nothing', '', 'BAD_REQUEST'],
    ['no JSON', '{', 'BAD_REQUEST'],
    ['null', 'null', 'BAD_REQUEST'],
    ['a number', '1', 'BAD_REQUEST'],
    ['a query that is a number', '{"query":1}', 'BAD_REQUEST'],
    ['a name of an operation that is an object', '{"query":"{ __typename }","operationName":{}}', 'BAD_REQUEST'],
    ['variables that are a list', '{"query":"{ __typename }","variables":[]}', 'BAD_REQUEST'],
    ['an unknown parameter', '{"query":"{ __typename }","varaibles":{}}', 'BAD_REQUEST'],
    ['a batch with null in it', '[null]', 'BAD_REQUEST'],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), 'BAD_REQUEST'],
    ['UTF-16', Buffer.from('{"query":"{ __typename }"}', 'utf16le'), 'BAD_REQUEST'],
    ['NUL bytes', '\0\0\0', 'BAD_REQUEST'],
  ])('with a body of %s is refused', async (_what, body, code) => expectRefused(await send(body), code));

  it.each([
    'text/html',
    'application/xml',
    'application/json; charset=utf-16',
    'image/png',
    'application/jsonx',
    '\u00ff',
  ])('with the content type "%s" is refused with 415', async (type) => {
    const response = await send('{"query":"{ __typename }"}', type);
    expectRefused(response, 'UNSUPPORTED_MEDIA_TYPE');
    expect(response.status).toBe(415);
  });

  it.each(['gzip', 'br, identity', 'identity identity'])(
    'that is compressed (%s) is refused with 415, unread, and told so',
    async (coding) => {
      const packed = gzipSync('{"query":"{ __typename }"}');
      const response = await fetch(server.url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Content-Encoding': coding },
        body: packed,
      });
      expect(response.status).toBe(415);
      expect(response.headers.get('accept-encoding')).toBe('identity');
      const text = await response.text();
      expect(JSON.parse(text)).toMatchObject({ errors: [{ extensions: { code: 'UNSUPPORTED_MEDIA_TYPE' } }] });
      expect(text.length).toBeLessThan(500);
    },
  );

  it('whose coding is the identity is served', async () => {
    const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'Identity' };
    const response = await fetch(server.url, { method: 'POST', headers, body: '{"query":"{ __typename }"}' });
    expect(await response.json()).toEqual({ data: { __typename: 'Query' } });
  });

  it.each([
    ['a head of 100 KB', `GET /graphql HTTP/1.1\r\nHost: localhost\r\nx-large: ${'x'.repeat(100_000)}\r\n\r\n`, 431],
    ['a target of 100 KB', `GET /graphql?query=${'x'.repeat(100_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 431],
    ['a NUL in a header', 'GET /graphql HTTP/1.1\r\nHost: localhost\r\nx-nul: a\0b\r\n\r\n', 400],
    ['a NUL in the target', 'GET /graph\0ql HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
    ['no HTTP', 'hello\r\n\r\n', 400],
    [
      'two lengths',
      'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
      400,
    ],
    [
      'a length and chunks',
      'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a length that is none', 'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n', 400],
    ['no Host', 'GET /graphql HTTP/1.1\r\n\r\n', 400],
    ['a Host with a path', 'GET /graphql HTTP/1.1\r\nHost: localhost/x?\r\n\r\n', 400],
    ['an expectation', `GET /graphql HTTP/1.1\r\n${HEAD}Expect: money\r\n\r\n`, 417],
    [
      'an upgrade to HTTP/2',
      `GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
      426,
    ],
    [
      'a WebSocket without a key',
      `GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      400,
    ],
    [
      'a WebSocket of version 99',
      `GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n\r\n`,
      400,
    ],
    ['CONNECT', 'CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n', 405],
  ])('that is %s is refused with our error', async (_what, bytes, status) => {
    const response = await sendRaw(server.url, bytes);
    expectRefused(response);
    expect(response.status).toBe(status);
  });
});

describe('whatever is sent', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '/graphql',
      '/',
      '//',
      '..',
      '?',
      '&',
      '=',
      'query=',
      'variables=',
      'extensions=',
      '%',
      '%00',
      '%ff',
      '%7B',
      '{',
      '}',
      '[',
      '"',
      '\\',
      '+',
      ';',
      '#',
      '@',
      ':',
      'http://',
      '*',
      '/export/',
      '.csv',
      '/metrics',
      '__proto__',
      '\u00e9',
      '\u0001',
      '\t',
    ),
    fc.string({ maxLength: 6 }),
  );
  const options = { numRuns: 150 };
  const check = (response: RawResponse): void => {
    expectSecretive(response);
    expect(`${response.status} ${response.body}`).not.toMatch(/^5/);
  };

  it('as a target, no response is a 5xx or tells of the installation', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 12 }), async (pieces) =>
        check(await get(`${pieces.join('').replace(/[\r\n ]/g, '')}`)),
      ),
      options,
    );
  });

  it('as a query string, no response is a 5xx or tells of the installation', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) =>
        check(await get(`/graphql?${pieces.join('').replace(/[\r\n ]/g, '')}`)),
      ),
      options,
    );
  });

  it('as JSON, no response is a 5xx or tells of the installation', async () => {
    const operation = fc.record(
      {
        query: fc.oneof(
          fc.jsonValue(),
          fc.constantFrom(
            '{ server { version } }',
            'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
          ),
        ),
        variables: fc.jsonValue(),
        operationName: fc.jsonValue(),
        extensions: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    const body = fc.oneof(
      fc.jsonValue(),
      operation,
      fc.array(operation, { maxLength: 3 }),
      operation.map((value) => ({
        query: 'query ($input: StartSessionInput!) { __typename session(id: "x") { id } }',
        variables: { input: value },
      })),
    );
    await fc.assert(
      fc.asyncProperty(body, async (value) => check(await send(JSON.stringify(value)))),
      options,
    );
  });

  it('as bytes of a body, no response is a 5xx or tells of the installation', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 60 }),
        fc.constantFrom('application/json', 'application/graphql', 'application/x-www-form-urlencoded'),
        async (bytes, type) => check(await send(Buffer.from(bytes), type)),
      ),
      options,
    );
  });
});

describe('what fails unexpectedly', () => {
  let broken: ApiServer | null = null;

  afterEach(() => broken?.close());

  it('is logged, and the client gets a masked error', async () => {
    const { services } = await createFixture();
    const logged: unknown[] = [];
    const log = Object.assign(Object.create(services.log), { error: (...args: unknown[]) => logged.push(args) });
    const metrics = Object.assign(Object.create(services.metrics), {
      expose: () => {
        throw new Error(`secret of ${root}`);
      },
    });
    broken = await createServer({ ...services, log, metrics });
    const response = await sendRaw(broken.url, `GET /metrics HTTP/1.1\r\n${HEAD}\r\n`);
    expect(response.status).toBe(500);
    expectSecretive(response);
    expect(JSON.parse(response.body)).toEqual({
      errors: [
        { message: 'Unexpected error: the server has logged it.', extensions: { code: 'INTERNAL_SERVER_ERROR' } },
      ],
    });
    expect(logged).toHaveLength(1);
  });
});

describe('a hostile WebSocket client', () => {
  async function converse(...messages: string[]): Promise<{ code: number; reason: string; received: string[] }> {
    const socket = new WebSocket(server.url.replace('http', 'ws'), 'graphql-transport-ws');
    const received: string[] = [];
    let end: { code: number; reason: string } | null = null;
    socket.on('close', (code, reason) => (end = { code, reason: String(reason) }));
    socket.on('message', (data: Buffer) => {
      received.push(String(data));
      if (received.length === 1) for (const message of messages) socket.send(message);
    });
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ type: 'connection_init' }));
    await until('the socket is closed', () => end !== null);
    return { ...(end ?? { code: 0, reason: '' }), received };
  }

  it('with an id of 300 characters twice is closed with a reason that fits', async () => {
    const { services, kernel } = fixture;
    const { json } = await post(server.url, {
      query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }',
    });
    kernel.emit(1);
    const id = '\u00e9'.repeat(300);
    const subscribe = JSON.stringify({
      id,
      type: 'subscribe',
      payload: {
        query: `subscription { events(session: ${JSON.stringify(json.data?.['startSession']?.['id'])}) { events { tracker } } }`,
      },
    });
    const { code, reason } = await converse(subscribe, subscribe);
    expect(code).toBe(4409);
    expect(reason).toMatch(/^Subscriber for \u00e9+…$/);
    expect(services.manager.list().length).toBeGreaterThan(0);
  });

  it('with variables nested 5,000 deep is closed as a bad request', async () => {
    const { code, reason } = await converse(
      `{"id":"1","type":"subscribe","payload":{"query":"{ __typename }","variables":{"a":${nested(5_000)}}}}`,
    );
    expect({ code, reason }).toEqual({ code: 4400, reason: 'Invalid message: nested more than 200 deep' });
  });

  it('with variables of too many values is closed as a bad request', async () => {
    const { code, reason } = await converse(
      `{"id":"1","type":"subscribe","payload":{"query":"{ __typename }","variables":{"a":[${'{},'.repeat(20_000)}1]}}}`,
    );
    expect({ code, reason }).toEqual({ code: 4400, reason: 'Invalid message: more than 20000 values' });
  });

  it.each(['{', 'null', '[]', '{"type":"nothing"}', '{"id":1,"type":"subscribe"}', `{"type":"${'x'.repeat(500)}"}`])(
    'that sends %s is closed as a bad request',
    async (message) => {
      expect((await converse(message)).code).toBe(4400);
    },
  );
});
