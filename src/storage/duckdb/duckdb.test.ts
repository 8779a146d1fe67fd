import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { turns } from '../../base/turn.js';
import { Aggregator, compileAggregate } from '../../analysis/aggregate/index.js';
import { createContainer } from '../../inventory/container.js';
import { RecordBatch } from '../../record/batch.js';
import { RowBatch } from '../../record/row.js';
import { compileView } from '../../record/view.js';
import { filterOf } from '../../filter/index.js';
import open from '../../trackers/open.js';
import { textOfMs } from '../../event/clock.js';
import { eventWith } from '../../../test/support/event.js';
import { batchAt, layoutOf, packed, recordOf } from '../../../test/support/record.js';
import {
  catalog,
  end,
  everything,
  fields,
  firstOf,
  record,
  slicesOf,
  storesOfTest,
} from '../../../test/support/store.js';
import { until } from '../../../test/support/until.js';
import { Database } from './database.js';
import { tableOf } from './table.js';
import type { HistoryPlace, StoredPage } from '../store.js';

const { atEnd, directory, opened } = storesOfTest();

const pageOf = (session: string, more: object = {}) => ({
  ...everything(['exit']),
  session,
  fromSeq: 0,
  toSeq: null,
  limit: 100,
  backwards: false,
  ...more,
});

describe('the embedded store', () => {
  it('that closes before it could write all knows what was not to be stored from what is missing', async () => {
    const path = await directory();
    const store = opened(path);
    const sink = await store.record(record('a', ['exit']));
    const off = (from: number, to: number) =>
      ({
        from,
        to,
        gap: { from: textOfMs(from), to: textOfMs(to), lost: 0, dropped: to - from, where: 'OFF' },
      }) as const;
    const [told, untold] = [off(2, 5), off(8, 12)];
    await sink.write(slicesOf([batchAt(0, 2)]), null);
    await sink.skip(told.gap, told.to);
    await sink.flush();
    const session = { ...record('a', ['exit']), name: 'renamed' };
    sink.giveUp({ ...end, received: 15 }, 15, { session, offs: [told, untold] });
    await store.close();
    expect(await opened(path).session('a')).toMatchObject({
      name: 'renamed',
      error: '6 of its events were not stored before the server ended',
      events: 2,
      missing: 13,
      omitted: 7,
      nextSeq: 15,
    });
  });

  it('returns the events of a session in pages, also after it was opened anew', async () => {
    const path = await directory();
    const store = opened(path);
    const sink = await store.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 300), batchAt(300, 200)]), null);
    await sink.finish(end);
    await store.close();
    const again = opened(path);
    const page = await again.page(pageOf('a', { fromSeq: 250 }));
    expect(page.events.map(({ place }) => place.seq)).toEqual(Array.from({ length: 100 }, (_, i) => 250 + i));
    expect(page).toMatchObject({ hasNext: true, hasPrevious: true });
    expect(page.events[0]?.event).toEqual(
      expect.objectContaining({
        tracker: 'exit',
        __typename: 'ExitEvent',
        bootNs: '250',
        time: '1970-01-01T00:00:00.000000250Z',
      }),
    );
    const last = await again.page(pageOf('a', { limit: 3, backwards: true }));
    expect(last.events.map(({ place }) => place.seq)).toEqual([497, 498, 499]);
    expect(await again.sessions()).toMatchObject([
      { id: 'a', state: 'STOPPED', stopReason: 'REQUESTED', events: 500, nextSeq: 500 },
    ]);
  });

  it.each([1, 3, 500])(
    'reads long pages in parts, of events of two trackers, one in %i of the other',
    async (share) => {
      const count = 12_000;
      const events = Array.from({ length: count }, (_, i) => {
        const own = i % share ? { exitCode: 0, coreDumped: false, lifetimeNs: '5' } : { flags: [], path: `/${i}` };
        return eventWith(i % share ? 'exit' : 'open', {
          ...own,
          bootNs: String(1_000 + i),
          time: `2026-01-31T08:15:30.${String(i).padStart(9, '0')}Z`,
        });
      });
      const clock = { seconds: 1_769_847_330, nanoseconds: 0 };
      const store = opened(await directory());
      const sink = await store.record(record('a', ['exit', 'open']));
      await sink.write(slicesOf([new RowBatch(events, { clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 })]), null);
      await sink.finish(end);
      const both = everything(['exit', 'open']);
      const from = (first: number, length: number): number[] => Array.from({ length }, (_, i) => first + i);
      const seqs = ({ events: some }: { readonly events: readonly { readonly place: { readonly seq: number } }[] }) =>
        some.map(({ place }) => place.seq);
      const page = (more: object) => store.page({ ...pageOf('a', more), ...both });
      expect(seqs(await page({ fromSeq: 7, limit: 11_000 }))).toEqual(from(7, 11_000));
      expect(seqs(await page({ limit: 20_000 }))).toEqual(from(0, count));
      expect(seqs(await page({ limit: 9_000, backwards: true }))).toEqual(from(3_000, 9_000));
      const history = await store.history(both, firstOf(10_000));
      expect(seqs(history)).toEqual(from(0, 10_000));
      expect(history.hasNext).toBe(true);
      expect(seqs(await store.history(both, firstOf(10_000, { after: history.events.at(-1)?.place ?? null })))).toEqual(
        from(10_000, 2_000),
      );
    },
  );

  it('makes the events of a page in turns', async () => {
    const store = opened(await directory());
    const sink = await store.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 6000)]), null);
    await sink.finish(end);
    const pieces = vi.spyOn(turns, 'isOpen', 'get');
    try {
      expect((await store.page(pageOf('a', { limit: 6000 }))).events).toHaveLength(6000);
      expect(pieces.mock.calls.length).toBeGreaterThan(6000 / 200);
    } finally {
      pieces.mockRestore();
    }
  });

  it('gives each field back as the record had it', async () => {
    const layout = layoutOf('open');
    const container = { ...createContainer('c'.repeat(64), 'docker'), name: 'web', labels: { tier: 'front' } };
    const context = {
      views: [compileView(open, layout)],
      containerAt: (view: DataView, at: number) => (view.getUint32(at + 24, true) % 2 ? container : null),
    };
    const names = [
      ...[
        '/etc/hosts',
        '/a/rather/long/path/that/does/not/fit/inline',
        '',
        'ä/ö',
        '\uFFFD',
        '\uFEFF',
        'a',
        '\uFEFFa',
        '\uFEFF\uFEFFa',
        '\uFEFF/a/rather/long/path',
        '\\xff',
        '\\x5c',
        '\\xff/a/rather/long/path',
        'C:\\x',
      ].map((text) => Buffer.from(text)),
      ...[
        [0xff],
        [0xfe],
        [0xff, 0xfe],
        [0xc3],
        [0x5c, 0xff],
        [...Buffer.from('/a/rather/long/path/'), 0xff],
        [...Buffer.from('/a/rather/long/path/'), 0xfe],
      ].map((bytes) => Buffer.from(bytes)),
    ];
    const records = names.map((bytes, i) => {
      const word = bytes.length === 0 ? 0 : (bytes.length << 16) | layout.size;
      return recordOf(
        layout,
        {
          bootNs: 10n ** 15n + BigInt(i),
          cgroupId: 2n ** 40n,
          startBootNs: 77,
          pid: 10 + i,
          uid: 2 ** 32 - 1,
          mountNs: i,
          comm: Buffer.concat([bytes.subarray(0, 15), Buffer.from([0])]),
          errno: i === 1 ? -2 : 0,
          fd: i === 1 ? -2 : i,
          flags: i === 3 ? 1n << 40n : 0o101,
          how: i % 2,
          resolve: 8,
          resolvedState: i % 5,
          deleted: i % 2,
          mode: 0o644,
          path: word,
          stack: i % 2 ? word : 0,
        },
        bytes,
      );
    });
    const { data, offsets } = packed(records);
    const batch = new RecordBatch(data, offsets, context, {
      clock: { seconds: 1_769_847_330, nanoseconds: 999_999_999 },
      seq: 0,
      lost: 0,
      lostFrom: 0,
      lostTo: 0,
    });
    const store = opened(await directory());
    const sink = await store.record(record('a', ['open']));
    await sink.write(
      slicesOf([
        batch,
        new RowBatch(Array.from({ length: batch.count }, (_, i) => plain(batch.event(i))) as never, {
          ...batch,
          clock: batch.clock,
          seq: batch.count,
          lost: 0,
          lostFrom: 0,
          lostTo: 0,
        }),
      ]),
      null,
    );
    await sink.flush();
    const { events } = await store.page({ ...pageOf('a'), trackers: ['open'] });
    const wanted = Array.from({ length: batch.count }, (_, i) => plain(batch.event(i)));
    expect(events.map(({ event }) => event)).toEqual([...wanted, ...wanted]);
    // Each name is a text of its own, and is found and counted by it.
    const texts = wanted.map((event) => Reflect.get(event, 'path') as string | null).filter((text) => text !== null);
    expect(new Set(texts).size).toBe(names.length - 1);
    for (const text of texts) {
      const filter = filterOf({ open: { path: { eq: text } } }, fields, ['open']);
      expect(
        (await store.page({ ...pageOf('a', { filter }), trackers: ['open'] })).events.map(
          ({ event }) => Reflect.get(event, 'path') as unknown,
        ),
      ).toEqual([text, text]);
    }
    const query = { sessions: ['a'], trackers: ['open'], from: null, to: null, containers: null, filter: null };
    for (const path of ['path', 'process.comm']) {
      const spec = compileAggregate({ groupBy: [path], limit: 100 }, catalog, ['open']);
      const live = new Aggregator(spec);
      live.addBatch(batch, 0, batch.count);
      live.addBatch(batch, 0, batch.count);
      const counted = (
        rows: readonly { readonly key: readonly { readonly value: string | null }[]; readonly count: number }[],
      ) => new Map(rows.map(({ key, count }) => [key[0]?.value, count]));
      const stored = await store.aggregate(query, spec);
      expect(counted(stored ?? [])).toEqual(counted(live.rows()));
      expect(counted(live.rows()).size).toBe(
        new Set(names.map((name) => (path === 'path' ? name : name.subarray(0, 15)).toString('hex'))).size,
      );
    }
  });

  it('evaluates what SQL cannot by the filter, and the rest in SQL', async () => {
    const store = opened(await directory());
    const sink = await store.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 5000)]), null);
    await sink.flush();
    const filter = filterOf(
      {
        and: [
          { process: { pid: { gte: 100 } } },
          { not: { exit: { signal: { glob: 'SIG*' } } } },
          { bootNs: { lt: '4000' } },
        ],
      },
      fields,
      ['exit'],
    );
    const page = await store.page(pageOf('a', { filter, limit: 2000, fromSeq: 3000 }));
    expect(page.events.map(({ place }) => place.seq)).toEqual(Array.from({ length: 1000 }, (_, i) => 3000 + i));
    expect(page.hasNext).toBe(false);
  });
});

describe('a new data directory', () => {
  it('has no file, and no thread opens one, until a session is recorded', async () => {
    const path = await directory();
    const store = opened(path);
    await store.check();
    expect(await store.sessions()).toEqual([]);
    expect(await store.session('a')).toBeNull();
    expect(await store.load()).toMatchObject({ up: true, bytes: 0 });
    await store.retain();
    expect(store.isOpen).toBe(false);
    expect(await readdir(path)).toEqual([]);
    await (await store.record(record('a', ['exit']))).finish(end);
    expect(await readdir(path)).toContain('eunomia.duckdb');
    expect((await store.sessions()).map(({ id }) => id)).toEqual(['a']);
    await store.close();
    expect((await opened(path).sessions()).map(({ id }) => id)).toEqual(['a']);
  });

  it('that cannot be used is told of before a session is recorded', async () => {
    const path = join(await directory(), 'file');
    await writeFile(path, '');
    const problems: string[] = [];
    const store = opened(path, { onProblem: (problem) => problems.push(problem) });
    await store.check();
    await until('the problem is told', () => problems.length > 0);
    expect(problems[0]).toContain(`the data directory ${path} cannot be used`);
    await expect(store.sessions()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it('is not opened by what asks a store that is closed', async () => {
    const path = await directory();
    const store = opened(path);
    await store.close();
    await expect(store.record(record('a', ['exit']))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await store.status()).toMatchObject({ state: 'FAILED', problem: 'the store is closed', bytes: null });
    expect(store.isOpen).toBe(false);
    expect(await readdir(path)).toEqual([]);
  });
});

describe('a session that is removed while its events wait to be written', () => {
  it('leaves none of them, and the next session is another', async () => {
    const path = await directory();
    const store = opened(path);
    const first = await store.record(record('first', ['exit', 'open']));
    for (let i = 0; i < 40; i++) await first.write(slicesOf([batchAt(i * 1000, 1000)]), null);
    await store.remove('first');
    const second = await store.record(record('second', ['exit']));
    await first.write(slicesOf([batchAt(40_000, 1000)]), null);
    await second.write(slicesOf([batchAt(0, 500)]), null);
    await first.finish(end);
    await second.write(slicesOf([batchAt(500, 500)]), null);
    await second.finish(end);
    expect(second.progress).toMatchObject({ written: 1000, pending: 0, error: null });
    expect(await store.sessions()).toMatchObject([{ id: 'second', state: 'STOPPED', events: 1000, missing: 0 }]);
    await store.close();
    const database = await Database.open(join(path, 'eunomia.duckdb'), [tableOf(catalog.need('exit'))], 512 << 20);
    atEnd(async () => database.close());
    // The number 1 was the first one's.
    expect(await database.read('SELECT DISTINCT _session FROM event_exit')).toEqual([[2]]);
    expect(await database.read('SELECT number FROM sessions')).toEqual([[2]]);
  });
});

describe('history', () => {
  it('goes through all sessions by time, page by page, to the end', async () => {
    const store = opened(await directory());
    for (const id of ['a', 'b', 'c']) {
      const sink = await store.record(record(id, ['exit']));
      await sink.write(slicesOf([batchAt(0, 40)]), null); // all at the same times
      await sink.finish(end);
    }
    const seen: string[] = [];
    const places: HistoryPlace[] = [];
    const nameOf = ({ place: { session, seq } }: StoredPage['events'][number]) => `${session}${seq}`;
    for (let after: HistoryPlace | null = null, more = true; more;) {
      const page: StoredPage = await store.history(everything(['exit']), firstOf(7, { after }));
      expect(page.hasPrevious).toBe(after !== null);
      seen.push(...page.events.map(nameOf));
      places.push(...page.events.map(({ place }) => place));
      after = page.events.at(-1)?.place ?? null;
      more = page.hasNext;
    }
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => [`a${i}`, `b${i}`, `c${i}`]).flat());
    const back: string[] = [];
    for (let before: HistoryPlace | null = null, more = true; more;) {
      const page: StoredPage = await store.history(everything(['exit']), firstOf(7, { before, backwards: true }));
      expect(page.hasNext).toBe(before !== null);
      back.unshift(...page.events.map(nameOf));
      before = page.events[0]?.place ?? null;
      more = page.hasPrevious;
    }
    expect(back).toEqual(seen);
    const between = { after: places[31] ?? null, before: places[91] ?? null, limit: 20 };
    expect((await store.history(everything(['exit']), { ...between, backwards: false })).events.map(nameOf)).toEqual(
      seen.slice(32, 52),
    );
    expect((await store.history(everything(['exit']), { ...between, backwards: true })).events.map(nameOf)).toEqual(
      seen.slice(71, 91),
    );
    const filtered = await store.history(
      {
        ...everything(['exit']),
        sessions: ['b'],
        filter: filterOf({ process: { comm: { regex: '^$' } }, bootNs: { gte: '38' } }, fields, ['exit']),
      },
      firstOf(7),
    );
    expect(filtered.events.map(({ place }) => place.seq)).toEqual([38, 39]);
  });
});

/** Of now, so that no age deletes them. */

function plain(event: object): Record<string, unknown> {
  const names = [
    '__typename',
    'tracker',
    'time',
    'bootNs',
    'cgroupId',
    'container',
    'errno',
    'fd',
    'path',
    'resolved',
    'resolvedState',
    'deleted',
    'directory',
    'stack',
    'flags',
    'resolve',
    'mode',
  ];
  const { pid, tid, ppid, uid, gid, comm, startTime, mountNs } = Reflect.get(event, 'process') as Record<
    string,
    unknown
  >;
  return {
    ...Object.fromEntries(names.map((name) => [name, Reflect.get(event, name) as unknown])),
    process: { pid, tid, ppid, uid, gid, comm, startTime, mountNs },
  };
}
