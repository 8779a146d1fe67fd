import type { CurrentRights } from '../event/advice.js';
import type { ContainerFacts } from './container.js';
import {
  isNoEngine,
  type ContainerAction,
  type ContainerSource,
  type CreateSource,
  type EngineStatus,
} from './source.js';

/** Who listens to all sources. */
export interface SourcesSink {
  facts(facts: ContainerFacts): void;
  /** Everything that one source has. `isOthers` tells that a container belongs to another source, which alone may miss it. */
  listed(all: readonly ContainerFacts[], touched: ReadonlySet<string>, isOthers: (id: string) => boolean): void;
  removed(id: string, at: string): void;
  /** No source that is connected knows this container. */
  absent(id: string): void;
  status(status: EngineStatus): void;
}

/** Several sources as one. A container belongs to the source that told of it last; of one that nobody knows each is asked. */
export class ContainerSources {
  readonly #sources: ContainerSource[] = [];
  readonly #sink: SourcesSink;
  /** Container id to the source that knows it. */
  readonly #owners = new Map<string, ContainerSource>();
  /** Container id to the sources that do not know it. */
  readonly #missing = new Map<string, Set<ContainerSource>>();

  /** `create` makes the sources, each with the sink that it is given. */
  constructor(creators: readonly CreateSource[], sink: SourcesSink) {
    this.#sink = sink;
    for (const create of creators) {
      const source: ContainerSource = create({
        facts: (facts) => {
          this.#own(facts.id, source);
          sink.facts(facts);
        },
        listed: (all, touched) => this.#onListed(source, all, touched),
        removed: (id, at) => {
          if (this.#isOthers(id, source)) return;
          sink.removed(id, at);
        },
        absent: (id) => this.#onAbsent(source, id),
        status: (status) => sink.status(status),
      });
      this.#sources.push(source);
    }
  }

  get statuses(): readonly EngineStatus[] {
    return this.#sources.map(({ status }) => status);
  }

  /** One that stands for all: the first that is connected, else the first; null when there is none. */
  get status(): EngineStatus | null {
    return (this.#sources.find(({ status }) => status.connected) ?? this.#sources[0])?.status ?? null;
  }

  /** The state of the source that knows a container; null when none does. */
  statusFor(id: string): EngineStatus | null {
    return this.#owners.get(id)?.status ?? null;
  }

  /** Whether any may yet tell a name. */
  get hopeful(): boolean {
    return this.#sources.some(({ hopeful }) => hopeful);
  }

  /** Whether the source that knows this container is connected; of one that none knows, whether all are. */
  respondsFor(id: string): boolean {
    const owner = this.#owners.get(id);
    return owner
      ? owner.status.connected
      : this.#sources.length > 0 && this.#sources.every(({ status }) => status.connected);
  }

  /** What a container may do now, as the source tells that knows it; null when none does. Rejects when that does not respond. */
  async rights(id: string): Promise<CurrentRights | null> {
    return (await this.#owners.get(id)?.rights?.(id)) ?? null;
  }

  /**
   * Those that do not respond now, so that names are missing. A usual socket that nobody named and that has never
   * been there is no engine.
   */
  get silent(): readonly EngineStatus[] {
    return this.statuses.filter(isSilent);
  }

  /** Whether a silent source may know containers of this runtime. */
  misses(runtime: string): boolean {
    return this.#sources.some((source) => isSilent(source.status) && source.covers(runtime));
  }

  /** Resolves when each has listed all, or has failed once. */
  async start(): Promise<void> {
    await Promise.all(this.#sources.map(async (source) => new Promise<void>((resolve) => source.start(resolve))));
  }

  async close(): Promise<void> {
    await Promise.all(this.#sources.map(async (source) => source.close()));
  }

  request(id: string): void {
    const owner = this.#owners.get(id);
    if (owner !== undefined) return owner.request(id);
    for (const source of this.#sources) if (this.#missing.get(id)?.has(source) !== true) source.request(id);
  }

  /** Has the engine of a container do this to it. Rejects with why it could not. */
  async act(id: string, action: ContainerAction): Promise<void> {
    const owner = this.#owners.get(id);
    if (!owner?.act) throw new Error(`no engine is known that could ${action} the container`);
    await owner.act(id, action);
  }

  /** Forgets the containers that nobody remembers. */
  prune(isKnown: (id: string) => boolean): void {
    for (const id of this.#owners.keys()) if (!isKnown(id)) this.#owners.delete(id);
    for (const id of this.#missing.keys()) if (!isKnown(id)) this.#missing.delete(id);
  }

  #own(id: string, source: ContainerSource): void {
    this.#owners.set(id, source);
    this.#missing.delete(id);
  }

  #isOthers(id: string, source: ContainerSource): boolean {
    const owner = this.#owners.get(id);
    return owner !== undefined && owner !== source;
  }

  #onListed(source: ContainerSource, all: readonly ContainerFacts[], touched: ReadonlySet<string>): void {
    for (const [id, sources] of this.#missing)
      if (sources.delete(source) && sources.size === 0) this.#missing.delete(id);
    for (const { id } of all) this.#own(id, source);
    this.#sink.listed(all, touched, (id) => this.#isOthers(id, source));
  }

  #onAbsent(source: ContainerSource, id: string): void {
    if (this.#isOthers(id, source)) return;
    this.#owners.delete(id);
    const missing = this.#missing.get(id) ?? new Set();
    this.#missing.set(id, missing.add(source));
    if (this.#sources.every((each) => missing.has(each) || !each.hopeful)) this.#sink.absent(id);
  }
}

function isSilent(status: EngineStatus): boolean {
  return !status.connected && status.error !== null && !isNoEngine(status);
}
