import type { InfluxConfig } from '../../base/config.js';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { readTrusted } from '../../base/file.js';
import type { Log } from '../../base/log.js';
import { ConnectingClient } from './connect.js';
import { Sender } from './sender.js';
import { Spool } from './spool.js';
import { InfluxStore, type InfluxStoreOptions } from './store.js';

/**
 * The store that the configuration names. The database need not respond: points spool until it does. Rejects with SPOOL_UNUSABLE,
 * SPOOL_LOCKED, or BAD_CONFIG when the authority's file cannot be read.
 */
export async function openInfluxStore(
  config: InfluxConfig,
  parts: Pick<InfluxStoreOptions, 'host' | 'node' | 'catalog' | 'fields' | 'makeGroups'> & { readonly log: Log },
): Promise<InfluxStore> {
  const { log, ...rest } = parts;
  const ca = config.caFile === null ? null : readAuthority(config.caFile);
  const spool = await Spool.open(config.spoolDirectory, { maxBytes: config.spoolBytes, drop: config.spoolDrop });
  if (spool.damagedBytes)
    log.warn({ bytes: spool.damagedBytes }, 'the spool for InfluxDB ended within a record, which was cut off');
  const client = new ConnectingClient({ ...config, ca });
  const store = new InfluxStore({
    ...rest,
    client,
    sender: new Sender({ writer: client, spool, log }),
    location: `${config.url} ${config.bucket}`,
    retentionMs: config.retentionMs,
  });
  void store.settle();
  return store;
}

function readAuthority(file: string): string {
  try {
    return readTrusted(file, 'CONFIG').toString();
  } catch (error) {
    throw new EunomiaError('BAD_CONFIG', `--influx-ca: ${messageOf(error)}`, { cause: error });
  }
}
