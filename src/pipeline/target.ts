import { isAlive, type Container } from '../containers/container.js';
import type { ContainerRegistry } from '../containers/registry.js';
import { compileSelector } from '../containers/selector.js';
import { EunomiaError } from '../errors.js';
import type { CgroupId } from '../event.js';
import { cgroupIdAt, headerOffsets } from './batch.js';
import type { TargetSpec } from './spec.js';

/** How long the events of a container that nobody has named yet are held back, at most. */
const NAMING_MS = 250;
/** How long a process of the host vouches for its mount namespace. */
const STRAY_MS = 250;
const MAX_STRAYS = 1024;
/** Of one batch, the processes that are asked for their mount namespace's container at most: the newest. */
const MAX_PIDS = 4;

/** What an event is joined to its container by: the id of its cgroup, or where containers have none, its mount namespace. */
type Key = number;

/**
 * Says of each cgroup whether a session's target holds it, and when that can be said. The kernel is told what is
 * known; it keeps the events of cgroups that it does not know, and those are judged here.
 */
export class CgroupJudge {
  readonly #registry: ContainerRegistry;
  readonly #matches: ((container: Container) => boolean) | null;
  readonly #cgroups: ReadonlySet<CgroupId>;
  /** Those that can be judged and whose container has its name. */
  readonly #settled = new Map<Key, boolean>();
  /** Until when a mount namespace other than the host's is taken for one of a host's process: its number is free again when that ends. */
  readonly #strays = new Map<Key, number>();
  #identity: ContainerRegistry['identity'];

  constructor(target: TargetSpec | null, registry: ContainerRegistry) {
    this.#registry = registry;
    this.#identity = registry.identity;
    this.#matches = target?.containers.length ? compileSelector(target.containers) : null;
    this.#cgroups = new Set(target?.cgroups);
  }

  /** Whether the target names containers or cgroups at all. */
  get filters(): boolean {
    return this.#matches !== null || this.#cgroups.size > 0;
  }

  /** Whether the kernel can filter by cgroup id: containers must have v2 cgroups. */
  get inKernel(): boolean {
    return this.filters && this.#registry.identity === 'CGROUP';
  }

  /** What the kernel is told from the start. */
  known(): [CgroupId, boolean][] {
    return [...this.#registry.cgroups()]
      .filter(([, c]) => c === null || this.#registry.ready(c))
      .map(([id, c]) => [id, this.#holds(id, c)]);
  }

  /** Containers that the target holds and that are not gone. */
  containers(): Container[] {
    const matches = this.#matches;
    return matches ? this.#registry.list().filter((c) => c.state !== 'REMOVED' && matches(c)) : [];
  }

  /** Throws UNKNOWN_CONTAINER when a selector matches nothing that is there, and was not asked to wait for it. */
  requireContainers(target: TargetSpec): void {
    if (!target.containers.length || target.waitForContainers || this.containers().length) return;
    const there = this.#registry
      .list()
      .filter((c) => c.state === 'RUNNING')
      .map((c) => c.name ?? c.id.slice(0, 12));
    const which = there.length
      ? `running: ${there.slice(0, 10).join(', ')}${there.length > 10 ? ', …' : ''}`
      : 'no container runs now';
    throw new EunomiaError(
      'UNKNOWN_CONTAINER',
      `input.target.containers: no container matches ${JSON.stringify(target.containers)} (${which}); with waitForContainers: true the session waits for one`,
      { details: { argument: 'input.target.containers', running: there } },
    );
  }

  /** The container of the record at a place; null for the host's. */
  containerAt(view: DataView, at: number): Container | null {
    return this.#lookUp(this.#keyAt(view, at)) ?? null;
  }

  /** Resolves what must be known before these records can be judged and named; null when all is known. */
  prepare(view: DataView, offsets: Uint32Array): Promise<unknown> | null {
    if (this.#identity !== this.#registry.identity) {
      this.#identity = this.#registry.identity;
      this.#settled.clear();
    }
    const unknown = new Map<Key, Set<number>>();
    let last = -1;
    let isKnown = false;
    for (const at of offsets) {
      const key = this.#keyAt(view, at);
      if (key !== last) isKnown = this.#isSettled(key) || this.#trySettle(key);
      last = key;
      if (!isKnown) addPid(unknown, key, view.getUint32(at + headerOffsets.pid, true));
    }
    return unknown.size ? Promise.all([...unknown].map(([key, pids]) => this.#settle(key, pids))) : null;
  }

  /** The offsets of those records that the target holds. Call it when `prepare` is done. */
  select(view: DataView, offsets: Uint32Array): Uint32Array {
    if (!this.filters) return offsets;
    const kept = new Uint32Array(offsets.length);
    let count = 0;
    let last = -1;
    let holds = false;
    for (const at of offsets) {
      const key = this.#keyAt(view, at);
      if (key !== last) holds = this.#settled.get(key) ?? false;
      last = key;
      if (holds) kept[count++] = at;
    }
    return count === offsets.length ? offsets : kept.slice(0, count);
  }

  /** What the kernel is to be told of a container that changed. */
  rejudge(container: Container): [CgroupId, boolean][] {
    if (!this.inKernel || !this.#registry.ready(container)) return [];
    return this.#registry.cgroupIds(container).map((id) => {
      const keep = this.#holds(id, container);
      this.#settled.set(id, keep);
      return [id, keep];
    });
  }

  #keyAt(view: DataView, at: number): Key {
    return this.#identity === 'CGROUP' ? cgroupIdAt(view, at) : view.getUint32(at + headerOffsets.mountNs, true);
  }

  #lookUp(key: Key): Container | null | undefined {
    return this.#identity === 'CGROUP' ? this.#registry.byCgroup(key) : this.#registry.byMountNs(key);
  }

  #holds(key: Key, container: Container | null): boolean {
    if (this.#identity === 'CGROUP' && this.#cgroups.has(key)) return true;
    return container !== null && this.#matches !== null && this.#matches(container);
  }

  #isSettled(key: Key): boolean {
    if (!this.#settled.has(key)) return false;
    if (this.#identity === 'CGROUP') return true;
    // Numbers of mount namespaces are given anew as soon as one ends.
    const container = this.#lookUp(key);
    if (container) return isAlive(container);
    return container === null || (this.#strays.get(key) ?? 0) > Date.now();
  }

  #trySettle(key: Key): boolean {
    const container = this.#lookUp(key);
    if (container === undefined || (container !== null && !this.#registry.ready(container))) return false;
    if (container !== null && this.#identity === 'MOUNT_NS' && !isAlive(container)) return false;
    this.#settled.set(key, this.#holds(key, container));
    return true;
  }

  async #settle(key: Key, pids: ReadonlySet<number>): Promise<void> {
    const container =
      this.#identity === 'CGROUP' ? await this.#resolveCgroup(key) : await this.#resolveMountNs(key, pids);
    if (container && !this.#registry.ready(container)) await this.#registry.settle(container, NAMING_MS);
    // Time is out, or the cgroup is gone: judged by what is known. A late name judges it anew (rejudge).
    this.#settled.set(key, this.#holds(key, container));
  }

  async #resolveCgroup(key: Key): Promise<Container | null> {
    const known = this.#lookUp(key);
    return known === undefined ? this.#registry.resolve(key) : known;
  }

  /** By the newest of the processes that is still there; without any, by the container that was in it last. */
  async #resolveMountNs(key: Key, pids: ReadonlySet<number>): Promise<Container | null> {
    for (const pid of [...pids].reverse()) {
      const found = await this.#registry.resolvePid(pid, key);
      if (found === undefined) continue;
      if (found === null) this.#rememberStray(key);
      return found;
    }
    return this.#lookUp(key) ?? null;
  }

  #rememberStray(key: Key): void {
    if (this.#strays.size >= MAX_STRAYS) this.#strays.clear();
    this.#strays.set(key, Date.now() + STRAY_MS);
  }
}

function addPid(unknown: Map<Key, Set<number>>, key: Key, pid: number): void {
  const pids = unknown.get(key);
  if (!pids) unknown.set(key, new Set([pid]));
  else if (!pids.has(pid)) {
    const [oldest] = pids;
    if (pids.size >= MAX_PIDS && oldest !== undefined) pids.delete(oldest);
    pids.add(pid);
  }
}
