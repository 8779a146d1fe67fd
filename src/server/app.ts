import { contractSchema } from '../api/graphql/schema.js';
import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import { compose, type App } from './compose.js';

/**
 * A server as its configuration describes it, without a listener. Rejects as `openKernel`, `openRecording` and `compose` do;
 * nothing is left behind then.
 */
export async function createApp(config: Config, log: Log): Promise<App> {
  // Loaded here: what only replays needs no libbpf, nor what calls it.
  if (config.replay) {
    const schema = contractSchema();
    const ground = await (await import('./replay.js')).openRecording(config.replay, schema, log);
    return compose({ config, log, schema, ground });
  }
  if (!config.watches) {
    const ground = await (await import('./unwatched.js')).openUnwatched(config, log);
    return compose({ config, log, schema: contractSchema(), ground });
  }
  const opening = (await import('./live.js')).openKernel(config, log);
  // The kernel's thread begins meanwhile: the schema takes a tenth of a second.
  const schema = contractSchema();
  return compose({ config, log, schema, ground: await opening });
}
