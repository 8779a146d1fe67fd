import type { Log } from '../base/log.js';
import { messageOf } from '../base/errors.js';
import { wallTimeOf, type ClockOffset } from '../event/clock.js';
import type { ProcessView } from '../event/event.js';
import { SIGHTING, type Sighting } from '../event/sighting.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import { headerOffsets } from '../record/batch.js';
import { CgroupMatcher } from '../session/target.js';
import { namespaceInode } from '../tracker/define.js';
import { ProcessCollector } from './collector.js';
import { TableLineage } from './lineage.js';
import { ProcessFeed, type FeedKernel } from './feed.js';
import { UNKNOWN_CGROUP, type KnownProcess, type Traits } from './process.js';
import { ProcessTable, type TableStats } from './table.js';

/** How long after a failed start the next one may begin. */
const RETRY_MS = 30_000;
const HEADER_BYTES = 64;

export interface GraphOptions {
  readonly kernel: FeedKernel;
  readonly registry: ContainerRegistry;
  readonly log: Log;
  /** Of the table of processes; 0 for none. */
  readonly limitBytes: number;
  /** The offset between the clocks now. */
  readonly clock: () => ClockOffset;
  /** Which boot of the machine this is: process ids and start times are of it alone. */
  readonly boot: string;
}

/** What is told of the table itself. */
export interface GraphStats extends TableStats {
  readonly limitBytes: number;
  readonly lost: number;
  /** Whether it is being fed. */
  readonly running: boolean;
  /** Why it is not, where it should be. */
  readonly problem: string | null;
}

/** The processes of this machine, alive and ended, with their parents and containers. */
export class ProcessGraph {
  /** For filters and groups. */
  readonly lineage: TableLineage;
  readonly boot: string;
  readonly #options: GraphOptions;
  readonly #table: ProcessTable;
  readonly #containers: CgroupMatcher;
  #feed: ProcessFeed | null = null;
  #starting: Promise<void> | null = null;
  #problem: string | null = null;
  #retryAt = 0;
  /** Since when the table knows what happens, in ns since 1970. */
  #sinceNs: bigint | null = null;
  #closed = false;

  constructor(options: GraphOptions) {
    this.#options = options;
    this.boot = options.boot;
    this.#table = new ProcessTable(options.limitBytes);
    this.#containers = new CgroupMatcher(null, options.registry);
    this.lineage = new TableLineage({
      table: this.#table,
      boot: options.boot,
      ready: () => this.ready(),
      clock: options.clock,
      problem: () => (options.limitBytes === 0 ? 'the server was started with --process-table 0' : this.#problem),
      sinceNs: () => this.#sinceNs ?? BigInt(Date.now()) * 1_000_000n,
    });
  }

  /** Begins to feed the table, unless that was done. Never rejects: what fails is told by `stats`, and tried again later. */
  start(): Promise<void> {
    const { limitBytes } = this.#options;
    if (limitBytes === 0 || this.#feed || this.#closed) return Promise.resolve();
    if (!this.#starting && performance.now() < this.#retryAt) return Promise.resolve();
    return (this.#starting ??= this.#start().finally(() => (this.#starting = null)));
  }

  /** Null when all that happened before a time (ns since boot; now by default) is in the table; else resolves when it is. */
  ready(atNs = Number.POSITIVE_INFINITY): Promise<void> | null {
    if (this.#feed && this.#feed.knownToNs > atNs) return null;
    if (!this.#feed && !this.#starting && (this.#options.limitBytes === 0 || performance.now() < this.#retryAt))
      return null;
    return this.start().then(() => this.#feed?.read().catch(() => undefined));
  }

  find({ pid, startNs, toleranceNs }: Pick<Sighting, 'pid' | 'startNs' | 'toleranceNs'>): KnownProcess | null {
    return this.#table.find(pid, startNs, toleranceNs);
  }

  /** Collects the processes of a session that is stored. Null where no process is known. */
  collector(): ProcessCollector | null {
    return this.lineage.problem === null ? new ProcessCollector(this) : null;
  }

  /** The container of a process as it was; null for the host. A promise where it has to be looked for. */
  containerOf({ cgroupId, mountNs, initPid, initStart }: Traits, pid: number): object | null | Promise<object | null> {
    if (cgroupId === UNKNOWN_CGROUP) return null;
    // What decides is a record's header, so that a process is joined to its container here as its events are.
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    header.setUint32(headerOffsets.cgroupId, cgroupId % 2 ** 32, true);
    header.setUint32(headerOffsets.cgroupId + 4, Math.floor(cgroupId / 2 ** 32), true);
    header.setUint32(headerOffsets.pid, pid, true);
    header.setUint32(headerOffsets.mountNs, mountNs, true);
    header.setUint16(headerOffsets.initStart, initStart, true);
    header.setUint32(headerOffsets.initPid, initPid, true);
    const unknown = this.#containers.prepare(header, Uint32Array.of(0));
    return unknown
      ? unknown.then(() => this.#containers.containerAt(header, 0))
      : this.#containers.containerAt(header, 0);
  }

  get clock(): ClockOffset {
    return this.#options.clock();
  }

  stats(): GraphStats {
    return {
      ...this.#table.stats,
      limitBytes: this.#options.limitBytes,
      lost: this.#feed?.lost ?? 0,
      running: this.#feed !== null,
      problem: this.#problem,
    };
  }

  /** Leaves nothing in the kernel. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#starting;
    await this.#feed?.close();
  }

  async #start(): Promise<void> {
    const { kernel, log } = this.#options;
    try {
      this.#feed = await ProcessFeed.start(kernel, this.#table, log);
      this.#sinceNs = BigInt(Date.now()) * 1_000_000n;
      this.#problem = null;
    } catch (error) {
      this.#problem = messageOf(error);
      this.#retryAt = performance.now() + RETRY_MS;
      log.warn({ err: error }, 'the table of processes cannot be fed: parents and ancestors are not known');
    }
  }
}

/** From where a process was reached: what its times are shown with, and as of when it is told. */
export type Standpoint = Pick<Sighting, 'atNs' | 'clock' | 'session' | 'past'>;

/** A process of the table, as the schema's `Process`. */
export class ProcessOfTable implements ProcessView {
  readonly known: KnownProcess;
  readonly from: Standpoint;
  readonly #traits: Traits;

  constructor(known: KnownProcess, from: Standpoint) {
    this.known = known;
    this.from = from;
    this.#traits = known.at(from.atNs);
  }

  get pid(): number {
    return this.known.pid;
  }

  get tid(): number {
    return this.known.pid;
  }

  get ppid(): number {
    return this.known.ppid;
  }

  get uid(): number {
    return this.#traits.uid;
  }

  get gid(): number {
    return this.#traits.gid;
  }

  get comm(): string {
    return this.#traits.comm;
  }

  get startTime(): string {
    return wallTimeOf(this.from.clock, this.known.startNs);
  }

  get mountNs(): string | null {
    return namespaceInode(this.#traits.mountNs);
  }

  get [SIGHTING](): Sighting {
    const { pid, startNs } = this.known;
    const { atNs, clock, session, past } = this.from; // which is the sighting of another process
    const own = past && { boot: past.boot, known: this.known };
    return { pid, startNs, toleranceNs: 0, atNs, clock, session, container: undefined, past: own };
  }
}
