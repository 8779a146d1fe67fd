import { afterAll, afterEach, expect } from 'vitest';
import { filterOf } from '../../src/filter/index.js';
import type { EventQuery } from '../../src/storage/store.js';
import {
  BASE,
  ended,
  execEvent,
  fields,
  openStore,
  sessionOf,
  sliceOf,
  timeAt,
  type Database,
  type TestStore,
} from './influx.js';

export interface InfluxStores {
  /** As `openStore`; it is closed after the test. */
  open(...args: Parameters<typeof openStore>): Promise<TestStore>;
  /** Ends the database after the last test of the file. */
  keep(database: Database): Database;
}

/** Databases and stores of one test file. */
export function influxStores(): InfluxStores {
  const databases: Database[] = [];
  const stores: TestStore[] = [];
  afterEach(async () => {
    await Promise.all(stores.splice(0).map(({ store }) => store.close()));
  });
  afterAll(async () => {
    await Promise.all(databases.map((database) => database.kill()));
  });
  return {
    open: async (...args) => {
      const opened = await openStore(...args);
      stores.push(opened);
      return opened;
    },
    keep: (database) => {
      databases.push(database);
      return database;
    },
  };
}

/** All that is stored of a session, or of those events what matches. */
export function storedQuery(
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

/** The number in the response to a statement that counts. */
export async function count(url: string, text: string, db = 'eunomia'): Promise<number> {
  const response = await fetch(`${url}/query?${new URLSearchParams({ db, q: text }).toString()}`);
  const { results } = (await response.json()) as { results: { series?: { values: number[][] }[] }[] };
  return results[0]?.series?.reduce((sum, { values }) => sum + (values[0]?.[1] ?? 0), 0) ?? 0;
}

/** A session whose events were not to be stored at its begin, in between and at its end: all else is read, and these gaps once each. */
export async function readBeyondOff(store: TestStore['store']): Promise<void> {
  const record = sessionOf('EVENTS');
  const sink = await store.record(record);
  const part = (from: number, at: number) =>
    sliceOf(
      Array.from({ length: 30 }, (_, i) => execEvent(timeAt(BASE, at + i))),
      from,
    );
  const off = (dropped: number, at: number) =>
    ({ from: timeAt(BASE, at), to: timeAt(BASE, at + 1), lost: 2, dropped, where: 'OFF' }) as const;
  // More places than one page looks through.
  const later = 20_000_000;
  await sink.skip(off(10, 0), 10);
  await sink.write([part(10, 100)], null);
  await sink.skip(off(later - 40, 200), later);
  await sink.write([part(later, 300)], null);
  await sink.skip(off(5, 400), later + 35);
  expect(sink.progress).toMatchObject({ dropped: 0 });
  await sink.finish(ended);
  expect(sink.progress).toMatchObject({ written: 60, pending: 0, dropped: 0, error: null });
  expect(await store.session(record.id)).toMatchObject({
    events: 60,
    missing: later - 25,
    omitted: later - 25,
    nextSeq: later + 35,
  });
  const places = [10, later].flatMap((from) => Array.from({ length: 30 }, (_, i) => from + i));
  const gaps = [10, later - 40, 5].map((dropped) => ({ where: 'OFF', lost: 2, dropped }));
  const query = { ...storedQuery(record.id), session: record.id };
  const read = { places: [] as number[], gaps: [] as object[] };
  for await (const { events, gaps: found } of store.read(query)) {
    read.places.push(...events.map(({ place }) => place.seq));
    read.gaps.push(...found);
  }
  expect(read.places).toEqual(places);
  expect(read.gaps).toMatchObject(gaps);
  for (const backwards of [false, true]) {
    const paged = { places: [] as number[], gaps: [] as object[] };
    let [from, to] = [0, later + 35];
    for (let more = true; more;) {
      const page = await store.page({ ...query, fromSeq: from, toSeq: to, limit: 17, backwards });
      const seqs = page.events.map(({ place }) => place.seq);
      if (backwards)
        [paged.places, paged.gaps] = [
          [...seqs, ...paged.places],
          [...page.gaps, ...paged.gaps],
        ];
      else
        [paged.places, paged.gaps] = [
          [...paged.places, ...seqs],
          [...paged.gaps, ...page.gaps],
        ];
      if (backwards) to = seqs[0] ?? 0;
      else from = (seqs.at(-1) ?? to) + 1;
      more = paged.places.length < 60 && (backwards ? page.hasPrevious : page.hasNext);
    }
    expect(paged.places).toEqual(places);
    if (!backwards) expect(paged.gaps).toMatchObject(gaps);
  }
}
