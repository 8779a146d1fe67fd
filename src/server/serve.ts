import type { Caller } from '../access/caller.js';
import { openListener } from '../api/http/server.js';
import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import type { LocalServer } from '../client/client.js';

/** A server that listens. */
export interface Listening {
  /** Where clients reach it. */
  readonly url: string;
  /** Resolves when it can do no more than end. */
  readonly died: Promise<Error>;
  /** Ends sessions, so that every reader sees their end, then connections, then all else. */
  close(): Promise<void>;
}

/** Starts a server that listens. Rejects as `openListener` and `createApp` do; nothing is left behind then. */
export async function serve(config: Config, log: Log): Promise<Listening> {
  // Before anything is loaded into the kernel: most of what can be wrong with a configuration is wrong here.
  const listener = await openListener(config);
  try {
    const { createApp } = await import('./app.js');
    const app = await createApp(config, log);
    const { url, close } = listener.serve(app.service, app.peers);
    app.afterStart();
    return { url, died: app.died, close: () => close().finally(() => app.close()) };
  } catch (error) {
    await listener.close();
    throw error;
  }
}

/** Starts a server for this process alone, who may do everything; it listens nowhere. Rejects as `createApp` does. */
export async function serveLocally(config: Config, log: Log): Promise<LocalServer> {
  const [{ createApp }, { executeLocally }, { readDownload }] = await Promise.all([
    import('./app.js'),
    import('../api/graphql/local.js'),
    import('../api/http/download.js'),
  ]);
  const app = await createApp(config, log);
  const gone = new AbortController();
  const caller: Caller = { who: 'this process', role: 'admin', signal: gone.signal };
  return {
    execute: (request) => executeLocally(app.service, request, caller),
    download: async function* (path, query) {
      yield* (await app.service.exports.open(caller, readDownload(path, query))).body;
    },
    close: () => {
      gone.abort();
      return app.close();
    },
  };
}
