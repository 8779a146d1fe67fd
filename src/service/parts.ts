import type { NodeFacts } from '../event/node.js';
import type { GraphQLSchema } from 'graphql';
import type { AlertBook } from '../alerts/book.js';
import type { PluginHost } from '../plugins/index.js';
import type { Config } from '../base/config.js';
import type { Store } from '../storage/store.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import type { ProcessView } from '../event/event.js';
import type { Metrics } from '../telemetry/prometheus/index.js';
import type { FilterFields } from '../filter/index.js';
import type { Log } from '../base/log.js';
import type { SessionManager } from '../session/manager.js';
import type { StoreKind } from '../session/spec.js';
import type { SnapshotReader } from '../snapshot/reader.js';
import type { ProcessGraph } from '../graph/graph.js';
import type { Catalog } from '../catalog/catalog.js';
import type { Webhooks } from '../webhook/index.js';
import type { RuleHost } from './rules/host.js';
import type { RuleTrialThreads } from './rules/trial-threads.js';
import type { QueryBook } from './saved-queries/book.js';

export interface KernelFacts {
  readonly release: string;
  readonly architecture: string;
  readonly cpus: number;
  readonly libbpf: string | null;
  readonly features: readonly { readonly name: string; readonly available: boolean; readonly reason: string | null }[];
}

export interface EngineFacts {
  readonly endpoint: string | null;
  readonly kind: string | null;
  readonly connected: boolean;
  readonly version: string | null;
  readonly error: string | null;
  /** Nobody has named it: until it has answered once, there may be no such engine. */
  readonly presumed?: boolean;
}

export interface Health {
  /** Can it start sessions? */
  readonly healthy: boolean;
  readonly problem: string | null;
  /** Can it do no more than end? One that only replays is not healthy, and does its work all the same. */
  readonly dead: boolean;
}

/** What `Query.server` tells. */
export interface ServerFacts {
  readonly version: string;
  readonly node: NodeFacts;
  /** RFC 3339 with nanoseconds. */
  readonly startedAt: string;
  readonly hostname: string;
  readonly kernel: KernelFacts;
  health(): Health;
  /** One that stands for all. */
  engine(): EngineFacts | Promise<EngineFacts>;
  engines(): readonly EngineFacts[];
}

export interface TrackerStatus {
  readonly available: boolean;
  /** Why it cannot run here; null when it can. */
  readonly reason: string | null;
  readonly hooks: readonly string[];
  /** What its hooks need, and what of it this process lacks. */
  readonly capabilities: readonly string[];
  readonly missingCapabilities: readonly string[];
  /** What it does not see here for want of a tracepoint. */
  readonly blindSpots: readonly string[];
}

/** What the use cases work with; the composition provides it, and nobody else sees it. */
export interface Parts {
  /** The contract. */
  readonly schema: GraphQLSchema;
  readonly manager: SessionManager;
  readonly registry: ContainerRegistry;
  readonly catalog: Catalog;
  /** What `where` may name. */
  readonly fields: FilterFields;
  /** Where sessions can be kept; empty when there is none. */
  readonly stores: ReadonlyMap<StoreKind, Store>;
  readonly plugins: PluginHost;
  readonly alerts: AlertBook;
  readonly webhooks: Webhooks;
  readonly queries: QueryBook;
  readonly rules: RuleHost;
  readonly ruleTrials: RuleTrialThreads;
  readonly config: Config;
  readonly log: Log;
  readonly server: ServerFacts;
  /** What /metrics tells; any part adds its own. */
  readonly metrics: Metrics;
  trackerStatus(name: string): TrackerStatus | Promise<TrackerStatus>;
  /** Null where there is no kernel to read. */
  readonly snapshots: SnapshotReader | null;
  /** Null where there is no kernel to tell of processes. */
  readonly processes: ProcessGraph | null;
  /** A process that is alive now; null when there is none. */
  process(pid: number): ProcessView | null | Promise<ProcessView | null>;
}
