import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupId } from '../event.js';
import type { Log } from '../log.js';
import { cgroupDirectory, findCgroupMount, readCgroupId, type CgroupMount } from './cgroup.js';
import { formatTime, isAlive, type Container, type ContainerFacts } from './container.js';
import { ContainerDirectory, type ChangeKind } from './directory.js';
import { Engine, type EngineOptions, type EngineStatus } from './engine.js';
import { readFirstPid, readMountNs, readProcessCgroup } from './process.js';
import { CgroupScanner } from './scanner.js';
import { Waiters } from './waiters.js';

export interface RegistryOptions {
  readonly log: Log;
  /** Where the engine is, and its time limits; null for none. Default: DOCKER_HOST or the usual sockets. */
  readonly engine?: Omit<EngineOptions, 'log'> | null;
  /** The v2 hierarchy; null for a host without one. Default: as /proc/self/mountinfo says. */
  readonly cgroups?: CgroupMount | null;
  /** Removed containers that are remembered: the last so many (4096) … */
  readonly tombstones?: number;
  /** … for at most this long, in milliseconds (one hour). */
  readonly tombstoneMs?: number;
  /** How often is looked whether containers without an engine are still there, in milliseconds. Default 15,000. */
  readonly sweepMs?: number;
}

export interface RegistryEvents {
  /** A container came, changed or went. Called synchronously and often: be quick. What it throws is logged. */
  readonly change: (container: Container, kind: ChangeKind) => void;
  /** The engine came or went, or there is another reason why it is not there. */
  readonly engine: (status: EngineStatus) => void;
}

/** How events are joined to containers on this host. MOUNT_NS: its containers have no v2 cgroups, so ids say nothing. */
export type Identity = 'CGROUP' | 'MOUNT_NS';

const START_MS = 2000;
const RESOLVE_MS = 2000;
const MISS_MS = 1000;
const MAX_MISSES = 4096;
// From mkdir of its cgroup to its first process, a container takes some hundred milliseconds at most.
const PROBE_DELAYS_MS = [100, 1000];

/**
 * Joins cgroup ids, mount namespaces and references of users to containers. Facts come from cgroup paths, at once, and from
 * the engine, when it tells them. Nothing here rejects or throws because of the engine; only `find` throws, for a user.
 */
export class ContainerRegistry {
  readonly #log: Log;
  readonly #directory: ContainerDirectory;
  readonly #engine: Engine | null;
  readonly #sweepMs: number;
  readonly #givenMount: CgroupMount | null | undefined;
  #mount: CgroupMount | null = null;
  #scanner: CgroupScanner | null = null;
  #hostMountNs: number | null = null;
  #identity: Identity = 'CGROUP';
  #sweeper: NodeJS.Timeout | undefined;
  #closed = false;
  /** Containers that the engine was asked for and does not know. */
  readonly #absent = new Set<string>();
  readonly #misses = new Map<CgroupId, number>();
  readonly #waiters = new Waiters();
  /** A process of each container that is known by its processes only. */
  readonly #witnesses = new Map<string, number>();
  readonly #listeners: { [Event in keyof RegistryEvents]: Set<RegistryEvents[Event]> } = {
    change: new Set(),
    engine: new Set(),
  };

  constructor(options: RegistryOptions) {
    this.#log = options.log;
    this.#givenMount = options.cgroups;
    this.#sweepMs = options.sweepMs ?? 15_000;
    this.#directory = new ContainerDirectory({
      ...(options.tombstones === undefined ? {} : { tombstones: options.tombstones }),
      ...(options.tombstoneMs === undefined ? {} : { tombstoneMs: options.tombstoneMs }),
      onChange: (container, kind) => this.#onChange(container, kind),
    });
    this.#engine =
      options.engine === null
        ? null
        : new Engine(
            { ...options.engine, log: options.log },
            {
              facts: (facts) => this.#onFacts(facts),
              listed: (all, touched) => this.#onListed(all, touched),
              removed: (id, at) => this.#directory.remove(id, at),
              absent: (id) => this.#onAbsent(id),
              status: (status) => this.#onStatus(status),
            },
          );
  }

  /** Maps the cgroups that exist and lists the engine's containers. Returns after two seconds at most; the rest follows. */
  async start(): Promise<void> {
    const first = new Promise<void>((resolve) => (this.#engine === null ? resolve() : this.#engine.start(resolve)));
    const indexed = this.#index().catch((error: unknown) => this.#log.error({ err: error }, 'cannot map the cgroups'));
    const limit = new AbortController();
    await Promise.race([
      Promise.all([first, indexed]),
      sleep(START_MS, undefined, { signal: limit.signal }).catch(() => undefined),
    ]);
    limit.abort();
    if (!this.#closed) this.#sweeper = setInterval(() => void this.#sweep(), this.#sweepMs).unref();
  }

  /** Ends everything that was begun; what is known stays readable. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweeper);
    this.#scanner?.close();
    await this.#engine?.close();
    this.#waiters.wakeAll();
  }

  /** The engine's state; null when the registry was made without one. */
  get engine(): EngineStatus | null {
    return this.#engine?.status ?? null;
  }

  get identity(): Identity {
    return this.#identity;
  }

  /** All that are remembered, removed ones too, sorted by name; those without a name last. */
  list(): Container[] {
    const key = ({ name, id }: Container): string => (name === null ? `1${id}` : `0${name}`);
    return this.#directory.list().sort((left, right) => (key(left) < key(right) ? -1 : 1));
  }

  /**
   * By exact id, exact name, or a prefix of the id that fits one container; null when nothing fits. An existing container
   * goes before a removed one. Throws EunomiaError AMBIGUOUS_CONTAINER, which names the candidates.
   */
  find(reference: string): Container | null {
    return this.#directory.find(reference);
  }

  /** The container of a v2 cgroup; null for the host's; undefined when the id is unknown (see `resolve`). One map look-up. */
  byCgroup(id: CgroupId): Container | null | undefined {
    return this.#directory.byCgroup(id);
  }

  /** All v2 cgroups that are known, with their containers; null for the host's. */
  cgroups(): IterableIterator<[CgroupId, Container | null]> {
    return this.#directory.cgroups();
  }

  /** The same by mount namespace. A stopped container's is known for five seconds more: the kernel uses the number again. */
  byMountNs(ns: number): Container | null | undefined {
    return ns === this.#hostMountNs ? null : this.#directory.byMountNs(ns);
  }

  /** A container's v2 cgroups: its own, those inside it, and those of earlier runs. */
  cgroupIds(container: Container): CgroupId[] {
    return this.#directory.cgroupIds(container.id);
  }

  /**
   * Takes what the kernel's cgroup_mkdir tracepoint tells (of hierarchy 0 only: v1 hierarchies count inodes of their own).
   * Done before the container's first exec is handled, it leaves no cgroup unknown.
   */
  learnCgroup(id: CgroupId, path: string): Container | null {
    this.#misses.delete(id);
    const container = this.#directory.learnCgroup(id, path);
    if (container !== null) this.#wantFacts(container);
    return container;
  }

  /**
   * Looks an unknown cgroup up in the file system; null when it is the host's, or cannot be found within two seconds.
   * Calls share walks of the tree. An id that was not found is not looked for again for a second.
   */
  async resolve(id: CgroupId): Promise<Container | null> {
    const known = this.#directory.byCgroup(id);
    if (known !== undefined || this.#scanner === null || this.#closed) return known ?? null;
    const missed = this.#misses.get(id);
    if (missed !== undefined && Date.now() - missed < MISS_MS) return null;
    const limit = new AbortController();
    await Promise.race([
      this.#scanner.find(id),
      sleep(RESOLVE_MS, undefined, { signal: limit.signal }).catch(() => undefined),
    ]);
    limit.abort();
    const found = this.#directory.byCgroup(id);
    if (found === undefined) this.#miss(id);
    return found ?? null;
  }

  /**
   * The container of a running process, by /proc/PID/cgroup, else by its mount namespace; null for the host's, undefined when it has ended.
   * `seenIn` is the mount namespace that an event of it told: it leads to the container from then on.
   */
  async resolvePid(pid: number, seenIn: number | null = null): Promise<Container | null | undefined> {
    const [cgroup, mountNs] = await Promise.all([readProcessCgroup(pid), readMountNs(pid)]);
    if (cgroup === null) return undefined;
    if (cgroup.owner === null) return mountNs === null ? null : (this.byMountNs(mountNs) ?? null);
    const container = this.#directory.ensure(cgroup.owner);
    if (!this.ready(container)) this.#witnesses.set(container.id, pid);
    // It may have ended between the two look-ups; then what its event tells is all there is.
    for (const ns of [seenIn, mountNs])
      if (ns && ns !== this.#hostMountNs) this.#directory.learnMountNs(ns, container.id);
    this.#wantFacts(container);
    return container;
  }

  /** Whether an engine has told the container's name (and with it image and labels). */
  ready(container: Container): boolean {
    return this.#directory.isNamed(container.id);
  }

  /**
   * Waits until a container's facts have come: true then, false when the time is out, or at once when none can come (no
   * engine is connected, or it does not know the container). Never rejects.
   */
  async settle(containerOrId: Container | string, timeoutMs: number): Promise<boolean> {
    const id = typeof containerOrId === 'string' ? containerOrId : containerOrId.id;
    if (this.#isSettled(id)) return this.#directory.isNamed(id);
    await this.#waiters.wait(id, timeoutMs);
    return this.#directory.isNamed(id);
  }

  on<Event extends keyof RegistryEvents>(event: Event, listener: RegistryEvents[Event]): this {
    this.#listeners[event].add(listener);
    return this;
  }

  off<Event extends keyof RegistryEvents>(event: Event, listener: RegistryEvents[Event]): this {
    this.#listeners[event].delete(listener);
    return this;
  }

  async #index(): Promise<void> {
    // 2 is kthreadd, in the host's namespace always: process 1 may not be readable, and in a container `self` is not the host.
    this.#hostMountNs = (await readMountNs(1)) ?? (await readMountNs(2)) ?? (await readMountNs('self'));
    this.#mount =
      this.#givenMount === undefined
        ? findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'))
        : this.#givenMount;
    if (this.#mount === null) {
      this.#useMountNs();
      return;
    }
    if (this.#closed) return;
    this.#scanner = new CgroupScanner(this.#mount, (id, path) => this.learnCgroup(id, path));
    await this.#scanner.all();
  }

  #useMountNs(): void {
    if (this.#identity === 'MOUNT_NS') return;
    this.#identity = 'MOUNT_NS';
    this.#log.warn('containers here have no v2 cgroup: events are joined to them by mount namespace');
  }

  #isSettled(id: string): boolean {
    return this.#directory.isNamed(id) || this.#absent.has(id) || this.#closed || this.#engine?.hopeful !== true;
  }

  #wantFacts({ id }: Container): void {
    if (this.#closed || this.#directory.isNamed(id) || this.#absent.has(id)) return;
    if (this.#engine === null) return this.#onAbsent(id);
    this.#engine.request(id);
    if (!this.#engine.hopeful) void this.#probe(id);
  }

  #onFacts(facts: ContainerFacts): void {
    const known = this.#directory.byId(facts.id);
    // An event's labels lack those that are named as its own attributes are; inspect and list, which give the image's id, have all.
    const partial = facts.imageId === undefined && known != null && known.imageId !== null;
    const container = this.#directory.apply(partial ? { ...facts, labels: undefined, image: undefined } : facts);
    this.#absent.delete(facts.id);
    if (facts.pid != null && container.state !== 'REMOVED') void this.#readProcess(container, facts.pid);
    if (this.#directory.isNamed(facts.id)) this.#waiters.wake(facts.id);
  }

  #onListed(all: readonly ContainerFacts[], touched: ReadonlySet<string>): void {
    const present = new Set(all.map(({ id }) => id));
    this.#absent.clear();
    for (const { id, state } of this.#directory.list()) {
      if (present.has(id) || touched.has(id) || state === 'REMOVED') continue;
      if (this.#directory.isNamed(id)) this.#directory.remove(id);
      else this.#engine?.request(id);
    }
    for (const facts of all) {
      // The list gives whole seconds.
      const createdAt = this.#directory.byId(facts.id)?.createdAt ?? facts.createdAt;
      if (!touched.has(facts.id)) this.#directory.apply({ ...facts, createdAt }, { listed: true });
      if (this.#directory.isNamed(facts.id)) this.#waiters.wake(facts.id);
    }
  }

  /** No engine will tell of it: its cgroup is all there is. */
  #onAbsent(id: string): void {
    if (this.#directory.isNamed(id) || this.#absent.has(id)) return;
    this.#absent.add(id);
    this.#waiters.wake(id);
    void this.#probe(id);
  }

  #onStatus(status: EngineStatus): void {
    if (!status.connected) {
      this.#waiters.wakeAll();
      for (const container of this.#directory.list()) if (!this.ready(container)) void this.#probe(container.id);
    }
    for (const listener of this.#listeners.engine) this.#call(() => listener(status));
  }

  #onChange(container: Container, kind: ChangeKind): void {
    for (const listener of this.#listeners.change) this.#call(() => listener(container, kind));
  }

  #call(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#log.error({ err: error }, 'a listener to the container registry failed');
    }
  }

  #miss(id: CgroupId): void {
    this.#misses.delete(id);
    this.#misses.set(id, Date.now());
    const [oldest] = this.#misses.keys();
    if (this.#misses.size > MAX_MISSES && oldest !== undefined) this.#misses.delete(oldest);
  }

  /** Reads what the kernel says of the process that the engine calls the container's first. */
  async #readProcess(container: Container, pid: number): Promise<void> {
    const [cgroup, mountNs] = await Promise.all([readProcessCgroup(pid), readMountNs(pid)]);
    // The pid may be another's by now, or of another machine when the engine is remote.
    if (cgroup?.owner?.containerId !== container.id || container.pid !== pid) return;
    if (this.#mount !== null && !cgroup.unified) this.#useMountNs();
    if (mountNs !== null && mountNs !== this.#hostMountNs) this.#directory.setProcess(container.id, pid, mountNs);
    // A restarted container has a new cgroup at the same path.
    if (cgroup.unified && this.#mount !== null) {
      const id = await readCgroupId(cgroupDirectory(this.#mount, cgroup.owner.path));
      if (id !== null) this.#directory.learnCgroup(id, cgroup.owner.path);
    }
  }

  /** Finds the first process of a container that no engine tells of. */
  async #probe(id: string): Promise<void> {
    for (const delay of PROBE_DELAYS_MS) {
      const path = this.#directory.cgroupPath(id);
      if (this.#mount === null || path === null || this.#closed) return;
      const container = this.#directory.byId(id);
      if (container === undefined || container.pid !== null || this.#directory.isNamed(id)) return;
      const pid = await readFirstPid(cgroupDirectory(this.#mount, path));
      if (pid === undefined) return;
      if (pid !== null) {
        const mountNs = await readMountNs(pid);
        this.#directory.setProcess(id, pid, mountNs === this.#hostMountNs ? null : mountNs);
        return;
      }
      await sleep(delay, undefined, { ref: false });
    }
  }

  /** What no engine tells: that a container's processes have gone. Also ages tombstones. */
  async #sweep(): Promise<void> {
    const connected = this.#engine?.status.connected === true;
    for (const container of this.#directory.list()) {
      const { id } = container;
      const named = this.#directory.isNamed(id);
      if (!isAlive(container) || (named && connected) || (await this.#isThere(id))) continue;
      // An engine may yet return and tell of a container that has a name; of the others nobody will.
      if (named) this.#directory.apply({ id, state: 'EXITED', pid: null, finishedAt: formatTime(Date.now()) });
      else this.#directory.remove(id);
    }
    for (const id of this.#absent) if (this.#directory.byId(id) === undefined) this.#absent.delete(id);
    for (const id of this.#witnesses.keys()) if (this.#directory.byId(id) === undefined) this.#witnesses.delete(id);
  }

  /** Whether a container has a cgroup or a process, as far as can be seen. */
  async #isThere(id: string): Promise<boolean> {
    const path = this.#directory.cgroupPath(id);
    if (this.#mount !== null && path !== null) return (await readCgroupId(cgroupDirectory(this.#mount, path))) !== null;
    const pid = this.#directory.byId(id)?.pid ?? this.#witnesses.get(id);
    return pid === undefined || (await readProcessCgroup(pid))?.owner?.containerId === id;
  }
}
