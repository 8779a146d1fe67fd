import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from 'graphql-ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { LONGEST_BYTES, MOST_BYTES } from '../../src/api/http/persisted.js';
import type { ApiServer } from '../../src/api/http/server.js';
import { blocksRunBy } from '../support/page.js';
import { createFixture, createServer, post, type Fixture, type FixtureOptions } from './support.js';

let fixture: Fixture;
let server: ApiServer;
const folder = mkdtempSync(join(tmpdir(), 'eunomia-persisted-'));
const file = join(folder, 'documents.json');
const tokens = (['viewer', 'operator', 'admin'] as const).map((role) => ({ role, secret: `${role}-secret` }));
const as = (role: string): { authorization: string } => ({ authorization: `Bearer ${role}-secret` });

async function open(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture({ tokens, ...options });
  server = await createServer(fixture.services);
}

async function close(): Promise<void> {
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
}

beforeEach(() => open());
afterEach(async () => {
  await close();
  rmSync(file, { force: true });
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
/** As docs/api.md has it. */
const [shown] = blocksRunBy('test/api/persisted.test.ts', 1);
const named = (text: string) => JSON.parse(shown?.text.replace('HASH', sha256(text)) ?? '') as { extensions: object };
const QUERY = 'query Node($some: Boolean = true) { server @include(if: $some) { version } }';
const notFound = [{ message: 'PersistedQueryNotFound', extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } }];

async function ask(body: unknown, role = 'viewer', headers: Record<string, string> = {}) {
  const { status, json } = await post<{ server: { version: string } }>(server.url, body, {
    accept: 'application/json',
    ...as(role),
    ...headers,
  });
  return { status, ...json };
}
const answered = { status: 200, data: { server: { version: expect.any(String) } } };

describe('automatic persisted queries', () => {
  it('a document is asked for, sent with its hash once, and then named alone, by POST and GET and in a batch', async () => {
    expect(await ask(named(QUERY))).toEqual({ status: 200, errors: notFound });
    expect(await ask({ query: QUERY, ...named(QUERY) })).toEqual(answered);
    expect(await ask(named(QUERY))).toEqual(answered);
    expect(await ask({ ...named(QUERY), query: null, operationName: 'Node' })).toEqual(answered);
    expect(await ask({ ...named(QUERY), variables: { some: false } })).toEqual({ status: 200, data: {} });
    const url = new URL(server.url);
    url.searchParams.set('extensions', JSON.stringify(named(QUERY).extensions));
    const got = await fetch(url, { headers: { ...as('viewer'), 'x-eunomia': '1' } });
    expect(await got.json()).toEqual({ data: answered.data });
    const batch = await post(server.url, [named(QUERY), named('{ other }'), { query: '{ __typename }' }], as('viewer'));
    expect(batch.json).toMatchObject([
      { data: answered.data },
      { errors: notFound },
      { data: { __typename: 'Query' } },
    ]);
  });

  it('a client that takes application/graphql-response+json is told by the status too', async () => {
    const { status, errors } = await ask(named(QUERY), 'viewer', { accept: 'application/graphql-response+json' });
    expect({ status, errors }).toEqual({ status: 404, errors: notFound });
  });

  it('what one client registers, another does not find, and cannot evict', async () => {
    const mine = await ask({ query: QUERY, ...named(QUERY) }, 'operator');
    expect(mine).toEqual(answered);
    expect(await ask(named(QUERY), 'viewer')).toEqual({ status: 200, errors: notFound });
    const length = LONGEST_BYTES / 2 - 400;
    const others = Array.from({ length: 12 }, (_, i) => `{ server { version } } # ${'.'.repeat(length)}${i}`);
    for (const query of others) expect(await ask({ query, ...named(query) })).toEqual(answered);
    expect(others.length * length * 2).toBeGreaterThan(MOST_BYTES);
    // The oldest of the viewer's own have gone.
    expect(await ask(named(others[0] ?? ''))).toMatchObject({ errors: notFound });
    expect(await ask(named(others.at(-1) ?? ''))).toEqual(answered);
    expect(await ask(named(QUERY), 'operator')).toEqual(answered);
  });

  it('what is refused or too long is not kept', async () => {
    const long = `{ server { version } } # ${'.'.repeat(LONGEST_BYTES)}`;
    expect(await ask({ query: long, ...named(long) })).toEqual(answered);
    expect(await ask(named(long))).toMatchObject({ errors: notFound });
    const wrong = '{ nothing }';
    expect((await ask({ query: wrong, ...named(wrong) })).errors?.[0]?.extensions).toMatchObject({
      code: 'GRAPHQL_VALIDATION_FAILED',
    });
    expect(await ask(named(wrong))).toMatchObject({ errors: notFound });
  });

  it('limits and roles hold for a document that is named', async () => {
    await close();
    await open({ limits: { cost: 150 } });
    const query = 'query Costly($n: Int!) { sessions { nodes { events(first: $n) { nodes { time } } } } }';
    expect(await ask({ query, ...named(query), variables: { n: 1 } })).toMatchObject({
      data: { sessions: { nodes: [] } },
    });
    const costly = await ask({ ...named(query), variables: { n: 10_000 } });
    expect(costly.errors?.[0]?.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED', limit: 'cost' });
    const mutation = 'mutation { stopSession(id: "no") { id } }';
    expect((await ask({ query: mutation, ...named(mutation) })).errors?.[0]?.extensions).toMatchObject({
      code: 'FORBIDDEN',
    });
    const url = new URL(server.url);
    await ask({ query: mutation, ...named(mutation) }, 'operator');
    url.searchParams.set('extensions', JSON.stringify(named(mutation).extensions));
    const got = await fetch(url, { headers: { ...as('operator'), 'x-eunomia': '1' } });
    expect(got.status).toBe(405);
  });

  it.each([
    [{ query: QUERY, ...named('{ other }') }, 'is not the SHA-256 of `query`'],
    [{ extensions: { persistedQuery: { version: 2, sha256Hash: sha256(QUERY) } } }, 'version` must be 1'],
    [{ extensions: { persistedQuery: { version: 1 } } }, 'must be the SHA-256'],
    [{ extensions: { persistedQuery: { version: 1, sha256Hash: 7 } } }, 'must be the SHA-256'],
    [{ extensions: { persistedQuery: 'hash' } }, 'must be an object'],
    [{ extensions: { persistedQuery: [] } }, 'must be an object'],
    [{ query: QUERY, documentId: 'a' }, 'both given'],
    [{ documentId: 'a', ...named(QUERY) }, 'both given'],
    [{ documentId: 7 }, '`documentId` is a number'],
    [{ documentId: '' }, 'must be a text'],
    [{ variables: {} }, '`query` is missing'],
    [{ query: null }, '`query` is null'],
  ])('%j is refused: %s', async (body, message) => {
    const { status, errors } = await ask(body);
    expect(errors?.[0]).toMatchObject({
      message: expect.stringContaining(message),
      extensions: { code: 'BAD_REQUEST' },
    });
    expect([200, 400]).toContain(status);
  });

  it('over a WebSocket: the document is empty, and its hash in the extensions', async () => {
    const client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      connectionParams: as('viewer'),
    });
    const read = async (payload: object): Promise<unknown> => {
      for await (const result of client.iterate({ query: '', ...payload })) return result;
      return null;
    };
    await expect(read(named(QUERY))).rejects.toMatchObject([notFound[0]]);
    expect(await read({ query: QUERY, ...named(QUERY) })).toEqual({ data: answered.data });
    expect(await read(named(QUERY))).toEqual({ data: answered.data });
    // It is the same caller over HTTP.
    expect(await ask(named(QUERY))).toEqual(answered);
    await client.dispose();
  });
});

describe('trusted documents', () => {
  const trusted = { version: '{ server { version } }', kernel: 'query Kernel { server { kernel { release } } }' };

  async function trust(content: unknown, only = false): Promise<void> {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
    await close();
    await open({ trustedDocuments: { file, only } });
  }

  it('are named by their ids, and by their hashes as with automatic persisted queries', async () => {
    await trust(trusted);
    expect(await ask({ documentId: 'version' })).toEqual(answered);
    expect(await ask({ documentId: `sha256:${sha256(trusted.version)}` })).toEqual(answered);
    expect(await ask(named(trusted.version))).toEqual(answered);
    expect(await ask({ documentId: 'other' })).toMatchObject({
      errors: [
        {
          message: expect.stringContaining('documentId: this server has no document "other"; send the text') as string,
          extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' },
        },
      ],
    });
    expect(await ask({ query: QUERY })).toEqual(answered);
    const url = new URL(server.url);
    url.searchParams.set('documentId', 'version');
    const got = await fetch(url, { headers: { ...as('viewer'), 'x-eunomia': '1' } });
    expect(await got.json()).toEqual({ data: answered.data });
  });

  it("are read from a manifest of Apollo's", async () => {
    const operations = [{ id: 'abc', name: 'Version', type: 'query', body: trusted.version }];
    await trust({ format: 'apollo-persisted-query-manifest', version: 1, operations });
    expect(await ask({ documentId: 'abc' })).toEqual(answered);
  });

  it('alone are executed where the server is told so, by name or text, and administrators may send others', async () => {
    await trust(trusted, true);
    for (const body of [{ documentId: 'version' }, { query: trusted.version }, named(trusted.version)])
      expect(await ask(body, 'operator')).toEqual(answered);
    expect(await ask({ query: trusted.version, ...named(trusted.version) })).toEqual(answered);
    for (const body of [{ query: QUERY }, { query: QUERY, ...named(QUERY) }])
      for (const role of ['viewer', 'operator'])
        expect((await ask(body, role)).errors?.[0]?.extensions).toMatchObject({ code: 'UNTRUSTED_DOCUMENT' });
    expect(await ask(named(QUERY))).toMatchObject({ errors: notFound });
    expect(await ask({ query: QUERY }, 'admin')).toEqual(answered);
    const client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      connectionParams: as('operator'),
      retryAttempts: 0,
    });
    const read = async (query: string): Promise<unknown> => {
      for await (const result of client.iterate({ query })) return result;
      return null;
    };
    await expect(read(QUERY)).rejects.toMatchObject([{ extensions: { code: 'UNTRUSTED_DOCUMENT' } }]);
    expect(await read(trusted.version)).toEqual({ data: answered.data });
    await client.dispose();
  });

  it.each([
    ['no', 'is not JSON'],
    ['[]', 'has no object'],
    ['{ "a": 7 }', 'entry 0'],
    ['{ "": "{ __typename }" }', 'entry 0'],
    [{ a: '{ server { version } }', b: '{ nothing }' }, 'the document "b": Cannot query field "nothing"'],
    [{ a: '{' }, 'the document "a": Syntax Error'],
    [{ format: 'apollo-persisted-query-manifest' }, 'is a manifest without `operations`'],
    [{ format: 'apollo-persisted-query-manifest', operations: [{ id: 'a' }] }, 'entry 0'],
    [
      {
        format: 'apollo-persisted-query-manifest',
        operations: ['{ __typename }', 'query B { __typename }'].map((body) => ({ id: 'a', body })),
      },
      'the id "a" is there twice',
    ],
  ])('%j keeps the server from starting: %s', async (content, message) => {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
    await close();
    fixture = await createFixture({ trustedDocuments: { file, only: false } });
    await expect(createServer(fixture.services)).rejects.toMatchObject({
      code: 'BAD_TRUSTED_DOCUMENTS',
      message: expect.stringContaining(message),
    });
    await fixture.services.plugins.close();
    await fixture.services.manager.close();
    await open();
  });

  it('are not read from a file that others can write', async () => {
    writeFileSync(file, '{}');
    chmodSync(file, 0o666);
    await close();
    fixture = await createFixture({ trustedDocuments: { file, only: false } });
    await expect(createServer(fixture.services)).rejects.toMatchObject({ code: 'BAD_TRUSTED_DOCUMENTS' });
    await fixture.services.plugins.close();
    await fixture.services.manager.close();
    await open();
  });
});
