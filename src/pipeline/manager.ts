import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EunomiaError, invalid } from '../errors.js';
import type { KernelThread } from '../kernel/thread.js';
import { ChangeFeed } from './feed.js';
import { SourcePool } from './pool.js';
import type { Record } from './recording.js';
import type { RecordedSource } from './replay.js';
import { Session, type SessionDependencies } from './session.js';
import type { SessionSpec, StopReason } from './spec.js';

/** How often sessions with a time to live are looked at. */
const TTL_CHECK_MS = 500;
/** How long the end of the server waits for readers. */
const DRAIN_MS = 1000;
/** How long the server's end waits for stores that are behind. */
const STORED_MS = 20_000;

export interface ManagerOptions extends Omit<SessionDependencies, 'onState' | 'pool' | 'replay'> {
  /** Null for a server that only replays. */
  readonly kernel: KernelThread | null;
  /** Sessions that may run at once. */
  readonly maxSessions: number;
  /** For sessions that are to be stored. */
  readonly record?: Record;
  /** Called with each session before it starts: what calls `session.record` then gets all of its events. Must not throw. */
  readonly tap?: (session: Session) => void;
}

/** All sessions of the server: starts, finds, stops, forgets. */
export class SessionManager {
  readonly #options: ManagerOptions;
  readonly #pool: SourcePool | null;
  readonly #sessions = new Map<string, Session>();
  readonly #feeds = new Set<ChangeFeed>();
  readonly #ttlTimer: NodeJS.Timeout;
  #closed = false;
  /** Called when the kernel thread has died: all sessions have failed, and none can be started. */
  onKernelDeath: (error: Error) => void = () => {};

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#pool = options.kernel && new SourcePool(options.kernel);
    this.#ttlTimer = setInterval(() => this.#removeUnused(), TTL_CHECK_MS).unref();
    if (options.kernel)
      options.kernel.onDeath = (error) => {
        options.log.fatal({ err: error }, 'the kernel thread has ended');
        for (const session of this.#sessions.values()) session.fail(error);
        this.onKernelDeath(error);
      };
  }

  /** Starts a session. Rejects, with nothing left behind, with TOO_MANY_SESSIONS, UNKNOWN_CONTAINER, UNKNOWN_PROCESS or KERNEL_ERROR. */
  async start(spec: SessionSpec): Promise<Session> {
    if (this.#closed) throw new EunomiaError('SHUTTING_DOWN', 'the server is ending');
    const active = this.list().filter(
      (s) => s.state === 'STARTING' || s.state === 'RUNNING' || s.state === 'STOPPING',
    ).length;
    if (active >= this.#options.maxSessions) {
      throw new EunomiaError(
        'TOO_MANY_SESSIONS',
        `${active} sessions run, and the limit is ${this.#options.maxSessions}; stop one, or start the server with a larger --max-sessions`,
        {
          details: { limit: this.#options.maxSessions },
        },
      );
    }
    spec.target?.pids.forEach((pid, i) => {
      if (!existsSync(`/proc/${pid}`))
        throw invalid(`input.target.pids[${i}]`, `no process ${pid} is alive in the server's pid namespace`);
    });
    return this.#begin(spec);
  }

  /** Starts a session whose events were recorded. It holds them as live ones, in `bufferBytes`. */
  replay(spec: SessionSpec, replay: RecordedSource): Promise<Session> {
    return this.#begin(spec, replay);
  }

  async #begin(spec: SessionSpec, replay?: RecordedSource): Promise<Session> {
    const session = new Session(randomBytes(8).toString('hex'), spec, {
      ...this.#options,
      pool: this.#pool,
      ...(replay ? { replay } : {}),
      onState: (changed) => this.#announce(changed),
    });
    this.#sessions.set(session.id, session);
    try {
      if (spec.persist) {
        if (!this.#options.record)
          throw new EunomiaError('NO_STORE', 'this server has no store; start it with --data-dir');
        session.recording = await this.#options.record(session, spec.persist);
      }
      this.#options.tap?.(session);
      await session.start();
    } catch (error) {
      this.#sessions.delete(session.id); // nobody has its id
      await session.recording?.discard();
      throw error;
    }
    return session;
  }

  /** The most sessions that may run at once. */
  get maxSessions(): number {
    return this.#options.maxSessions;
  }

  get(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  /** Oldest first. */
  list(): Session[] {
    return [...this.#sessions.values()];
  }

  async stop(id: string, reason: StopReason = 'REQUESTED'): Promise<Session> {
    const session = this.#need(id);
    session.touch();
    await session.stop(reason);
    return session;
  }

  async remove(id: string, reason: StopReason = 'REQUESTED'): Promise<void> {
    const session = this.#need(id);
    await session.stop(reason);
    session.clear();
    this.#sessions.delete(id);
    for (const feed of this.#feeds) feed.removed(session);
  }

  /** Each session there is, then each that changes; ends when the session `id`, if given, is removed. */
  changes(id?: string | null): AsyncIterableIterator<Session> {
    const feed: ChangeFeed = new ChangeFeed(id ? [this.#need(id)] : this.list(), id ?? null, () =>
      this.#feeds.delete(feed),
    );
    this.#feeds.add(feed);
    return feed;
  }

  /** Stops all sessions, and gives their readers and stores a while for what they have not read; none can be started any more. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#ttlTimer);
    await Promise.all(this.list().map((session) => session.stop('SHUTDOWN')));
    for (const until = Date.now() + DRAIN_MS; Date.now() < until && this.list().some((s) => s.hasReaders);)
      await sleep(10);
    await this.#awaitStores();
    for (const session of this.list()) session.clear();
    for (const feed of this.#feeds) void feed.return();
  }

  /** A store that is behind gets on for a while; one that cannot write at all is not waited for. */
  async #awaitStores(): Promise<void> {
    const recorded = this.list().flatMap(({ id, recording }) => (recording ? [{ id, recording }] : []));
    for (
      const until = Date.now() + STORED_MS;
      Date.now() < until && recorded.some(({ recording }) => recording.stats.state === 'WRITING');
    )
      await sleep(10);
    for (const { id, recording } of recorded) {
      const { state, pending, error } = recording.stats;
      if (state === 'WRITING' || state === 'PAUSED')
        this.#options.log.warn({ session: id, pending, error }, 'ending, with events that are not stored');
    }
  }

  #need(id: string): Session {
    const session = this.#sessions.get(id);
    if (!session)
      throw new EunomiaError(
        'UNKNOWN_SESSION',
        `there is no session "${id.slice(0, 64)}": it never was, or it was removed; \`sessions\` lists those there are`,
      );
    return session;
  }

  #announce(session: Session): void {
    if (session.state === 'STOPPED') this.#options.observer?.onEnd(session);
    for (const feed of this.#feeds) feed.changed(session);
  }

  #removeUnused(): void {
    for (const session of this.#sessions.values()) {
      const { ttlMs } = session.spec;
      if (ttlMs === null || session.unusedMs < ttlMs || session.state === 'STARTING') continue;
      this.remove(session.id, 'UNUSED').catch((error: unknown) =>
        this.#options.log.error({ session: session.id, err: error }, 'removing an unused session'),
      );
    }
  }
}
