import type { PeerCheck } from '../access/peer.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import type { ProcessView } from '../event/event.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { KernelFacts, TrackerStatus } from '../service/parts.js';
import type { SessionManager } from '../session/manager.js';
import type { SessionKernel } from '../session/source/pool.js';
import type { ProcessGraph } from '../graph/graph.js';
import type { SnapshotReader } from '../snapshot/reader.js';

/** What a server stands on: the kernel of this machine, a recording, or a double in a test. All else is composed the same way. */
export interface Ground {
  /** Null where no session can be started. */
  readonly kernel: SessionKernel | null;
  readonly registry: ContainerRegistry;
  readonly trackers: ReadonlyMap<string, TrackerRuntime>;
  readonly peers: PeerCheck;
  /** Why it cannot start sessions, and what would mend it; null when it can. */
  readonly problem: string | null;
  /** Why no container engine is asked, where none is. */
  readonly engineless: string;
  /**
   * Called once, when all that a configuration can get wrong is known to be right: loads what has to be in the kernel
   * before any session.
   */
  start(): Promise<Machine>;
  /** Called once, when all is composed and before anybody can ask. */
  begin?(manager: SessionManager): Promise<void>;
  /** Called last, when no session is left. Idempotent. */
  close(): Promise<void>;
}

/** What is known of the machine. */
export interface Machine {
  readonly facts: KernelFacts;
  /** Of a tracker of this build; the first call for it may take a while. */
  trackerStatus(name: string): TrackerStatus | Promise<TrackerStatus>;
  /** Null where there is no kernel to read. */
  readonly snapshots: SnapshotReader | null;
  /** Null where there is no kernel to tell of processes. */
  readonly processes: ProcessGraph | null;
  /** A process that is alive now; null when there is none. */
  process(pid: number): ProcessView | null | Promise<ProcessView | null>;
  /** Called once, when a server listens: what nobody waits for. A process that serves itself alone does without. */
  afterStart?(): void;
}
