import { afterAll, afterEach } from 'vitest';
import { filterOf } from '../../src/filter/index.js';
import type { EventQuery } from '../../src/storage/store.js';
import { fields, openStore, type Database, type TestStore } from './influx.js';

/** The times of tests' events begin here: an hour ago. */
export const BASE = Date.now() - 3_600_000;

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
