import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, createFixture, webContainer, type Fixture } from './support.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function close({ services: { manager, stores } }: Fixture): Promise<void> {
  await manager.close();
  for (const store of stores.values()) await store.close();
}

async function open(dataDirectory: string | null = null): Promise<Fixture> {
  return createFixture({ dataDirectory });
}

async function ask<Data>({ service }: Fixture, query: string): Promise<Data> {
  const answer = await executeLocally(service, { query }, callerOf('admin'));
  if (isStream(answer)) throw new Error('a stream');
  expect(answer.errors).toBeUndefined();
  return answer.data as Data;
}

async function start(fixture: Fixture, input: string): Promise<string> {
  const { startSession } = await ask<{ startSession: { id: string } }>(
    fixture,
    `mutation { startSession(input: { ${input} }) { id } }`,
  );
  return startSession.id;
}

interface Told {
  readonly id: string;
  readonly cursor: string;
  readonly bootNs: string;
  readonly session: { readonly id: string } | null;
}
const EVENT = 'id cursor bootNs session { id }';

/** Real records of exits. */
function emit({ kernel }: Fixture, from: number, count: number): void {
  const { bytes, offsets } = batchAt(from, count);
  kernel.deliver({
    data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    offsets,
  });
}

async function eventsOf(fixture: Fixture, session: string, args = 'first: 10000'): Promise<Told[]> {
  const { session: told } = await ask<{ session: { events: { nodes: Told[] } } }>(
    fixture,
    `{ session(id: "${session}") { events(${args}) { nodes { ${EVENT} } } } }`,
  );
  return told.events.nodes;
}

async function nodeOf(fixture: Fixture, id: string): Promise<object | null> {
  const { node } = await ask<{ node: object | null }>(
    fixture,
    `{ node(id: ${JSON.stringify(id)}) { id __typename ... on TraceEvent { ${EVENT} } } }`,
  );
  return node;
}

describe('an event', () => {
  it('is found again by its id, from memory, from the store, and after a restart', { timeout: 180_000 }, async () => {
    const sessions = fc.array(fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 3 }), {
      minLength: 1,
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(sessions, async (all) => {
        const { path, remove } = await temporaryDirectory();
        const first = await open(path);
        const told = new Map<string, Told[]>();
        const find = async (fixture: Fixture): Promise<void> => {
          for (const [session, events] of told) {
            expect(await eventsOf(fixture, session)).toEqual(events);
            const some = [0, events.length >> 1, events.length - 1].flatMap((i) => events[i] ?? []);
            // All of a short session, and of a long one some in each part of it.
            const step = Math.ceil(events.length / 50);
            for (const event of [...some, ...events.filter((_, i) => i % step === 0)])
              expect(await nodeOf(fixture, event.id)).toEqual({ __typename: 'ExitEvent', ...event });
            const [next] = await eventsOf(fixture, session, `first: 1, after: "${some[1]?.cursor}"`);
            expect(next?.id).toBe(events[(events.length >> 1) + 1]?.id);
          }
        };
        for (const chunks of all) {
          // Memory has only the newest ones.
          const session = await start(first, 'trackers: [{ exit: {} }], persist: {}, bufferBytes: 65536');
          const count = chunks.reduce((from, size) => (emit(first, from, size), from + size), 0);
          await until('all are there', () => first.services.manager.get(session)?.nextSeq === count);
          const events = await eventsOf(first, session);
          expect(events.map(({ bootNs }) => bootNs)).toEqual(Array.from({ length: count }, (_, i) => String(i)));
          expect(new Set(events.map((event) => event.session?.id))).toEqual(new Set([session]));
          await ask(first, `mutation { stopSession(id: "${session}") { id } }`);
          told.set(session, events);
        }
        const whole = [...told.values()].flat();
        expect(new Set(whole.map(({ id }) => id)).size).toBe(whole.length);
        await find(first);
        await close(first);
        const second = await open(path);
        await find(second);
        const { history } = await ask<{ history: { events: { nodes: Told[]; edges: { session: object }[] } } }>(
          second,
          '{ history(from: "2026-01-31T00:00:00Z", to: "2026-02-01T00:00:00Z") ' +
            `{ events(first: 10000) { nodes { ${EVENT} } edges { session { id } } } } }`,
        );
        expect(history.events.nodes).toHaveLength(whole.length);
        expect(history.events.nodes).toEqual(expect.arrayContaining(whole.slice(0, 20)));
        expect(history.events.edges.map(({ session }) => session)).toEqual(
          history.events.nodes.map(({ session }) => session),
        );
        await close(second);
        await remove();
      }),
      { numRuns: 2, endOnFailure: true },
    );
  });

  it('has the same id live, filtered or not, as in a page', async () => {
    const fixture = await open();
    closing.push(() => close(fixture));
    const session = await start(fixture, 'trackers: [{ exec: {} }, { open: {} }]');
    const follow = async (where: string) => {
      const query = `subscription { events(session: "${session}"${where}) { events { ${EVENT} } } }`;
      const answer = await executeLocally(fixture.service, { query }, callerOf('viewer'));
      if (!isStream(answer)) throw new Error(JSON.stringify(answer));
      return answer;
    };
    const whole = await follow('');
    const filtered = await follow(', where: { expr: "bootNs in [3, 8]" }');
    fixture.kernel.emit(5);
    fixture.kernel.emit(5);
    const read = async (stream: typeof whole, count: number): Promise<Told[]> => {
      const events: Told[] = [];
      while (events.length < count) {
        const { value } = (await stream.next()) as IteratorResult<{ data: { events: { events: Told[] } } }, undefined>;
        if (value === undefined) break;
        events.push(...value.data.events.events);
      }
      await stream.return();
      return events;
    };
    const page = await eventsOf(fixture, session);
    expect(page).toHaveLength(10);
    expect(await read(whole, 10)).toEqual(page);
    expect(await read(filtered, 2)).toEqual([page[3], page[8]]);
    expect(await eventsOf(fixture, session, 'where: { expr: "bootNs in [3, 8]" }')).toEqual([page[3], page[8]]);
  });

  it('that memory has let go of, or that never was, is not found', async () => {
    const fixture = await open();
    closing.push(() => close(fixture));
    const session = await start(fixture, 'trackers: [{ exec: {} }], bufferBytes: 65536');
    fixture.kernel.emit(900);
    const [first] = await eventsOf(fixture, session, 'first: 1');
    fixture.kernel.emit(900);
    for (const id of [
      first?.id ?? '',
      `event:${session}:1800`,
      `event:${session}:99999`,
      'event:nobody:1',
      'event:',
      '',
    ])
      expect(await nodeOf(fixture, id)).toBeNull();
  });
});

it('sessions, containers, alerts, plugins and stores are found by their ids, and no two have one', async () => {
  const { path, remove } = await temporaryDirectory();
  const fixture = await open(path);
  closing.push(remove, () => close(fixture));
  const [a, b] = [await start(fixture, 'trackers: [{ exec: {} }]'), await start(fixture, 'trackers: [{ exec: {} }]')];
  await fixture.services.plugins.upload(
    'p.ts',
    "import { definePlugin } from 'eunomia/plugin'; export default definePlugin({ name: 'p', version: '1', " +
      "summary: 'S.', reads: { exec: ['filename'] }, onBatch() {} });",
    false,
  );
  const alert = { severity: 'LOW', title: 't', message: 'm', source: 'plugin:p', session: a } as const;
  fixture.services.alerts.raise({ ...alert, time: null, tracker: null, process: null, container: null, key: null });
  const streams = [a, b].map((id) => fixture.services.manager.get(id)?.subscribe({ demand: new Map() }));
  interface One {
    readonly id: string;
  }
  const told = await ask<Record<string, readonly One[] | { readonly nodes: readonly One[] }>>(
    fixture,
    '{ sessions { nodes { id } } containers { nodes { id } } alerts { nodes { id } } plugins { id } stores { id } }',
  );
  const ids = Object.values(told).flatMap((list) => ('nodes' in list ? list.nodes : list).map(({ id }) => id));
  expect(ids).toContain(webContainer.id);
  expect(ids).toHaveLength(6);
  expect(new Set(ids).size).toBe(6);
  const types = await Promise.all(ids.map((id) => nodeOf(fixture, id)));
  expect(types).toEqual(
    ['Session', 'Session', 'Container', 'Alert', 'Plugin', 'StoreStatus'].map((__typename, i) => ({
      __typename,
      id: ids[i],
    })),
  );
  const { sessions } = await ask<{ sessions: { nodes: { stats: { subscribers: { id: string }[] } }[] } }>(
    fixture,
    '{ sessions { nodes { stats { subscribers { id } } } } }',
  );
  const subscribers = sessions.nodes.flatMap(({ stats }) => stats.subscribers.map(({ id }) => id));
  expect(new Set(subscribers).size).toBe(2);
  await Promise.all(streams.map((stream) => stream?.return()));
});
