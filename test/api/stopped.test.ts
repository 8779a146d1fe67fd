import { afterEach, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import type { Limits } from '../../src/base/config.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { untilHolds } from '../support/until.js';
import { createFixture, createServer, dataOf, post, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;
let remove: () => Promise<void> = async () => undefined;

async function serve(limits: Partial<Limits>): Promise<void> {
  const directory = await temporaryDirectory();
  remove = directory.remove;
  fixture = await createFixture({ limits, dataDirectory: directory.path });
  server = await createServer(fixture.services);
}

afterEach(async () => {
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
  for (const store of fixture.services.stores.values()) await store.close();
  await remove();
});

const ask = async <Data>(query: string): Promise<Data> => dataOf((await post<Data>(server.url, { query })).json);

/** A session that has seen 2,000 events and has stopped. */
async function stopped(persist: boolean): Promise<string> {
  const { startSession } = await ask<{ startSession: { id: string } }>(
    `mutation { startSession(input: { trackers: [{ exit: {} }]${persist ? ', persist: {}' : ''} }) { id } }`,
  );
  for (let from = 0; from < 2_000; from += 500) {
    const { bytes, offsets } = batchAt(from, 500);
    fixture.kernel.deliver({ data: Uint8Array.from(bytes).buffer, offsets });
  }
  await ask(`mutation { stopSession(id: "${startSession.id}") { id } }`);
  return startSession.id;
}

interface Seen {
  readonly session: {
    readonly stats: { readonly retained: string; readonly evicted: string; readonly delivered: string };
    readonly events: { readonly nodes: readonly object[]; readonly gaps: readonly { readonly dropped: string }[] };
  } | null;
}

const seen = (id: string): Promise<Seen> =>
  ask(
    `{ session(id: "${id}") { stats { retained evicted delivered } events(first: 2000) { nodes { time } gaps { dropped } } } }`,
  );

it('stopped sessions retain a bounded number of bytes together: those that stopped first lose theirs, and tell so', async () => {
  await serve({ stoppedBytes: 1 });
  const ids = [await stopped(false), await stopped(true), await stopped(false)];
  const [first, persisted, newest] = await Promise.all(ids.map(seen));
  expect(first?.session?.stats).toEqual({ retained: '0', evicted: '2000', delivered: '2000' });
  expect(first?.session?.events.nodes).toHaveLength(0);
  // The store has them.
  expect(persisted?.session?.stats.evicted).toBe('2000');
  expect(persisted?.session?.events.nodes).toHaveLength(2_000);
  expect(newest?.session?.stats).toEqual({ retained: '2000', evicted: '0', delivered: '2000' });
});

it('stopped sessions are bounded in number: the one that stopped first is removed, and stays in the store', async () => {
  await serve({ stoppedSessions: 2 });
  const [persisted, ...others] = [
    await stopped(true),
    await stopped(false),
    await stopped(false),
    await stopped(false),
  ];
  await untilHolds(
    'two are in memory',
    () => ask<{ sessions: { readonly nodes: readonly { readonly id: string }[] } }>('{ sessions { nodes { id } } }'),
    ({ sessions }) => !sessions.nodes.some(({ id }) => id === others[0]),
  );
  expect((await seen(others[0] ?? '')).session).toBeNull();
  expect((await seen(others[2] ?? '')).session?.events.nodes).toHaveLength(2_000);
  expect((await seen(persisted ?? '')).session?.events.nodes).toHaveLength(2_000);
});
