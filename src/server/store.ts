import { hostname } from 'node:os';
import type { NodeFacts } from '../event/node.js';
import { Aggregator, compileAggregate } from '../analysis/aggregate/index.js';
import type { Config } from '../base/config.js';
import { EunomiaError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Catalog } from '../catalog/catalog.js';
import type { FilterFields } from '../filter/index.js';
import type { StoreKind } from '../session/spec.js';
import { openInfluxStore, type MakeGroups } from '../storage/influx/index.js';
import type { Store } from '../storage/store.js';

const RETAIN_EVERY_MS = 30_000;

interface Ours {
  readonly catalog: Catalog;
  readonly fields: FilterFields;
  readonly node: NodeFacts;
}

/** Opens the stores that the configuration names, into `stores`: what was opened before another fails is there to be closed. */
export async function openStores(
  config: Config,
  { catalog, fields, node }: Ours,
  log: Log,
  stores: Map<StoreKind, Store>,
): Promise<void> {
  if (config.dataDirectory !== null)
    stores.set('EMBEDDED', await openEmbedded(config.dataDirectory, config, catalog, fields, log));
  if (config.influx === null) return;
  const makeGroups: MakeGroups = (input, tracker, graceMs) =>
    new Aggregator(compileAggregate(input, catalog, [tracker]), {
      live: true,
      graceMs,
      accept: (event) => event.tracker === tracker,
    });
  stores.set(
    'INFLUX',
    await openInfluxStore(config.influx, { host: hostname(), node, catalog, fields, makeGroups, log }),
  );
}

/**
 * The store in a directory. Where it cannot be opened the server runs without history, and says so (`stores`), unless it was told not to:
 * then this rejects with STORE_UNAVAILABLE.
 */
async function openEmbedded(
  directory: string,
  { retentionMs, retentionBytes, storeMemoryBytes, requireHistory }: Config,
  catalog: Catalog,
  fields: FilterFields,
  log: Log,
): Promise<Store> {
  const { DuckStore } = await import('../storage/duckdb/index.js');
  const store = new DuckStore({
    directory,
    catalog,
    fields,
    retentionMs,
    retentionBytes,
    memoryBytes: storeMemoryBytes,
    retainEveryMs: RETAIN_EVERY_MS,
    onProblem: (problem) => log.error({ problem }, 'the embedded store'),
  });
  if (!requireHistory) {
    await store.check();
    return store;
  }
  await store.open();
  const { state, problem } = await store.status();
  if (state === 'READY') return store;
  await store.close();
  throw new EunomiaError('STORE_UNAVAILABLE', problem ?? 'the embedded store cannot be opened');
}
