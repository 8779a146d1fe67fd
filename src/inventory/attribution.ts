import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupId } from '../event/event.js';
import type { CgroupMount } from '../linux/cgroup-mount.js';
import { cgroupClaims, cgroupDirectory, readCgroupId, walkCgroups, type CgroupOwner } from './cgroup.js';
import type { Container } from './container.js';
import type { ContainerDirectory } from './directory.js';
import { readProcessCgroups, readStartTime } from './process-cgroup.js';
import { CgroupScanner } from './scanner.js';
import type { CgroupTrust } from './trust.js';

/** What the sources of names know, as far as it decides whose a cgroup is. */
export interface Knowledge {
  /** A source has told of this container. */
  told(id: string): boolean;
  /** A source may yet tell of it: one is connected, and has not said that it does not know it. */
  mayTell(id: string): boolean;
  /** Asks for it, unless its facts are there. `decide` is called when something new is known of it. */
  ask(id: string): void;
}

export interface AttributionOptions {
  readonly directory: ContainerDirectory;
  readonly trust: Pick<CgroupTrust, 'believes' | 'believesIn'>;
  /** Null on a host without the v2 hierarchy. */
  readonly mount: CgroupMount | null;
  readonly knowledge: Knowledge;
}

const RESOLVE_MS = 2000;
const MISS_MS = 1000;
const MAX_MISSES = 4096;
const MAX_PENDING = 1024;
/** How much later than its container a first process may seem to have started: the engine takes the time after the start. */
const START_TOLERANCE_MS = 2000;

/**
 * Decides which container a cgroup belongs to. The engine's word about a container's first process comes first: the cgroup of
 * that is the container's, whatever lies above. Next come names in the path that only root can have made. Of several, one in another, the
 * innermost that an engine knows; the outermost if none is known (engines inside a container are not ours).
 */
export class CgroupAttribution {
  readonly #directory: ContainerDirectory;
  readonly #trust: AttributionOptions['trust'];
  readonly #mount: CgroupMount | null;
  readonly #knowledge: Knowledge;
  readonly #scanner: CgroupScanner | null;
  readonly #misses = new Map<CgroupId, number>();
  /** Cgroups whose innermost name an engine was asked for. */
  readonly #pending = new Map<
    CgroupId,
    { readonly path: string; readonly decided: Promise<void>; readonly done: () => void }
  >();
  /** The cgroups that engines' first processes have shown to be a container's, by path. */
  readonly #proven = new Map<string, CgroupOwner>();
  #closed = false;

  constructor({ directory, trust, mount, knowledge }: AttributionOptions) {
    this.#directory = directory;
    this.#trust = trust;
    this.#mount = mount;
    this.#knowledge = knowledge;
    this.#scanner = mount === null ? null : new CgroupScanner(mount, (id, path) => this.learn(id, path));
  }

  /** Maps the whole tree. */
  async index(): Promise<void> {
    await this.#scanner?.all();
  }

  close(): void {
    this.#closed = true;
    this.#scanner?.close();
    for (const { done } of this.#pending.values()) done();
  }

  /** Takes that a cgroup is there. Returns its container, null for the host's, undefined while an engine is asked. */
  learn(id: CgroupId, path: string): Container | null | undefined {
    this.#misses.delete(id);
    const claims = this.#believed(path);
    const [outer] = claims;
    const inner = claims.at(-1);
    if (outer === undefined || inner === undefined) return this.#directory.learnCgroup(id, path, null);
    if (claims.length > 1 && this.#mustAsk(claims) && this.#wait(id, path)) {
      for (const { containerId } of claims.slice(1))
        if (this.#knowledge.mayTell(containerId)) this.#knowledge.ask(containerId);
      return undefined;
    }
    const container = this.#directory.learnCgroup(id, path, this.#choose(claims));
    if (container !== null) this.#knowledge.ask(container.id);
    return container;
  }

  /** Something new is known of a container: cgroups that waited for that are decided. */
  decide(containerId?: string): void {
    for (const [id, { path, done }] of this.#pending) {
      if (containerId !== undefined && !path.includes(containerId)) continue;
      if (this.#mustAsk(this.#believed(path)) && !this.#closed) continue;
      this.#pending.delete(id);
      this.learn(id, path);
      done();
    }
  }

  /** Whose a process is, by the first of its hierarchies that names a container. `unified`: the v2 hierarchy does. Null for the host's. */
  async ofProcess(pid: number): Promise<{ readonly owner: CgroupOwner | null; readonly unified: boolean } | null> {
    const places = await readProcessCgroups(pid);
    if (places === null) return null;
    for (const place of places) {
      const claims = place.unified
        ? this.#believed(place.path)
        : cgroupClaims(place.path).filter((claim) => this.#trust.believesIn(place, claim.path));
      if (claims.length > 0) return { owner: this.#choose(claims), unified: place.unified };
    }
    return { owner: null, unified: places[0]?.unified === true };
  }

  /**
   * Takes from an engine which process is a container's first. Returns null when that process is not (any more): another has its
   * pid by now, or it is another machine's. Else whether the v2 hierarchy has a cgroup that is the container's.
   */
  async prove(container: Container, pid: number): Promise<{ readonly unified: boolean } | null> {
    const [places, started] = await Promise.all([readProcessCgroups(pid), readStartTime(pid)]);
    if (places === null || started === null || container.pid !== pid) return null;
    if (container.startedAt !== null && started > Date.parse(container.startedAt) + START_TOLERANCE_MS) return null;
    const named = places.map((place) => ({
      place,
      claim: cgroupClaims(place.path).find(({ containerId }) => containerId === container.id),
    }));
    const found = named.find(({ claim }) => claim !== undefined);
    if (found?.claim === undefined) return null;
    const { place, claim } = found;
    if (!place.unified) return { unified: false };
    this.#prove(claim);
    if (this.#mount !== null) await this.#learnBelow(claim, this.#mount);
    return { unified: true };
  }

  /** Forgets what was shown of containers that are no longer remembered. */
  prune(): void {
    for (const [path, { containerId }] of this.#proven)
      if (this.#directory.byId(containerId) === undefined) this.#proven.delete(path);
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
    const find = async (scanner: CgroupScanner): Promise<void> => {
      if (!this.#pending.has(id)) await scanner.find(id);
      await this.#pending.get(id)?.decided;
    };
    await Promise.race([
      find(this.#scanner),
      sleep(RESOLVE_MS, undefined, { signal: limit.signal }).catch(() => undefined),
    ]);
    limit.abort();
    this.#settle(id);
    const found = this.#directory.byCgroup(id);
    if (found === undefined) this.#miss(id);
    return found ?? null;
  }

  /** The engine has taken too long: decides by what is known. */
  #settle(id: CgroupId): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    this.#directory.learnCgroup(id, pending.path, this.#choose(this.#believed(pending.path)));
    pending.done();
  }

  #believed(path: string): CgroupOwner[] {
    return cgroupClaims(path).filter(
      (claim) => this.#proven.get(claim.path)?.containerId === claim.containerId || this.#trust.believes(claim.path),
    );
  }

  /** Whether an engine may yet tell of a container further in than those it has told of. */
  #mustAsk(claims: readonly CgroupOwner[]): boolean {
    for (const { containerId } of claims.slice(1).reverse()) {
      if (this.#knowledge.told(containerId)) return false;
      if (this.#knowledge.mayTell(containerId)) return true;
    }
    return false;
  }

  #choose(claims: readonly CgroupOwner[]): CgroupOwner | null {
    return claims.findLast(({ containerId }) => this.#knowledge.told(containerId)) ?? claims[0] ?? null;
  }

  /** False when too many wait already. */
  #wait(id: CgroupId, path: string): boolean {
    if (this.#pending.has(id)) return true;
    if (this.#pending.size >= MAX_PENDING) return false;
    let done: () => void = () => undefined;
    const decided = new Promise<void>((resolve) => (done = resolve));
    this.#pending.set(id, { path, decided, done });
    return true;
  }

  #prove(claim: CgroupOwner): void {
    const before = this.#proven.get(claim.path);
    if (before?.containerId !== claim.containerId) this.#proven.set(claim.path, claim);
  }

  /** The container's own cgroup and all below it, as they are now: a restarted container has a new one at the same path. */
  async #learnBelow(claim: CgroupOwner, mount: CgroupMount): Promise<void> {
    const directory = cgroupDirectory(mount, claim.path);
    const id = await readCgroupId(directory);
    if (id === null) return;
    await walkCgroups(
      { point: directory, root: claim.path },
      { limit: 1000, visit: (below, path) => void this.learn(below, path) },
    );
  }

  #miss(id: CgroupId): void {
    this.#misses.delete(id);
    this.#misses.set(id, Date.now());
    const [oldest] = this.#misses.keys();
    if (this.#misses.size > MAX_MISSES && oldest !== undefined) this.#misses.delete(oldest);
  }
}
