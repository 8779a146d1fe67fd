import { once } from 'node:events';
import { expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';
import { work } from '../support/workload.js';
import { until } from '../support/until.js';

const SUBSCRIPTION =
  'subscription ($id: ID!) { events(session: $id) { gap { lost dropped } events { ... on OpenEvent { path } } } }';
interface Events {
  readonly events: {
    readonly gap: { readonly lost: string; readonly dropped: string } | null;
    readonly events: readonly { readonly path: string | null }[];
  };
}

/** A client that subscribes and from then on reads nothing from its socket. */
async function stalledClient(url: string, id: string): Promise<WebSocket> {
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws');
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init' }));
  await once(socket, 'message');
  socket.send(
    JSON.stringify({ id: 'stalled', type: 'subscribe', payload: { query: SUBSCRIPTION, variables: { id } } }),
  );
  socket.pause();
  return socket;
}

it('one client never reads: it loses only its own events, each counted, and the other gets every event', async () => {
  const server = await startServer();
  const id = await startSession(
    server,
    `{ trackers: [{ open: {} }], target: { pids: [${process.pid}] }, ringBytes: 134217728, bufferBytes: 65536 }`,
  );
  // 12,000 events of 4 KiB of path, at a pace that the reader can follow: more than the queue of 16 MiB and all socket buffers.
  const count = 12_000;
  const prefix = `/no/${'x/'.repeat(1900)}`;

  const stalled = await stalledClient(server.url, id);
  const joined = await until('the stalled one is there', async () => {
    const stats = await statsOf(server, id);
    return stats.subscribers.length === 1 && stats;
  });
  const beforeIt = joined.delivered - (joined.subscribers[0]?.received ?? 0);
  const numbers: number[] = [];
  let missing = 0;
  const reading = (async () => {
    for await (const { events } of server.subscribe<Events>(SUBSCRIPTION, { id })) {
      missing += Number(events.gap?.lost ?? 0) + Number(events.gap?.dropped ?? 0);
      for (const { path } of events.events)
        if (path?.startsWith(prefix)) numbers.push(Number(path.slice(prefix.length)));
      if (numbers.length === count) break;
    }
  })();
  await until('the reader is there', async () => (await statsOf(server, id)).subscribers.length === 2);

  const working = work('count', prefix, count, 300);
  // The law holds while events flow, whenever one looks.
  let ended = false;
  void reading.finally(() => (ended = true));
  while (!ended) {
    const { subscribers, ...stats } = await statsOf(server, id);
    expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
    for (const s of subscribers) expect(s.received).toBe(s.discarded + s.delivered + s.dropped + s.queued);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await working;
  await reading;
  expect(numbers).toEqual(Array.from({ length: count }, (_, i) => i));
  expect(missing).toBe(0);

  const running = await statsOf(server, id);
  const [slow] = running.subscribers;
  expect(slow?.dropped).toBeGreaterThan(0);
  expect(slow?.received).toBe(
    (slow?.discarded ?? 0) + (slow?.delivered ?? 0) + (slow?.dropped ?? 0) + (slow?.queued ?? 0),
  );

  await stopSession(server, id);
  const before = await statsOf(server, id);
  expect(before.produced).toBe(before.lost + before.received);
  expect(before.received).toBe(before.discarded + before.delivered + before.queued);
  expect([before.lost, before.queued]).toEqual([0, 0]);
  expect(before.subscribers[0]?.received).toBe(before.delivered - beforeIt);
  const queued = before.subscribers[0]?.queued ?? 0;
  stalled.terminate();
  // What it never asked for was dropped when it left.
  await until('it has left', async () => (await statsOf(server, id)).subscribers.length === 0);
  const after = await statsOf(server, id);
  expect(after.dropped).toBeGreaterThanOrEqual(before.dropped);
  expect(after.dropped).toBeLessThanOrEqual(before.dropped + queued);
});
