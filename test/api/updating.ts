import { afterEach } from 'vitest';
import { batchAt } from '../support/record.js';
import { createFixture, createServer, dataOf, post, type Fixture, type FixtureOptions } from './support.js';

/** Servers of one test of updateSession, and what they are asked. */
export const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

export async function serve(options: FixtureOptions = {}): Promise<{ fixture: Fixture; url: string }> {
  const fixture = await createFixture(options);
  const server = await createServer(fixture.services);
  closing.push(async () => {
    await fixture.services.manager.close();
    await server.close();
    for (const store of fixture.services.stores.values()) await store.close();
  });
  return { fixture, url: server.url };
}

const FACTS = `id name labels { name value } capture stopsAt spec { where target { pids } for input }
  changes { at cursor before { where target { pids } input } } explain { where } stats { produced lost received delivered discarded }`;

export interface Facts {
  readonly id: string;
  readonly name: string | null;
  readonly capture: string;
  readonly stopsAt: string | null;
  readonly spec: {
    readonly where: unknown;
    readonly target: { readonly pids: readonly number[] | null } | null;
    readonly for: string | null;
    readonly input: Readonly<Record<string, unknown>>;
  };
  readonly changes: readonly {
    readonly at: string;
    readonly cursor: string;
    readonly before: { readonly where: unknown; readonly input: Readonly<Record<string, unknown>> };
  }[];
  readonly explain: { readonly where: string | null };
}

export async function start(url: string, input: object): Promise<string> {
  const { json } = await post<{ startSession: { id: string } }>(url, {
    query: 'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
    variables: { input },
  });
  return dataOf(json).startSession.id;
}

export async function update(url: string, id: string, input: object) {
  const { json } = await post<{ updateSession: Facts | null }>(url, {
    query: `mutation ($id: ID!, $input: UpdateSessionInput!) { updateSession(id: $id, input: $input) { ${FACTS} } }`,
    variables: { id, input },
  });
  return json;
}

export async function factsOf(url: string, id: string): Promise<Facts | null> {
  const { json } = await post<{ session: Facts | null }>(url, {
    query: `query ($id: ID!) { session(id: $id) { ${FACTS} } }`,
    variables: { id },
  });
  return dataOf(json).session;
}

export async function numbers(url: string, id: string, after: string | null = null): Promise<number[]> {
  const { json } = await post<{ session: { events: { nodes: readonly { bootNs: string }[] } } }>(url, {
    query:
      'query ($id: ID!, $after: Cursor) { session(id: $id) { events(first: 10000, after: $after) { nodes { bootNs } } } }',
    variables: { id, after },
  });
  return dataOf(json).session.events.nodes.map(({ bootNs }) => Number(bootNs));
}

/** Real records of exits, numbered from here. */
export function exits({ kernel }: Fixture, from: number, count = 10): void {
  const { bytes, offsets } = batchAt(from, count);
  kernel.deliver({
    data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    offsets,
  });
}
