import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { end, record, storesOfTest } from '../support/store.js';
import { createFixture, createServer, dataOf, post, startedId, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;
const { directory, opened } = storesOfTest();
beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
});
afterEach(async () => {
  await fixture.services.manager.close();
  await server.close();
});

interface Point {
  readonly time: string;
  readonly received: string;
  readonly delivered: string;
  readonly discarded: string;
  readonly lost: string;
  readonly dropped: string;
  readonly receivedBytes: string;
}

const names = ['received', 'delivered', 'discarded', 'lost', 'dropped', 'receivedBytes'] as const;
const document = `query ($id: ID!, $last: Duration, $every: Duration) { session(id: $id) { createdAt
  statsHistory(last: $last, every: $every) { time ${names.join(' ')} } stats { ${names.join(' ')} } } }`;

async function ask(id: string, variables: object = {}) {
  const { json } = await post<{
    session: { createdAt: string; statsHistory: Point[] | null; stats: Omit<Point, 'time'> };
  }>(server.url, { query: document, variables: { id, ...variables } });
  return json;
}

it('is of what a session has counted: the differences of its points sum up to its counts', async () => {
  const id = startedId(
    await post(server.url, {
      query:
        'mutation { startSession(input: { trackers: [{ exec: {} }], where: { process: { pid: { lt: 300 } } } }) { id } }',
    }),
  );
  fixture.kernel.emit(500);
  fixture.kernel.emit(200, { lost: 5 });
  for (const isStopped of [false, true]) {
    if (isStopped) await post(server.url, { query: `mutation { stopSession(id: "${id}") { id } }` });
    const { statsHistory: points, stats, createdAt } = dataOf(await ask(id)).session;
    if (!points) throw new Error('there are no points');
    expect(stats).toMatchObject({ received: '700', lost: '5' });
    for (const name of names) {
      const changes = points.slice(1).map((point, i) => Number(point[name]) - Number(points[i]?.[name]));
      expect(Math.min(...changes)).toBeGreaterThanOrEqual(0);
      expect(changes.reduce((sum, change) => sum + change, 0)).toBe(Number(stats[name]));
    }
    const times = points.map(({ time }) => time);
    expect(times).toEqual([...times].sort());
    expect(Math.abs(Date.parse(times[0] ?? '') - Date.parse(createdAt))).toBeLessThan(1000);
  }
});

it.each([
  [{ last: '5s' }, /^last: "5s" is out of range; give "10s" to "1h"/],
  [{ last: '2h' }, /^last: "2h" is out of range/],
  [{ every: '15s' }, /^every: "15s" is no multiple of "10s"/],
  [{ every: '1s' }, /^every: "1s" is out of range/],
])('refuses %j', async (variables, message) => {
  const id = startedId(
    await post(server.url, { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' }),
  );
  expect((await ask(id, variables)).errors?.[0]?.message).toMatch(message);
});

it('is null for a session that only a store has', async () => {
  const store = opened(await directory());
  await (await store.record(record('stored', ['exit']))).finish(end);
  await server.close();
  server = await createServer({ ...fixture.services, stores: new Map([['EMBEDDED', store]]) });
  expect(dataOf(await ask('stored')).session.statsHistory).toBeNull();
});
