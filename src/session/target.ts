import { setMaxListeners } from 'node:events';
import { isAlive, type Container } from '../inventory/container.js';
import type { NamespaceInit } from '../inventory/namespace.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import { compileSelector, couldMatch, describeSelectors, type ContainerSelector } from '../inventory/selector.js';
import { EunomiaError, suggest } from '../base/errors.js';
import type { CgroupId } from '../event/event.js';
import { cgroupIdAt, headerOffsets, initAt } from '../record/batch.js';
import type { CgroupVerdict } from '../kernel/protocol.js';
import type { TargetSpec } from './spec.js';
import { orAborted } from './timer.js';

/** How long the events of a container that nobody has named yet are held back, at most. */
const NAMING_MS = 250;
/** How long a process of the host vouches for its mount namespace. */
const STRAY_MS = 250;
const MAX_STRAYS = 1024;
/** Of one batch, the processes that are asked for their mount namespace's container at most: the newest. */
const MAX_PIDS = 4;
const MAX_SHOWN = 10;

/** Where a process is: the id of its cgroup, or where containers have none, its mount namespace. */
type Place = number;
/**
 * What an event is joined to its container by: its place; of a place of the host, the pid namespace (`initAt`),
 * negative, where that is not the host's.
 */
type Key = number;

/** What must be looked up, with what its records tell. */
interface Unknown {
  /** The newest processes there. */
  readonly pids: Set<number>;
  /** Of the pid namespaces there, the mount namespace of a process. */
  readonly inits: Map<number, number>;
}

const MAX_SETTLED = 65_536;

/**
 * Decides for each cgroup whether a session's target includes it. The kernel has the decisions made so far; it keeps
 * the events of cgroups that it does not know, and these are filtered here.
 */
export class CgroupMatcher {
  readonly #registry: ContainerRegistry;
  readonly #target: TargetSpec | null;
  readonly #matches: ((container: Container) => boolean) | null;
  readonly #cgroups: ReadonlySet<CgroupId>;
  /** Those that are decided, and whose container has its name. */
  readonly #settled = new Map<Key, boolean>();
  /** Those of which nobody can say whether the target holds them, since no engine tells their container's name: their events are kept. */
  readonly #undecided = new Map<Key, Container>();
  #undecidedEvents = 0;
  /** Of each tracker of the session: where the second process's header is in its records; null where they have none. */
  readonly #seconds: readonly (number | null)[];
  readonly #onUndecided: (notices: string[]) => void;
  #hurry = newHurry();
  /** Until when a mount namespace other than the host's is taken for one of a host's process: its number is free again when that ends. */
  readonly #strays = new Map<Key, number>();
  #identity: ContainerRegistry['identity'];

  /**
   * `onUndecided` is called with notices when the first event is kept though its container is undecided. `seconds`:
   * `RecordLayout.second` of the session's trackers; the target holds an event when it holds one of its processes.
   */
  constructor(
    target: TargetSpec | null,
    registry: ContainerRegistry,
    onUndecided: (notices: string[]) => void = () => undefined,
    seconds: readonly (number | null)[] = [],
  ) {
    this.#onUndecided = onUndecided;
    this.#seconds = seconds.some((second) => second !== null) ? seconds : [];
    this.#registry = registry;
    this.#identity = registry.identity;
    this.#target = target;
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
  known(): [CgroupId, CgroupVerdict][] {
    const refused = this.#matches !== null && this.#registry.seesNamespaces ? 'SKIP_HOST' : 'SKIP';
    return [...this.#registry.cgroups()]
      .filter(([, c]) => c === null || this.#registry.ready(c))
      .map(([id, c]) => [id, this.#cgroups.has(id) || this.#holds(c) ? 'KEEP' : c === null ? refused : 'SKIP']);
  }

  /** Containers that the target holds and that are not gone. */
  containers(): Container[] {
    const matches = this.#matches;
    return matches ? this.#registry.list().filter((c) => c.state !== 'REMOVED' && matches(c)) : [];
  }

  /** Throws UNKNOWN_CONTAINER when a selector matches nothing that is there, and was not asked to wait for it. */
  requireContainers(target: TargetSpec): void {
    if (!target.containers.length || target.waitForContainers || this.containers().length) return;
    const alive = this.#registry.list().filter(isAlive);
    const there = alive.map((c) => c.name ?? c.id.slice(0, 12));
    const silent = this.#registry.silentEngines
      .map(({ endpoint, error }) => `; names may be missing, for the engine at ${endpoint} does not respond: ${error}`)
      .join('');
    const which = there.length
      ? `running: ${there.slice(0, 10).join(', ')}${there.length > 10 ? ', …' : ''}`
      : 'no container runs now';
    throw new EunomiaError(
      'UNKNOWN_CONTAINER',
      `input.target.containers: no container has ${describeSelectors(target.containers)}${near(target.containers, alive)} ` +
        `(${which}${silent}); with waitForContainers: true the session waits for one`,
      { details: { argument: 'input.target.containers', running: there } },
    );
  }

  /** The container of the record at a place; null for the host's. */
  containerAt(view: DataView, at: number): Container | null {
    const container = this.#lookUpPlace(this.#placeAt(view, at));
    if (container) return container;
    const init = initAt(view, at);
    return init === 0 ? null : (this.#lookUp(-init) ?? null);
  }

  /** Resolves what must be known before these records can be filtered and named; null when all is known. */
  prepare(view: DataView, offsets: Uint32Array): Promise<unknown> | null {
    if (this.#identity !== this.#registry.identity) {
      this.#identity = this.#registry.identity;
      this.#settled.clear();
      this.#undecided.clear();
    }
    const unknown = new Map<Key, Unknown>();
    let [lastPlace, lastInit] = [-1, -1];
    let key: Key = 0;
    let isKnown = false;
    const look = (at: number): void => {
      const place = this.#placeAt(view, at);
      const init = initAt(view, at);
      if (place !== lastPlace || init !== lastInit) {
        key = this.#keyOf(place, init);
        isKnown = this.#isSettled(key) || this.#trySettle(key) || this.#isUndecided(key);
      }
      [lastPlace, lastInit] = [place, init];
      if (isKnown) return;
      const found = unknown.get(key) ?? { pids: new Set(), inits: new Map() };
      unknown.set(key, found);
      addPid(found.pids, view.getUint32(at + headerOffsets.pid, true));
      const mountNs = view.getUint32(at + headerOffsets.mountNs, true);
      if (init !== 0 && (mountNs !== 0 || !found.inits.has(init))) found.inits.set(init, mountNs);
    };
    for (const at of offsets) {
      look(at);
      const second = this.#secondAt(view, at);
      if (second !== null) look(second);
    }
    return unknown.size ? Promise.all([...unknown].map(([one, found]) => this.#settle(one, found))) : null;
  }

  /** The offsets of those records that the target holds. Call it when `prepare` is done. */
  select(view: DataView, offsets: Uint32Array): Uint32Array {
    if (!this.filters) return offsets;
    const before = this.#undecidedEvents;
    const kept = new Uint32Array(offsets.length);
    let count = 0;
    let [lastPlace, lastInit] = [-1, -1];
    let holds = false;
    let isUndecided = false;
    for (const at of offsets) {
      const place = this.#placeAt(view, at);
      const init = initAt(view, at);
      if (place !== lastPlace || init !== lastInit) {
        const key = this.#keyOf(place, init);
        isUndecided = this.#undecided.has(key);
        holds = isUndecided || this.#settled.get(key) === true || this.#holdsPlace(place);
      }
      [lastPlace, lastInit] = [place, init];
      let keeps = holds;
      let isOpen = isUndecided;
      const second = keeps && !isOpen ? null : this.#secondAt(view, at);
      if (second !== null) {
        const its = this.#keyOf(this.#placeAt(view, second), initAt(view, second));
        if (this.#settled.get(its) === true || this.#holdsPlace(this.#placeAt(view, second)))
          [keeps, isOpen] = [true, false];
        else if (this.#undecided.has(its)) [keeps, isOpen] = [true, true];
      }
      if (!keeps) continue;
      kept[count++] = at;
      if (isOpen) this.#undecidedEvents++;
    }
    if (before === 0 && this.#undecidedEvents > 0) this.#onUndecided(this.notices());
    return count === offsets.length ? offsets : kept.slice(0, count);
  }

  /** Events that were kept though nobody can say whether the target holds them. */
  get undecidedEvents(): number {
    return this.#undecidedEvents;
  }

  /** Names are not waited for any longer: what waits now is decided by what is known. */
  hurry(): void {
    this.#hurry.abort();
    this.#hurry = newHurry();
  }

  /**
   * Why the target may hold more, or less, than its session has; for people. Empty when nothing is missing. `ended`: nothing happens to
   * the session any more, and only what happened is told.
   */
  notices(ended = false): string[] {
    if (!this.#target?.containers.some(({ name, image, labels }) => name != null || image != null || labels != null))
      return [];
    const notices = ended ? [] : this.#noticesOfNow();
    if (this.#undecidedEvents)
      notices.push(
        `${this.#undecidedEvents} event${this.#undecidedEvents > 1 ? 's were' : ' was'} kept while nobody ` +
          `could say whether the target holds their container`,
      );
    return notices;
  }

  #noticesOfNow(): string[] {
    const notices = this.#registry.silentEngines.map(
      ({ endpoint, error }) =>
        `the engine at ${endpoint} does not respond (${error}): containers that start now have no name, image and labels until it does`,
    );
    // One that has ended, or was told of, since its last event is still in the map: only a next event would have it decided.
    const open = new Set(
      [...this.#undecided.values()]
        .filter((container) => isAlive(container) && this.#mayHold(container))
        .map(({ id }) => id),
    );
    if (open.size) {
      const shown = [...open]
        .slice(0, MAX_SHOWN)
        .map((id) => id.slice(0, 12))
        .join(', ');
      notices.push(
        `no engine has told the names of ` +
          `${open.size} container${open.size > 1 ? 's' : ''} (${shown}${open.size > MAX_SHOWN ? ', …' : ''}): ` +
          `whether the target holds them is undecided, and their events are kept`,
      );
    }
    return notices;
  }

  /** What to tell the kernel of a container that changed. */
  reevaluate(container: Container): [CgroupId, CgroupVerdict][] {
    if (container.state === 'REMOVED')
      for (const [key, open] of this.#undecided) if (open === container) this.#undecided.delete(key);
    if (!this.inKernel || !this.#registry.ready(container)) return [];
    return this.#registry.cgroupIds(container).map((id) => {
      const keep = this.#cgroups.has(id) || this.#holds(container);
      this.#decide(id, keep);
      return [id, keep ? 'KEEP' : 'SKIP'];
    });
  }

  /** Where the header of the record's second process is; null when it has none, or that process is not known. */
  #secondAt(view: DataView, at: number): number | null {
    if (this.#seconds.length === 0) return null;
    const second = this.#seconds[view.getUint16(at + headerOffsets.tracker, true)] ?? null;
    return second !== null && view.getUint32(at + second + headerOffsets.pid, true) !== 0 ? at + second : null;
  }

  #placeAt(view: DataView, at: number): Place {
    return this.#identity === 'CGROUP' ? cgroupIdAt(view, at) : view.getUint32(at + headerOffsets.mountNs, true);
  }

  /** The place goes first: a pid namespace inside of a container belongs to that. */
  #keyOf(place: Place, init: number): Key {
    if (init === 0) return place;
    const container = this.#lookUpPlace(place);
    return container === null || (container === undefined && this.#settled.has(place)) ? -init : place;
  }

  #lookUpPlace(place: Place): Container | null | undefined {
    return this.#identity === 'CGROUP' ? this.#registry.byCgroup(place) : this.#registry.byMountNs(place);
  }

  #lookUp(key: Key): Container | null | undefined {
    return key < 0 ? this.#registry.byInit(initOf(key)) : this.#lookUpPlace(key);
  }

  #holdsPlace(place: Place): boolean {
    return this.#identity === 'CGROUP' && this.#cgroups.has(place);
  }

  #holds(container: Container | null): boolean {
    return container !== null && this.#matches !== null && this.#matches(container);
  }

  #isSettled(key: Key): boolean {
    if (!this.#settled.has(key)) return false;
    if (key < 0) return this.#lookUp(key) !== undefined;
    if (this.#identity === 'CGROUP') return true;
    // Numbers of mount namespaces are given anew as soon as one ends.
    const container = this.#lookUp(key);
    if (container) return isAlive(container);
    return container === null || (this.#strays.get(key) ?? 0) > Date.now();
  }

  #trySettle(key: Key): boolean {
    const container = this.#lookUp(key);
    if (container === undefined || (container !== null && !this.#registry.ready(container))) return false;
    if (container !== null && key >= 0 && this.#identity === 'MOUNT_NS' && !isAlive(container)) return false;
    this.#decide(key, this.#holds(container));
    return true;
  }

  async #settle(key: Key, { pids, inits }: Unknown): Promise<void> {
    const container = await this.#resolve(key, pids, inits);
    await this.#settleOne(key, container);
    if (key < 0 || container !== null) return;
    // The place is the host's: whose its processes are their pid namespaces tell.
    for (const [init, mountNs] of inits)
      await this.#settleOne(-init, await this.#registry.resolveInit(initOf(-init), mountNs));
  }

  #resolve(key: Key, pids: ReadonlySet<number>, inits: ReadonlyMap<number, number>): Promise<Container | null> {
    if (key < 0) return this.#registry.resolveInit(initOf(key), inits.get(-key) ?? null);
    return this.#identity === 'CGROUP' ? this.#resolveCgroup(key) : this.#resolveMountNs(key, pids);
  }

  async #settleOne(key: Key, container: Container | null): Promise<void> {
    const { signal } = this.#hurry;
    if (container && !this.#registry.ready(container) && !signal.aborted)
      await orAborted(this.#registry.settle(container, NAMING_MS), signal);
    // Time is out, or the cgroup is gone: decided by what is known, if that suffices. A late name decides again (reevaluate).
    const holds = this.#holds(container);
    if (container && !holds && this.#mayHold(container)) this.#undecided.set(key, container);
    else this.#decide(key, holds);
  }

  #decide(key: Key, holds: boolean): void {
    this.#undecided.delete(key);
    // Pid namespaces come and go; what is still there is decided anew.
    if (this.#settled.size >= MAX_SETTLED && !this.#settled.has(key)) this.#settled.clear();
    this.#settled.set(key, holds);
  }

  /** Whether the target may hold a container that no engine has told of yet. */
  #mayHold(container: Container): boolean {
    return (
      this.#target !== null && couldMatch(this.#target.containers, container) && this.#registry.lacksFacts(container)
    );
  }

  /** Whether it was undecided and still is; nobody waits for its name a second time. */
  #isUndecided(key: Key): boolean {
    const container = this.#undecided.get(key);
    if (!container) return false;
    if (this.#lookUp(key) !== container) return this.#undecided.delete(key) && false;
    if (this.#mayHold(container)) return true;
    this.#decide(key, this.#holds(container));
    return true;
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

/** One for all that wait, however many. */
function newHurry(): AbortController {
  const hurry = new AbortController();
  setMaxListeners(0, hurry.signal);
  return hurry;
}

function addPid(pids: Set<number>, pid: number): void {
  if (pids.has(pid)) return;
  const [oldest] = pids;
  if (pids.size >= MAX_PIDS && oldest !== undefined) pids.delete(oldest);
  pids.add(pid);
}

function initOf(key: Key): NamespaceInit {
  return { pid: Math.floor(-key / 65_536), start: -key % 65_536 };
}

/** The names, ids and images that come near to what was asked for; the beginning of an id is often given as a name. */
function near(selectors: readonly ContainerSelector[], alive: readonly Container[]): string {
  const [selector] = selectors;
  if (selector === undefined || selectors.length > 1) return '';
  const { name, image } = selector;
  const byId = alive.filter(({ id }) => name != null && name.length > 1 && id.startsWith(name));
  if (byId.length) return `; did you mean the id "${byId[0]?.id.slice(0, 12)}"?`;
  if (name != null) return suggest(name, new Set(alive.flatMap((container) => container.name ?? [])));
  return image == null ? '' : suggest(image, new Set(alive.flatMap((container) => container.image ?? [])));
}
