import { readFile, readdir, readlink } from 'node:fs/promises';
import { bootNamespaceNs } from '../kernel/clock.js';
import { formatTime, isAlive, isNamespaceId, type Container } from './container.js';
import type { ContainerDirectory } from './directory.js';
import { readMountNs, readStartTime } from './process-cgroup.js';
import { startTicks } from './process.js';

/**
 * The first process of the outermost pid namespace, below the initial one, that a process is in, as records tell it.
 * The number of a namespace is given anew as soon as one ends; its first process is not mistaken for another.
 */
export interface NamespaceInit {
  /** In the initial pid namespace. */
  readonly pid: number;
  /** Its start in ticks of 10 ms since boot, modulo 2^16. */
  readonly start: number;
}

export interface NamespaceOptions {
  readonly directory: ContainerDirectory;
  readonly hostMountNs: number | null;
  /** The container that the cgroup of a process names; null for the host's, undefined when the process has gone. */
  readonly ownerOf: (pid: number) => Promise<Container | null | undefined>;
}

interface Known {
  readonly start: number;
  /** Null: it is no container. */
  readonly container: Container | null;
  /**
   * In milliseconds since the epoch, of what is looked at again then: a process may still leave the host's mount
   * namespace. Infinite for the rest.
   */
  readonly until: number;
}

interface Seen {
  readonly start: number;
  readonly mountNs: number | null;
  readonly owner: Container | null;
}

// include/linux/proc_ns.h: PROC_PID_INIT_INO.
const INITIAL_PID_NS = 'pid:[4026531836]';
const TICK_NS = 10_000_000n;
const START_RANGE = 0x10000;
/** A runtime enters the container's cgroup, and its mount namespace, this long after it has made the pid namespace, at most. */
const YOUNG_MS = 200;
const YOUNG_WAIT_MS = 50;
/** How long a pid namespace with the host's mounts counts as the host's before it is looked at again. */
const HOST_MS = 1000;
const MAX_KNOWN = 16_384;
/**
 * Looks per second that records may cause: each reads a dozen files of /proc, and any user can make namespaces without
 * end. Beyond it the mount namespace in the record decides until the next look.
 */
const LOOKS_PER_SECOND = 200;
const SCAN_EVERY_MS = 250;
const SCAN_WIDTH = 16;

/**
 * Containers that are known by their namespaces alone: their processes are in cgroups of the host. One is a pid namespace, directly below
 * the initial one, whose first process has mounts other than the host's. (A mount namespace alone is none: services have their own.)
 *
 * Such a container has no name: all that could tell one is chosen by whoever started it, who may be anybody. A pid
 * namespace whose first process is in a container's cgroup is that container: a process that was put into its
 * namespaces, and not into its cgroup, is there.
 */
export class NamespaceContainers {
  readonly #options: NamespaceOptions;
  /** By the pid of the first process. */
  readonly #known = new Map<number, Known>();
  /** What is being looked up. */
  readonly #pending = new Map<number, Promise<Container | null>>();
  readonly #boot: string;
  #looks = LOOKS_PER_SECOND;
  #looksSince = performance.now();
  #scanning: Promise<void> | null = null;
  #scannedAt = Number.NEGATIVE_INFINITY;

  private constructor(options: NamespaceOptions, bootId: string) {
    this.#options = options;
    this.#boot = bootId.slice(0, 4);
  }

  /** Null where this process is itself in another pid namespace: it cannot find the processes that records name. */
  static async create(options: NamespaceOptions): Promise<NamespaceContainers | null> {
    const [own, bootId] = await Promise.all([
      readlink('/proc/self/ns/pid').catch(() => ''),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '0000'),
    ]);
    return own === INITIAL_PID_NS ? new NamespaceContainers(options, bootId) : null;
  }

  /** Null for the host's; undefined when it must be looked up (see `resolve`). One map look-up. */
  find({ pid, start }: NamespaceInit): Container | null | undefined {
    const known = this.#known.get(pid);
    if (known === undefined || !isSameStart(known.start, start)) return undefined;
    return known.until > Date.now() ? known.container : undefined;
  }

  /**
   * Looks at the first process of a pid namespace. When that has gone, `mountNs`, which a process of the namespace was in, decides.
   * Null for the host's.
   */
  async resolve(init: NamespaceInit, mountNs: number | null): Promise<Container | null> {
    const found = this.find(init);
    if (found !== undefined) return found;
    const pending = this.#pending.get(init.pid);
    if (pending !== undefined) {
      await pending;
      return this.find(init) ?? null;
    }
    if (mountNs !== null && !this.#mayLook()) return this.#presume(init, mountNs);
    const resolving = this.#resolve(init, mountNs).finally(() => this.#pending.delete(init.pid));
    this.#pending.set(init.pid, resolving);
    return resolving;
  }

  /**
   * The id of the container that a process is the first one of. What runtimes put into a cgroup after it was seen first belongs to the
   * container of that cgroup from then on. Null when it has gone or is no such process.
   */
  async containerOf(pid: number): Promise<string | null> {
    const seen = await this.#look(pid);
    if (seen === null) return null;
    if (seen.owner !== null) this.#learn({ pid, start: seen.start }, seen.owner);
    return this.find({ pid, start: seen.start })?.id ?? null;
  }

  /** The container of a running process, by its pid namespace; null for the host's, and when it has ended. */
  async ofProcess(pid: number): Promise<Container | null> {
    // The first process of the outermost one is an ancestor, unless the process was put there from outside (nsenter).
    for (let at = pid; at > 1;) {
      const { level, isFirst, parent } = await readStatus(at);
      if (level === 0) return null;
      const ticks = level === 1 && isFirst ? hostTicks(at) : null;
      if (ticks !== null) return this.resolve({ pid: at, start: ticks % START_RANGE }, null);
      at = parent;
    }
    return null;
  }

  /** Finds those that run now. Calls share a walk of /proc; within a quarter of a second after one there is no other. */
  async scan(): Promise<void> {
    if (this.#scanning === null) {
      if (performance.now() - this.#scannedAt < SCAN_EVERY_MS) return;
      this.#scanning = this.#scan().finally(() => {
        this.#scanning = null;
        this.#scannedAt = performance.now();
      });
    }
    await this.#scanning;
  }

  /** Forgets those that the directory has forgotten. */
  prune(): void {
    for (const [pid, { container, until }] of this.#known)
      if (container === null ? until < Date.now() : this.#options.directory.byId(container.id) === undefined)
        this.#known.delete(pid);
  }

  async #scan(): Promise<void> {
    const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
    for (let at = 0; at < pids.length; at += SCAN_WIDTH)
      await Promise.all(
        pids.slice(at, at + SCAN_WIDTH).map(async (pid) => {
          const namespace = await readlink(`/proc/${pid}/ns/pid`).catch(() => INITIAL_PID_NS);
          if (namespace === INITIAL_PID_NS || !(await isOutermostFirst(pid))) return;
          const start = hostTicks(pid);
          if (start !== null) await this.resolve({ pid, start: start % START_RANGE }, null);
        }),
      );
    for (const { container } of this.#known.values())
      if (container?.pid != null && isAlive(container) && isNamespaceId(container.id)) await this.#check(container);
  }

  /** Removes a container whose first process has ended: the kernel ends all others of its pid namespace with it. */
  async #check({ id, pid }: Container): Promise<void> {
    if (pid !== null && (await this.containerOf(pid)) !== id) this.#options.directory.remove(id);
  }

  async #resolve(init: NamespaceInit, mountNs: number | null): Promise<Container | null> {
    let seen = await this.#lookAt(init);
    const decides = (): boolean => seen !== null && (seen.owner !== null || this.#isOwn(seen.mountNs));
    if (seen !== null && seen.owner === null && (await isYoung(init.pid))) {
      await new Promise((resolve) => setTimeout(resolve, YOUNG_WAIT_MS));
      const later = await this.#lookAt(init);
      // It has ended meanwhile: then what was seen is all there is.
      if (later !== null || !decides()) seen = later;
    }
    if (seen?.owner != null) return this.#learn(init, seen.owner);
    if (!this.#isOwn(seen === null ? mountNs : seen.mountNs)) return this.#learn(init, null);
    return this.#make(init);
  }

  #mayLook(): boolean {
    const now = performance.now();
    this.#looks = Math.min(LOOKS_PER_SECOND, this.#looks + ((now - this.#looksSince) / 1000) * LOOKS_PER_SECOND);
    this.#looksSince = now;
    if (this.#looks < 1) return false;
    this.#looks -= 1;
    return true;
  }

  /** Without a look: most of a flood have ended by now. One that has not is found alive with the next look. */
  #presume(init: NamespaceInit, mountNs: number): Container | null {
    if (!this.#isOwn(mountNs)) return this.#learn(init, null);
    const container = this.#ensure(init);
    this.#options.directory.remove(container.id);
    return this.#learn(init, container, Date.now() + HOST_MS);
  }

  #ensure({ pid, start }: NamespaceInit): Container {
    const { directory } = this.#options;
    const id = `pidns:${pid}-${start.toString(16).padStart(4, '0')}${this.#boot}`;
    const container = directory.ensure({ containerId: id, runtime: 'unknown', name: null, podUid: null });
    directory.complete(id);
    return container;
  }

  async #make(init: NamespaceInit): Promise<Container> {
    const { directory } = this.#options;
    const { pid } = init;
    const container = this.#ensure(init);
    const { id } = container;
    this.#learn(init, container);
    const [started, seen] = await Promise.all([readStartTime(pid), this.#lookAt(init)]);
    if (seen === null) directory.remove(id);
    else {
      if (started !== null) directory.apply({ id, startedAt: formatTime(Math.round(started)) });
      directory.setProcess(id, pid, seen.mountNs);
    }
    return container;
  }

  /** `until`: when it is looked at again. */
  #learn<T extends Container | null>(
    { pid, start }: NamespaceInit,
    container: T,
    until = container === null ? Date.now() + HOST_MS : Number.POSITIVE_INFINITY,
  ): T {
    this.#known.delete(pid);
    this.#known.set(pid, { start, container, until });
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    return container;
  }

  #isOwn(mountNs: number | null): boolean {
    return mountNs !== null && mountNs !== 0 && mountNs !== this.#options.hostMountNs;
  }

  /** Null when it has gone, also where another process has its pid. */
  async #lookAt({ pid, start }: NamespaceInit): Promise<Seen | null> {
    const seen = await this.#look(pid);
    return seen !== null && isSameStart(seen.start, start) ? seen : null;
  }

  async #look(pid: number): Promise<Seen | null> {
    const ticks = hostTicks(pid);
    const [owner, mountNs, first] = await Promise.all([
      this.#options.ownerOf(pid),
      readMountNs(pid),
      isOutermostFirst(pid),
    ]);
    // It may have ended on the way.
    if (ticks === null || owner === undefined || !first || hostTicks(pid) !== ticks) return null;
    return { start: ticks % START_RANGE, mountNs, owner };
  }
}

/**
 * How many pid namespaces below the initial one a process is, whether it is the first of its own, and its parent's pid.
 * Zombies count as gone: level 0.
 */
async function readStatus(pid: number): Promise<{ level: number; isFirst: boolean; parent: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  const parent = Number(/^PPid:\t(\d+)$/m.exec(status)?.[1] ?? 0);
  // "NSpid: 4711 15 1": its pid in each namespace, the initial one first.
  const pids = /^NSpid:\t(.+)$/m.exec(status)?.[1]?.split('\t') ?? [];
  if (pids.length === 0 || /^State:\t[ZX]/m.test(status)) return { level: 0, isFirst: false, parent };
  return { level: pids.length - 1, isFirst: pids.at(-1) === '1', parent };
}

/** Whether a process is the first one of a pid namespace directly below the initial one. */
async function isOutermostFirst(pid: number): Promise<boolean> {
  const { level, isFirst } = await readStatus(pid);
  return level === 1 && isFirst;
}

async function isYoung(pid: number): Promise<boolean> {
  const started = await readStartTime(pid);
  return started !== null && Date.now() - started < YOUNG_MS;
}

/** When a process started, in ticks since boot as the kernel's programs count them: those of /proc are of this process's time namespace. */
function hostTicks(pid: number): number | null {
  const ticks = startTicks(pid);
  return ticks === null ? null : Number(BigInt(ticks) - bootNamespaceNs / TICK_NS);
}

/** In a time namespace whose offset is not of whole ticks, the two are one apart. */
function isSameStart(left: number, right: number): boolean {
  return [0, 1, START_RANGE - 1].includes(Math.abs(left - right));
}
