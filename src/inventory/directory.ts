import { EunomiaError } from '../base/errors.js';
import type { CgroupId } from '../event/event.js';
import type { CgroupOwner } from './cgroup.js';
import {
  applyFacts,
  createContainer,
  formatTime,
  isAlive,
  isNamespaceId,
  type Container,
  type ContainerFacts,
  type MutableContainer,
} from './container.js';

/**
 * added: first heard of; facts: name, image, labels or addresses came or changed; state: state or pid;
 * cgroup: a cgroup id was mapped to it (see `cgroupIds`); removed: it is a tombstone now.
 */
export type ChangeKind = 'added' | 'facts' | 'state' | 'cgroup' | 'removed';

export interface DirectoryOptions {
  /**
   * How many removed containers are remembered, and how many of those known by namespaces alone; more, and the oldest
   * is forgotten. Default 4096.
   */
  readonly tombstones?: number;
  /** For how long a removed container is remembered, in milliseconds. Default one hour. */
  readonly tombstoneMs?: number;
  /** Milliseconds since the epoch; for tests. */
  readonly now?: () => number;
  readonly onChange?: (container: Container, kind: ChangeKind) => void;
}

interface Entry {
  readonly container: MutableContainer;
  /** An engine has told the name. */
  named: boolean;
  /** Its cgroup's path is where the name comes from, or it has none: no engine is needed. */
  selfNamed: boolean;
  /** Its own cgroup first named, as the kernel writes the path; null while unknown. */
  path: string | null;
  readonly cgroups: Set<CgroupId>;
  readonly mountNs: Set<number>;
  /** When it was last seen to stop, in milliseconds. */
  stoppedAt: number;
}

// A host or a container that makes cgroups without end (systemd units) must not grow the maps without end.
const MAX_HOST_CGROUPS = 65_536;
const MAX_CGROUPS_PER_CONTAINER = 4096;
const MAX_MOUNT_NS_PER_CONTAINER = 256;
// The kernel gives a freed namespace number to the next one made. Events of a dead container arrive for a moment still.
const MOUNT_NS_LINGER_MS = 5000;

/** The join in memory: cgroup id, mount namespace, name and id to container. No input or output, nothing waits. */
export class ContainerDirectory {
  readonly #entries = new Map<string, Entry>();
  readonly #names = new Map<string, Entry>();
  readonly #cgroups = new Map<CgroupId, Container | null>();
  readonly #hostCgroups = new Set<CgroupId>();
  readonly #mountNs = new Map<number, Entry>();
  /** Container id to the time of removal, in that order. */
  readonly #tombstones = new Map<string, number>();
  /** The same of those that any user can make without end: none of them pushes out another kind. */
  readonly #namespaceTombstones = new Map<string, number>();
  readonly #limits: { tombstones: number; tombstoneMs: number };
  readonly #now: () => number;
  readonly #onChange: (container: Container, kind: ChangeKind) => void;

  constructor(options: DirectoryOptions = {}) {
    this.#limits = { tombstones: options.tombstones ?? 4096, tombstoneMs: options.tombstoneMs ?? 3_600_000 };
    this.#now = options.now ?? Date.now;
    this.#onChange = options.onChange ?? (() => undefined);
  }

  /** The container of a cgroup; null for a cgroup of the host; undefined when the id is unknown. */
  byCgroup(id: CgroupId): Container | null | undefined {
    return this.#cgroups.get(id);
  }

  /** All cgroups that are known, with their containers; null for the host's. */
  cgroups(): IterableIterator<[CgroupId, Container | null]> {
    return this.#cgroups.entries();
  }

  byMountNs(ns: number): Container | undefined {
    const entry = this.#mountNs.get(ns);
    if (entry === undefined) return undefined;
    if (!isAlive(entry.container) && this.#now() - entry.stoppedAt > MOUNT_NS_LINGER_MS) return undefined;
    return entry.container;
  }

  byId(id: string): Container | undefined {
    return this.#entries.get(id)?.container;
  }

  /** All that are remembered, tombstones too. */
  list(): Container[] {
    this.prune();
    return Array.from(this.#entries.values(), ({ container }) => container);
  }

  /** All cgroups of a container: its own, nested ones, and those of earlier runs. */
  cgroupIds(id: string): CgroupId[] {
    return [...(this.#entries.get(id)?.cgroups ?? [])];
  }

  isNamed(id: string): boolean {
    return this.#entries.get(id)?.named === true;
  }

  /** Its name is known, by an engine or by the path of its cgroup, or it has none. */
  isReady(id: string): boolean {
    const entry = this.#entries.get(id);
    return entry !== undefined && (entry.named || entry.selfNamed);
  }

  /** No engine will tell of it: what is known of it is all. */
  complete(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.selfNamed = true;
  }

  cgroupPath(id: string): string | null {
    return this.#entries.get(id)?.path ?? null;
  }

  /**
   * By exact id, exact name, or a prefix of the id that fits one container; null when nothing fits.
   * A container that exists goes before a tombstone. Throws AMBIGUOUS_CONTAINER when a prefix fits several.
   */
  find(reference: string): Container | null {
    this.prune();
    const name = reference.replace(/^\//, '');
    const exact = this.#entries.get(reference.toLowerCase()) ?? this.#names.get(name);
    if (exact !== undefined) return exact.container;
    const prefix = reference.toLowerCase();
    if (!/^[0-9a-f]{1,64}$/.test(prefix)) return null;
    const fitting = Array.from(this.#entries.values(), ({ container }) => container).filter(({ id }) =>
      id.startsWith(prefix),
    );
    const existing = fitting.filter(({ state }) => state !== 'REMOVED');
    const candidates = existing.length > 0 ? existing : fitting;
    if (candidates.length > 1) throw ambiguous(reference, candidates);
    return candidates[0] ?? null;
  }

  /** The container that a cgroup path or the like has shown to exist. */
  ensure(owner: Omit<CgroupOwner, 'path'>): Container {
    const entry = this.#ensureOwner(owner);
    this.#revive(entry);
    return entry.container;
  }

  /**
   * Maps a v2 cgroup to the container that it belongs to; null for the host. `path` is its path in the hierarchy.
   * Returns the container.
   */
  learnCgroup(id: CgroupId, path: string, owner: CgroupOwner | null): Container | null {
    if (owner === null) {
      this.#learnHost(id);
      return null;
    }
    const entry = this.#ensureOwner(owner);
    const { container, cgroups } = entry;
    const before = this.#cgroups.get(id);
    if (before === container) return container;
    if (before) this.#dropCgroup(before.id, id);
    this.#hostCgroups.delete(id);
    this.#cgroups.set(id, container);
    cgroups.add(id);
    this.#revive(entry);
    if (owner.path === path) {
      entry.path = path;
      container.cgroupId = id;
    }
    if (cgroups.size > MAX_CGROUPS_PER_CONTAINER) this.#dropOldestNested(entry);
    this.#onChange(container, 'cgroup');
    return container;
  }

  learnMountNs(ns: number, id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#mountNs.get(ns)?.mountNs.delete(ns);
    this.#mountNs.set(ns, entry);
    entry.mountNs.add(ns);
    if (entry.mountNs.size > MAX_MOUNT_NS_PER_CONTAINER) {
      const [oldest] = entry.mountNs;
      if (oldest !== undefined) this.#forgetMountNs(entry, oldest);
    }
  }

  /**
   * Writes an engine's facts. A removed container stays removed (a response may have been on its way when it went),
   * unless `listed`: an engine that lists it contradicts the removal.
   */
  apply(facts: ContainerFacts, { listed = false } = {}): Container {
    const entry = this.#ensure(facts.id, facts.runtime ?? 'unknown');
    const { container } = entry;
    const wasAlive = isAlive(container);
    if (container.state === 'REMOVED') {
      if (listed) {
        this.#tombstonesOf(facts.id).delete(facts.id);
        container.removedAt = null;
      } else {
        facts = { ...facts, state: 'REMOVED', pid: null };
      }
    }
    const oldName = container.name;
    const changed = applyFacts(container, facts);
    if (container.name !== null) {
      entry.named = true;
      if (oldName !== container.name) this.#rename(entry, oldName, container.name);
    }
    if (wasAlive && !isAlive(container)) entry.stoppedAt = this.#now();
    if (changed.facts) this.#onChange(container, 'facts');
    if (changed.state) this.#onChange(container, 'state');
    return container;
  }

  /** A process that stands for the container, found without an engine. */
  setProcess(id: string, pid: number | null, mountNs: number | null): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const changed = entry.container.pid !== pid;
    entry.container.pid = pid;
    if (mountNs !== null) {
      entry.container.mountNs = mountNs;
      this.learnMountNs(mountNs, id);
    }
    if (changed) this.#onChange(entry.container, 'state');
  }

  /** Makes a container a tombstone; its facts, name and cgroups stay findable until it is forgotten. */
  remove(id: string, at: string = formatTime(this.#now())): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.container.state === 'REMOVED') return;
    if (isAlive(entry.container)) entry.stoppedAt = this.#now();
    entry.container.state = 'REMOVED';
    entry.container.removedAt = at;
    entry.container.pid = null;
    this.#tombstonesOf(id).set(id, this.#now());
    this.prune();
    this.#onChange(entry.container, 'removed');
  }

  /** Forgets tombstones beyond their number or age. */
  prune(): void {
    const oldest = this.#now() - this.#limits.tombstoneMs;
    for (const tombstones of [this.#tombstones, this.#namespaceTombstones]) {
      for (const [id, removedAt] of tombstones) {
        if (tombstones.size <= this.#limits.tombstones && removedAt > oldest) break;
        this.#forget(id);
      }
    }
  }

  #tombstonesOf(id: string): Map<string, number> {
    return isNamespaceId(id) ? this.#namespaceTombstones : this.#tombstones;
  }

  #ensureOwner({ containerId, runtime, podUid, name }: Omit<CgroupOwner, 'path'>): Entry {
    const entry = this.#ensure(containerId, runtime);
    const { container } = entry;
    container.podUid ??= podUid;
    if (name !== null && container.name === null) {
      container.name = name;
      entry.selfNamed = true;
      this.#rename(entry, null, name);
      this.#onChange(container, 'facts');
    }
    return entry;
  }

  #ensure(id: string, runtime: string): Entry {
    const known = this.#entries.get(id);
    if (known !== undefined) {
      if (known.container.runtime === 'unknown') known.container.runtime = runtime;
      return known;
    }
    const container = createContainer(id, runtime);
    const entry: Entry = {
      container,
      named: false,
      selfNamed: false,
      path: null,
      cgroups: new Set(),
      mountNs: new Set(),
      stoppedAt: 0,
    };
    this.#entries.set(id, entry);
    this.#onChange(container, 'added');
    return entry;
  }

  /** A container without an engine was taken for removed when its cgroup went; it was only stopped. */
  #revive({ container, named }: Entry): void {
    if (named || container.state !== 'REMOVED') return;
    this.#tombstonesOf(container.id).delete(container.id);
    container.state = 'UNKNOWN';
    container.removedAt = null;
    this.#onChange(container, 'state');
  }

  /** The newest holder of a name has it, unless that is a tombstone whose name another has taken. */
  #rename(entry: Entry, oldName: string | null, name: string): void {
    if (oldName !== null && this.#names.get(oldName) === entry) this.#names.delete(oldName);
    const holder = this.#names.get(name);
    if (holder !== undefined && entry.container.state === 'REMOVED' && holder.container.state !== 'REMOVED') return;
    this.#names.set(name, entry);
  }

  #learnHost(id: CgroupId): void {
    const before = this.#cgroups.get(id);
    if (before === null) return;
    if (before) this.#dropCgroup(before.id, id);
    this.#cgroups.set(id, null);
    this.#hostCgroups.add(id);
    if (this.#hostCgroups.size <= MAX_HOST_CGROUPS) return;
    const [oldest] = this.#hostCgroups;
    if (oldest === undefined) return;
    this.#hostCgroups.delete(oldest);
    this.#cgroups.delete(oldest);
  }

  #dropCgroup(containerId: string, id: CgroupId): void {
    const entry = this.#entries.get(containerId);
    if (entry === undefined) return;
    entry.cgroups.delete(id);
    if (entry.container.cgroupId !== id) return;
    entry.container.cgroupId = null;
    entry.path = null;
  }

  #dropOldestNested(entry: Entry): void {
    for (const id of entry.cgroups) {
      if (id === entry.container.cgroupId) continue;
      entry.cgroups.delete(id);
      this.#cgroups.delete(id);
      return;
    }
  }

  #forgetMountNs(entry: Entry, ns: number): void {
    entry.mountNs.delete(ns);
    if (this.#mountNs.get(ns) === entry) this.#mountNs.delete(ns);
  }

  #forget(id: string): void {
    this.#tombstonesOf(id).delete(id);
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    const { container } = entry;
    if (container.name !== null && this.#names.get(container.name) === entry) this.#names.delete(container.name);
    for (const cgroup of entry.cgroups) if (this.#cgroups.get(cgroup) === container) this.#cgroups.delete(cgroup);
    for (const ns of entry.mountNs) this.#forgetMountNs(entry, ns);
  }
}

const MAX_NAMED_CANDIDATES = 5;

function ambiguous(reference: string, candidates: readonly Container[]): EunomiaError {
  const shown = candidates
    .slice(0, MAX_NAMED_CANDIDATES)
    .map(({ id, name }) => (name === null ? id.slice(0, 16) : `${id.slice(0, 16)} (${name})`));
  const more = candidates.length - shown.length;
  return new EunomiaError(
    'AMBIGUOUS_CONTAINER',
    `"${reference}" is the beginning of ${candidates.length} container ids: ` +
      `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}; give more digits or a name`,
    { details: { candidates: candidates.map(({ id }) => id) } },
  );
}
