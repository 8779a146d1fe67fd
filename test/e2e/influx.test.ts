import { join } from 'node:path';
import { askedOf } from '../support/asked.js';
import { scratch } from '../support/workload.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { storedParts } from '../../src/storage/parts.js';
import type { TraceEvent } from '../../src/event/event.js';
import { filterOf } from '../../src/filter/index.js';
import type { HistoryPlace, StoredPage } from '../../src/storage/store.js';
import {
  BASE,
  aggregate,
  catalog,
  ended,
  execEvent,
  exitEvent,
  fields,
  influx1,
  sessionOf,
  sliceOf,
  timeAt,
  type Database,
} from '../support/influx.js';
import { count, influxStores, readBeyondOff, storedQuery } from '../support/influx-stores.js';
import { firstOf } from '../support/store.js';
import { until } from '../support/until.js';

/** What the store reads back from a real InfluxDB 1.6. */
const { open, keep } = influxStores();
let database: Database;
beforeAll(async () => {
  database = await (await influx1('influx-events')).up();
  keep(database);
});

describe('events in an InfluxDB 1.x', () => {
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

    const page = await store.history(storedQuery(record.id), firstOf(1000));
    expect(page.hasNext).toBe(false);
    const ahead: StoredPage['events'][number][] = [];
    for (let after: HistoryPlace | null = null, more = true; more;) {
      const part: StoredPage = await store.history(storedQuery(record.id), firstOf(9, { after }));
      ahead.push(...part.events);
      after = part.events.at(-1)?.place ?? null;
      more = part.hasNext;
    }
    expect(ahead).toEqual(page.events);
    const back: StoredPage['events'][number][] = [];
    for (let before: HistoryPlace | null = null, more = true; more;) {
      const part: StoredPage = await store.history(storedQuery(record.id), firstOf(9, { before, backwards: true }));
      expect([part.hasNext, part.events.length > 0]).toEqual([before !== null, true]);
      back.unshift(...part.events);
      before = part.events[0]?.place ?? null;
      more = part.hasPrevious;
    }
    expect(back).toEqual(page.events);
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
        const found = (await store.history(storedQuery(record.id, where), firstOf(1000))).events.map(
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

  it('are read on beyond what was not to be stored, however much that is, and it is told once', async () => {
    await readBeyondOff((await open(database.url)).store);
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
    const found = async (where: object) =>
      (await store.history(storedQuery(record.id, where), firstOf(1000))).events.length;
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
    expect((await store.history(storedQuery(`x' OR "session" != '`), firstOf(10))).events).toEqual([]);
    expect((await store.history(storedQuery("\\' OR 1=1 --"), firstOf(10))).events).toEqual([]);
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
    const asked = storedQuery(record.id, null, ['exit']);
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
    const base = { ...storedQuery(record.id), session: record.id };
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
    if (known) for await (const part of storedParts({ record: known, store }, storedQuery(record.id))) parts.push(part);
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
    expect((await other.store.history(storedQuery(record.id), firstOf(10))).events).toEqual([]);
  });
});

describe('a session in an InfluxDB whose server was killed', () => {
  it('says so, with its last event and that nobody counted what is missing, once its server is back, and to no other', async () => {
    const spool = join(scratch, 'killed-spool');
    const killed = await open(database.url, { spool, node: '00000000-0000-0000-0000-00000000000a' });
    const record = sessionOf('EVENTS');
    const rolled = sessionOf('ROLLUP');
    const sink = await killed.store.record(record);
    await killed.store.record(rolled);
    await sink.write([sliceOf([execEvent(timeAt(BASE)), execEvent(timeAt(BASE + 5000))], 0)], null);
    await sink.flush();
    await killed.sender.close(); // as far as it came; how the session ended is not written

    const another = await open(database.url, { node: '00000000-0000-0000-0000-00000000000b' });
    expect(await another.store.session(record.id)).toMatchObject({ state: 'RUNNING', stopReason: null, error: null });
    // Without a data directory a server has another node id after its restart.
    const { store } = await open(database.url, { spool, node: '00000000-0000-0000-0000-00000000000c' });
    const told = {
      ...record,
      state: 'STOPPED',
      stopReason: 'INTERRUPTED',
      stoppedAt: timeAt(BASE + 5000),
      events: 2,
      nextSeq: 2,
      error: expect.stringContaining('the server ended without stopping it') as string,
    };
    expect(await store.session(record.id)).toMatchObject(told);
    const all = await store.sessions();
    expect(all.find(({ id }) => id === record.id)).toMatchObject(told);
    await until('another server is told', async () => (await another.store.session(record.id))?.state === 'STOPPED');
    expect(await another.store.session(record.id)).toMatchObject(told);
    expect(await another.store.session(rolled.id)).toMatchObject({ state: 'STOPPED', stopReason: 'INTERRUPTED' });
    expect(all.find(({ id }) => id === rolled.id)).toMatchObject({ state: 'STOPPED', stopReason: 'INTERRUPTED' });
    const page = {
      ...storedQuery(record.id),
      session: record.id,
      fromSeq: 0,
      toSeq: null,
      limit: 10,
      backwards: false,
    };
    const { gaps } = await store.page(page);
    expect(gaps).toMatchObject([{ seq: 2, lost: 0, dropped: 0, where: 'STORE' }]);
  });

  it('or that was cut off at its end, says how many events are missing', async () => {
    const { store, sender } = await open(database.url);
    const record = sessionOf('EVENTS');
    const sink = await store.record(record);
    await sink.write([sliceOf([execEvent(timeAt(BASE)), execEvent(timeAt(BASE + 1))], 0)], null);
    const gap = { from: timeAt(BASE + 2), to: timeAt(BASE + 3), lost: 0, dropped: 4, where: 'OFF' } as const;
    const session = { ...record, name: 'renamed' };
    sink.giveUp({ ...ended, stopReason: 'SHUTDOWN', received: 11 }, 11, { session, offs: [{ gap, from: 3, to: 7 }] });
    await sender.close();
    const other = await open(database.url);
    expect(await other.store.session(record.id)).toMatchObject({
      stopReason: 'SHUTDOWN',
      error: '5 of its events were not stored before the server ended',
      name: 'renamed',
      events: 2,
      missing: 9,
      omitted: 4,
      nextSeq: 11,
    });
  });

  it('keeps what was asked of it, however long that is', async () => {
    const { store } = await open(database.url);
    const names = Array.from({ length: 9000 }, (_, i) => `é"\\\n${i}`);
    const where = { process: { comm: { in: names } } };
    const record = { ...sessionOf('EVENTS'), asked: askedOf(['exec'], { where }, { where: 'x', limit: 3 }) };
    await (await store.record(record)).finish(ended);
    const other = await open(database.url);
    expect((await other.store.session(record.id))?.asked).toEqual(record.asked);
  });
});

it('knows the trackers that it is tested with', () => {
  expect(catalog.get('exec')).toBeDefined();
});
