import type { Log } from '../base/log.js';
import type { CreateSource } from '../inventory/source.js';

/** dockerode takes a tenth of a second to load, and some MiB: only where there is an engine. */
export async function engineSources(hosts: readonly string[] | null, log: Log): Promise<readonly CreateSource[]> {
  if (hosts?.length === 0) return [];
  return (await import('../inventory/docker/sources.js')).dockerSources({ log, hosts });
}
