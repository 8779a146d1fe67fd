import type { Services } from '../api/context.js';
import type { Config } from '../config.js';
import type { Log } from '../log.js';
import type { LocalServer } from './client.js';
import type { Output } from './output.js';

/** A server that listens. */
export interface Listener {
  /** Where clients reach it. */
  readonly url: string;
  close(): Promise<void>;
}

/** What the commands are given: main.ts has the real one, a test its own. */
export interface World extends Servers {
  readonly output: Output;
  /** A line for the person at the terminal, on stderr. */
  tell(line: string): void;
  /** Aborts when the command shall end (Ctrl-C). */
  readonly signal: AbortSignal;
}

/** A plugin and a recording; as app.ts takes them. */
export interface PluginTest {
  readonly plugin: string;
  readonly engine: 'TRUSTED' | 'SANDBOX';
  readonly events: string;
  readonly options: unknown;
}

export interface PluginOutcome {
  readonly results: readonly { readonly kind: string; readonly json: string }[];
  readonly alerts: readonly object[];
  readonly logs: readonly string[];
}

export interface PluginSummary {
  readonly name: string;
  readonly version: string;
  readonly events: number;
  readonly discarded: number;
  readonly failed: number;
  readonly suppressed: number;
  readonly errors: readonly { readonly message: string; readonly at: string | null }[];
}

export type TestPlugin = (
  test: PluginTest,
  onOutcome: (outcome: PluginOutcome) => Promise<void>,
) => Promise<PluginSummary>;

export interface Servers {
  readonly testPlugin: TestPlugin;
  /** Starts a server that listens. */
  serve(config: Config, log: Log): Promise<Listener>;
  /** Starts a server for this process alone; it listens nowhere. */
  local(config: Config, log: Log): Promise<LocalServer>;
}

/** As app.ts makes it; the command line may not import it, since it stands above us. */
export type CreateApp = (config: Config, log: Log) => Promise<{ readonly services: Services; close(): Promise<void> }>;

export function servers(createApp: CreateApp, testPlugin: TestPlugin): Servers {
  return {
    testPlugin,
    async serve(config, log) {
      const app = await createApp(config, log);
      try {
        const { createServer } = await import('../api/server.js');
        const { url, close } = await createServer(app.services);
        return { url, close: () => close().finally(() => app.close()) };
      } catch (error) {
        await app.close();
        throw error;
      }
    },
    async local(config, log) {
      const app = await createApp(config, log);
      const { executeLocally } = await import('../api/local.js');
      const { openDownload } = await import('../api/download.js');
      const { createSchema } = await import('../api/schema.js');
      const gone = new AbortController();
      return {
        execute: (request) => executeLocally(app.services, request, 'admin'),
        download: async function* (path, query) {
          yield* (await openDownload(app.services, createSchema(), path, query, gone.signal)).body;
        },
        close: () => {
          gone.abort();
          return app.close();
        },
      };
    },
  };
}
