import { authorize, type Caller } from '../access/caller.js';
import { EunomiaError, invalid } from '../base/errors.js';
import type { CaptureMode, Demand } from '../event/event.js';
import { filterOf } from '../filter/index.js';
import type { StartSessionInput } from '../generated/schema.js';
import type { PluginRequest } from '../plugins/index.js';
import type { Session } from '../session/session.js';
import type { SessionSpec, SessionState } from '../session/spec.js';
import { inRange, spanInRange, unknownSession } from './check.js';
import { sessionSpec, updatedSpec, type Update } from './input.js';
import { byKey, listingOf, type Listing, type RowKey } from './listing.js';
import type { Parts } from './parts.js';
import { pluginRequests } from './plugins.js';
import type { PageRequest, SessionHandle } from './session/handle.js';
import { LiveSession } from './session/live.js';
import { StoredSession } from './session/stored.js';

const TEN_MINUTES = 600_000;
const DEFAULT_TRACE_MS = 10_000;
const DEFAULT_TRACE_TTL_MS = 60_000;
const MAX_LIMIT = 2 ** 31 - 1;
/** Sessions. */
const MAX_PAGE = 10_000;

/** What one request of `trace` asks for. */
export interface TraceRequest {
  readonly input: StartSessionInput;
  /** Milliseconds; 10 s by default. */
  readonly for?: number | null | undefined;
  /** Stop at so many events. */
  readonly limit?: number | null | undefined;
  /** What the client wrote; by default exactly what it selects. */
  readonly capture: CaptureMode | null;
  /** The fields that it selects in its result. `readBy` tells what a filter reads; null when it is none. */
  selects(readBy: (where: unknown) => Demand | null): Demand;
}

/** Sessions: starting, finding, stopping and forgetting them. */
export class Sessions {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Those of the stores that are in no memory any more, and then those in memory; each oldest first. */
  async list(caller: Caller, state: SessionState | null = null): Promise<SessionHandle[]> {
    const { manager, stores } = this.#parts;
    const stored = await Promise.all(
      [...stores.values()].map(async (store) =>
        (await whileItLasts(store.sessions(), [])).map(
          (record) => new StoredSession(record, store, this.#parts, caller),
        ),
      ),
    );
    const all: SessionHandle[] = [
      ...stored.flat().filter(({ id }) => !manager.get(id)),
      ...manager.list().map((session) => this.#live(session, caller)),
    ];
    return all.filter((session) => state === null || session.state === state);
  }

  /** A page of all sessions, in memory or a store, by when they were created. Rejects with BAD_USER_INPUT or BAD_CURSOR. */
  async page(
    caller: Caller,
    { state, ...range }: Omit<PageRequest, 'where'> & { readonly state: SessionState | null },
  ): Promise<Listing<SessionHandle>> {
    const keyOf = ({ createdAt, id }: SessionHandle): RowKey => [createdAt, id];
    const ordered = await byKey(await this.list(caller, state), keyOf);
    return listingOf(ordered, range, { name: 'sessions', keyOf, most: MAX_PAGE });
  }

  /** The session in memory, counted as used, or in a store; null when there is none. */
  async find(caller: Caller, id: string): Promise<SessionHandle | null> {
    const session = this.#parts.manager.get(id);
    session?.touch();
    if (session) return this.#live(session, caller);
    for (const store of this.#parts.stores.values()) {
      const record = await whileItLasts(store.session(id), null);
      if (record) return new StoredSession(record, store, this.#parts, caller);
    }
    return null;
  }

  /** Rejects with UNKNOWN_SESSION. */
  async need(caller: Caller, id: string): Promise<SessionHandle> {
    const session = await this.find(caller, id);
    if (!session) throw unknownSession(id);
    return session;
  }

  /**
   * Each session there is in memory, then each that changes; ends when the session `id`, if given, is removed. Of one that
   * only its store remembers, that one: it does not change any more. Rejects with UNKNOWN_SESSION.
   */
  async changes(caller: Caller, id: string | null): Promise<AsyncIterableIterator<SessionHandle>> {
    if (id !== null) {
      const session = await this.need(caller, id);
      if (!this.#parts.manager.get(id)) return once(session);
    }
    const feed = this.#parts.manager.changes(id);
    const handleOf = ({ done, value }: IteratorResult<Session, undefined>): IteratorResult<SessionHandle, undefined> =>
      done ? { done, value: undefined } : { done: false, value: this.#live(value, caller) };
    const changes: AsyncIterableIterator<SessionHandle> = {
      next: () => feed.next().then(handleOf),
      return: async () => {
        await feed.return?.();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => changes,
    };
    return changes;
  }

  /**
   * Starts a session with its plugins, which see it from its first event on. What is wrong with the input is told
   * before anything is loaded: rejects with FORBIDDEN, BAD_USER_INPUT, and as the manager does.
   */
  async start(caller: Caller, input: StartSessionInput): Promise<SessionHandle> {
    authorize(caller, 'startSession');
    const { catalog, fields } = this.#parts;
    const session = await this.#start(sessionSpec(input, catalog, fields), pluginRequests(input.plugins));
    return this.#live(session, caller);
  }

  /** Starts a session that a configuration describes, and that was checked with it. */
  async startConfigured(caller: Caller, spec: SessionSpec, plugins: readonly PluginRequest[]): Promise<Session> {
    authorize(caller, 'startSession');
    return this.#start(spec, plugins);
  }

  /**
   * Changes a running session. Rejects, with nothing changed, with FORBIDDEN, UNKNOWN_SESSION, NOT_RUNNING, BAD_USER_INPUT, and as the
   * manager does.
   */
  async update(caller: Caller, id: string, input: Update): Promise<SessionHandle> {
    authorize(caller, 'updateSession');
    const { catalog, fields: filters, manager } = this.#parts;
    const handle = await this.need(caller, id);
    this.#requireOwn(id);
    if (!manager.get(id)) {
      requireEnded(handle);
      throw new EunomiaError('NOT_RUNNING', `the session "${id}" has ended; only a running session can be changed`);
    }
    await manager.change(id, (spec, passedMs) => updatedSpec(spec, input, { catalog, filters, passedMs }));
    return handle;
  }

  /**
   * Stops it; one that has stopped stays as it is. Resolves when all that its plugins found is there. Rejects with NOT_RUNNING for one
   * that runs in another server.
   */
  async stop(caller: Caller, id: string): Promise<SessionHandle> {
    authorize(caller, 'stopSession');
    const session = await this.need(caller, id);
    this.#requireOwn(id);
    const { manager, plugins } = this.#parts;
    if (manager.get(id)) {
      await manager.stop(id, 'REQUESTED');
      await plugins.settled(id);
    } else requireEnded(session);
    return session;
  }

  /** Stops and forgets it, in memory and in its store. */
  async remove(caller: Caller, id: string): Promise<void> {
    authorize(caller, 'removeSession');
    const { persistence } = await this.need(caller, id);
    this.#requireOwn(id);
    const { manager, stores } = this.#parts;
    if (manager.get(id)) await manager.remove(id);
    if (persistence) await stores.get(persistence.store)?.remove(id);
  }

  /** Starts a session, waits until it has stopped by itself, and returns it. It is stopped when the caller goes away. */
  async trace(caller: Caller, { input, for: forMs, limit, capture, selects }: TraceRequest): Promise<SessionHandle> {
    authorize(caller, 'trace');
    const { manager, plugins, catalog, fields, log } = this.#parts;
    if (forMs != null) spanInRange('for', forMs, 10, TEN_MINUTES);
    else if (input.for != null) spanInRange('input.for', input.for, 10, TEN_MINUTES);
    const names = input.trackers.flatMap((entry) => Object.keys(entry)).filter((name) => catalog.get(name));
    // Also a check of each filter: not one is found wrong only after the session ran.
    const readBy = (where: unknown): Demand | null =>
      names.length ? (filterOf(where, fields, names)?.demand ?? null) : null;
    const spec = sessionSpec(input, catalog, fields, {
      forMs: forMs ?? input.for ?? DEFAULT_TRACE_MS,
      ttlMs: DEFAULT_TRACE_TTL_MS,
      limit: limit == null ? null : inRange('limit', limit, 1, MAX_LIMIT, 'events'),
      capture: capture ?? 'DEMANDED',
      fields: [...new Set([...selects(readBy).values()].flatMap((read) => [...read]))],
    });
    const session = await this.#start(spec, pluginRequests(input.plugins));
    const abandon = (): void => {
      manager
        .stop(session.id, 'ABANDONED')
        .catch((error: unknown) => log.error({ error, session: session.id }, 'stopping an abandoned trace'));
    };
    if (caller.signal.aborted) abandon();
    else caller.signal.addEventListener('abort', abandon, { once: true });
    try {
      await session.done;
      await plugins.settled(session.id);
    } finally {
      caller.signal.removeEventListener('abort', abandon);
    }
    return this.#live(session, caller);
  }

  /**
   * Stops all sessions, gives their readers a while for what they have not read, and tells them of the rest. None can
   * be started any more.
   */
  end(): Promise<void> {
    return this.#parts.manager.end();
  }

  async #start(spec: SessionSpec, requests: readonly PluginRequest[]): Promise<Session> {
    const { manager, plugins } = this.#parts;
    const trackers = spec.trackers.map(({ name }) => name);
    const where = (index: number): string => `input.plugins[${index}]`;
    const reads = requests.flatMap((request, index) =>
      Object.values(plugins.check(request, trackers, where(index), index).facts.reads).flat(),
    );
    const fields = [...new Set([...spec.fields, ...reads.map((path) => path.split('.')[0] ?? path)])];
    await this.#requireProcesses(spec);
    const session = await manager.start({ ...spec, fields });
    try {
      requests.forEach((request, index) => plugins.attach(session, request, true, where(index)));
    } catch (error) {
      await manager.remove(session.id); // nobody would know its id
      throw error;
    }
    return session;
  }

  /** Throws SESSION_OF_RULES for one that rules run in: changed by somebody else, it would keep events from them, and nobody would know. */
  #requireOwn(id: string): void {
    if (this.#parts.rules.runner.sessions.some((session) => session.id === id))
      throw new EunomiaError(
        'SESSION_OF_RULES',
        `the session "${id}" belongs to the rules of the server, which start and end it; change the rules instead`,
      );
  }

  /** A server that runs for one command begins its table of processes here. Rejects with BAD_USER_INPUT where it cannot. */
  async #requireProcesses({ where }: SessionSpec): Promise<void> {
    const ready = where?.whole.ready;
    if (!ready) return;
    await ready();
    const problem = this.#parts.catalog.lineage?.problem ?? null;
    if (problem !== null)
      throw invalid('input.where', `it reads the table of processes, and there is none: ${problem}`);
  }

  #live(session: Session, caller: Caller): SessionHandle {
    return new LiveSession(session, this.#parts, caller);
  }
}

async function* once<Item>(item: Item): AsyncGenerator<Item, undefined> {
  yield item;
}

/** A store that does not respond costs what only it knows, and nothing else. */
async function whileItLasts<Value>(response: Promise<Value>, otherwise: Value): Promise<Value> {
  try {
    return await response;
  } catch (error) {
    if (error instanceof EunomiaError && error.code === 'STORE_UNAVAILABLE') return otherwise;
    throw error;
  }
}

/** Throws NOT_RUNNING for one that this server has not, and that runs: in another server that has the same database. */
function requireEnded({ id, state, node }: SessionHandle): void {
  if (state === 'STOPPED' || state === 'FAILED') return;
  const where = node === null ? 'another server' : `the server of the node "${node.name}" (${node.id})`;
  throw new EunomiaError(
    'NOT_RUNNING',
    `the session "${id}" does not run here, but in ${where}, which shares the database; ask that server`,
  );
}
