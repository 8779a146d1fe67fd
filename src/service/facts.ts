import type { NodeFacts } from '../event/node.js';
import type { Caller } from '../access/caller.js';
import type { CatalogTracker } from '../catalog/catalog.js';
import { ValueReader } from '../catalog/values.js';
import { API_VERSION } from '../base/api-version.js';
import { thousandths } from '../base/decimal.js';
import { invalid } from '../base/errors.js';
import type { ContainerFilter } from '../generated/schema.js';
import type { Container } from '../inventory/container.js';
import { compileSelector } from '../inventory/selector.js';
import { isNoEngine } from '../inventory/source.js';
import { Changing } from './changing.js';
import { listInRange } from './check.js';
import { ContainerFeed } from './container-feed.js';
import { byKey, listingOf, type Listing, type RowKey } from './listing.js';
import type { EngineFacts, KernelFacts, Parts, TrackerStatus } from './parts.js';
import type { PageRequest } from './session/handle.js';

/** Behind all names. */
const NAMELESS = '\uFFFF';
/** Of one page. */
const MOST_CONTAINERS = 10_000;

/** The server and its kernel, as the schema's `Server`. */
export class ServerView {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get version(): string {
    return this.#parts.server.version;
  }

  get apiVersion(): string {
    return API_VERSION;
  }

  get node(): NodeFacts {
    return this.#parts.server.node;
  }

  get startedAt(): string {
    return this.#parts.server.startedAt;
  }

  get uptimeSeconds(): number {
    return Math.max(0, (Date.now() - Date.parse(this.startedAt)) / 1000);
  }

  get usage(): { readonly cpuSeconds: number; readonly residentBytes: number } {
    const { user, system } = process.cpuUsage();
    return { cpuSeconds: thousandths((user + system) / 1e6), residentBytes: process.memoryUsage.rss() };
  }

  get hostname(): string {
    return this.#parts.server.hostname;
  }

  get kernel(): KernelFacts {
    return this.#parts.server.kernel;
  }

  get engines(): readonly EngineFacts[] {
    return this.#parts.server.engines().map(toldOf);
  }

  get healthy(): boolean {
    return this.#parts.server.health().healthy;
  }

  get problem(): string | null {
    return this.#parts.server.health().problem;
  }

  get runningSessions(): number {
    return this.#parts.manager.list().filter(({ state }) => state === 'RUNNING').length;
  }

  /** One that stands for all. */
  async engine(): Promise<EngineFacts> {
    return toldOf(await this.#parts.server.engine());
  }
}

/** Where nobody has named an engine and there is none, nothing is wrong. */
function toldOf(engine: EngineFacts): EngineFacts {
  return isNoEngine(engine) ? { ...engine, error: null } : engine;
}

/** A tracker of this build: as the schema's `Tracker`. */
export interface TrackerView extends CatalogTracker {
  /** What this kernel says of it; the first call may take a while. */
  status(): TrackerStatus | Promise<TrackerStatus>;
}

/** All fields of all trackers are some three hundred: each is a valid one to ask for. */
const MOST_FIELDS = 1000;
/** Most readers that are kept. */
const READERS = 64;
/** How often is looked whether the server's health has changed. */
const HEALTH_MS = 500;

/** Facts: the server and its kernel, trackers, containers. */
export class Facts {
  readonly #parts: Parts;
  /** By their fields: each event of a page asks. */
  readonly #readers = new Map<string, ValueReader>();
  readonly #feeds = new Set<ContainerFeed>();
  #end: () => void = () => {};
  readonly #ended = new Promise<void>((resolve) => (this.#end = resolve));
  #isEnding = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  server(_caller: Caller): ServerView {
    return new ServerView(this.#parts);
  }

  /** Can the server do no more than end? Anybody may ask. */
  get dead(): boolean {
    return this.#parts.server.health().dead;
  }

  trackers(_caller: Caller, name: string | null): TrackerView[] {
    const { catalog, trackerStatus } = this.#parts;
    return catalog.trackers
      .filter((tracker) => name === null || tracker.name === name)
      .map((tracker) => ({ ...tracker, status: () => trackerStatus(tracker.name) }));
  }

  /** Reads fields of events by their names. Throws BAD_USER_INPUT for names that no tracker has, none, or too many. */
  values(_caller: Caller, fields: readonly string[], path: string): ValueReader {
    if (fields.length === 0) throw invalid(path, 'is empty; name at least one field, for example ["process.comm"]');
    // A label's name may have any character in it, so that joined names would not tell one list from another.
    const key = JSON.stringify(fields);
    const known = this.#readers.get(key);
    if (known) return known;
    const made = new ValueReader(this.#parts.catalog, listInRange(path, fields, MOST_FIELDS, '["process.comm"]'), path);
    if (this.#readers.size >= READERS) this.#readers.clear();
    this.#readers.set(key, made);
    return made;
  }

  /** By name, and those without one last. Rejects with BAD_USER_INPUT. */
  async containers(_caller: Caller, where: ContainerFilter | null): Promise<Container[]> {
    const matches = matcherOf(where);
    const { registry } = this.#parts;
    await registry.refresh();
    const found = registry
      .list()
      .filter((container) => (where?.states != null || container.state !== 'REMOVED') && matches(container));
    return byKey(found, keyOfContainer);
  }

  /** A page of the same. Rejects with BAD_USER_INPUT or BAD_CURSOR. */
  async containerPage(
    caller: Caller,
    { where, ...range }: Omit<PageRequest, 'where'> & { readonly where: ContainerFilter | null },
  ): Promise<Listing<Container>> {
    const ordered = await this.containers(caller, where);
    return listingOf(ordered, range, { name: 'containers', keyOf: keyOfContainer, most: MOST_CONTAINERS });
  }

  /** Those that `containers` returns, and then each that comes, changes or goes. Rejects with BAD_USER_INPUT. */
  async containerChanges(caller: Caller, where: ContainerFilter | null): Promise<ContainerFeed> {
    const first = await this.containers(caller, where);
    const feed = new ContainerFeed(this.#parts.registry, first, matcherOf(where), (closed) =>
      this.#feeds.delete(closed),
    );
    this.#feeds.add(feed);
    if (this.#isEnding) feed.end();
    return feed;
  }

  /** The server whenever its health, or the state of an engine, has changed; at once first. */
  serverChanges(caller: Caller): AsyncIterableIterator<ServerView> {
    const view = this.server(caller);
    const read = async () => ({ healthy: view.healthy, problem: view.problem, engines: view.engines });
    const changes = new Changing({ read, ended: this.#ended, everyMs: HEALTH_MS });
    const views: AsyncIterableIterator<ServerView> = {
      next: () => changes.next().then(({ done }) => (done ? { done, value: undefined } : { done: false, value: view })),
      return: () => changes.return().then(() => ({ done: true, value: undefined })),
      [Symbol.asyncIterator]: () => views,
    };
    return views;
  }

  /** Ends what follows it. */
  end(): void {
    this.#isEnding = true;
    for (const feed of this.#feeds) feed.end();
    this.#end();
  }

  /** By name, id, or the beginning of an id. Rejects with BAD_USER_INPUT or AMBIGUOUS_CONTAINER. */
  async container(_caller: Caller, ref: string): Promise<Container | null> {
    if (ref === '') throw invalid('ref', 'is empty; give a name, an id, or the beginning of an id');
    const { registry } = this.#parts;
    await registry.refresh();
    return registry.find(ref) ?? null;
  }

  /** By its whole id; null when there is none. */
  async containerById(_caller: Caller, id: string): Promise<Container | null> {
    const { registry } = this.#parts;
    await registry.refresh();
    return registry.list().find((container) => container.id === id) ?? null;
  }
}

/** What a filter of containers takes; removed ones too, unless it names states. Throws BAD_USER_INPUT. */
function matcherOf(where: ContainerFilter | null): (container: Container) => boolean {
  const states =
    where?.states == null ? null : new Set<string>(listInRange('where.states', where.states, 8, '[RUNNING]'));
  const selects =
    where?.any == null ? () => true : compileSelector(listInRange('where.any', where.any, 100, '[{ name: "web-*" }]'));
  return (container) => (states?.has(container.state) ?? true) && selects(container);
}

function keyOfContainer({ name, id }: Container): RowKey {
  return [name ?? NAMELESS, id];
}
