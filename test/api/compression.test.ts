import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { buffer } from 'node:stream/consumers';
import zlib from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { untilHolds } from '../support/until.js';
import { createFixture, createServer, post, startedId, type Fixture, type FixtureOptions } from './support.js';

let fixture: Fixture;
let server: ApiServer;
let session: string;
const EVENTS = 3_000;

async function open(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
  session = startedId(
    await post(server.url, { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' }),
  );
  fixture.kernel.emit(EVENTS);
}

beforeEach(() => open());
afterEach(close);

async function close(): Promise<void> {
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
}

const decoders: Readonly<Record<string, (body: Buffer) => Buffer>> = {
  gzip: (body) => zlib.gunzipSync(body),
  br: (body) => zlib.brotliDecompressSync(body),
};
/** Node 22.15 and later. */
const zstd: unknown = Reflect.get(zlib, 'zstdDecompressSync');
const all: typeof decoders =
  typeof zstd === 'function' ? { ...decoders, zstd: (body) => Reflect.apply(zstd, zlib, [body]) as Buffer } : decoders;

interface Asked {
  readonly path?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Asks as it is told, and no more: `fetch` decodes what it gets. */
async function ask({ path = '/graphql', body, headers = {} }: Asked): Promise<IncomingMessage> {
  const sent = request(new URL(path, server.url), {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'x-eunomia': '1', ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
  });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}

async function read(asked: Asked): Promise<{ readonly headers: IncomingMessage['headers']; readonly body: Buffer }> {
  const response = await ask(asked);
  return { headers: response.headers, body: await buffer(response) };
}

const page = (first: number): { readonly query: string } => ({
  query: `{ session(id: "${session}") { events(first: ${first}) { nodes { time bootNs cursor process { comm pid } } } } }`,
});

describe.each(Object.keys(all))('with Accept-Encoding: %s', (coding) => {
  const headers = { 'accept-encoding': coding };
  const decode = (body: Buffer): Buffer => all[coding]?.(body) ?? body;

  it.each([
    ['a short result', () => ({ body: page(20) })],
    ['a long result', () => ({ body: page(EVENTS) })],
    ['a batch of short and long results', () => ({ body: [page(1), page(EVENTS), { query: '{ no }' }, page(EVENTS)] })],
    ['an export as NDJSON', () => ({ path: `/export/${session}.ndjson` })],
    ['an export as CSV', () => ({ path: `/export/${session}.csv` })],
  ])('%s is the same, and smaller', async (_name, asked: () => Asked) => {
    const plain = await read(asked());
    const { headers: got, body } = await read({ ...asked(), headers });
    expect(got).toMatchObject({ 'content-encoding': coding, vary: 'Accept, Accept-Encoding' });
    expect(got['content-type']).toBe(plain.headers['content-type']);
    if (got['content-length'] !== undefined) expect(Number(got['content-length'])).toBe(body.length);
    expect(body.length).toBeLessThan(plain.body.length / 2);
    const same = (text: Buffer): string => String(text).replace(/"exportedAt":"[^"]*"/, '');
    expect(same(decode(body))).toBe(same(plain.body));
    expect(plain.headers).not.toHaveProperty('content-encoding');
    expect(plain.headers.vary).toBe('Accept, Accept-Encoding');
  });

  it('metrics and the page are compressed too', async () => {
    const metrics = await read({ path: '/metrics', headers });
    expect(metrics.headers['content-encoding']).toBe(coding);
    expect(String(decode(metrics.body))).toContain('eunomia_');
    const html = await read({ headers: { ...headers, accept: 'text/html' } });
    expect(html.headers['content-encoding']).toBe(coding);
    expect(String(decode(html.body))).toContain('<title>Eunomia</title>');
  });

  it('an export that follows sends each event at once', async () => {
    const response = await ask({ path: `/export/${session}.ndjson?follow=true`, headers });
    expect(response.headers['content-encoding']).toBe(coding);
    if (coding === 'zstd') return void response.destroy(); // the types of Node 20 have no stream for it
    const stream = coding === 'br' ? zlib.createBrotliDecompress() : zlib.createGunzip();
    let text = '';
    response.pipe(stream).on('data', (part: Buffer) => (text += String(part)));
    const lines = (): number => text.split('\n').length - 2;
    await untilHolds('what was there has come', lines, (count) => count === EVENTS);
    fixture.kernel.emit(1);
    await untilHolds('the new event has come', lines, (count) => count === EVENTS + 1);
    response.destroy();
    stream.destroy();
  });
});

it.each([
  ['what is small', () => ({ body: { query: '{ __typename }' } })],
  ['what is refused', () => ({ body: { query: '{ nothing }' } })],
  ['Parquet', () => ({ path: `/export/${session}.parquet` })],
  ['an export that is refused', () => ({ path: '/export/no.csv' })],
  ['health', () => ({ path: '/healthz' })],
  ['what there is not', () => ({ path: '/nothing' })],
])('%s is not compressed', async (_name, asked: () => Asked) => {
  const { headers } = await read({ ...asked(), headers: { 'accept-encoding': 'gzip, br' } });
  expect(headers).not.toHaveProperty('content-encoding');
});

it('a stream of events is not compressed', async () => {
  const headers = { 'accept-encoding': 'gzip, br' };
  const query = `subscription { events(session: "${session}", replay: 1000) { events { time } } }`;
  const response = await ask({ body: { query }, headers: { ...headers, accept: 'text/event-stream' } });
  expect(response.headers).not.toHaveProperty('content-encoding');
  response.destroy();
});

it('nothing is compressed when the server is told so', async () => {
  await close();
  await open({ compression: false });
  const { headers } = await read({ body: page(EVENTS), headers: { 'accept-encoding': 'gzip, br' } });
  expect(headers).not.toHaveProperty('content-encoding');
  expect(headers).toMatchObject({ vary: 'Accept', 'content-length': expect.any(String) });
});

it('a HEAD of the metrics has the headers of a GET and no body', async () => {
  const url = new URL('/metrics', server.url);
  const { headers } = await fetch(url, { method: 'HEAD', headers: { 'accept-encoding': 'gzip' } });
  expect(headers.get('content-encoding')).toBe('gzip');
  expect(Number(headers.get('content-length'))).toBeGreaterThan(0);
});

it('fetch reads a long result that is compressed, as any client would', async () => {
  const { json } = await post<{ session: { events: { nodes: unknown[] } } }>(server.url, page(EVENTS));
  expect(json.data?.session.events.nodes.length).toBe(EVENTS);
});
