import type { NodeFacts } from '../event/node.js';
import type { Caller } from '../access/caller.js';
import type { CatalogTracker } from '../catalog/catalog.js';
import { ValueReader } from '../catalog/values.js';
import { API_VERSION } from '../base/api-version.js';
import { invalid } from '../base/errors.js';
import type { ContainerFilter } from '../generated/schema.js';
import type { Container } from '../inventory/container.js';
import { compileSelector } from '../inventory/selector.js';
import { listInRange } from './check.js';
import type { EngineFacts, KernelFacts, Parts, TrackerStatus } from './parts.js';

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

  get hostname(): string {
    return this.#parts.server.hostname;
  }

  get kernel(): KernelFacts {
    return this.#parts.server.kernel;
  }

  get engines(): readonly EngineFacts[] {
    return this.#parts.server.engines();
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
    return this.#parts.server.engine();
  }
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

/** Facts: the server and its kernel, trackers, containers. */
export class Facts {
  readonly #parts: Parts;
  /** By their fields: each event of a page asks. */
  readonly #readers = new Map<string, ValueReader>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  server(_caller: Caller): ServerView {
    return new ServerView(this.#parts);
  }

  /** Anybody may ask. */
  get healthy(): boolean {
    return this.#parts.server.health().healthy;
  }

  trackers(_caller: Caller, name: string | null): TrackerView[] {
    const { catalog, trackerStatus } = this.#parts;
    return catalog.trackers
      .filter((tracker) => name === null || tracker.name === name)
      .map((tracker) => ({ ...tracker, status: () => trackerStatus(tracker.name) }));
  }

  /** Reads fields of events by their names. Throws BAD_USER_INPUT for names that no tracker has, none, or too many. */
  values(_caller: Caller, fields: readonly string[], where: string): ValueReader {
    if (fields.length === 0) throw invalid(where, 'is empty; name at least one field, for example ["process.comm"]');
    // A label's name may have any character in it, so that joined names would not tell one list from another.
    const key = JSON.stringify(fields);
    const known = this.#readers.get(key);
    if (known) return known;
    const made = new ValueReader(
      this.#parts.catalog,
      listInRange(where, fields, MOST_FIELDS, '["process.comm"]'),
      where,
    );
    if (this.#readers.size >= READERS) this.#readers.clear();
    this.#readers.set(key, made);
    return made;
  }

  /** By name, and those without one last. Rejects with BAD_USER_INPUT. */
  async containers(_caller: Caller, where: ContainerFilter | null): Promise<Container[]> {
    const states =
      where?.states == null ? null : new Set<string>(listInRange('where.states', where.states, 8, '[RUNNING]'));
    const matches =
      where?.any == null
        ? () => true
        : compileSelector(listInRange('where.any', where.any, 100, '[{ name: "web-*" }]'));
    const { registry } = this.#parts;
    await registry.refresh();
    return registry
      .list()
      .filter(
        (container) => (states ? states.has(container.state) : container.state !== 'REMOVED') && matches(container),
      )
      .sort((a, b) => compare(a.name ?? '\uFFFF', b.name ?? '\uFFFF') || compare(a.id, b.id));
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

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
