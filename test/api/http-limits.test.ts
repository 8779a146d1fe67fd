import { getIntrospectionQuery } from 'graphql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createFixture, createServer, post, type Fixture, type FixtureOptions } from './support.js';

let fixture: Fixture;
let server: ApiServer;

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
}

afterEach(async () => {
  await fixture.services.manager.close();
  await server.close();
});

describe('introspection over HTTP', () => {
  beforeEach(() => serve());

  it('has limits of its own', async () => {
    const { json } = await post(server.url, {
      query: getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true }),
    });
    expect(json.errors).toBeUndefined();
    expect(json.data?.['__schema']?.['types']).toContainEqual(
      expect.objectContaining({ name: 'Duration', description: expect.stringContaining('"500ms"') }),
    );
  });

  it('is refused several times for the whole schema in one request, whose other operations have their results', async () => {
    const whole = getIntrospectionQuery();
    const batch = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([{ query: whole }, { query: `${whole} # again` }, { query: '{ server { version } }' }]),
    });
    const [first, second, third] = (await batch.json()) as {
      data?: object;
      errors?: { message: string; extensions: object }[];
    }[];
    expect(first?.errors).toBeUndefined();
    expect(second?.errors?.[0]).toMatchObject({
      extensions: { code: 'LIMIT_EXCEEDED', limit: 'cost' },
      message: expect.stringContaining('in a request of its own'),
    });
    expect(third?.errors).toBeUndefined();
    const [one, two] = await Promise.all([post(server.url, { query: whole }), post(server.url, { query: whole })]);
    expect(one.json).toEqual(two.json);
  });
});

describe('limits over HTTP', () => {
  const deep = '{ session(id: "x") { containers { pod { labels { name } } } } }';

  it('names the limit, the number, and what to do', async () => {
    await serve({ limits: { depth: 4, aliases: 2, tokens: 60, batch: 2, bodyBytes: 2_000, cost: 200 } });
    const refused = async (query: string) => (await post(server.url, { query })).json.errors?.[0];
    expect(await refused(deep)).toMatchObject({
      message: expect.stringMatching(/5 levels deep; at most 4/),
      extensions: { code: 'LIMIT_EXCEEDED', limit: 'depth', maximum: 4, actual: 5 },
    });
    expect(await refused('{ a: server { version } b: server { version } c: server { version } }')).toMatchObject({
      message: expect.stringContaining('3 aliases; at most 2'),
      extensions: { limit: 'aliases' },
    });
    expect(await refused(`{ ${'server { version } '.repeat(20)} }`)).toMatchObject({
      message: expect.stringContaining('more than 60 tokens'),
      extensions: { limit: 'tokens' },
    });
    expect(await refused('{ session(id: "x") { events(first: 10000) { nodes { time bootNs } } } }')).toMatchObject({
      message: expect.stringMatching(/costs 302; at most 200/),
      extensions: { limit: 'cost' },
    });
    const batch = await post(
      server.url,
      [1, 2, 3].map(() => ({ query: '{ server { version } }' })),
    );
    expect(batch).toMatchObject({
      status: 413,
      json: { errors: [{ message: 'the batch has 3 operations; at most 2 are allowed: send several requests' }] },
    });
    const body = await post(server.url, { query: `{ server { version } } # ${'x'.repeat(3_000)}` });
    expect(body).toMatchObject({
      status: 413,
      json: { errors: [{ extensions: { code: 'LIMIT_EXCEEDED', limit: 'bodyBytes' } }] },
    });
  });

  it('measures a bomb of fragments quickly', async () => {
    await serve();
    const fragments = Array.from(
      { length: 40 },
      (_, i) => `fragment F${i} on Server { ...F${i + 1} ...F${i + 1} }`,
    ).join('\n');
    const before = Date.now();
    const { json } = await post(server.url, {
      query: `{ server { ...F0 } } ${fragments} fragment F40 on Server { version hostname }`,
    });
    expect(json.errors?.[0]?.extensions?.['limit']).toBe('cost');
    expect(Date.now() - before).toBeLessThan(30_000); // what followed each of them would take years
  });

  it('allows a page of 100,000 events with a handful of fields by default', async () => {
    await serve();
    const { json } = await post(server.url, {
      query: '{ session(id: "x") { events(first: 100000) { nodes { tracker time process { pid comm } cgroupId } } } }',
    });
    expect(json).toEqual({ data: { session: null } });
  });
});
