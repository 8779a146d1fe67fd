import { expect, it } from 'vitest';
import { sharedServer, startSession, statsOf, stopSession } from '../support/server.js';
import { work, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

const SUBSCRIPTION =
  'subscription ($id: ID!) { events(session: $id) { gap { lost dropped where from to } events { bootNs } } }';
interface Events {
  readonly events: {
    readonly gap: {
      readonly lost: string;
      readonly dropped: string;
      readonly where: string;
      readonly from: string;
      readonly to: string;
    } | null;
    readonly events: readonly { readonly bootNs: string }[];
  };
}

it('a ring that is too small loses events: the client is told of each, and all counts add up', async () => {
  await workloadPath();
  const server = await sharedServer();
  const id = await startSession(
    server,
    `{ trackers: [{ open: {} }], target: { pids: [${process.pid}], comms: ["workload"] }, ringBytes: 65536, bufferBytes: 1073741824 }`,
  );
  let [delivered, lost, dropped] = [0, 0, 0];
  const reading = (async () => {
    for await (const { events } of server.subscribe<Events>(SUBSCRIPTION, { id })) {
      delivered += events.events.length;
      lost += Number(events.gap?.lost ?? 0);
      dropped += Number(events.gap?.dropped ?? 0);
      if (events.gap) expect(events.gap.from <= events.gap.to).toBe(true);
    }
  })();
  await until('the reader is there', async () => (await statsOf(server, id)).subscribers.length === 1);

  const [processes, each] = [4, 50_000];
  await work('burst', '/no/burst', each, processes);
  const running = await statsOf(server, id);
  expect(running.produced).toBe(running.lost + running.received);
  expect(running.received).toBe(running.discarded + running.delivered + running.queued);
  await stopSession(server, id);
  await reading; // the stream ends by itself once all is delivered

  const stats = await statsOf(server, id);
  expect(stats.lost).toBeGreaterThan(0);
  expect(stats.produced).toBe(stats.lost + stats.received);
  expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
  expect(stats.produced).toBeGreaterThanOrEqual(processes * each);
  expect(stats.produced).toBeLessThan(processes * each + 10);
  expect(delivered + dropped).toBe(stats.delivered);
  expect(lost).toBe(stats.lost);
  expect(stats.retained).toBe(stats.delivered);
});

it('what a session holds is bounded: the oldest events leave, and are counted', async () => {
  const server = await sharedServer();
  const id = await startSession(
    server,
    `{ trackers: [{ open: {} }], target: { pids: [${process.pid}] }, ringBytes: 67108864, bufferBytes: 65536 }`,
  );
  await work('count', '/no/bounded-', 5000, 0);
  await stopSession(server, id);
  const stats = await statsOf(server, id);
  expect(stats.lost).toBe(0);
  expect(stats.evicted).toBeGreaterThan(0);
  expect(stats.evicted + stats.retained).toBe(stats.delivered);
  const { session } = await server.query<{
    session: {
      events: {
        totalCount: string;
        nodes: { path: string }[];
        pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean };
      };
    };
  }>(
    'query ($id: ID!) { session(id: $id) { events(first: 100000) { totalCount nodes { ... on OpenEvent { path } ' +
      '} pageInfo { hasNextPage hasPreviousPage } } } }',
    { id },
  );
  expect(session.events.totalCount).toBe(String(stats.retained));
  expect(session.events.nodes).toHaveLength(stats.retained);
  expect(session.events.nodes.at(-1)?.path).toBe('/no/bounded-4999');
  expect(session.events.pageInfo).toEqual({ hasNextPage: false, hasPreviousPage: false });
});
