import { request as httpRequest } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, path, method, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += String(chunk)));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
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
