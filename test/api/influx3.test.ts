import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TraceEvent } from '../../src/event/event.js';
import { compileFilter, parseInput } from '../../src/filter/index.js';
import { texts } from '../support/filter/pool.js';
import { randomTree } from '../support/filter/tree.js';
import { toInput } from '../support/filter/written.js';
import { BASE, aggregate, ended, fields, execEvent, exitEvent, sessionOf, sliceOf, timeAt } from '../support/influx.js';
import { fakeInflux3, type FakeInflux3 } from '../support/influx3.js';
import { influxStores, readBeyondOff, storedQuery } from '../support/influx-stores.js';
import { firstOf } from '../support/store.js';
import { until, untilHolds } from '../support/until.js';

/** The whole store on the contract of InfluxDB 3 (test/support/influx3.ts): it is found out by what the server says. */
const TOKEN = 'apiv3_secret';
const { open } = influxStores();
let server: FakeInflux3;
beforeAll(async () => {
  server = await fakeInflux3({ token: TOKEN });
});
beforeEach(() => {
  server.outage = null;
});
afterAll(() => server.close());

let spools = 0;
const opened = (options: Parameters<typeof open>[1] = {}) =>
  open(server.url, { token: TOKEN, bucket: `b${spools++}`, ...options });
const total = { groupBy: ['errno'], measures: [{ fn: 'COUNT' as const, name: 'n' }] };

describe('events in an InfluxDB 3', () => {
  const hostile = [
    `'; DROP TABLE "eunomia_exec"; --`,
    'x,session=forged pid=1i 1\nexec,session=forged pid=2i 2',
    'back\\slash\\',
    '"quoted"',
    'a b=c,d',
    'ünïcode ☃ 🐧',
    '\u0000\u0007',
    '$t0',
    '%_*',
    '␦␊',
    'a\r\n\t',
  ];

  it('come back as they were, forwards and backwards, also those of one nanosecond and numbers beyond int64', async () => {
    const { store, sender } = await opened();
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    const time = timeAt(BASE, 7);
    const events = [
      ...Array.from({ length: 40 }, (_, pid) => execEvent(time, { process: { ...execEvent(time).process, pid } })),
      ...hostile.map((text, i) => execEvent(timeAt(BASE, 8 + i), { filename: text, args: [text], errno: 'ENOENT' })),
      execEvent(timeAt(BASE + 1), { pidNs: '18446744073709551615', netNs: '9223372036854775807', args: null }),
    ];
    await sink.write([sliceOf(events, 0)], null);
    await sink.finish(ended);
    expect(sink.progress).toMatchObject({ written: events.length, pending: 0, error: null });
    expect(sender.stats).toMatchObject({ state: 'CONNECTED', rejected: 0, queued: 0 });
    expect(await store.status()).toMatchObject({ state: 'READY', sessions: 1 });

    const page = await store.page({ session: record.id, ...pageOf(0, 1000), backwards: false });
    expect(page.events.map(({ place }) => place.seq)).toEqual(events.map((_, i) => i));
    const fields = (event: TraceEvent) => {
      const { filename, args, errno, pidNs, netNs } = event as TraceEvent & Readonly<Record<string, unknown>>;
      return [event.process.pid, event.time, filename, args, errno, pidNs, netNs];
    };
    expect(page.events.map(({ event }) => fields(event))).toEqual(events.map(fields));
    const last = await store.history(storedQuery(record.id), { after: null, before: null, limit: 5, backwards: true });
    expect(last.events.map(({ place }) => place.seq)).toEqual(events.map((_, i) => i).slice(-5));
    expect((await store.session(record.id))?.asked).toEqual(record.asked);
  });

  it('are filtered by what they said, whatever it holds, and no text of it is in the SQL', async () => {
    const { store } = await opened();
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    await sink.write(
      [
        sliceOf(
          hostile.map((filename, i) => execEvent(timeAt(BASE, i), { filename })),
          0,
        ),
      ],
      null,
    );
    await sink.finish(ended);
    const found = async (where: object): Promise<number[]> =>
      (await store.history(storedQuery(record.id, where), firstOf(100))).events.map(({ place }) => place.seq);
    for (const [i, text] of hostile.entries()) {
      expect(await found({ exec: { filename: { eq: text } } })).toEqual([i]);
      expect(await found({ not: { exec: { filename: { eq: text } } } })).toHaveLength(hostile.length - 1);
      expect(await found({ exec: { filename: { prefix: text } } })).toEqual([i]);
    }
    const asked = server.requests.filter((each) => each.includes('query_sql'));
    expect(asked.length).toBeGreaterThan(hostile.length);
    expect(asked.filter((each) => each.split('"params"')[0]?.includes('DROP TABLE'))).toEqual([]);
    expect(await found({ exec: { errno: { isNull: true } } })).toHaveLength(hostile.length); // no such column was ever written
    expect(await found({ exec: { errno: { eq: 'ENOENT' } } })).toEqual([]);
    expect(await found({ process: { pid: { gt: -1 } } })).toHaveLength(hostile.length);
    expect(await found({ exec: { filename: { glob: '*quot*' } } })).toEqual([3]);
    expect(await found({ exec: { filename: { regex: '^a b=c' } } })).toEqual([4]);
  });

  it('are read on beyond what was not to be stored, however much that is, and it is told once', async () => {
    await readBeyondOff((await opened()).store);
  });

  it('and sessions are what they were called and asked for by, whatever it holds', async () => {
    const { store } = await opened();
    const texts = [...hostile, "' OR 1=1 --", '" OR ""="', '{"a":', '%'];
    const sinks = await Promise.all(
      texts.map((name, i) => store.record({ ...sessionOf('EVENTS'), name, labels: [{ name: `l${i}`, value: name }] })),
    );
    for (const sink of sinks) await sink.finish(ended);
    expect((await store.sessions()).map(({ name, labels }) => [name, labels[0]?.value]).sort()).toEqual(
      texts.map((name) => [name, name]).sort(),
    );
    for (const id of [...texts, '\ud800']) {
      expect(await store.session(id)).toBeNull();
      expect((await store.history(storedQuery(id), firstOf(10))).events).toEqual([]);
    }
    const named = server.requests.filter((each) => each.includes('query_sql')).map((each) => each.split('"params"')[0]);
    expect(named.filter((each) => each?.includes('1=1') || each?.includes('DROP TABLE'))).toEqual([]);
  });

  it('are compared with numbers at the limits of their types', async () => {
    const { store } = await opened();
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    const values = [
      '0',
      '9007199254740993',
      '9223372036854775806',
      '9223372036854775807',
      '9223372036854775808',
      '18446744073709551615',
    ];
    const events = values.map((netNs, i) => execEvent(timeAt(BASE, i), { netNs }));
    await sink.write([sliceOf(events, 0)], null);
    await sink.finish(ended);
    for (const wide of [values, values.slice(0, 4)])
      for (const value of wide)
        for (const [op, holds] of [
          ['eq', (a: bigint, b: bigint) => a === b],
          ['lt', (a: bigint, b: bigint) => a < b],
          ['gte', (a: bigint, b: bigint) => a >= b],
        ] as const) {
          const { events: found } = await store.history(
            storedQuery(record.id, { exec: { netNs: { [op]: value } } }),
            firstOf(100),
          );
          expect([op, value, found.map(({ place }) => place.seq)]).toEqual([
            op,
            value,
            values.flatMap((each, i) => (holds(BigInt(each), BigInt(value)) ? [i] : [])),
          ]);
        }
  });

  it('are no fewer than a filter takes, whatever the filter', async () => {
    const { store } = await opened();
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    const events = texts.flatMap((text, i) =>
      [null, 'ENOENT'].map((errno, j) =>
        execEvent(timeAt(BASE, i * 2 + j), {
          errno,
          filename: text,
          cwd: j ? text : null,
          process: { ...execEvent(timeAt(BASE)).process, pid: i, comm: text },
          netNs: j ? '18446744073709551615' : String(i),
        }),
      ),
    );
    await sink.write([sliceOf(events, 0)], null);
    await sink.finish(ended);
    const whole = await store.history(storedQuery(record.id), firstOf(1000));
    await fc.assert(
      fc.asyncProperty(randomTree(fields), async (tree) => {
        let filter;
        try {
          filter = parseInput(toInput(tree, fields), fields, fields.trackers);
        } catch (error) {
          expect(String(error)).toContain('no value is in the range');
          return;
        }
        const matches = compileFilter(filter, fields, ['exec']);
        const expected = whole.events.filter(({ event }) => matches(event)).map(({ place }) => place.seq);
        const query = { ...storedQuery(record.id), filter: { filter } } as Parameters<typeof store.history>[0];
        const found = (await store.history(query, firstOf(1000))).events.map(({ place }) => place.seq);
        expect(found).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });

  it('are aggregated by the database, in groups and windows over trackers, and quantiles by us', async () => {
    const { store } = await opened();
    const trackers = ['exec', 'exit'];
    const record = sessionOf('EVENTS', trackers);
    const sink = await store.record(record);
    const at = Math.floor(BASE / 10_000) * 10_000;
    const execs = Array.from({ length: 30 }, (_, i) =>
      execEvent(timeAt(at + i * 1000), {
        errno: i % 3 ? null : 'ENOENT',
        process: { ...execEvent(timeAt(at)).process, pid: i },
      }),
    );
    const exits = Array.from({ length: 5 }, (_, i) => exitEvent(timeAt(at + i, 1), { lifetimeNs: `${i + 1}` }));
    await sink.write([sliceOf(execs, 0), sliceOf(exits, execs.length)], null);
    await sink.finish(ended);
    const before = server.requests.length;
    const rows = await aggregate({ store }, storedQuery(record.id, null, trackers), {
      ...total,
      groupBy: ['tracker'],
      window: { size: 10_000 },
    });
    expect(rows.map(({ key, count, window }) => [key[0]?.value, count, window?.from])).toEqual([
      ['exec', 10, timeAt(at)],
      ['exit', 5, timeAt(at)],
      ['exec', 10, timeAt(at + 10_000)],
      ['exec', 10, timeAt(at + 20_000)],
    ]);
    expect(server.requests.slice(before).filter((each) => each.includes('UNION ALL'))).toHaveLength(1);
    const [other, failed] = await aggregate({ store }, storedQuery(record.id), {
      groupBy: ['errno'],
      measures: [
        { fn: 'SUM', field: 'process.pid', name: 'sum' },
        { fn: 'MAX', field: 'process.pid', name: 'max' },
        { fn: 'DISTINCT', field: 'process.pid', name: 'pids' },
        { fn: 'QUANTILE', field: 'process.pid', q: 0.5, name: 'median' },
      ],
    } as never);
    expect([other, failed].map((row) => [row?.key[0]?.value, row?.count])).toEqual([
      [null, 20],
      ['ENOENT', 10],
    ]);
    expect(failed?.values.slice(0, 3).map(({ number }) => Math.round(number ?? -1))).toEqual([135, 27, 10]);
  });
});

describe('an InfluxDB 3', () => {
  it('that refuses lines takes the others, and the law is exact', async () => {
    const { store, sender } = await opened();
    await sender.push(['eunomia_exec,host=h seq="text" 1']);
    await sender.flush();
    await until('the line is in the database', () => sender.stats.written === 1);
    const sink = await store.record(sessionOf('EVENTS'));
    await sink.write([sliceOf([execEvent(timeAt(BASE)), execEvent(timeAt(BASE, 1))], 0)], null);
    await sender.push(['nothing']);
    await sink.finish(ended);
    await until('all is sent', () => sender.stats.queued === 0);
    const { accepted, written, rejected, dropped } = sender.stats;
    expect({ accepted, written, rejected, dropped }).toEqual({ accepted: 6, written: 3, rejected: 3, dropped: 0 });
    expect((await store.status()).problem).toMatch(
      /HTTP 400: partial write of line protocol occurred: invalid column type for column 'seq'/,
    );
    // Of what was sent together each session bears its share.
    const { progress } = sink;
    expect([progress.pending, progress.written + progress.dropped]).toEqual([0, 2]);
  });

  it('that is away gets all of it once it is back, each point once', async () => {
    const { store, sender } = await opened();
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    await sink.flush();
    await until('all is sent', () => sender.stats.queued === 0);
    server.outage = 503;
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 100 }, (_, i) => execEvent(timeAt(BASE, i))),
          0,
        ),
      ],
      null,
    );
    await sink.flush();
    await until('the database is away', () => sender.stats.state === 'AWAY');
    server.outage = null;
    await sink.finish(ended);
    await until('all is sent', () => sender.stats.queued === 0);
    expect((await store.history(storedQuery(record.id), firstOf(1000))).events).toHaveLength(100);
    expect(sink.progress).toMatchObject({ written: 100, pending: 0, dropped: 0 });
  });

  it('keeps rollups, with a point for each group of a window', async () => {
    const { store } = await opened();
    const record = sessionOf('ROLLUP');
    const sink = await store.record(record);
    const events = Array.from({ length: 20 }, (_, i) => execEvent(timeAt(BASE, i), { errno: i % 4 ? null : 'EACCES' }));
    await sink.write([sliceOf(events, 0)], null);
    await sink.finish(ended);
    const rows = await aggregate({ store }, storedQuery(record.id), total);
    expect(rows.map(({ key, count }) => [key[0]?.value, count])).toEqual([
      [null, 15],
      ['EACCES', 5],
    ]);
    await expect(store.history(storedQuery(record.id), firstOf(10))).resolves.toMatchObject({ events: [] });
  });

  it('has sessions of two servers: one that was cut off ends for its own, and runs for the other', async () => {
    const own = await opened({ bucket: 'shared', spool: undefined });
    const other = await opened({ bucket: 'shared', host: 'other', node: '00000000-0000-0000-0000-000000000002' });
    const record = sessionOf('EVENTS');
    const line = await own.store.record(record);
    await line.write([sliceOf([execEvent(timeAt(BASE, 3)), execEvent(timeAt(BASE, 4))], 0)], null);
    await line.flush();
    await until('all is sent', () => own.sender.stats.queued === 0);
    expect(await other.store.session(record.id)).toMatchObject({ state: 'RUNNING', stopReason: null });
    await own.store.remove(record.id).catch(() => undefined); // all that is in its memory is gone, as after kill -9
    expect(await own.store.session(record.id)).toMatchObject({
      state: 'STOPPED',
      stopReason: 'INTERRUPTED',
      events: 2,
      nextSeq: 2,
      stoppedAt: timeAt(BASE, 4),
    });
    const cutOff = await untilHolds(
      'it is known to be cut off',
      () => other.store.session(record.id),
      (session) => session?.state === 'STOPPED',
    );
    expect(cutOff).toMatchObject({
      state: 'STOPPED',
      stopReason: 'INTERRUPTED',
      events: 2,
      nextSeq: 2,
      stoppedAt: timeAt(BASE, 4),
      name: record.name,
    });
  });

  it('says why it deletes no session, what a wrong token is, and which database is not there', async () => {
    const { store } = await opened();
    await expect(store.remove('abc')).rejects.toThrow('InfluxDB 3 deletes no single points');
    await expect(store.sessions()).rejects.toThrow(/failed: HTTP 404: database not found: b\d+/);
    const wrong = await opened({ token: 'wrong' });
    const sink = await wrong.store.record(sessionOf('EVENTS'));
    await sink.flush();
    const status = await untilHolds(
      'it has failed',
      async () => wrong.store.status(),
      ({ state }) => state === 'FAILED',
    );
    expect(status).toMatchObject({
      problem: expect.stringContaining('HTTP 401: the request was not authenticated') as string,
    });
  });
});

function pageOf(fromSeq: number, limit: number) {
  return {
    sessions: null,
    trackers: ['exec'],
    from: null,
    to: null,
    containers: null,
    filter: null,
    fromSeq,
    toSeq: null,
    limit,
  };
}
