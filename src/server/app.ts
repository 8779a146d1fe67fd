import { contractSchema } from '../api/graphql/schema.js';
import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import { compose, type App } from './compose.js';

/**
 * A server as its configuration describes it, without a listener. Rejects as `openKernel`, `openRecording` and `compose` do;
 * nothing is left behind then.
 */
export async function createApp(config: Config, log: Log): Promise<App> {
  const schema = contractSchema();
  // Loaded here: what only replays needs no libbpf, nor what calls it.
  const ground = config.replay
    ? await (await import('./replay.js')).openRecording(config.replay, schema, log)
    : await (await import('./live.js')).openKernel(config, log);
  return compose({ config, log, schema, ground });
}
