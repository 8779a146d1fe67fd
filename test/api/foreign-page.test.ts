import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { howToAllow } from '../../src/access/access.js';
import type { ApiServer } from '../../src/api/http/server.js';
import { createFixture, createServer, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
});

afterEach(async () => {
  await fixture.services.manager.close();
  await server.close();
});

/** Headers that fetch does not let one set. */
function raw(
  path: string,
  headers: Record<string, string>,
  method = 'GET',
  body = '',
): Promise<{ status: number; text: string; headers: IncomingHttpHeaders }> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, path, method, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += String(chunk)));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

describe('against a foreign page', () => {
  const query = '/graphql?query=' + encodeURIComponent('{ server { version } }');
  const json = { 'content-type': 'application/json' };
  const body = JSON.stringify({ query: '{ server { version } }' });

  it('refuses a Host that is no loopback name: DNS rebinding', async () => {
    expect(await raw('/graphql', { ...json, host: 'evil.example' }, 'POST', body)).toMatchObject({
      status: 403,
      text: expect.stringContaining('FORBIDDEN'),
    });
    expect(await raw('/graphql', { ...json, host: 'localhost:4000' }, 'POST', body)).toMatchObject({ status: 200 });
    expect(await raw('/graphql', { ...json, host: '[::1]:4000' }, 'POST', body)).toMatchObject({ status: 200 });
  });

  it('advises an option that takes the origin, where there is one', async () => {
    const advice = async (origin: string) =>
      (await raw('/graphql', { ...json, host: 'localhost:4000', origin }, 'POST', body)).text;
    expect(await advice('http://app.example')).toContain('start it with --token and --allow-origin http://app.example');
    expect(await advice('null')).toContain('no origin that can be allowed: serve it by HTTP');
    expect(await advice('null')).not.toContain('--allow-origin');
  });

  it('refuses another origin', async () => {
    expect(
      await raw('/graphql', { ...json, host: 'localhost:4000', origin: 'http://evil.example' }, 'POST', body),
    ).toMatchObject({ status: 403 });
    expect(
      await raw('/graphql', { ...json, host: 'localhost:4000', origin: 'http://localhost:4001' }, 'POST', body),
    ).toMatchObject({ status: 403 });
    expect(
      await raw('/graphql', { ...json, host: 'localhost:4000', origin: 'http://localhost:4000' }, 'POST', body),
    ).toMatchObject({ status: 200 });
  });

  it('refuses what a browser sends without asking first', async () => {
    expect(await raw(query, {})).toMatchObject({ status: 403, text: expect.stringContaining('CSRF_PREVENTED') });
    expect(await raw(query, { 'x-eunomia': '1' })).toMatchObject({ status: 200 });
    expect(await raw(query, { 'sec-fetch-site': 'same-origin' })).toMatchObject({ status: 200 });
    expect(await raw(query, { 'sec-fetch-site': 'cross-site' })).toMatchObject({ status: 403 });
    expect(await raw('/graphql', { 'content-type': 'text/plain' }, 'POST', body)).toMatchObject({ status: 403 });
    expect(
      await raw(
        '/graphql',
        { 'content-type': 'application/x-www-form-urlencoded' },
        'POST',
        'query=%7Bserver%7Bversion%7D%7D',
      ),
    ).toMatchObject({ status: 403 });
  });

  it('never runs a mutation for a GET', async () => {
    const mutation =
      '/graphql?query=' + encodeURIComponent('mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }');
    expect(await raw(mutation, { 'x-eunomia': '1' })).toMatchObject({
      status: 405,
      text: expect.stringContaining('must be a POST'),
    });
    expect(fixture.services.manager.list()).toEqual([]);
  });
});

describe('a page of another origin, at a server with tokens', () => {
  const origin = 'https://app.example.com';
  const asks = { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
  const body = JSON.stringify({ query: '{ server { version } }' });
  const withToken = { authorization: 'Bearer secret', 'content-type': 'application/json' };

  beforeEach(async () => {
    await server.close();
    const tokens = [{ secret: 'secret', role: 'viewer' }] as const;
    const config = { ...fixture.services.config, tokens, allowedOrigins: [origin] };
    server = await createServer({ ...fixture.services, config });
  });

  it('is let in when it is one of those that are allowed, by any route', async () => {
    for (const [path, methods] of [
      ['/graphql', 'GET, POST'],
      ['/export/s.ndjson', 'GET'],
      ['/metrics', 'GET, HEAD'],
    ] as const) {
      const { status, headers } = await raw(path, asks, 'OPTIONS');
      expect([status, headers['access-control-allow-origin'], headers['access-control-allow-methods']]).toEqual([
        204,
        origin,
        methods,
      ]);
      expect(headers['access-control-allow-headers']?.split(', ')).toEqual(
        expect.arrayContaining(['authorization', 'content-type']),
      );
      expect(headers.vary).toBe('Accept, Accept-Encoding, Origin');
    }
    const { status, headers } = await raw('/graphql', { ...withToken, origin }, 'POST', body);
    expect([status, headers['access-control-allow-origin'], headers['access-control-allow-credentials']]).toEqual([
      200,
      origin,
      undefined,
    ]);
    const refused = await raw('/graphql', { 'content-type': 'application/json', origin }, 'POST', body);
    expect([refused.status, refused.headers['access-control-allow-origin']]).toEqual([401, origin]);
  });

  it.each([
    'https://app.example.com.evil.example',
    'http://app.example.com',
    'https://app.example.com:8443',
    'https://APP.example.com',
    'null',
    '*',
  ])('is told nothing when it is another: %s', async (other) => {
    const asked = await raw('/graphql', { ...asks, origin: other }, 'OPTIONS');
    expect(asked).toMatchObject({ status: 403, text: expect.stringContaining(howToAllow(other)) });
    const sent = await raw('/graphql', { ...withToken, origin: other }, 'POST', body);
    for (const { headers } of [asked, sent]) expect(headers['access-control-allow-origin']).toBeUndefined();
  });

  it('finds no path that is none, and a private network when it asks for one', async () => {
    expect(await raw('/nothing', asks, 'OPTIONS')).toMatchObject({ status: 404 });
    const { headers } = await raw('/graphql', { ...asks, 'access-control-request-private-network': 'true' }, 'OPTIONS');
    expect(headers['access-control-allow-private-network']).toBe('true');
  });
});
