import { readFile } from 'node:fs/promises';
import { availableParallelism, hostname, machine, release } from 'node:os';
import { join } from 'node:path';
import { checkListen } from './api/auth.js';
import type { Services, TrackerStatus } from './api/context.js';
import { ConfigFile, ExportedMetrics, parseExported } from './api/exported/index.js';
import type { Answer, OperationRequest } from './api/engine.js';
import { executeLocally } from './api/local.js';
import { createSchema } from './api/schema.js';
import { createServer } from './api/server.js';
import type { Config } from './config.js';
import { BuiltinMetrics, MAX_CONTAINERS, ServerMetrics } from './consumers/metrics/index.js';
import { ContainerRegistry } from './containers/registry.js';
import { messageOf } from './errors.js';
import { ClockWatch } from './kernel/clock.js';
import { checkEnvironment } from './kernel/environment.js';
import { root } from './kernel/paths.js';
import { KernelThread } from './kernel/thread.js';
import type { Log } from './log.js';
import { watchCgroups } from './pipeline/cgroups.js';
import { nowText } from './pipeline/clock.js';
import { SessionManager } from './pipeline/manager.js';
import { readProcess } from './pipeline/process.js';
import { createRuntime, type TrackerRuntime } from './pipeline/runtime.js';
import { FilterFields } from './filter/index.js';
import { Catalog } from './trackers/catalog.js';
import { loadTrackers } from './trackers/load.js';

/** Everything that answers, without a listener: the server and the command line's own mode stand on the same. */
export interface App {
  readonly services: Services;
  /** Stops all sessions and leaves nothing in the kernel. May be called twice. */
  close(): Promise<void>;
}

/**
 * The composition root: the only place that knows every part. Rejects with NO_LIBBPF, LIBBPF_TOO_OLD,
 * NOT_PRIVILEGED, NO_BTF or a KernelError, with what would mend it; nothing is left behind then.
 */
export async function createApp(config: Config, log: Log): Promise<App> {
  const libbpf = checkEnvironment();
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const kernel = new KernelThread();
  const registry = new ContainerRegistry({ log, ...(config.engine === 'none' ? { engine: null } : config.engine ? { engine: { host: config.engine } } : {}) });
  let manager: SessionManager | null = null;
  const close = async () => {
    await manager?.close();
    await kernel.close();
    await registry.close();
  };
  try {
    const runtimes = await Promise.all((await loadTrackers()).map(createRuntime));
    const trackers = new Map(runtimes.map((runtime) => [runtime.definition.name, runtime]));
    await watchCgroups(kernel, registry); // before the registry looks at the tree, so that none falls in between
    const [features, status] = await Promise.all([kernel.probe(), tryTrackers(kernel, runtimes), registry.start()]);
    const counting = new BuiltinMetrics({ trackers, log, manager: () => sessions });
    const sessions = new SessionManager({ kernel, registry, trackers, subscriberBytes: config.limits.subscriberBytes, maxSessions: config.limits.sessions, observer: counting, log });
    manager = sessions;
    const schema = createSchema();
    const catalog = new Catalog(
      schema,
      runtimes.map((runtime) => runtime.definition),
      (tracker, field) => trackers.get(tracker)?.onDemand.includes(field) ?? false,
    );
    const fields = new FilterFields(schema, catalog);
    if (config.metricsConfig !== null) {
      const exported = new ExportedMetrics(parseExported(ConfigFile.read(config.metricsConfig), { schema, catalog, fields }), sessions, log);
      await exported.start();
      counting.metrics.add(exported);
    }
    const clock = new ClockWatch();
    let problem: string | null = null;
    manager.onKernelDeath = (error) => (problem = `${error.message}; start the server again`);
    counting.metrics.add(
      new ServerMetrics({
        version,
        kernelRelease: release(),
        registry,
        healthy: () => problem === null,
        engineConnected: () => registry.engine?.connected ?? false,
        trackers: new Map([...status].map(([name, { available }]) => [name, available])),
        maxContainers: MAX_CONTAINERS,
      }),
    );
    return {
      services: {
        manager,
        registry,
        catalog,
        fields,
        config,
        log,
        metrics: counting.metrics,
        server: {
          version,
          startedAt: nowText(),
          hostname: hostname(),
          kernel: { release: release(), architecture: machine(), cpus: availableParallelism(), libbpf, features },
          health: () => ({ healthy: problem === null, problem }),
          engine: () => registry.engine ?? { connected: false, version: null, error: 'the server was started with --engine none' },
        },
        trackerStatus: (name) => status.get(name) ?? { available: false, reason: 'there is no such tracker', hooks: [], minimumKernel: '' },
        process: (pid) => readProcess(pid, clock.offset()),
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Loads each tracker once and drops it: the kernel itself says whether it can. */
async function tryTrackers(kernel: KernelThread, runtimes: readonly TrackerRuntime[]): Promise<Map<string, TrackerStatus>> {
  return new Map(
    await Promise.all(
      runtimes.map(async ({ definition, hooks, objectSpec }): Promise<[string, TrackerStatus]> => {
        const reason = await kernel.tryLoad(objectSpec({})).then(() => null, messageOf);
        return [definition.name, { available: reason === null, reason, hooks, minimumKernel: definition.minimumKernel }];
      }),
    ),
  );
}

/** A server that listens. Rejects as `createApp` and `createServer` do; nothing is left behind then. */
export async function listen(config: Config, log: Log): Promise<{ readonly url: string; close(): Promise<void> }> {
  checkListen(config); // before anything is loaded
  const app = await createApp(config, log);
  // Its programs stay attached for as long as the process lives, and nobody reads them any more.
  app.services.manager.onKernelDeath = () => process.exit(1);
  try {
    const server = await createServer(app.services);
    return {
      url: server.url,
      close: async () => {
        await app.services.manager.close(); // readers see the end of their sessions before their connections go
        await server.close();
        await app.close();
      },
    };
  } catch (error) {
    await app.close();
    throw error;
  }
}

/** The same without a listener, for this process alone. */
export async function openLocal(config: Config, log: Log): Promise<{ execute(request: OperationRequest): Promise<Answer>; close(): Promise<void> }> {
  const app = await createApp(config, log);
  const gone = new AbortController();
  return {
    execute: (request) => executeLocally(app.services, request, 'operator', gone.signal),
    close: () => {
      gone.abort();
      return app.close();
    },
  };
}
