import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { storedParts } from '../../src/storage/parts.js';
import type { EventQuery } from '../../src/storage/store.js';
import type { TraceEvent } from '../../src/event/event.js';
import { filterOf } from '../../src/filter/index.js';
import {
  aggregate,
  catalog,
  ended,
  execEvent,
  exitEvent,
  fields,
  influx1,
  openStore,
  sessionOf,
  sliceOf,
  timeAt,
  victoria,
  type Database,
  type TestStore,
} from '../support/influx.js';
import { run, scratch } from '../support/workload.js';
import { until } from '../support/until.js';

/**
 * The store against a real InfluxDB 1.6 and a real VictoriaMetrics. EUNOMIA_TEST_OUTAGE_S and EUNOMIA_TEST_RATE make the test of an
 * outage longer and harder: 5 s and 20,000 events/s are the default.
 */
const OUTAGE_S = Number(process.env['EUNOMIA_TEST_OUTAGE_S'] ?? 5);
const RATE = Number(process.env['EUNOMIA_TEST_RATE'] ?? 20_000);

const databases: Database[] = [];
const stores: TestStore[] = [];

async function open(...args: Parameters<typeof openStore>): Promise<TestStore> {
  const opened = await openStore(...args);
  stores.push(opened);
  return opened;
}

afterEach(async () => {
  await Promise.all(stores.splice(0).map(({ store }) => store.close()));
});

afterAll(async () => {
  await Promise.all(databases.map((database) => database.kill()));
});

const BASE = Date.now() - 3_600_000;

function query(
  session: string | null,
  where: object | null = null,
  trackers: readonly string[] = ['exec'],
): EventQuery {
  return {
    sessions: session === null ? null : [session],
    trackers,
    from: null,
    to: null,
    containers: null,
    filter: where && filterOf(where, fields, trackers),
  };
}

async function count(url: string, text: string, db = 'eunomia'): Promise<number> {
  const response = await fetch(`${url}/query?${new URLSearchParams({ db, q: text }).toString()}`);
  const { results } = (await response.json()) as { results: { series?: { values: number[][] }[] }[] };
  return results[0]?.series?.reduce((sum, { values }) => sum + (values[0]?.[1] ?? 0), 0) ?? 0;
}

describe('events in an InfluxDB 1.x', () => {
  let database: Database;
  beforeAll(async () => {
    database = await (await influx1('influx-events')).up();
    databases.push(database);
  });

  const hostile = [
    `'; DROP DATABASE "eunomia"; --`,
    'x,session=forged pid=1i 1\nexec,session=forged pid=2i 2',
    'back\\slash\\',
    '"quoted"',
    'a b=c,d',
    'ünïcode ☃ 🐧',
    '\u0000\u0007',
    '${r.x}',
    '/.*/',
    ' ',
    '␊',
    '␛␊',
    '␦␊',
    '\u001b\\',
    '∖',
    '\uFEFF',
    '\\xff',
    'a\r\n\t',
  ];

  it('come back as they were, in order, also those of one nanosecond and those with hostile texts', async () => {
    const { store } = await open(database.url);
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    const time = timeAt(BASE, 7);
    const container = (name: string) => ({
      id: 'c'.repeat(64),
      name,
      image: `${name}:latest`,
      labels: {},
      composeProject: null,
      composeService: null,
    });
    const events = [
      ...Array.from({ length: 50 }, (_, i) => execEvent(time, { process: { ...execEvent(time).process, pid: i } })),
      ...hostile.map((text, i) =>
        execEvent(timeAt(BASE, 8 + i), {
          filename: text,
          args: [text, text],
          container: container(text),
          errno: 'ENOENT',
        }),
      ),
      execEvent(timeAt(BASE + 1), {
        pidNs: '18446744073709551615',
        netNs: '9223372036854775807',
        args: null,
        argsTruncated: null,
      }),
    ];
    await sink.write([sliceOf(events, 0)], null);
    await sink.finish(ended);
    expect(sink.progress).toMatchObject({ written: events.length, pending: 0, error: null });

    const page = await store.history(query(record.id), null, 1000);
    expect(page.hasNext).toBe(false);
    const stored = [...page.events].sort((a, b) => a.place.seq - b.place.seq).map(({ event }) => event);
    expect(stored.map(({ process, time: at }) => [process.pid, at])).toEqual(
      events.map(({ process, time: at }) => [process.pid, at]),
    );
    expect(stored.map((event) => Reflect.get(event, 'filename') as unknown)).toEqual(
      events.map((event) => Reflect.get(event, 'filename') as unknown),
    );
    expect(stored.slice(50, -1).map(({ container: of }) => (of as { name: string }).name)).toEqual(hostile);
    for (const [i, text] of hostile.entries()) {
      for (const where of [
        { exec: { filename: { eq: text } } },
        { container: { name: { eq: text } } },
        { exec: { filename: { prefix: text } }, process: { pid: { eq: 100 } }, container: { name: { suffix: text } } },
      ]) {
        const found = (await store.history(query(record.id, where), null, 1000)).events.map(
          ({ event }) => Reflect.get(event, 'filename') as string,
        );
        expect(found).toEqual(
          'container' in where && 'exec' in where
            ? hostile.filter((other) => other.startsWith(text) && other.endsWith(text))
            : [hostile[i]],
        );
      }
    }
    expect(stored.map((event) => JSON.stringify(Reflect.get(event, 'args')))).toEqual(
      events.map((event) => JSON.stringify(Reflect.get(event, 'args'))),
    );
    expect(stored.at(-1)).toMatchObject({ ...events.at(-1), netNs: expect.any(String) as string });
    expect(await count(database.url, `SELECT COUNT("seq") FROM "eunomia_exec" WHERE "session" = 'forged'`)).toBe(0);
  });

  it('are found by filters, the same as when evaluated here, and hostile values find nothing', async () => {
    const { store } = await open(database.url);
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    const events = Array.from({ length: 300 }, (_, i) =>
      execEvent(timeAt(BASE, i), {
        errno: i % 3 ? null : 'ENOENT',
        filename: i % 2 ? '/etc/passwd' : '/bin/ls',
        process: { ...execEvent('').process, pid: i, comm: `worker-${i % 4}` },
      }),
    );
    await sink.write([sliceOf(events, 0)], null);
    await sink.finish(ended);
    const found = async (where: object) => (await store.history(query(record.id, where), null, 1000)).events.length;
    expect(await found({ exec: { errno: { eq: 'ENOENT' } } })).toBe(100);
    expect(await found({ exec: { errno: { ne: 'ENOENT' } } })).toBe(0);
    expect(await found({ not: { exec: { errno: { eq: 'ENOENT' } } } })).toBe(200);
    expect(await found({ exec: { errno: { isNull: true } } })).toBe(200);
    expect(await found({ exec: { filename: { prefix: '/etc/' } }, process: { pid: { lt: 100 } } })).toBe(50);
    expect(await found({ exec: { filename: { regex: '^/(bin|sbin)/' } } })).toBe(150);
    expect(await found({ exec: { filename: { glob: '/*/l?' } } })).toBe(150);
    expect(
      await found({ or: [{ process: { pid: { in: [1, 2, 3] } } }, { process: { comm: { eq: 'worker-0' } } }] }),
    ).toBe(78);
    expect(await found({ exec: { args: { has: '-c' } } })).toBe(300);
    for (const text of hostile) {
      expect(await found({ exec: { filename: { eq: text } } })).toBe(0);
      expect(await found({ exec: { filename: { ne: text } } })).toBe(300);
      expect(await found({ container: { name: { contains: text } } })).toBe(0);
    }
    expect((await store.history(query(`x' OR "session" != '`), null, 10)).events).toEqual([]);
    expect((await store.history(query("\\' OR 1=1 --"), null, 10)).events).toEqual([]);
  });

  it('are grouped and measured by the database, or here where it cannot', async () => {
    const opened = await open(database.url);
    const { store } = opened;
    const record = sessionOf('EVENTS', ['exit']);
    const sink = await store.record(record);
    const exit = (i: number): TraceEvent =>
      exitEvent(timeAt(BASE + i * 100), {
        exitCode: i % 5,
        signal: i % 2 ? 'SIGKILL' : null,
        lifetimeNs: String(i * 1000),
      });
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 200 }, (_, i) => exit(i)),
          0,
        ),
      ],
      null,
    );
    await sink.finish(ended);
    const asked = query(record.id, null, ['exit']);
    const measures = [
      { fn: 'SUM', field: 'lifetimeNs' },
      { fn: 'MAX', field: 'lifetimeNs' },
      { fn: 'AVG', field: 'lifetimeNs' },
      { fn: 'QUANTILE', field: 'lifetimeNs', q: 0.5 },
      { fn: 'DISTINCT', field: 'exitCode' },
    ] as const;
    const rows = await aggregate(opened, asked, { groupBy: ['signal'], measures });
    expect(rows.map(({ key, count: n, values }) => [key[0]?.value, n, ...values.map(({ number }) => number)])).toEqual(
      expect.arrayContaining([
        ['SIGKILL', 100, 10_000_000, 199_000, 100_000, expect.any(Number), 5],
        [null, 100, 9_900_000, 198_000, 99_000, expect.any(Number), 5],
      ]),
    );
    const windows = await aggregate(opened, asked, { groupBy: [], window: { size: 1000 } });
    expect(windows.reduce((sum, row) => sum + row.count, 0)).toBe(200);
    expect(windows.length).toBeGreaterThanOrEqual(20);
    expect(
      await aggregate(
        opened,
        { ...asked, filter: filterOf({ exit: { exitCode: { eq: 2 } } }, fields, ['exit']) },
        { groupBy: ['tracker'] },
      ),
    ).toMatchObject([{ count: 40 }]);
    expect(await aggregate(opened, asked, { groupBy: ['process.comm'] })).toMatchObject([
      { key: [{ value: 'sh' }], count: 200 },
    ]);
    expect(
      (await aggregate(opened, asked, { groupBy: [], measures: [{ fn: 'TOP_K', field: 'exitCode', k: 5 }] }))[0]
        ?.values[0]?.top,
    ).toHaveLength(5);
    await expect(aggregate(opened, { ...asked, from: 0n }, { groupBy: ['tracker'] })).rejects.toThrow(
      /the range is \d+ days long; InfluxDB is asked for 366 days at most/,
    );
    await expect(aggregate(opened, asked, { groupBy: [], window: { size: 10 } })).rejects.toThrow(
      /windows of it; at most 10,000/,
    );
  });

  it('are paged by their places, forwards and backwards, and a session is remembered and can be removed', async () => {
    const { store } = await open(database.url);
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 1000 }, (_, i) => execEvent(timeAt(BASE, (i * 7919) % 1000))),
          0,
        ),
      ],
      { from: timeAt(BASE), to: timeAt(BASE, 1), lost: 12, dropped: 0, where: 'KERNEL' },
    );
    await sink.finish({ ...ended, lost: 12 });
    const base = { ...query(record.id), session: record.id };
    const seen: number[] = [];
    for (let fromSeq = 0, more = true; more;) {
      const page = await store.page({ ...base, fromSeq, toSeq: null, limit: 300, backwards: false });
      seen.push(...page.events.map(({ place }) => place.seq));
      fromSeq = (seen.at(-1) ?? 0) + 1;
      more = page.hasNext;
    }
    expect(seen).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    const last = await store.page({ ...base, fromSeq: 0, toSeq: null, limit: 10, backwards: true });
    expect(last.events.map(({ place }) => place.seq)).toEqual([990, 991, 992, 993, 994, 995, 996, 997, 998, 999]);
    expect((await store.page({ ...base, fromSeq: 0, toSeq: null, limit: 10, backwards: false })).gaps).toMatchObject([
      { lost: 12, where: 'KERNEL' },
    ]);

    const known = await store.session(record.id);
    const parts = [];
    if (known) for await (const part of storedParts({ record: known, store }, query(record.id))) parts.push(part);
    expect(parts.flatMap(({ events }) => events.map(({ time }) => time))).toEqual(
      Array.from({ length: 1000 }, (_, i) => timeAt(BASE, (i * 7919) % 1000)),
    );
    expect(parts.flatMap(({ gap }) => gap ?? [])).toEqual([
      { from: timeAt(BASE), to: timeAt(BASE, 1), lost: 12, dropped: 0, where: 'KERNEL' },
    ]);

    const other = await open(database.url);
    expect(await other.store.session(record.id)).toMatchObject({
      ...record,
      state: 'STOPPED',
      lost: 12,
      events: 1000,
      nextSeq: 1000,
    });
    await other.store.remove(record.id);
    expect(await other.store.session(record.id)).toBeNull();
    expect((await other.store.history(query(record.id), null, 10)).events).toEqual([]);
  });

  it(
    'that a database is away for come after it, in order, none lost, none doubled',
    async () => {
      const own = await (await influx1('influx-outage')).up();
      databases.push(own);
      const spool = join(scratch, 'outage-spool');
      const { store, sender } = await open(own.url, { spool });
      const record = sessionOf('EVENTS');
      const sink = await store.record(record);
      let made = 0;
      const startMs = Date.now();
      const feed = async (seconds: number): Promise<void> => {
        const from = Date.now();
        const goal = made + seconds * RATE;
        while (made < goal) {
          const due = Math.min(goal, goal - seconds * RATE + Math.floor(((Date.now() - from) / 1000) * RATE)) - made;
          if (due > 0) {
            // Four events at each nanosecond: so many CPUs.
            const events = Array.from({ length: due }, (_, i) =>
              execEvent(timeAt(startMs, (made + i) >> 2), { process: { ...execEvent('').process, pid: made + i } }),
            );
            await sink.write([sliceOf(events, made)], null);
            made += due;
          }
          await sleep(20);
        }
      };
      await feed(2);
      await own.kill();
      await feed(OUTAGE_S);
      expect(sender.stats.state).toBe('AWAY');
      expect(await store.status()).toMatchObject({
        state: 'PAUSED',
        problem: expect.stringMatching(/ECONNREFUSED.*points .* wait in the spool/) as string,
      });
      await own.up();
      await feed(2);
      await sink.finish(ended);
      await until('the spool is empty', () => sender.stats.queued === 0, 300_000);
      const { accepted, written, rejected, dropped, spoolBytes } = sender.stats;
      expect({ written, rejected, dropped, spoolBytes }).toEqual({
        written: accepted,
        rejected: 0,
        dropped: 0,
        spoolBytes: 0,
      });
      expect(await count(own.url, `SELECT COUNT("seq") FROM "eunomia_exec"`)).toBe(made);
      expect(await count(own.url, `SELECT COUNT(DISTINCT("seq")) FROM "eunomia_exec"`)).toBe(made);
    },
    60_000 + OUTAGE_S * 10_000,
  );

  it('survive the end of the server in the spool, and are sent by the next one', async () => {
    const own = await influx1('influx-restart');
    databases.push(own);
    const spool = join(scratch, 'restart-spool');
    const first = await openStore(own.url, { spool, version: 1 });
    const record = sessionOf('EVENTS');
    const sink = await first.store.record(record);
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 5000 }, (_, i) => execEvent(timeAt(BASE, i))),
          0,
        ),
      ],
      null,
    );
    await until('it is away', () => first.sender.stats.state === 'AWAY');
    await first.store.close();
    await own.up();
    const second = await open(own.url, { spool });
    await until('the spool is empty', () => second.sender.stats.queued === 0);
    expect(await count(own.url, `SELECT COUNT("seq") FROM "eunomia_exec"`)).toBe(5000);
    expect(await second.store.session(record.id)).toMatchObject({
      state: 'STOPPED',
      stopReason: 'INTERRUPTED',
      events: 5000,
      nextSeq: 5000,
    });
  });

  it('are refused for a wrong password, with the words of the database, and kept', async () => {
    const own = await (await influx1('influx-auth', { auth: true })).up();
    databases.push(own);
    await fetch(
      `${own.url}/query?${new URLSearchParams({ q: `CREATE USER "root" WITH PASSWORD 'right' WITH ALL PRIVILEGES` }).toString()}`,
      { method: 'POST' },
    );
    const { store, sender } = await open(own.url, { username: 'root', password: 'wrong' });
    const sink = await store.record(sessionOf('EVENTS'));
    await sink.write([sliceOf([execEvent(timeAt(BASE))], 0)], null);
    await until('it is refused', () => sender.stats.state === 'REFUSED');
    await sink.flush();
    expect(await store.status()).toMatchObject({
      state: 'FAILED',
      problem: expect.stringMatching(/HTTP 401: authorization failed.*2 points .* wait in the spool/) as string,
    });
    await expect(store.sessions()).rejects.toThrow(/STORE_UNAVAILABLE|does not answer this: HTTP 401/);
    const right = await open(own.url, { username: 'root', password: 'right', retentionMs: 86_400_000 });
    const good = await right.store.record(sessionOf('EVENTS'));
    await good.write([sliceOf([execEvent(timeAt(Date.now()))], 0)], null);
    await good.finish(ended);
    expect(right.sender.stats).toMatchObject({ state: 'CONNECTED', rejected: 0, queued: 0 });
    const policies = await fetch(
      `${own.url}/query?${new URLSearchParams({ db: 'eunomia', q: 'SHOW RETENTION POLICIES', u: 'root', p: 'right' }).toString()}`,
    );
    expect(await policies.text()).toContain('["eunomia","24h0m0s"');
  });

  it('that meet a column of another type are rejected and counted, the others written', async () => {
    const { store, sender } = await open(database.url, { bucket: 'conflict' });
    const sink = await store.record(sessionOf('EVENTS'));
    await sink.flush();
    await fetch(`${database.url}/write?db=conflict`, {
      method: 'POST',
      body: `eunomia_exec process_pid="text" ${BASE}000000`,
    });
    await sink.write([sliceOf([execEvent(timeAt(BASE))], 0)], null);
    await sink.flush();
    expect(sender.stats).toMatchObject({
      state: 'CONNECTED',
      rejected: 1,
      queued: 0,
      problem: expect.stringContaining('field type conflict') as string,
    });
  });
});

it('an InfluxDB with a certificate of its own authority is written and asked with that, and not without', async () => {
  const [cert, key] = [join(scratch, 'influx.pem'), join(scratch, 'influx.key')];
  const openssl = await run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=IP:127.0.0.1',
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  expect(openssl.code).toBe(0);
  const database = await (await influx1('influx-tls', { tls: { cert, key } })).up();
  databases.push(database);
  const record = sessionOf('EVENTS');
  const { store, sender } = await open(database.url, { ca: readFileSync(cert, 'utf8') });
  const sink = await store.record(record);
  await sink.finish(ended);
  await until('it is written', () => sender.stats.queued === 0);
  expect(await store.session(record.id)).toMatchObject({ id: record.id });
  const stranger = await open(database.url);
  await stranger.store.record(record);
  await until('it is not trusted', () => stranger.sender.stats.state === 'AWAY');
  expect(stranger.sender.stats.problem).toMatch(/self.signed/i);
});

describe('rollups', () => {
  const exits = (i: number): TraceEvent =>
    exitEvent(timeAt(BASE + i * 20), { signal: i % 4 ? null : 'SIGTERM', lifetimeNs: String(i) });

  it('in an InfluxDB 1.x sum up to the events, and answer aggregates', async () => {
    const database = await (await influx1('influx-rollup')).up();
    databases.push(database);
    const opened = await open(database.url);
    const { store } = opened;
    const record = sessionOf('ROLLUP', ['exec', 'exit']);
    const sink = await store.record(record);
    await sink.write(
      [
        sliceOf(
          Array.from({ length: 5000 }, (_, i) => exits(i)),
          0,
        ),
      ],
      null,
    );
    await sink.finish(ended);
    const asked = query(record.id, null, ['exec', 'exit']);
    const rows = await aggregate(opened, asked, {
      groupBy: ['tracker', 'signal'],
      measures: [
        { fn: 'SUM', field: 'lifetimeNs' },
        { fn: 'MAX', field: 'lifetimeNs' },
        { fn: 'AVG', field: 'lifetimeNs' },
      ],
    });
    expect(rows.map(({ key, count: n, values }) => [key.map(({ value }) => value), n, values[1]?.number])).toEqual([
      [['exit', null], 3750, 4999],
      [['exit', 'SIGTERM'], 1250, 4996],
    ]);
    expect(rows.reduce((sum, { values }) => sum + (values[0]?.number ?? 0), 0)).toBe((5000 * 4999) / 2);
    await expect(
      aggregate(
        opened,
        { ...asked, filter: filterOf({ process: { pid: { eq: 1 } } }, fields, ['exec', 'exit']) },
        { groupBy: ['tracker'] },
      ),
    ).rejects.toThrow(/where: rollups have their tags only, and cannot be filtered by "process.pid"/);
    await expect(store.history(asked, null, 10)).resolves.toMatchObject({ events: [] });
  });

  it('go to a VictoriaMetrics through /api/v2/write, once each, also when it was away meanwhile', async () => {
    const database = await (await victoria('victoria')).up();
    databases.push(database);
    const { store, sender } = await open(database.url);
    const sink = await store.record(sessionOf('ROLLUP', ['exit']));
    for (let part = 0; part < 4; part++) {
      // Ended in order: VictoriaMetrics answers before points are on its disk, and killed it would lose the last seconds of them.
      if (part === 1) await database.kill('SIGTERM');
      if (part === 2) await database.up();
      const slice = sliceOf(
        Array.from({ length: 2500 }, (_, i) => exits(part * 2500 + i)),
        part * 2500,
      );
      await sink.write([slice], null);
      await sleep(1200); // windows are written as they close
    }
    await sink.finish(ended);
    await until('all is sent', () => sender.stats.queued === 0);
    expect(sender.stats).toMatchObject({ rejected: 0, dropped: 0 });
    const exported = async (): Promise<readonly number[]> => {
      await fetch(`${database.url}/internal/force_flush`);
      const response = await fetch(
        `${database.url}/api/v1/export?${new URLSearchParams({ 'match[]': '{__name__="eunomia_rollup_exit_count"}', reduce_mem_usage: '0' }).toString()}`,
      );
      const lines = (await response.text()).trim().split('\n').filter(Boolean);
      return lines.flatMap((line) => (JSON.parse(line) as { values: number[] }).values);
    };
    await until('it can be read', async () => (await exported()).length > 0);
    expect((await exported()).reduce((sum, value) => sum + value, 0)).toBe(10_000);
  });
});

it('knows the trackers that it is tested with', () => {
  expect(catalog.get('exec')).toBeDefined();
});
