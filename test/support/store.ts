import { askedOf } from './asked.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import type { EventBatch } from '../../src/record/batch.js';
import type { Slice } from '../../src/record/batch-buffer.js';
import { DuckStore, type DuckOptions } from '../../src/storage/duckdb/index.js';
import type { EventQuery, HistoryRange, SessionEnd, SessionRecord } from '../../src/storage/store.js';
import { FilterFields } from '../../src/filter/index.js';
import { Catalog } from '../../src/catalog/catalog.js';
import { loadTrackers } from '../../src/catalog/load.js';

/** A real DuckDB file, without sessions of its own. */

const schema = contractSchema();
export const catalog = new Catalog(schema, await loadTrackers(), () => false);
export const fields = new FilterFields(schema, catalog);

export async function temporaryDirectory(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'eunomia-store-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export function openStore(directory: string, options: Partial<DuckOptions> = {}): DuckStore {
  return new DuckStore({
    directory,
    catalog,
    fields,
    retentionMs: null,
    retentionBytes: null,
    memoryBytes: 512 << 20,
    retainEveryMs: 3_600_000,
    onProblem: () => undefined,
    ...options,
  });
}

/** Directories of a test's own and the stores in them, closed and removed after it. To be called once a file, outside of its tests. */
export function storesOfTest() {
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });
  return {
    /** Called after the test, before what was there earlier is closed. */
    atEnd: (close: () => Promise<unknown>): void => void closing.push(close),
    async directory(): Promise<string> {
      const { path, remove } = await temporaryDirectory();
      closing.push(remove);
      return path;
    },
    opened(path: string, options: Partial<DuckOptions> = {}): DuckStore {
      const store = openStore(path, options);
      closing.push(() => store.close());
      return store;
    },
  };
}

export function record(id: string, trackers: readonly string[]): SessionRecord {
  return {
    id,
    name: null,
    labels: [],
    trackers,
    options: {},
    capture: 'DEFAULT',
    mode: 'EVENTS',
    createdAt: '2026-01-31T08:15:30.000000000Z',
    startedAt: '2026-01-31T08:15:30.000000000Z',
    asked: askedOf(trackers),
    boot: null,
  };
}

/** The first events of a history, so many. */
export function firstOf(limit: number, more: Partial<HistoryRange> = {}): HistoryRange {
  return { after: null, before: null, limit, backwards: false, ...more };
}

export const end: SessionEnd = {
  startedAt: null,
  state: 'STOPPED',
  stoppedAt: '2026-01-31T08:15:31.000000000Z',
  stopReason: 'REQUESTED',
  error: null,
  lost: 0,
  received: 0,
  discarded: 0,
  receivedBytes: 0,
};

export const everything = (trackers: readonly string[]): EventQuery => ({
  sessions: null,
  trackers,
  from: null,
  to: null,
  containers: null,
  filter: null,
});

export function slicesOf(batches: readonly EventBatch[]): readonly Slice[] {
  return batches.map((batch) => ({ batch, from: 0, to: batch.count }));
}
