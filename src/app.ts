import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { availableParallelism, hostname, machine, release } from 'node:os';
import { join } from 'node:path';
import { checkListen } from './api/auth.js';
import type { Services, TrackerStatus } from './api/context.js';
import { ConfigFile, ExportedMetrics, parseExported } from './api/exported/index.js';
import type { Answer, OperationRequest } from './api/engine.js';
import { executeLocally } from './api/local.js';
import { createSchema } from './api/schema.js';
import { storeOf } from './api/resolvers/history.js';
import { createServer } from './api/server.js';
import { AlertBook } from './consumers/alerts/book.js';
import {
  PluginHost,
  replayPlugin,
  type HostOptions,
  type OnOutcome,
  type ReplayRequest,
  type ReplaySummary,
} from './consumers/plugins/index.js';
import type { Config, OtlpConfig } from './config.js';
import { Aggregator, compileAggregate } from './consumers/aggregate/index.js';
import {
  BuiltinMetrics,
  DeclaredMetrics,
  MAX_CONTAINERS,
  ServerMetrics,
  WorkMetrics,
  sessionLabel,
} from './consumers/metrics/index.js';
import { OtlpExporter, type ExporterOptions } from './consumers/otlp/index.js';
import { openInfluxStore, type MakeGroups } from './consumers/store/influx/index.js';
import { SessionRecording } from './consumers/store/recording.js';
import type { Store } from './consumers/store/store.js';
import { ContainerRegistry } from './containers/registry.js';
import { Recording } from './consumers/export/index.js';
import { EunomiaError, messageOf } from './errors.js';
import { root } from './kernel/paths.js';
import { KernelThread } from './kernel/thread.js';
import type { Log } from './log.js';
import { watchCgroups } from './pipeline/cgroups.js';
import { nowText } from './pipeline/clock.js';
import { SessionManager } from './pipeline/manager.js';
import type { StoreKind } from './pipeline/spec.js';
import { readProcess } from './pipeline/process.js';
import { createReplay, recordedTracker } from './pipeline/replay.js';
import { createRuntime, type TrackerRuntime } from './pipeline/runtime.js';
import { FilterFields } from './filter/index.js';
import { Catalog } from './trackers/catalog.js';
import { loadTrackers } from './trackers/load.js';

/** How much of a recording is held, as RowBatch weighs it: a million events. */
const REPLAY_BYTES = 512 << 20;
/** What DuckDB may take for queries and its cache of the file. */
const STORE_MEMORY = '1GB';
const RETAIN_EVERY_MS = 30_000;

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
  if (config.replay) return createReplayApp(config, config.replay, log);
  // Loaded here: what only replays needs no libbpf, nor what calls it.
  const [{ checkEnvironment }, { ClockWatch }] = await Promise.all([
    import('./kernel/environment.js'),
    import('./kernel/clock.js'),
  ]);
  const libbpf = checkEnvironment();
  const version = await readVersion();
  const kernel = new KernelThread();
  const registry = new ContainerRegistry({
    log,
    ...(config.engine === 'none' ? { engine: null } : config.engine ? { engine: { host: config.engine } } : {}),
  });
  let manager: SessionManager | null = null;
  let plugins: PluginHost | null = null;
  let exporter: OtlpExporter | null = null;
  const stores = new Map<StoreKind, Store>();
  const close = async () => {
    await manager?.close();
    await plugins?.close();
    await exporter?.close();
    await Promise.all([...stores.values()].map((store) => store.close()));
    await kernel.close();
    await registry.close();
  };
  try {
    const runtimes = await Promise.all((await loadTrackers()).map(createRuntime));
    const trackers = new Map(runtimes.map((runtime) => [runtime.definition.name, runtime]));
    await watchCgroups(kernel, registry); // before the registry looks at the tree, so that none falls in between
    const [features, status] = await Promise.all([kernel.probe(), tryTrackers(kernel, runtimes), registry.start()]);
    const clock = new ClockWatch();
    const counting = new BuiltinMetrics({ trackers, log, manager: () => sessions, stores: () => stores.values() });
    const schema = createSchema();
    const catalog = new Catalog(
      schema,
      runtimes.map((runtime) => runtime.definition),
      (tracker, field) => trackers.get(tracker)?.onDemand.includes(field) ?? false,
    );
    const fields = new FilterFields(schema, catalog);
    if (config.dataDirectory !== null)
      stores.set('EMBEDDED', await openEmbedded(config.dataDirectory, config, catalog, fields, log));
    if (config.influx !== null) {
      const makeGroups: MakeGroups = (input, tracker, graceMs) =>
        new Aggregator(compileAggregate(input, catalog, [tracker]), {
          live: true,
          graceMs,
          accept: (event) => event.tracker === tracker,
        });
      stores.set(
        'INFLUX',
        await openInfluxStore(config.influx, { host: hostname(), catalog, fields, makeGroups, log }),
      );
    }
    if (config.otlp !== null) {
      exporter = await createExporter(config.otlp, {
        catalog,
        version,
        log,
        families: () => counting.metrics.families(),
      });
      counting.metrics.add(exporter);
    }
    const sessions = new SessionManager({
      kernel,
      registry,
      trackers,
      subscriberBytes: config.limits.subscriberBytes,
      maxSessions: config.limits.sessions,
      observer: counting,
      log,
      tap: (session) => exporter?.follow(session),
      record: async (session, persist) =>
        SessionRecording.begin(session, persist, storeOf(persist.store, { stores }), log),
    });
    manager = sessions;
    const alerts = new AlertBook((alert) => exporter?.raise(alert));
    const host = createPlugins(config, log, { catalog, fields }, alerts, sessions);
    plugins = host;
    await host.open();
    if (config.metricsConfig !== null) {
      const exported = new ExportedMetrics(
        parseExported(ConfigFile.read(config.metricsConfig), { schema, catalog, fields }),
        sessions,
        log,
      );
      await exported.start();
      counting.metrics.add(exported);
    }
    counting.metrics.add(new WorkMetrics(() => host.work()));
    counting.metrics.add(
      new DeclaredMetrics(
        () => host.samples(),
        (id) => sessionLabel(sessions.get(id) ?? null),
      ),
    );
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
        stores,
        plugins,
        alerts,
        config,
        log,
        metrics: counting.metrics,
        server: {
          version,
          startedAt: nowText(),
          hostname: hostname(),
          kernel: { release: release(), architecture: machine(), cpus: availableParallelism(), libbpf, features },
          health: () => ({ healthy: problem === null, problem }),
          engine: () =>
            registry.engine ?? { connected: false, version: null, error: 'the server was started with --engine none' },
        },
        trackerStatus: (name) =>
          status.get(name) ?? { available: false, reason: 'there is no such tracker', hooks: [], minimumKernel: '' },
        process: (pid) => readProcess(pid, clock.offset()),
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What plugins raise goes into the server's list of alerts. */
function createPlugins(
  { plugins: directory }: Config,
  log: Log,
  vocabulary: HostOptions['vocabulary'],
  alerts: AlertBook,
  manager: SessionManager,
): PluginHost {
  return new PluginHost({
    vocabulary,
    directory,
    log,
    session: (id) => manager.get(id),
    raise: (alert, plugin, session) => alerts.raise({ ...alert, source: `plugin:${plugin}`, session }),
  });
}

/** A recording instead of a kernel. Rejects with BAD_RECORDING. */
async function createReplayApp(
  config: Config,
  { file, speed }: { readonly file: string; readonly speed: number },
  log: Log,
): Promise<App> {
  const definitions = await loadTrackers();
  const schema = createSchema();
  const recording = await Recording.open(
    file,
    schema,
    definitions.map(({ name }) => name),
  );
  const trackers = new Map(definitions.map((definition) => [definition.name, recordedTracker(definition)]));
  const registry = new ContainerRegistry({ log, engine: null, cgroups: null });
  const manager = new SessionManager({
    kernel: null,
    registry,
    trackers,
    subscriberBytes: config.limits.subscriberBytes,
    maxSessions: config.limits.sessions,
    log,
  });
  const catalog = new Catalog(schema, definitions, () => false);
  const fields = new FilterFields(schema, catalog);
  const alerts = new AlertBook();
  const plugins = createPlugins(config, log, { catalog, fields }, alerts, manager);
  const replays = `this server replays ${file}`;
  const { session } = recording;
  const close = async (): Promise<void> => {
    await manager.close();
    await plugins.close();
    await recording.close();
    await registry.close();
  };
  await plugins.open();
  await manager.replay(
    {
      trackers: session.trackers.map((name) => ({ name, options: { ...session.options[name] } })),
      target: null,
      where: null,
      persist: null,
      capture: 'ALL',
      fields: [],
      forMs: null,
      name: session.name,
      labels: session.labels,
      ttlMs: null,
      bufferBytes: REPLAY_BYTES,
      ringBytes: 0,
      limit: null,
    },
    createReplay({
      startedAt: session.startedAt,
      entries: recording.entries(),
      problem: () => recording.problem,
      speed,
    }),
  );
  return {
    services: {
      manager,
      registry,
      catalog,
      stores: new Map(),
      metrics: new BuiltinMetrics({ trackers, log, manager: () => manager }).metrics,
      fields,
      plugins,
      alerts,
      config,
      log,
      server: {
        version: await readVersion(),
        startedAt: nowText(),
        hostname: hostname(),
        kernel: {
          release: release(),
          architecture: machine(),
          cpus: availableParallelism(),
          libbpf: null,
          features: [],
        },
        health: () => ({ healthy: false, problem: `${replays}, and starts no sessions of its own` }),
        engine: () => ({ connected: false, version: null, error: replays }),
      },
      trackerStatus: (name) => ({
        available: false,
        reason: replays,
        hooks: [],
        minimumKernel: trackers.get(name)?.definition.minimumKernel ?? '',
      }),
      process: () => null,
    },
    close,
  };
}

async function readVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  return version;
}

/**
 * The store in a directory. Where it cannot be opened the server runs without history, and says so (`stores`), unless it was told not to:
 * then this rejects with STORE_UNAVAILABLE. DuckDB is loaded only here, for it is large.
 */
async function openEmbedded(
  directory: string,
  { retentionMs, retentionBytes, requireHistory }: Config,
  catalog: Catalog,
  fields: FilterFields,
  log: Log,
): Promise<Store> {
  const { DuckStore } = await import('./consumers/store/duckdb/index.js');
  const store = new DuckStore({
    directory,
    catalog,
    fields,
    retentionMs,
    retentionBytes,
    memoryLimit: STORE_MEMORY,
    retainEveryMs: RETAIN_EVERY_MS,
    onProblem: (problem) => log.error({ problem }, 'the embedded store'),
  });
  if (!requireHistory) return store;
  await store.opened;
  const { state, problem } = await store.status();
  if (state === 'READY') return store;
  await store.close();
  throw new EunomiaError('STORE_UNAVAILABLE', problem ?? 'the embedded store cannot be opened');
}

/** Rejects with BAD_OTLP when the authority's file cannot be read. */
async function createExporter(
  config: OtlpConfig,
  { catalog, version, log, families }: Pick<ExporterOptions, 'catalog' | 'version' | 'log' | 'families'>,
): Promise<OtlpExporter> {
  const ca =
    config.caFile === null
      ? null
      : await readFile(config.caFile, 'utf8').catch((error: unknown) => {
          throw new EunomiaError('BAD_OTLP', `--otlp-ca ${config.caFile}: cannot be read: ${messageOf(error)}`, {
            cause: error,
          });
        });
  const architecture = { x86_64: 'amd64', aarch64: 'arm64' }[machine()] ?? machine();
  const resource = {
    'service.name': 'eunomia',
    'service.version': version,
    'service.instance.id': randomUUID(),
    'host.name': hostname(),
    'host.arch': architecture,
    'os.type': 'linux',
    'os.version': release(),
  };
  return new OtlpExporter({ config, ca, catalog, version, log, families, resource });
}

/** Loads each tracker once and drops it: the kernel itself says whether it can. */
async function tryTrackers(
  kernel: KernelThread,
  runtimes: readonly TrackerRuntime[],
): Promise<Map<string, TrackerStatus>> {
  return new Map(
    await Promise.all(
      runtimes.map(async ({ definition, hooks, objectSpec }): Promise<[string, TrackerStatus]> => {
        const reason = await kernel.tryLoad(objectSpec({})).then(() => null, messageOf);
        return [
          definition.name,
          { available: reason === null, reason, hooks, minimumKernel: definition.minimumKernel },
        ];
      }),
    ),
  );
}

/** Runs a plugin over a recording: needs neither BPF nor root. Rejects with BAD_PLUGIN, BAD_RECORDING or BAD_USER_INPUT. */
export async function testPlugin(request: ReplayRequest, onOutcome: OnOutcome): Promise<ReplaySummary> {
  const schema = createSchema();
  const catalog = new Catalog(schema, await loadTrackers(), () => false);
  return replayPlugin(request, { catalog, fields: new FilterFields(schema, catalog) }, onOutcome);
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
export async function openLocal(
  config: Config,
  log: Log,
): Promise<{ execute(request: OperationRequest): Promise<Answer>; close(): Promise<void> }> {
  const app = await createApp(config, log);
  const gone = new AbortController();
  return {
    execute: (request) => executeLocally(app.services, request, 'admin', gone.signal),
    close: () => {
      gone.abort();
      return app.close();
    },
  };
}
