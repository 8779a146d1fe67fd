import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import type { Session } from '../../src/session/session.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { createFixture, createServer, startedSession, type Fixture, type FixtureOptions } from './support.js';

let fixture: Fixture;
let server: ApiServer;
let client: Client;
let session: Session;

async function open(options: FixtureOptions = {}, input = '{ trackers: [{ exec: {} }] }'): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
  client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
  session = await startedSession(fixture, server, input);
}

async function close(): Promise<void> {
  await client.dispose();
  await fixture.services.manager.close();
  await server.close();
  for (const store of fixture.services.stores.values()) await store.close();
}

beforeEach(() => open());
afterEach(close);

interface Batch {
  readonly events: readonly { readonly cursor: string; readonly process?: { readonly pid: number } }[];
  readonly skipped: string;
  readonly gap: { readonly lost: string; readonly dropped: string } | null;
  readonly cursor: string;
}

const TEXT = 'events { cursor } skipped gap { lost dropped } cursor';
/** The executor makes these, and no text is written from records. */
const EXECUTED = 'events { cursor values(fields: ["process.pid"]) { text } } skipped gap { lost dropped } cursor';

/** Reads a stream, up to so many events or to its end. */
async function read(args: string, selection = TEXT, most = Number.POSITIVE_INFINITY): Promise<Batch[]> {
  const batches: Batch[] = [];
  let events = 0;
  const query = `subscription { events(session: "${session.id}", ${args}) { ${selection} } }`;
  for await (const { data, errors } of client.iterate<{ events: Batch }>({ query })) {
    if (errors) throw new Error(JSON.stringify(errors));
    if (!data) continue;
    batches.push(data.events);
    events += data.events.events.length;
    if (events >= most) break;
  }
  return batches;
}

const placesOf = (batches: readonly Batch[]): string[] =>
  batches.flatMap(({ events }) => events.map(({ cursor }) => cursor));
const skippedOf = (batches: readonly Batch[]): number => batches.reduce((sum, { skipped }) => sum + Number(skipped), 0);
const missingOf = (batches: readonly Batch[]): number =>
  batches.reduce((sum, { gap }) => sum + Number(gap?.lost ?? 0) + Number(gap?.dropped ?? 0), 0);

async function stopAfter(emit: () => void): Promise<void> {
  await until('it is read', async () => (await session.stats()).subscribers.length > 0);
  emit();
  await fixture.services.manager.stop(session.id, 'REQUESTED');
}

describe.each([
  ['written from records', TEXT],
  ['made by the executor', EXECUTED],
])('a subscription with a sample, %s', (_name, selection) => {
  it('delivers a share, and tells how many it left out and lost: together all that was produced', async () => {
    const reading = read('sample: 0.1', selection);
    await stopAfter(() => {
      for (let i = 0; i < 10; i++) fixture.kernel.emit(1_000, { lost: i === 5 ? 7 : 0 });
    });
    const batches = await reading;
    const delivered = placesOf(batches).length;
    expect(delivered).toBeGreaterThan(850);
    expect(delivered).toBeLessThan(1_150);
    expect(missingOf(batches)).toBe(7);
    expect(delivered + skippedOf(batches) + missingOf(batches)).toBe(10_007);
  });

  it('delivers so many of a second at most, and tells the rest, which a filter did not take', async () => {
    const reading = read('maxPerSecond: 25, where: { expr: "process.comm == \\"worker-1\\"" }', selection);
    await stopAfter(() => fixture.kernel.emit(1_000));
    const batches = await reading;
    expect(placesOf(batches)).toHaveLength(25);
    expect(skippedOf(batches)).toBe(1_000 / 4 - 25);
  });
});

it('is the same sample for live, replayed and resumed readers, exactly', async () => {
  fixture.kernel.emit(3_000);
  const live = read('replay: 3000, sample: 0.2');
  const first = await read('replay: 3000, sample: 0.2', TEXT, 100);
  const { cursor = '' } = first.at(-1) ?? {};
  const rest = read(`after: "${cursor}", sample: 0.2`);
  await until('both read', async () => (await session.stats()).subscribers.length >= 2);
  fixture.kernel.emit(3_000);
  await fixture.services.manager.stop(session.id, 'REQUESTED');
  const [whole, resumed] = await Promise.all([live, rest]);
  expect(whole.length).toBeGreaterThan(1);
  expect([...placesOf(first), ...placesOf(resumed)]).toEqual(placesOf(whole));
  expect(skippedOf(first) + skippedOf(resumed)).toBe(skippedOf(whole));
  expect(placesOf(whole).length + skippedOf(whole)).toBe(6_000);
});

it('is counted apart from what was discarded and dropped', async () => {
  const reading = read('sample: 0.5');
  await until('it is read', async () => (await session.stats()).subscribers.length > 0);
  fixture.kernel.emit(1_000);
  const [stats] = await until('all is delivered', async () => {
    const { subscribers } = await session.stats();
    return subscribers[0]?.received === 1_000 && subscribers[0].queued === 0 ? subscribers : null;
  });
  expect(stats).toMatchObject({ received: 1_000, discarded: 0, dropped: 0 });
  expect((stats?.skipped ?? 0) + (stats?.delivered ?? 0)).toBe(1_000);
  await fixture.services.manager.stop(session.id, 'REQUESTED');
  expect(skippedOf(await reading)).toBe(stats?.skipped);
});

it('is the same of a session that only its store remembers', async () => {
  await close();
  const directory = await temporaryDirectory();
  await open({ dataDirectory: directory.path }, '{ trackers: [{ exit: {} }], persist: {} }');
  const { bytes, offsets } = batchAt(0, 9_000);
  fixture.kernel.deliver({
    data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    offsets,
  });
  await until('all are there', () => session.nextSeq === 9_000);
  await fixture.services.manager.stop(session.id, 'REQUESTED');
  const live = await read('replay: 9000, sample: 0.1');
  const rate = await read('replay: 9000, sample: 0.1, maxPerSecond: 50');
  await close();
  fixture = await createFixture({ dataDirectory: directory.path });
  server = await createServer(fixture.services);
  client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
  const stored = await read('replay: 9000, sample: 0.1');
  expect(placesOf(stored)).toEqual(placesOf(live));
  expect(placesOf(stored).length + skippedOf(stored)).toBe(9_000);
  const storedRate = await read('replay: 9000, sample: 0.1, maxPerSecond: 50');
  expect(placesOf(storedRate)).toEqual(placesOf(rate));
  expect(placesOf(rate).length + skippedOf(rate)).toBe(9_000);
  await directory.remove();
});

it.each([
  ['sample: 0', 'sample: must be above 0 and at most 1'],
  ['sample: -0.1', 'sample: must be above 0'],
  ['sample: 1.01', 'sample: must be above 0'],
  ['maxPerSecond: 0', 'maxPerSecond: 0 is out of range; give 1 to 1,000,000 events'],
  ['maxPerSecond: 1000001', 'maxPerSecond: 1000001 is out of range'],
])('%s is refused', async (args, message) => {
  await expect(read(args)).rejects.toThrow(message);
});
