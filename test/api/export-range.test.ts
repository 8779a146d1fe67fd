import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Gap } from '../../src/event/event.js';
import { createContainer } from '../../src/inventory/container.js';
import { RecordBatch } from '../../src/record/batch.js';
import { textOfNanos } from '../../src/record/nanos.js';
import { compileView } from '../../src/record/view.js';
import type { DuckStore } from '../../src/storage/duckdb/index.js';
import type { StopReason } from '../../src/session/spec.js';
import type { SessionEnd, SessionRecord } from '../../src/storage/store.js';
import exit from '../../src/trackers/exit.js';
import { layoutOf, packed, recordOf } from '../support/record.js';
import { end, openStore, record, slicesOf, temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { createFixture, createServer, startedId, post } from './support.js';

/** 2026-01-31T08:15:30Z, from which times of these tests count. */
const BASE = 1_769_847_330_000_000_000n;
const at = (ns: number): string => textOfNanos(BASE + BigInt(ns));
const layout = layoutOf('exit');
const container = { ...createContainer('ab'.repeat(32), 'docker'), name: 'web-1' };

/** Events at these times, behind the place `seq`; those of pids that are even are of a container. */
function batchAt(seq: number, times: readonly number[]): RecordBatch {
  const { data, offsets } = packed(
    times.map((bootNs, i) => recordOf(layout, { bootNs, pid: seq + i, cgroupId: ((seq + i) % 2) + 1 })),
  );
  const views = [compileView(exit, layout)];
  const context = {
    views,
    containerAt: (view: DataView, record: number) => (view.getUint32(record + 24, true) % 2 ? null : container),
  };
  const clock = { seconds: Number(BASE / 1_000_000_000n), nanoseconds: 0 };
  return new RecordBatch(data, offsets, context, { clock, seq, lost: 0, lostFrom: 0, lostTo: 0 });
}

interface Step {
  readonly gap: Gap | null;
  readonly times: readonly number[];
}

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function storeOfTest(): Promise<DuckStore> {
  const { path, remove } = await temporaryDirectory();
  const store = openStore(path);
  closing.push(remove, () => store.close());
  return store;
}

async function write(
  store: DuckStore,
  id: string,
  steps: readonly Step[],
  ending: Partial<SessionEnd> = {},
  more: Partial<SessionRecord> = {},
): Promise<void> {
  const sink = await store.record({ ...record(id, ['exit']), createdAt: at(0), startedAt: at(0), ...more });
  let seq = 0;
  for (const { gap, times } of steps) {
    await sink.write(times.length ? slicesOf([batchAt(seq, times)]) : [], gap);
    seq += times.length;
  }
  await sink.finish({ ...end, stoppedAt: at(1_000_000_000), received: seq, ...ending });
}

async function serve(store: DuckStore | null) {
  const fixture = await createFixture();
  const server = await createServer({ ...fixture.services, stores: new Map(store ? [['EMBEDDED', store]] : []) });
  closing.push(
    () => fixture.services.manager.close(),
    () => server.close(),
  );
  const download = (path: string): Promise<Response> =>
    fetch(server.url.replace('/graphql', `/export/${path}`), { headers: { 'x-eunomia': '1' } });
  const lines = async (path: string): Promise<Line[]> => {
    const response = await download(path);
    const text = await response.text();
    expect({ status: response.status, text }).toMatchObject({ status: 200 });
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
  };
  return { ...fixture, url: server.url, download, lines };
}

interface Line {
  readonly session?: string;
  readonly time?: string;
  readonly gap?: Gap & { readonly session?: string };
  readonly end?: object;
  readonly eunomia?: object;
  readonly change?: object;
}

const gap = (from: number, to: number, lost: number, dropped: number): Gap => ({
  from: at(from),
  to: at(to),
  lost,
  dropped,
  where: dropped ? 'STORE' : 'KERNEL',
});

describe('an export of a range of time', () => {
  it(
    'has the rows and gaps that exports of its sessions have of this time, in the order of times, sessions and places',
    { timeout: 180_000 },
    async () => {
      const step = fc.record({
        // A gap of nothing is never written.
        gap: fc.option(
          fc
            .record({ from: fc.nat(90), for: fc.nat(30), lost: fc.nat(3), dropped: fc.nat(3) })
            .filter(({ lost, dropped }) => lost + dropped > 0),
          { nil: null },
        ),
        times: fc.array(fc.nat(100), { maxLength: 12 }),
      });
      const sessions = fc.array(
        fc.record({
          steps: fc.array(step, { maxLength: 5 }),
          reason: fc.constantFrom<StopReason>('REQUESTED', 'ERROR', 'INTERRUPTED'),
        }),
        { minLength: 1, maxLength: 3 },
      );
      const store = await storeOfTest();
      const { lines } = await serve(store);
      let run = 0;
      await fc.assert(
        fc.asyncProperty(sessions, fc.nat(100), fc.nat(60), fc.boolean(), async (all, from, span, named) => {
          run++;
          for (const { id } of await store.sessions()) await store.remove(id);
          const ids = all.map((_, i) => `${run}-session-${i}`);
          for (const [i, { steps, reason }] of all.entries()) {
            const made = steps.map(({ gap: hole, times }) => ({
              gap: hole && gap(hole.from, hole.from + hole.for, hole.lost, hole.dropped),
              times,
            }));
            await write(store, ids[i] ?? '', made, { stopReason: reason });
          }
          const [since, to] = [at(from), at(from + span + 1)];
          const chosen = named ? ids.slice(0, 2) : ids;
          const singles = await Promise.all(chosen.map((id) => lines(`${id}.ndjson`)));
          const events = singles
            .flatMap((single, i) => single.map((line) => ({ ...line, session: chosen[i] })))
            .filter(({ time }) => time !== undefined && time >= since && time < to)
            .sort((a, b) => (a.time === b.time ? 0 : (a.time ?? '') < (b.time ?? '') ? -1 : 1));
          const gaps = singles
            .flatMap((single, i) => single.flatMap((line) => (line.gap ? [{ session: chosen[i], ...line.gap }] : [])))
            .filter(({ from: begin, to: until, lost, dropped }) => {
              const only = Number(dropped) > 0 && Number(lost) === 0;
              return begin < to && (only ? until > since : until >= since);
            });
          const [head, ...rest] = await lines(
            `history.ndjson?from=${since}&to=${to}${named ? `&sessions=${chosen.join(',')}` : ''}`,
          );
          const last = rest.pop();
          expect(head).toMatchObject({ eunomia: { history: 1, range: { from: since, to } } });
          expect(rest.filter(({ time }) => time !== undefined)).toEqual(events);
          const text = (value: object): string => JSON.stringify(value);
          expect(rest.flatMap((line) => (line.gap ? [text(line.gap)] : [])).sort()).toEqual(gaps.map(text).sort());
          const sum = (of: 'lost' | 'dropped'): string => String(gaps.reduce((all, each) => all + Number(each[of]), 0));
          expect(last).toEqual({
            end: {
              items: String(events.length),
              lost: sum('lost'),
              dropped: sum('dropped'),
              complete: gaps.length === 0,
            },
          });
        }),
        { numRuns: 40 },
      );
    },
  );

  it('tells a gap before the events of the time of its end, and a change of a session at its time', async () => {
    const store = await storeOfTest();
    const asked = record('a', ['exit']).asked;
    if (!asked) throw new Error('nothing was asked');
    const changes = [{ at: at(15), seq: 2, input: asked.input, where: 'process.pid == 1' }];
    await write(
      store,
      'a',
      [
        { gap: null, times: [10, 20] },
        { gap: gap(20, 30, 4, 0), times: [30] },
      ],
      {},
      {
        asked: { ...asked, changes },
      },
    );
    await write(store, 'b', [{ gap: null, times: [10, 30] }]);
    const { lines } = await serve(store);
    const all = await lines(`history.ndjson?from=${at(0)}&to=${at(100)}`);
    const told = all.map(({ session, time, gap: hole, change }) =>
      hole ? `gap ${hole.session}` : change ? 'change' : time ? `${session} ${time.slice(-3, -1)}` : '-',
    );
    expect(told).toEqual(['-', 'a 10', 'b 10', 'change', 'a 20', 'gap a', 'a 30', 'b 30', '-']);
    expect(all[3]).toMatchObject({ change: { session: 'a', at: at(15), where: null } });
    const alone = await lines('a.ndjson');
    expect(alone.map(({ time, change }) => (change ? 'change' : (time?.slice(-3, -1) ?? '-')))).toEqual([
      '-',
      '10',
      '20',
      '-',
      'change',
      '30',
      '-',
    ]);
  });

  it(
    'has each event once where many have one time, over pages and spans of any length',
    { timeout: 60_000 },
    async () => {
      const store = await storeOfTest();
      const times = Array.from({ length: 6000 }, (_, i) => Math.floor(i / 3000) * 7);
      await write(store, 'a', [{ gap: null, times }]);
      await write(store, 'b', [
        { gap: null, times },
        { gap: gap(7, 3_600_000_000_000, 1, 0), times: [3_600_000_000_000] },
      ]);
      const { lines } = await serve(store);
      const all = await lines(`history.ndjson?from=${at(0)}&to=${at(7_200_000_000_000)}&fields=process.pid`);
      const rows = all.filter(({ time }) => time !== undefined);
      expect(rows).toHaveLength(12_001);
      expect(new Set(rows.map((row) => JSON.stringify(row))).size).toBe(12_001);
      expect(rows.map(({ time }) => time)).toEqual(rows.map(({ time }) => time).sort());
      expect(all.at(-1)).toEqual({ end: { items: '12001', lost: '1', dropped: '0', complete: false } });
    },
  );

  it('has only what was asked for: containers, filter, fields and trackers', async () => {
    const store = await storeOfTest();
    await write(store, 'a', [{ gap: null, times: [1, 2, 3, 4] }]);
    const { lines } = await serve(store);
    const range = `from=${at(0)}&to=${at(100)}`;
    const where = encodeURIComponent('process.pid >= 2');
    const [head, ...rest] = await lines(
      `history.ndjson?${range}&containers=web-*&where=${where}&fields=session,process.pid&trackers=exit`,
    );
    expect(head).toMatchObject({
      eunomia: { where: 'process.pid >= 2', range: { containers: [{ name: 'web-*' }] }, sessions: [{ id: 'a' }] },
    });
    expect(rest.slice(0, -1)).toEqual([{ session: 'a', tracker: 'exit', time: at(3), process: { pid: 2 } }]);
    expect(await lines(`history.ndjson?${range}&trackers=exec`)).toHaveLength(2);
  });

  it('groups what is in the range, and tells what is missing in it', async () => {
    const store = await storeOfTest();
    await write(store, 'a', [
      { gap: null, times: [1, 2] },
      { gap: gap(2, 3, 0, 5), times: [3] },
    ]);
    const { lines } = await serve(store);
    const [, row, last] = await lines(`history.ndjson?from=${at(2)}&to=${at(100)}&groupBy=tracker&measures=count`);
    expect(row).toMatchObject({ tracker: 'exit', count: '2' });
    expect(last).toEqual({ end: { items: '1', lost: '0', dropped: '5', complete: false } });
  });

  it('is read as CSV and as Parquet, whose first column is the session', async () => {
    const store = await storeOfTest();
    for (const id of ['a', 'b']) await write(store, id, [{ gap: gap(0, 1, 2, 0), times: [1, 2, 3] }]);
    const { download } = await serve(store);
    const range = `from=${at(0)}&to=${at(100)}`;
    const csv = await download(`history.csv?${range}&fields=process.pid`);
    expect(csv.headers.get('content-disposition')).toBe('attachment; filename="eunomia-history-events.csv"');
    const rows = parse(await csv.text(), { columns: true }) as Record<string, string>[];
    expect(rows.map((row) => `${row['session']} ${row['process.pid']}`)).toEqual([
      'a 0',
      'b 0',
      'a 1',
      'b 1',
      'a 2',
      'b 2',
    ]);
    const folder = await mkdtemp(join(tmpdir(), 'eunomia-export-'));
    closing.push(() => rm(folder, { recursive: true }));
    const file = join(folder, 'all.parquet');
    await writeFile(file, Buffer.from(await (await download(`history.parquet?${range}`)).arrayBuffer()));
    const connection = await (await DuckDBInstance.create(':memory:')).connect();
    const query = async (sql: string) => (await connection.runAndReadAll(sql)).getRowsJson();
    expect(await query(`SELECT session, count(*) n FROM '${file}' GROUP BY 1 ORDER BY 1`)).toEqual([
      ['a', '3'],
      ['b', '3'],
    ]);
    expect((await query(`DESCRIBE SELECT * FROM '${file}'`))[0]?.slice(0, 2)).toEqual(['session', 'VARCHAR']);
    const [[ending = ''] = []] = await query(
      `SELECT decode(value) FROM parquet_kv_metadata('${file}') WHERE decode(key) = 'eunomia.end'`,
    );
    expect(JSON.parse(String(ending))).toEqual({ items: 6, lost: 4, dropped: 0, complete: false });
    connection.closeSync();
  });

  it('leaves nothing when its client goes away', { timeout: 60_000 }, async () => {
    const store = await storeOfTest();
    for (let i = 0; i < 3; i++)
      await write(store, `s${i}`, [{ gap: null, times: Array.from({ length: 20_000 }, (_, n) => n) }]);
    const { url, download } = await serve(store);
    const { hostname, port } = new URL(url);
    let asked = 0;
    const { history } = store;
    store.history = (...args) => {
      asked++;
      return history.apply(store, args);
    };
    for (let i = 0; i < 5; i++) {
      const client = request({
        hostname,
        port,
        path: `/export/history.ndjson?from=${at(0)}&to=${at(1_000_000)}`,
        headers: { 'x-eunomia': '1' },
      });
      client.on('error', () => undefined).end();
      const [response] = (await once(client, 'response')) as [NodeJS.ReadableStream];
      await once(response, 'data');
      client.destroy();
    }
    let before = -1;
    await until('nobody reads', () => {
      const isQuiet = asked === before;
      before = asked;
      return isQuiet;
    });
    expect((await download(`history.csv?from=${at(0)}&to=${at(10)}&fields=tracker`)).status).toBe(200);
  });
});

describe('an export of a range of time that is refused', () => {
  it.each([
    [`from=${at(9)}&to=${at(3)}`, 400, /^from: .* is not before /],
    ['from=1970-01-01T00:00:00Z', 400, /^from: the range has more than 366 days/],
    ['from=yesterday', 400, /^from: "yesterday" is neither a time nor a time ago/],
    ['to=2026-02-30T00:00:00Z', 400, /^to: "2026-02-30T00:00:00Z" is neither a time/],
    ['sessions=nobody', 404, /the store has no session "nobody"/],
    ['sessions=', 400, /^sessions: is empty/],
    ['trackers=opne', 400, /^trackers\[0\]: there is no tracker "opne"; did you mean "open"/],
    ['containers=%5B', 400, /has a \[ without its \]/],
    ['fields=process.com', 400, /^fields\[0\]: .*did you mean "process.comm"/],
    ['where=process.pid', 400, /^where/],
    ['store=influx', 400, /^store: is "influx"; give EMBEDDED or INFLUX/],
    ['store=INFLUX', 400, /this server has no INFLUX store/],
    ['follow=true', 400, /^follow: belongs to an export of one session/],
    ['session=x', 400, /^session: is no parameter of a download; did you mean "sessions"/],
    ['window=1m', 400, /^window: belongs to an aggregate/],
  ])('?%s: %i', async (query, status, message) => {
    const store = await storeOfTest();
    await write(store, 'a', [{ gap: null, times: [1] }]);
    const { download } = await serve(store);
    const response = await download(`history.csv?${query}`);
    const { errors } = (await response.json()) as { errors: { message: string }[] };
    expect(errors[0]?.message).toMatch(message);
    expect(response.status).toBe(status);
  });

  it('names a tracker that this version does not have, a session with rollups, and one in memory only', async () => {
    const store = await storeOfTest();
    await write(store, 'older', [{ gap: null, times: [1] }]);
    const known = store.sessions.bind(store);
    store.sessions = async () =>
      (await known()).map((each) => (each.id === 'older' ? { ...each, trackers: ['exit', 'gone'] } : each));
    const { download, url } = await serve(store);
    const message = async (query: string): Promise<string | undefined> =>
      (
        (await (await download(`history.csv?from=${at(0)}&to=${at(99)}&${query}`)).json()) as {
          errors: { message: string }[];
        }
      ).errors[0]?.message;
    expect(await message('fields=tracker')).toMatch(/"older" was recorded with the tracker gone.*name the `trackers`/);
    expect((await download(`history.csv?from=${at(0)}&to=${at(99)}&trackers=exit`)).status).toBe(200);
    await write(store, 'rollup', [], {}, { mode: 'ROLLUP' });
    expect(await message('trackers=exit')).toMatch(/"rollup" is stored as rollups/);
    const id = startedId(
      await post(url, { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' }),
    );
    expect(await message(`sessions=${id}`)).toMatch(/is not in the EMBEDDED store: it is in memory/);
  });

  it('has its parameters only where there is a range', async () => {
    const { download } = await serve(await storeOfTest());
    const { errors } = (await (await download('abc.csv?from=1h')).json()) as { errors: { message: string }[] };
    expect(errors[0]?.message).toMatch(/^from: belongs to an export of a range of time, \/export\/history/);
  });
});
