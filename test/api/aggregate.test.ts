import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import type { Session } from '../../src/session/session.js';
import { createServer, createFixture, keepEmitting, dataOf, post, type Fixture, startedSession } from './support.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;
let client: Client;

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
  client = createClient({
    url: server.url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    lazy: true,
  });
});

afterEach(async () => {
  await client.dispose();
  await fixture.services.manager.close();
  await server.close();
});

const start = (input?: string): Promise<Session> => startedSession(fixture, server, input);

interface Row {
  readonly key: readonly { readonly field: string; readonly value: string }[];
  readonly count: string;
  readonly other: boolean;
  readonly window: object;
  readonly values: readonly { readonly number: number }[];
  readonly median: object;
}

const aggregateOf = async (session: Session, field: string) =>
  post<{ session: { aggregate: readonly Row[] } }>(server.url, {
    query: `{ session(id: "${session.id}") { aggregate${field} } }`,
  });

describe('an aggregate of what is aggregated in the kernel', () => {
  const measures = `measures: [{ fn: SUM, field: "errors" }, { fn: AVG, field: "durationNs" },
    { fn: COUNT, field: "durationNs", name: "timed" }, { fn: TOP_K, field: "name", name: "top" },
    { fn: QUANTILE, field: "durationNs", q: 0.5, name: "p50" },
    { fn: QUANTILE, field: "durationNs", q: 0.99, name: "p99" },
    { fn: HISTOGRAM, field: "durationNs", name: "latency" }]`;
  const rows =
    '{ key { value } count values { name number text error buckets { from to count } top { value count } } }';

  it('reads the maps first, counts calls, adds totals once, and has quantiles from their histograms', async () => {
    const session = await start('{ trackers: [{ syscount: {} }] }');
    fixture.kernel.sum(4);
    const answer = await aggregateOf(session, `(groupBy: ["name"], ${measures}) ${rows}`);
    const values = [
      { name: 'sum(errors)', number: 4, text: '4', error: 0 },
      { name: 'avg(durationNs)', number: 3000 },
      { name: 'timed', number: 20, text: '20' },
      { name: 'top', top: [{ count: '20' }] },
      { name: 'p50', error: 0.428 },
      { name: 'p99', error: 0.428 },
      {
        name: 'latency',
        buckets: [
          { from: 1024, to: 2048, count: '18' },
          { from: 2048, count: '0' },
          { count: '0' },
          { count: '0' },
          { from: 16_384, to: 32_768, count: '2' },
        ],
      },
    ];
    const found = dataOf(answer.json).session.aggregate;
    expect(found).toMatchObject([
      { key: [{ value: 'read' }], count: '20', values },
      { key: [{ value: 'write' }], count: '20', values },
    ]);
    const [, , , , p50, p99] = found[0]?.values ?? [];
    expect(p50?.number).toBeGreaterThan(1024);
    expect(p50?.number).toBeLessThan(2048);
    expect(p99?.number).toBeGreaterThan(16_384 / 1.02);
    expect(p99?.number).toBeLessThan(32_768);
  });

  it('is kept up to date live: the maps are read for each change', async () => {
    const session = await start('{ trackers: [{ syscount: {} }] }');
    const changes = client.iterate({
      query:
        `subscription { aggregate(session: "${session.id}", groupBy: ["name"], every: "100ms") { rows { key { ` +
        'value } count } events } }',
    });
    const first = changes.next();
    await until('the subscription', () => session.hasReaders);
    fixture.kernel.sum(2);
    expect((await first).value).toMatchObject({
      data: {
        aggregate: {
          events: '20',
          rows: [
            { key: [{ value: 'read' }], count: '10' },
            { key: [{ value: 'write' }], count: '10' },
          ],
        },
      },
    });
    await changes.return?.();
  });

  it('is refused where it needs the single values of a total, with what there is', async () => {
    const session = await start('{ trackers: [{ syscount: {} }] }');
    const refusal = async (fn: string, field: string) =>
      (await aggregateOf(session, `(groupBy: [], measures: [{ fn: ${fn}, field: "${field}" }]) { count }`)).json
        .errors?.[0]?.message;
    expect(await refusal('MAX', 'durationNs')).toBe(
      'measures[0].fn: "durationNs" of syscount is a total from the kernel, and MAX needs the single ' +
        'values; it has COUNT, SUM, AVG, RATE, QUANTILE, HISTOGRAM',
    );
    expect(await refusal('HISTOGRAM', 'errors')).toContain('it has COUNT, SUM, AVG, RATE');
  });
});

describe('an aggregate of what a session holds', () => {
  it('has measures of every kind, in windows, with conditions, order and limit', async () => {
    const session = await start();
    fixture.kernel.emit(40, { cgroupId: 4242 });
    const answer = await aggregateOf(
      session,
      `(
      groupBy: ["process.comm", "container.name"], limit: 2, window: { size: "1s" },
      measures: [{ fn: SUM, field: "process.pid" }, { fn: QUANTILE, field: "process.pid", q: 0.5, name: "median" },
        { fn: MAX, field: "time", name: "last" },
        { fn: TOP_K, field: "filename", k: 1, name: "top" },
        { fn: HISTOGRAM, field: "process.pid", name: "pids", buckets: [20] }, { fn: DISTINCT, field: "args" }],
      having: [{ measure: "sum(process.pid)", gt: 180 }], orderBy: [{ by: "process.comm" }])
      { key { field value } count other window { from to } values { name number text error buckets { from to count }
        top { count error } } median: value(name: "median") { number } none: value(name: "no") { text } }`,
    );
    const rows = dataOf(answer.json).session.aggregate;
    // pids 3, 7 … 39 are worker-3's; worker-0's add up to 180.
    expect(rows.map(({ key, count, other }) => [key[0]?.value, count, other])).toEqual([
      ['worker-3', '10', false],
      ['worker-2', '10', false],
      [null, '10', true],
    ]);
    expect(rows[0]).toMatchObject({
      window: { from: '2026-01-31T08:15:30.000000000Z', to: '2026-01-31T08:15:31.000000000Z' },
      values: [
        { name: 'sum(process.pid)', number: 210, text: '210', error: 0, buckets: null, top: null },
        { name: 'median', error: 0.01 },
        { name: 'last', number: null, text: '2026-01-31T08:15:30.000000039Z' },
        { name: 'top', top: [{ count: '1', error: '0' }] },
        {
          name: 'pids',
          buckets: [
            { from: null, to: 20, count: '5' },
            { from: 20, to: null, count: '5' },
          ],
        },
        { name: 'distinct(args)', text: '10' },
      ],
      none: null,
    });
    expect(rows[0]?.median).toMatchObject({ number: expect.closeTo(19, 0) as number });
  });

  it.each([
    [
      '(groupBy: ["process.comm"], measures: [{ fn: AVG, field: "process.comm" }]) { count }',
      'measures[0].field: "process.comm" is String, and AVG needs a number',
    ],
    [
      '(groupBy: [], window: { size: "1s", slide: "1m" }) { count }',
      'window.slide: "60s" is longer than the window of "1s"',
    ],
    [
      '(groupBy: ["process.comm"], having: [{ measure: "p99", gt: 1 }]) { count }',
      'having[0].measure: there is no measure "p99"',
    ],
  ])('refuses %s', async (field, message) => {
    const { json } = await aggregateOf(await start(), field);
    expect(json.errors?.[0]?.message).toContain(message);
    expect(json.errors?.[0]?.extensions?.['code']).toBe('BAD_USER_INPUT');
  });

  it('captures what a trace measures, as what it groups by', async () => {
    const query =
      'mutation { trace(input: { trackers: [{ exec: {} }] }, for: "5m", limit: 4) { aggregate(groupBy: ' +
      '["process.comm"], measures: [{ fn: DISTINCT, field: "args", name: "d" }]) { values { number } } } }';
    const stop = keepEmitting(fixture.kernel, 4, 5);
    const { json } = await post<{ trace: { aggregate: readonly Pick<Row, 'values'>[] } }>(server.url, { query });
    stop();
    const rows = dataOf(json).trace.aggregate;
    expect(rows.map(({ values }) => values[0]?.number)).toEqual([1, 1, 1, 1]);
  });
});

interface Change {
  readonly rows: readonly { readonly count: string; readonly key: readonly { readonly value: string }[] }[];
  readonly events: string;
  readonly lost: string;
  readonly complete: boolean;
  readonly final: boolean;
}

describe('a live aggregate', () => {
  it('follows the session, tells of losses, captures what it reads, and ends with it', async () => {
    const session = await start('{ trackers: [{ exec: {} }], capture: DEMANDED }');
    const changes: Change[] = [];
    const reading = (async () => {
      const query =
        `subscription { aggregate(session: "${session.id}", groupBy: ["process.comm"], measures: [{ fn: DISTINCT, ` +
        'field: "args" }], every: "100ms") { rows { key { value } count } events lost complete final } }';
      for await (const result of client.iterate<{ aggregate: Change }>({ query }))
        if (result.data) changes.push(result.data.aggregate);
    })();
    await until('the subscription is there', () => session.hasReaders);
    expect(session.captured()).toContain('args');
    fixture.kernel.emit(8);
    await until('the first change', () => changes.length === 1);
    expect(changes[0]).toMatchObject({ events: '8', lost: '0', complete: true, final: false });
    expect(changes[0]?.rows.map(({ count }) => count)).toEqual(['2', '2', '2', '2']);
    fixture.kernel.emit(1, { lost: 5 });
    await until('the second change', () => changes.length === 2);
    expect(changes[1]).toMatchObject({ rows: [{ count: '3' }], events: '9', lost: '5', complete: false });
    await session.stop('REQUESTED');
    await reading;
    expect(changes.at(-1)).toMatchObject({ final: true, events: '9' });
    expect(session.hasReaders).toBe(false);
    expect(session.captured()).toEqual([]);
  });

  it('begins with what the session holds when asked to', async () => {
    const session = await start();
    fixture.kernel.emit(8);
    const query =
      `subscription { aggregate(session: "${session.id}", groupBy: [], window: { size: "1m" }, every: "100ms", ` +
      'replay: 6) { rows { count } events closed { from } } }';
    const [first] = await Promise.all([
      client.iterate({ query }).next(),
      until('the subscription is there', () => session.hasReaders),
    ]);
    expect(first.value?.data).toMatchObject({ aggregate: { rows: [{ count: '6' }], events: '6' } });
  });

  it.each([
    ['every: "1ms"', 'every: "1ms" is out of range; give "100ms" to "1h"'],
    ['replay: -1', 'replay: -1 is out of range'],
    ['maxGroups: 0', 'maxGroups: 0 is out of range'],
  ])('refuses %s, and leaves no reader', async (argument, message) => {
    const session = await start();
    const query = `subscription { aggregate(session: "${session.id}", groupBy: ["process.comm"], ${argument}) { events } }`;
    const result = await client
      .iterate({ query })
      .next()
      .catch((error: unknown) => ({ value: { errors: error } }));
    expect(JSON.stringify(result.value)).toContain(JSON.stringify(message).slice(1, -1));
    expect(session.hasReaders).toBe(false);
  });
});
