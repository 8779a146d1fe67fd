import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EunomiaError, invalid } from '../base/errors.js';
import { SymbolThread } from '../symbols/thread.js';
import { ChangeFeed } from './stream/feed.js';
import { SourcePool, type SessionKernel } from './source/pool.js';
import type { Record, Recorder } from './recorder.js';
import type { RecordedSource } from './replay.js';
import { Session, type SessionDependencies } from './session.js';
import { Stacks } from './stacks.js';
import type { PersistSpec, SessionSpec, StopReason, TargetSpec } from './spec.js';
import { StoppedSessions, type StoppedLimits } from './stopped.js';

/** How often sessions with a time to live are looked at. */
const TTL_CHECK_MS = 500;
/** How long readers have for the last delivery, which tells them of what they have not read. */
const LAST_WORD_MS = 500;
/** How long the server's end waits for stores that are behind. */
const STORED_MS = 20_000;

export interface ManagerOptions extends Omit<SessionDependencies, 'onState' | 'pool' | 'replay' | 'stacks'> {
  /** Null for a server that only replays. */
  readonly kernel: SessionKernel | null;
  /** Sessions that may run at once. */
  readonly maxSessions: number;
  /** Beyond it, those that stopped first lose their events, or are removed. Replays are never among them. */
  readonly stopped: StoppedLimits;
  /** How long readers have, at the end of the server or of a session that is removed, for what they have not read. */
  readonly drainMs: number;
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
  readonly #stopped: StoppedSessions<Session>;
  readonly #feeds = new Set<ChangeFeed>();
  /** Runs while there is a session with a time to live. */
  #ttlTimer: NodeJS.Timeout | null = null;
  /** Removed, with readers that have not read all. */
  readonly #leaving = new Set<Session>();
  /** Not yet at their ends, by their sessions; those of removed ones too. */
  readonly #recorders = new Map<string, Recorder>();
  #ending: Promise<void> | null = null;
  /** Resolves when the kernel thread has died: all sessions have failed then, and none can be started. */
  readonly died: Promise<Error>;
  readonly #stacks: Stacks | null;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#stopped = new StoppedSessions(options.stopped);
    this.#pool = options.kernel && new SourcePool(options.kernel);
    this.#stacks = options.kernel && new Stacks(new SymbolThread());
    this.died = new Promise((resolve) => {
      if (options.kernel)
        options.kernel.onDeath = (error) => {
          options.log.fatal({ err: error }, 'the kernel thread has ended');
          for (const session of this.#sessions.values()) session.fail(error);
          resolve(error);
        };
    });
  }

  /**
   * Starts a session. Rejects, with nothing left behind, with TOO_MANY_SESSIONS, UNKNOWN_CONTAINER, UNKNOWN_CGROUP,
   * BAD_USER_INPUT (a process that is not there) or KERNEL_ERROR. `isOwn`: the server needs it, however many clients have started.
   */
  async start(spec: SessionSpec, { isOwn = false }: { readonly isOwn?: boolean } = {}): Promise<Session> {
    if (this.#ending) throw new EunomiaError('SHUTTING_DOWN', 'the server is ending');
    const active = this.list().filter(
      (s) => s.state === 'STARTING' || s.state === 'RUNNING' || s.state === 'STOPPING',
    ).length;
    if (active >= this.#options.maxSessions && !isOwn) {
      throw new EunomiaError(
        'TOO_MANY_SESSIONS',
        `${active} sessions run, and the limit is ${this.#options.maxSessions}; stop one, or start the server with a larger --max-sessions`,
        {
          details: { limit: this.#options.maxSessions },
        },
      );
    }
    await this.#requireTarget(spec.target);
    return this.#begin(spec);
  }

  /**
   * Changes a running session: `make` is given its specification, and for how many milliseconds it has run. Rejects, with nothing
   * changed, with what `make` throws, with UNKNOWN_SESSION, and as `start` and `Session.change` do.
   */
  async change(id: string, make: (spec: SessionSpec, passedMs: number) => SessionSpec): Promise<Session> {
    const session = this.#need(id);
    session.touch();
    let begun: Recorder | null = null;
    await session.change(
      async (spec) => {
        const { startedAt, createdAt } = session;
        const made = make(spec, Date.now() - Date.parse(startedAt ?? createdAt));
        if (made.target !== spec.target) await this.#requireTarget(made.target);
        if (made.persist && made.persist !== spec.persist) begun = await this.#recordOn(session, made.persist);
        return made;
      },
      async () => {
        if (begun) await this.#discard(session, begun);
      },
    );
    return session;
  }

  /** Sees to it that a session which runs can be recorded. Returns the recorder if it is a new one. */
  async #recordOn(session: Session, persist: PersistSpec): Promise<Recorder | null> {
    if (!session.recorder) return this.#record(session, persist);
    const { store, mode, state, error } = session.recorder.stats;
    if (store !== persist.store || mode !== persist.mode)
      throw invalid(
        'input.persist',
        `asks for ${persist.store} with ${persist.mode}, and a part of the session is stored in ${store} with ${mode}: ` +
          'a session has one store and one mode; give these, or start another session',
      );
    if (state === 'FAILED')
      throw new EunomiaError(
        'STORE_UNAVAILABLE',
        `what writes this session has failed (${error}), and is not begun again; start another session`,
      );
    return null;
  }

  async #record(session: Session, persist: PersistSpec): Promise<Recorder> {
    if (!this.#options.record) throw new EunomiaError('NO_STORE', 'this server has no store; start it with --data-dir');
    const recorder = await this.#options.record(session, persist);
    session.recorder = recorder;
    this.#recorders.set(session.id, recorder);
    void recorder.ended.then(() => this.#recorders.delete(session.id));
    return recorder;
  }

  async #discard(session: Session, recorder: Recorder): Promise<void> {
    session.recorder = null;
    await recorder.discard();
  }

  async #requireTarget(target: TargetSpec | null): Promise<void> {
    target?.pids.forEach((pid, i) => {
      if (!existsSync(`/proc/${pid}`))
        throw invalid(`input.target.pids[${i}]`, `no process ${pid} is alive in the server's pid namespace`);
    });
    // Those without a cgroup of their own are found by looking alone.
    if (target?.containers.length) await this.#options.registry.refresh();
    await this.#requireCgroups(target?.cgroups ?? []);
  }

  async #requireCgroups(ids: readonly number[]): Promise<void> {
    const { registry } = this.#options;
    if (ids.length && registry.identity !== 'CGROUP') {
      throw new EunomiaError(
        'UNKNOWN_CGROUP',
        'input.target.cgroups: containers of this machine have no v2 cgroups, so that processes cannot be ' +
          'told apart by them; give containers or pids',
        { details: { argument: 'input.target.cgroups' } },
      );
    }
    await Promise.all(
      ids.map(async (id, i) => {
        if (registry.byCgroup(id) === undefined) await registry.resolve(id);
        if (registry.byCgroup(id) !== undefined) return;
        throw new EunomiaError(
          'UNKNOWN_CGROUP',
          `input.target.cgroups[${i}]: there is no v2 cgroup with the id ${id}; it is the inode of the ` +
            `cgroup's directory (stat -c %i /sys/fs/cgroup/PATH)`,
          { details: { argument: `input.target.cgroups[${i}]` } },
        );
      }),
    );
  }

  /** Starts a session whose events were recorded. It holds them as live ones, in `bufferBytes`. */
  replay(spec: SessionSpec, replay: RecordedSource): Promise<Session> {
    return this.#begin(spec, replay);
  }

  async #begin(spec: SessionSpec, replay?: RecordedSource): Promise<Session> {
    const session = new Session(randomBytes(8).toString('hex'), spec, {
      ...this.#options,
      pool: this.#pool,
      stacks: this.#stacks,
      ...(replay ? { replay } : {}),
      onState: (changed) => this.#announce(changed),
    });
    this.#sessions.set(session.id, session);
    if (spec.ttlMs !== null) this.#watchUnused(true);
    try {
      if (spec.persist) (await this.#record(session, spec.persist)).switch(true);
      this.#options.tap?.(session);
      await session.start();
    } catch (error) {
      this.#sessions.delete(session.id); // nobody has its id
      await session.recorder?.discard();
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
    this.#sessions.delete(id);
    this.#stopped.delete(session);
    for (const feed of this.#feeds) feed.removed(session);
    this.#leaving.add(session);
    // Not awaited: who removes a session does not wait for its readers.
    void this.#drained([session]).then(() => {
      session.cut();
      session.clear();
      this.#leaving.delete(session);
    });
  }

  /** Each session there is, then each that changes; ends when the session `id`, if given, is removed. */
  changes(id?: string | null): AsyncIterableIterator<Session> {
    const feed: ChangeFeed = new ChangeFeed(id ? [this.#need(id)] : this.list(), id ?? null, () =>
      this.#feeds.delete(feed),
    );
    this.#feeds.add(feed);
    return feed;
  }

  /**
   * Stops all sessions and gives their readers a while for what they have not read; readers are told of what remains.
   * No session can be started any more. Idempotent.
   */
  end(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    this.#watchUnused(false);
    const sessions = [...this.list(), ...this.#leaving];
    const stopped = Promise.all(this.list().map((session) => session.stop('SHUTDOWN')));
    await Promise.all(sessions.map(({ detached }) => detached));
    await this.#drained(sessions);
    for (const session of sessions) session.cut();
    await hold(() => sessions.some(({ hasReaders }) => hasReaders), LAST_WORD_MS);
    await stopped;
    for (const feed of this.#feeds) feed.end();
  }

  /** Ends them as `end` does, and gives stores a while for what they have not written. Idempotent. */
  async close(): Promise<void> {
    await this.end();
    await this.#awaitStores();
    for (const session of this.list()) session.clear();
    await this.#stacks?.end();
  }

  /** Resolves when they have no readers, or these had their time. */
  #drained(sessions: readonly Session[]): Promise<void> {
    return hold(() => sessions.some(({ hasReaders }) => hasReaders), this.#options.drainMs);
  }

  /** A store that is behind gets on for a while; one that cannot write at all is not waited for. It is told what it will miss. */
  async #awaitStores(): Promise<void> {
    const isWriting = ({ stats: { state, error } }: Recorder): boolean =>
      state === 'WRITING' || (state === 'OFF' && error === null);
    await hold(() => [...this.#recorders.values()].some(isWriting), STORED_MS);
    for (const [id, recorder] of this.#recorders) {
      const { pending, error } = recorder.stats;
      this.#options.log.warn({ session: id, pending, error }, 'ending, with events that are not stored');
      await recorder.giveUp();
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
    if (session.state === 'STOPPED') {
      this.#options.observer?.onEnd(session);
      // All of them stop at the end of the server, whose readers still read.
      if (session.origin === 'LIVE' && !this.#ending) this.#bound(session);
    }
    for (const feed of this.#feeds) feed.changed(session);
  }

  #bound(stopped: Session): void {
    for (const { id } of this.#stopped.add(stopped)) {
      this.#options.log.info({ session: id }, 'too many sessions have stopped: the one that stopped first is removed');
      this.#remove(id, 'UNUSED');
    }
  }

  #remove(id: string, reason: StopReason): void {
    this.remove(id, reason).catch((error: unknown) =>
      this.#options.log.error({ session: id, err: error }, 'removing a session that nobody uses'),
    );
  }

  #watchUnused(on: boolean): void {
    if (on) this.#ttlTimer ??= setInterval(() => this.#removeUnused(), TTL_CHECK_MS).unref();
    else if (this.#ttlTimer) {
      clearInterval(this.#ttlTimer);
      this.#ttlTimer = null;
    }
  }

  #removeUnused(): void {
    if (![...this.#sessions.values()].some(({ spec }) => spec.ttlMs !== null)) return this.#watchUnused(false);
    for (const session of this.#sessions.values()) {
      const { ttlMs } = session.spec;
      if (ttlMs === null || session.unusedMs < ttlMs || session.state === 'STARTING') continue;
      this.#remove(session.id, 'UNUSED');
    }
  }
}

/** Waits while a condition holds, but not longer than `ms`. */
async function hold(condition: () => boolean, ms: number): Promise<void> {
  for (const until = Date.now() + ms; condition() && Date.now() < until;) await sleep(10);
}
