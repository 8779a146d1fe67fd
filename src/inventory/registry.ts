import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupId } from '../event/event.js';
import type { CurrentRights } from '../event/advice.js';
import type { Log } from '../base/log.js';
import { findCgroupMount, type CgroupMount } from '../linux/cgroup-mount.js';
import { CgroupAttribution } from './attribution.js';
import type { Container, ContainerFacts } from './container.js';
import { ContainerDirectory, type ChangeKind } from './directory.js';
import { Liveness } from './liveness.js';
import { NamespaceContainers, type NamespaceInit } from './namespace.js';
import { readMountNs } from './process-cgroup.js';
import type { ContainerAction, CreateSource, EngineStatus } from './source.js';
import { ContainerSources } from './sources.js';
import { CgroupTrust } from './trust.js';
import { Waiters } from './waiters.js';

export interface RegistryOptions {
  readonly log: Log;
  /** What tells of containers besides the kernel (docker/, later CRI and Kubernetes). None: they have ids, and no names. */
  readonly sources: readonly CreateSource[];
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
  /** No engine knows this container: nobody will describe it. */
  readonly absent: (id: string) => void;
}

/** How events are joined to containers on this host. MOUNT_NS: its containers have no v2 cgroups, so ids say nothing. */
export type ContainerIdentity = 'CGROUP' | 'MOUNT_NS';

const START_MS = 2000;
const MAX_EARLY = 10_000;
/**
 * Joins cgroup ids, mount namespaces and references of users to containers. Facts come from cgroup paths, at once, and from
 * the engine, when it tells them. Nothing here rejects or throws because of the engine; only `find` throws, for a user.
 */
export class ContainerRegistry {
  readonly #log: Log;
  readonly #options: RegistryOptions;
  readonly #directory: ContainerDirectory;
  readonly #sources: ContainerSources;
  #attribution: CgroupAttribution | null = null;
  #liveness: Liveness | null = null;
  /** Null on a host that does not show the first processes of pid namespaces, and until the cgroups are mapped. */
  #namespaces: NamespaceContainers | null = null;
  #hostMountNs: number | null = null;
  #identity: ContainerIdentity = 'CGROUP';
  #closed = false;
  /** Cgroups that were made before it was known where the hierarchy is. */
  #early: [CgroupId, string][] = [];
  /** Containers that the engines were asked for and do not know. */
  readonly #absent = new Set<string>();
  readonly #waiters = new Waiters();
  readonly #listeners: { [Event in keyof RegistryEvents]: Set<RegistryEvents[Event]> } = {
    change: new Set(),
    engine: new Set(),
    absent: new Set(),
  };

  constructor(options: RegistryOptions) {
    this.#log = options.log;
    this.#options = options;
    this.#directory = new ContainerDirectory({
      ...(options.tombstones === undefined ? {} : { tombstones: options.tombstones }),
      ...(options.tombstoneMs === undefined ? {} : { tombstoneMs: options.tombstoneMs }),
      onChange: (container, kind) => this.#onChange(container, kind),
    });
    this.#sources = new ContainerSources(options.sources, {
      facts: (facts) => this.#onFacts(facts),
      listed: (all, touched, isOthers) => this.#onListed(all, touched, isOthers),
      removed: (id, at) => this.#directory.remove(id, at),
      absent: (id) => this.#onAbsent(id),
      status: (status) => this.#onStatus(status),
    });
  }

  /** Maps the cgroups that exist and lists the engines' containers. Returns after two seconds at most; the rest follows. */
  async start(): Promise<void> {
    const indexed = this.#index().catch((error: unknown) => this.#log.error({ err: error }, 'cannot map the cgroups'));
    const limit = new AbortController();
    await Promise.race([
      Promise.all([this.#sources.start(), indexed]),
      sleep(START_MS, undefined, { signal: limit.signal }).catch(() => undefined),
    ]);
    limit.abort();
  }

  /** Ends everything that was begun; what is known stays readable. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#liveness?.close();
    this.#attribution?.close();
    await this.#sources.close();
    this.#waiters.wakeAll();
  }

  /**
   * The state of one engine that stands for all (the first that is connected, else the first); null when the registry
   * was made without one.
   */
  get engine(): EngineStatus | null {
    return this.#sources.status;
  }

  /** The state of each engine. */
  get engines(): readonly EngineStatus[] {
    return this.#sources.statuses;
  }

  /** The state of the engine that knows a container; null when none has told of it. */
  engineOf(id: string): EngineStatus | null {
    return this.#sources.statusFor(id);
  }

  /** What a container may do now, as its engine tells; null when none does. Rejects when that does not respond. */
  rights(id: string): Promise<CurrentRights | null> {
    return this.#sources.rights(id);
  }

  /** The engines that exist and do not respond now: their new containers have no names. */
  get silentEngines(): readonly EngineStatus[] {
    return this.#sources.silent;
  }

  /** Whether an engine may yet tell a container's name, image and labels: one has not responded so far, or is away. */
  lacksFacts({ id, runtime }: Container): boolean {
    if (this.#closed || this.#directory.isReady(id) || this.#absent.has(id)) return false;
    return this.#sources.hopeful || this.#sources.misses(runtime);
  }

  /** Whether an engine may yet describe a container, of which the name may be known: what it may do comes with that alone. */
  awaitsDescription({ id, privileged, state }: Container): boolean {
    if (privileged !== null || state === 'REMOVED' || this.#absent.has(id) || this.#closed) return false;
    return this.#sources.hopeful;
  }

  /** Calls the listener whenever `awaitsDescription` may have changed for some container; returns what ends that. */
  watchDescriptions(listener: () => void): () => void {
    const events = ['change', 'engine', 'absent'] as const;
    for (const event of events) this.on(event, listener);
    return () => {
      for (const event of events) this.off(event, listener);
    };
  }

  get identity(): ContainerIdentity {
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

  /** The container of a pid namespace; null for the host's; undefined when it must be looked up (see `resolveInit`). One map look-up. */
  byInit(init: NamespaceInit): Container | null | undefined {
    return this.#namespaces === null ? null : this.#namespaces.find(init);
  }

  /**
   * Looks at the first process of a pid namespace, whose own cgroup says nothing; null when it is the host's. When that process has gone,
   * `mountNs`, which a process of the namespace was in, decides.
   */
  async resolveInit(init: NamespaceInit, mountNs: number | null): Promise<Container | null> {
    return (await this.#namespaces?.resolve(init, mountNs)) ?? null;
  }

  /** Whether containers are also known by their namespaces alone. */
  get seesNamespaces(): boolean {
    return this.#namespaces !== null;
  }

  /** Finds containers that only their namespaces show, and nobody tells of. Quick when asked again at once. */
  async refresh(): Promise<void> {
    await this.#namespaces?.scan();
  }

  /** A container's v2 cgroups: its own, those inside it, and those of earlier runs. */
  cgroupIds(container: Container): CgroupId[] {
    return this.#directory.cgroupIds(container.id);
  }

  /**
   * Takes what the kernel's cgroup_mkdir tracepoint tells (of hierarchy 0 only: v1 hierarchies count inodes of their own).
   * Done before the container's first exec is handled, it leaves no cgroup unknown. Returns its container, null for the host's,
   * undefined while an engine is asked whose it is.
   */
  learnCgroup(id: CgroupId, path: string): Container | null | undefined {
    if (this.#attribution !== null) return this.#attribution.learn(id, path);
    if (this.#early.length < MAX_EARLY) this.#early.push([id, path]);
    return undefined;
  }

  /**
   * Looks an unknown cgroup up in the file system; null when it is the host's, or cannot be found within two seconds.
   * Calls share walks of the tree. An id that was not found is not looked for again for a second.
   */
  async resolve(id: CgroupId): Promise<Container | null> {
    return (await this.#attribution?.resolve(id)) ?? null;
  }

  /**
   * The container of a running process, by /proc/PID/cgroup, else by its mount namespace, else by its pid namespace; null for the host's,
   * undefined when it has ended.
   * `seenIn` is the mount namespace that an event of it told: it leads to the container from then on.
   */
  async resolvePid(pid: number, seenIn: number | null = null): Promise<Container | null | undefined> {
    const [cgroup, mountNs] = await Promise.all([this.#attribution?.ofProcess(pid), readMountNs(pid)]);
    if (cgroup == null) return undefined;
    if (cgroup.owner === null) {
      const known = mountNs === null ? null : this.byMountNs(mountNs);
      return known ?? (await this.#namespaces?.ofProcess(pid)) ?? null;
    }
    const container = this.#directory.ensure(cgroup.owner);
    if (!this.ready(container)) this.#liveness?.witness(container.id, pid);
    // It may have ended between the two look-ups; then what its event tells is all there is.
    for (const ns of [seenIn, mountNs])
      if (ns && ns !== this.#hostMountNs) this.#directory.learnMountNs(ns, container.id);
    this.#wantFacts(container.id);
    return container;
  }

  /** Has its engine pause or stop a container. Rejects with why it could not. */
  act(id: string, action: ContainerAction): Promise<void> {
    return this.#sources.act(id, action);
  }

  /** Whether an engine has told the container's name (and with it image and labels). */
  ready(container: Container): boolean {
    return this.#directory.isReady(container.id);
  }

  /**
   * Waits until a container's facts have come: true then, false when the time is out, or at once when none can come (no
   * engine is connected, or it does not know the container). Never rejects.
   */
  async settle(containerOrId: Container | string, timeoutMs: number): Promise<boolean> {
    const id = typeof containerOrId === 'string' ? containerOrId : containerOrId.id;
    if (this.#isSettled(id)) return this.#directory.isReady(id);
    await this.#waiters.wait(id, timeoutMs);
    return this.#directory.isReady(id);
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
    const mountinfo = await readFile('/proc/self/mountinfo', 'utf8');
    const given = this.#options.cgroups;
    const mount = given === undefined ? findCgroupMount(mountinfo) : given;
    if (mount === null) this.#useMountNs();
    if (this.#closed) return;
    const attribution = new CgroupAttribution({
      directory: this.#directory,
      mount,
      trust: new CgroupTrust(mountinfo, mount),
      knowledge: {
        told: (id) => this.#directory.isNamed(id),
        mayTell: (id) => !this.#absent.has(id) && this.#sources.hopeful,
        ask: (id) => this.#wantFacts(id),
      },
    });
    this.#attribution = attribution;
    this.#liveness = new Liveness({
      directory: this.#directory,
      mount,
      hostMountNs: this.#hostMountNs,
      followed: (id) => this.#sources.respondsFor(id),
      containerOf: async (pid) =>
        (await attribution.ofProcess(pid))?.owner?.containerId ?? (await this.#namespaces?.containerOf(pid)) ?? null,
    });
    this.#liveness.start(this.#options.sweepMs ?? 15_000, () => this.#forget());
    this.#namespaces = await NamespaceContainers.create({
      directory: this.#directory,
      hostMountNs: this.#hostMountNs,
      ownerOf: async (pid) => this.#ownerOf(await attribution.ofProcess(pid)),
    });
    for (const [id, path] of this.#early.splice(0)) attribution.learn(id, path);
    // The engines may have been quicker.
    for (const container of this.#directory.list())
      if (container.pid !== null) void this.#readProcess(container, container.pid);
    await attribution.index();
    await this.refresh();
  }

  #ownerOf(found: Awaited<ReturnType<CgroupAttribution['ofProcess']>>): Container | null | undefined {
    return found?.owner ? this.#directory.ensure(found.owner) : found === null ? undefined : null;
  }

  #useMountNs(): void {
    if (this.#identity === 'MOUNT_NS') return;
    this.#identity = 'MOUNT_NS';
    this.#log.warn('containers here have no v2 cgroup: events are joined to them by mount namespace');
  }

  #isSettled(id: string): boolean {
    return this.#directory.isReady(id) || this.#absent.has(id) || this.#closed || !this.#sources.hopeful;
  }

  #wantFacts(id: string): void {
    if (this.#closed || this.#directory.isNamed(id) || this.#absent.has(id)) return;
    if (this.#sources.status === null || this.#directory.isReady(id)) return this.#onAbsent(id);
    this.#sources.request(id);
    if (!this.#sources.hopeful) void this.#liveness?.probe(id);
  }

  #onFacts(facts: ContainerFacts): void {
    const known = this.#directory.byId(facts.id);
    // An event's labels lack those that are named as its own attributes are; inspect and list, which give the image's id, have all.
    const partial = facts.imageId === undefined && known != null && known.imageId !== null;
    const container = this.#directory.apply(partial ? { ...facts, labels: undefined, image: undefined } : facts);
    this.#absent.delete(facts.id);
    if (facts.pid != null && container.state !== 'REMOVED') void this.#readProcess(container, facts.pid);
    this.#onNamed(facts.id);
  }

  #onNamed(id: string): void {
    if (!this.#directory.isNamed(id)) return;
    this.#attribution?.decide(id);
    this.#waiters.wake(id);
  }

  #onListed(all: readonly ContainerFacts[], touched: ReadonlySet<string>, isOthers: (id: string) => boolean): void {
    const present = new Set(all.map(({ id }) => id));
    this.#absent.clear();
    for (const { id, state } of this.#directory.list()) {
      if (present.has(id) || touched.has(id) || state === 'REMOVED' || isOthers(id)) continue;
      if (this.#directory.isNamed(id)) this.#directory.remove(id);
      else if (!this.#directory.isReady(id)) this.#sources.request(id);
    }
    for (const facts of all) {
      // The list gives whole seconds.
      const createdAt = this.#directory.byId(facts.id)?.createdAt ?? facts.createdAt;
      if (!touched.has(facts.id)) this.#directory.apply({ ...facts, createdAt }, { listed: true });
      this.#onNamed(facts.id);
    }
  }

  /** No engine will tell of it: its cgroup is all there is. */
  #onAbsent(id: string): void {
    if (this.#directory.isNamed(id) || this.#absent.has(id)) return;
    this.#absent.add(id);
    this.#attribution?.decide(id);
    this.#waiters.wake(id);
    void this.#liveness?.probe(id);
    for (const listener of this.#listeners.absent) this.#call(() => listener(id));
  }

  #onStatus(status: EngineStatus): void {
    if (!status.connected) {
      this.#attribution?.decide();
      this.#waiters.wakeAll();
      for (const container of this.#directory.list())
        if (!this.ready(container)) void this.#liveness?.probe(container.id);
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

  /** Reads what the kernel says of the process that an engine calls the container's first. */
  async #readProcess(container: Container, pid: number): Promise<void> {
    const [proof, mountNs] = await Promise.all([this.#attribution?.prove(container, pid), readMountNs(pid)]);
    if (proof == null || container.pid !== pid) return;
    if (this.#options.cgroups !== null && !proof.unified) this.#useMountNs();
    if (mountNs !== null && mountNs !== this.#hostMountNs) this.#directory.setProcess(container.id, pid, mountNs);
  }

  #forget(): void {
    const isKnown = (id: string): boolean => this.#directory.byId(id) !== undefined;
    for (const id of this.#absent) if (!isKnown(id)) this.#absent.delete(id);
    this.#sources.prune(isKnown);
    this.#attribution?.prune();
    this.#namespaces?.prune();
    void this.refresh();
  }
}
