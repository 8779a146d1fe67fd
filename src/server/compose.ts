import type { GraphQLSchema } from 'graphql';
import { hostname } from 'node:os';
import type { PeerCheck } from '../access/peer.js';
import { AlertBook } from '../alerts/book.js';
import { ConfigFile } from '../base/config-file.js';
import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import { packageVersion } from '../base/paths.js';
import { Catalog } from '../catalog/catalog.js';
import { nowText } from '../event/clock.js';
import { noLineage } from '../event/lineage.js';
import { FilterFields } from '../filter/index.js';
import { Responder } from '../inventory/responder.js';
import { PluginHost } from '../plugins/index.js';
import { storeOf } from '../service/history.js';
import type { Health, Parts } from '../service/parts.js';
import { RuleActions } from '../service/rules/actions.js';
import { eventIdOf, idOfEvent } from '../record/place.js';
import { EventsAfterAlerts } from '../service/rules/after.js';
import { EvidenceSessions } from '../service/rules/evidence-session.js';
import { LearnedFile } from '../service/rules/learned.js';
import { RuleHost } from '../service/rules/host.js';
import { RuleTrialThreads } from '../service/rules/trial-threads.js';
import { RuleRunner } from '../service/rules/runner.js';
import { QueryBook } from '../service/saved-queries/book.js';
import { savedFilters } from '../service/saved-queries/queries.js';
import { Service } from '../service/service.js';
import { SessionManager } from '../session/manager.js';
import type { StoreKind } from '../session/spec.js';
import { SessionRecorder } from '../storage/recorder.js';
import type { Store } from '../storage/store.js';
import type { OtlpExporter } from '../telemetry/otlp/index.js';
import {
  AlertMetrics,
  BuiltinMetrics,
  DeclaredMetrics,
  MAX_CONTAINERS,
  ServerMetrics,
  WorkMetrics,
  sessionLabel,
} from '../telemetry/prometheus/index.js';
import { ExportedMetrics, parseExported } from './configured/index.js';
import type { Ground } from './ground.js';
import { keepCode } from './heap.js';
import { nodeOf } from './node.js';
import { createExporter } from './otlp.js';
import { openStores } from './store.js';
import { Webhooks, parseWebhooks } from '../webhook/index.js';

/** A server without a listener: what listens, what the command line runs in its own process, and what tests use are this. */
export interface App {
  readonly service: Service;
  /** What the service works with; for benches and tests, which look behind it. */
  readonly parts: Parts;
  /** Who is at the other end of a loopback connection. */
  readonly peers: PeerCheck;
  /** Resolves when the kernel thread has died: nothing can be watched any more, and what it had attached stays until the process ends. */
  readonly died: Promise<Error>;
  /** To be called once, when it listens: what nobody waits for. */
  afterStart(): void;
  /** Stops all sessions and leaves nothing in the kernel. May be called twice. */
  close(): Promise<void>;
}

export interface Composition {
  readonly config: Config;
  readonly log: Log;
  readonly schema: GraphQLSchema;
  readonly ground: Ground;
}

const noEngine = { endpoint: null, kind: null, connected: false, version: null };

/**
 * The composition: the only place that knows every part. Takes the ground over, and closes it also when it rejects:
 * with STORE_UNAVAILABLE, BAD_OTLP, BAD_METRICS_CONFIG or what a plugin's folder is refused with.
 */
export async function compose({ config, log, schema, ground }: Composition): Promise<App> {
  const { registry, trackers } = ground;
  const version = packageVersion();
  const stores = new Map<StoreKind, Store>();
  let manager: SessionManager | null = null;
  let plugins: PluginHost | null = null;
  let exporter: OtlpExporter | null = null;
  let alerts: AlertBook | null = null;
  let webhooks: Webhooks | null = null;
  let ruling: RuleHost | null = null;
  const ruleTrials = new RuleTrialThreads('server/rule-trial/worker');
  let service: Service | null = null;
  const close = async (): Promise<void> => {
    await service?.verifications.end();
    await service?.advices.end();
    await ruleTrials.end();
    await ruling?.close();
    await manager?.close();
    await plugins?.close();
    await webhooks?.close();
    await alerts?.close();
    await exporter?.close();
    await Promise.all([...stores.values()].map((store) => store.close()));
    await ground.close();
  };
  try {
    const definitions = [...trackers.values()].map(({ definition }) => definition);
    const catalog = new Catalog(
      schema,
      definitions,
      (tracker, field) => trackers.get(tracker)?.onDemand.includes(field) ?? false,
    );
    const fields = new FilterFields(schema, catalog);
    const queries = new QueryBook(config.dataDirectory);
    fields.saved = savedFilters(queries);
    const counting = new BuiltinMetrics({ trackers, log, manager: () => sessions, stores: () => stores.values() });
    const { metrics } = counting;
    const node = await nodeOf(config, log);
    await openStores(config, { catalog, fields, node }, log, stores);
    if (config.otlp !== null) {
      exporter = await createExporter(config.otlp, {
        catalog,
        version,
        log,
        families: async () => (manager === null ? [] : metrics.families()),
      });
      metrics.add(exporter);
    }
    const receivers =
      config.webhooks === null
        ? []
        : parseWebhooks(ConfigFile.read(config.webhooks, { code: 'BAD_WEBHOOKS', setting: '--webhooks' }, 'SECRET'));
    // What the configuration gets wrong is known by now: nothing of it is in the kernel yet.
    const machine = await ground.start();
    const { facts, trackerStatus, snapshots, processes, process } = machine;
    catalog.lineage = processes?.lineage ?? noLineage(ground.problem ?? 'this server has no kernel to ask');
    const sessions = new SessionManager({
      kernel: ground.kernel,
      registry,
      trackers,
      subscriberBytes: config.limits.subscriberBytes,
      maxSessions: config.limits.sessions,
      stopped: { sessions: config.limits.stoppedSessions, bytes: config.limits.stoppedBytes },
      drainMs: config.limits.drainMs,
      observer: counting,
      log,
      tap: (session) => {
        keepCode();
        exporter?.follow(session);
      },
      record: async (session, persist) => {
        const collector = persist.store === 'EMBEDDED' && persist.mode === 'EVENTS' ? processes?.collector() : null;
        const store = storeOf(persist.store, { stores });
        return SessionRecorder.begin(session, persist, { store, log, collector: collector ?? null });
      },
    });
    manager = sessions;
    let health: Health = { healthy: ground.problem === null, problem: ground.problem, dead: false };
    void sessions.died.then(
      ({ message }) => (health = { healthy: false, problem: `${message}; start the server again`, dead: true }),
    );
    alerts = await AlertBook.open(config.dataDirectory, { log, onAlert: (alert) => exporter?.raise(alert) });
    const book = alerts;
    webhooks = new Webhooks(receivers, { book, node, version, log });
    metrics.add(webhooks);
    const host = new PluginHost({
      vocabulary: { catalog, fields },
      directory: config.plugins,
      log,
      session: (id) => sessions.get(id),
      // What plugins raise goes into the server's list of alerts.
      raise: ({ place, ...alert }, plugin, session) =>
        book.raise({
          ...alert,
          source: `plugin:${plugin}`,
          session,
          eventId: place === null ? null : eventIdOf({ session, seq: place }),
        }),
    });
    plugins = host;
    await host.open();
    metrics.add(
      new AlertMetrics(
        () => book.counts(),
        () => host.list().map(({ facts }) => `plugin:${facts.name}`),
        () => book.states(),
      ),
    );
    metrics.add(new WorkMetrics(() => host.work()));
    metrics.add(
      new DeclaredMetrics(
        () => host.samples(),
        (id) => sessionLabel(sessions.get(id) ?? null),
      ),
    );
    metrics.add(
      new ServerMetrics({
        version,
        kernelRelease: facts.release,
        registry,
        healthy: () => health.healthy,
        engineConnected: () => registry.engines.length > 0 && registry.engines.every(({ connected }) => connected),
        trackers: [...trackers.keys()],
        isAvailable: async (tracker) => (await trackerStatus(tracker)).available,
        maxContainers: MAX_CONTAINERS,
        processTable: () => (processes && config.processTableBytes > 0 ? processes.stats() : null),
      }),
    );
    const context = { catalog, fields, webhooks: receivers.map(({ name }) => name), idOf: idOfEvent };
    const evidence = new EvidenceSessions({
      manager: sessions,
      catalog,
      most: config.limits.evidenceSessions,
      isStored: async () => (await stores.get('EMBEDDED')?.status())?.state === 'READY',
    });
    const after = new EventsAfterAlerts(book, context);
    const actions = new RuleActions({
      book,
      after,
      mode: config.ruleActions,
      evidence: ground.kernel && evidence,
      responder: new Responder(registry),
      log,
    });
    metrics.add(actions);
    const runner = new RuleRunner({
      context,
      manager: ground.kernel ? sessions : null,
      trackerStatus,
      raise: (alert, session, renew) => actions.raise(alert, session, renew),
      after,
      facts: {
        awaits: (container) => registry.awaitsDescription(container),
        watch: (listener) => registry.watchDescriptions(listener),
      },
      learned: new LearnedFile(config.dataDirectory, log),
      history: (query) => stores.get('EMBEDDED')?.scan(query) ?? null,
      log,
    });
    const rules = new RuleHost({
      context,
      runner,
      actions,
      directories: config.rules,
      dataDirectory: config.dataDirectory,
      log,
    });
    ruling = rules;
    await rules.open();
    const parts: Parts = {
      schema,
      manager: sessions,
      registry,
      catalog,
      fields,
      stores,
      plugins: host,
      alerts: book,
      webhooks,
      queries,
      rules,
      ruleTrials,
      config,
      log,
      metrics,
      server: {
        version,
        node,
        startedAt: nowText(),
        hostname: hostname(),
        kernel: facts,
        health: () => health,
        engine: () => registry.engine ?? { ...noEngine, error: ground.engineless },
        engines: () => registry.engines,
      },
      trackerStatus,
      snapshots,
      processes,
      process,
    };
    const served = new Service(parts);
    service = served;
    served.verifications.followEngines();
    if (config.metricsConfig !== null) {
      const exported = new ExportedMetrics(
        parseExported(
          ConfigFile.read(config.metricsConfig, { code: 'BAD_METRICS_CONFIG', setting: '--metrics-config' }),
          { schema, catalog, fields, plugins: host },
        ),
        service.sessions,
        log,
      );
      await exported.start();
      metrics.add(exported);
    }
    await ground.begin?.(sessions);
    await rules.start();
    const afterStart = (): void => machine.afterStart?.();
    return { service: served, parts, peers: ground.peers, died: sessions.died, afterStart, close };
  } catch (error) {
    await close();
    throw error;
  }
}
