import type { AlertBook } from '../consumers/alerts/book.js';
import type { PluginHost } from '../consumers/plugins/index.js';
import type { Role, Config } from '../config.js';
import type { Store } from '../consumers/store/store.js';
import type { ContainerRegistry } from '../containers/registry.js';
import type { ProcessView } from '../event.js';
import type { Metrics } from '../consumers/metrics/index.js';
import type { FilterFields } from '../filter/index.js';
import type { Log } from '../log.js';
import type { SessionManager } from '../pipeline/manager.js';
import type { StoreKind } from '../pipeline/spec.js';
import type { Catalog } from '../trackers/catalog.js';

export interface KernelFacts {
  readonly release: string;
  readonly architecture: string;
  readonly cpus: number;
  readonly libbpf: string | null;
  readonly features: readonly { readonly name: string; readonly available: boolean; readonly reason: string | null }[];
}

export interface EngineFacts {
  readonly connected: boolean;
  readonly version: string | null;
  readonly error: string | null;
}

/** What `Query.server` tells. */
export interface ServerFacts {
  readonly version: string;
  /** RFC 3339 with nanoseconds. */
  readonly startedAt: string;
  readonly hostname: string;
  readonly kernel: KernelFacts;
  health(): { readonly healthy: boolean; readonly problem: string | null };
  engine(): EngineFacts | Promise<EngineFacts>;
}

export interface TrackerStatus {
  readonly available: boolean;
  /** Why it cannot run here; null when it can. */
  readonly reason: string | null;
  readonly hooks: readonly string[];
  readonly minimumKernel: string;
}

/** All that the API stands on; the composition root provides it. */
export interface Services {
  readonly manager: SessionManager;
  readonly registry: ContainerRegistry;
  readonly catalog: Catalog;
  /** What `where` may name. */
  readonly fields: FilterFields;
  /** Where sessions can be kept; empty when there is none. */
  readonly stores: ReadonlyMap<StoreKind, Store>;
  readonly plugins: PluginHost;
  readonly alerts: AlertBook;
  readonly config: Config;
  readonly log: Log;
  readonly server: ServerFacts;
  /** What /metrics answers; any part adds its own. */
  readonly metrics: Metrics;
  trackerStatus(name: string): TrackerStatus;
  /** A process that is alive now; null when there is none. */
  process(pid: number): ProcessView | null | Promise<ProcessView | null>;
}

/** What a resolver gets besides its arguments: one object an operation. */
export interface RequestContext {
  readonly services: Services;
  readonly role: Role;
  /** Aborts when the client has gone away, and nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** The variables as the client wrote them: coerced ones do not tell a default from a value that was written. */
  readonly variables: Readonly<Record<string, unknown>>;
}
