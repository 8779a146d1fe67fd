import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import type { Session } from '../session/session.js';
import { Calls } from './calls.js';
import { checkOptions, type PluginFacts, type Vocabulary } from './definition.js';
import { Findings } from './findings.js';
import { PluginInput } from './input.js';
import type { RealmKind, RealmLimits, PluginError, OutgoingAlert } from './protocol.js';
import type { PluginSource } from './source.js';
import { PluginDied, PluginThread } from './thread.js';

/** A plugin that was loaded: what a session can be given. */
export interface LoadedPlugin {
  readonly facts: PluginFacts;
  readonly source: PluginSource;
  readonly realm: RealmKind;
}

export type AttachmentState = 'STARTING' | 'RUNNING' | 'BACKOFF' | 'STOPPED' | 'FAILED';
export type Restart = 'NEVER' | 'ON_FAILURE';

export interface AttachmentOptions {
  readonly session: Session;
  readonly given: unknown;
  readonly restart: Restart;
  /** From the session's first event that it holds, not from now on. */
  readonly fromStart: boolean;
  readonly limits: RealmLimits;
  readonly vocabulary: Vocabulary;
  readonly log: Log;
  readonly raise: (alert: OutgoingAlert, plugin: string, session: string) => void;
}

const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 60_000;

/**
 * A plugin at work in a session, from its start to its end: it is started, started again after a failure, replaced by new code, stopped.
 * What it reads, its calls and what came of them are parts of their own.
 */
export class Attachment {
  readonly session: Session;
  readonly attachedAt = nowText();
  readonly results: Findings['results'];
  readonly metrics: Findings['metrics'];
  readonly errors: Findings['errors'];
  readonly counts: Findings['counts'];
  /** Resolves when it is STOPPED or FAILED; a reload may bring a failed one back. */
  done: Promise<void>;
  plugin: LoadedPlugin;
  options: Readonly<Record<string, unknown>>;
  state: AttachmentState = 'STARTING';
  /** Why it is FAILED or in BACKOFF; null otherwise. */
  problem: string | null = null;

  readonly #given: AttachmentOptions;
  readonly #findings: Findings;
  readonly #input: PluginInput;
  #thread: PluginThread | null = null;
  /** Of the thread. */
  #calls: Calls | null = null;
  /** Reloads, one after the other: the newest code is the last. */
  #replacing: Promise<void> = Promise.resolve();
  #next: {
    readonly plugin: LoadedPlugin;
    readonly options: Readonly<Record<string, unknown>>;
    readonly thread: PluginThread;
  } | null = null;
  #detached = false;
  #intervalDue = false;
  #interval: NodeJS.Timeout | null = null;
  #signalled = false;
  #wake: (() => void) | null = null;

  /** `options` must have been checked. */
  constructor(plugin: LoadedPlugin, options: Readonly<Record<string, unknown>>, given: AttachmentOptions) {
    this.plugin = plugin;
    this.options = options;
    this.session = given.session;
    this.#given = given;
    const { session, log, raise, fromStart } = given;
    this.#findings = new Findings({ session: session.id, log, raise });
    ({ results: this.results, metrics: this.metrics, errors: this.errors, counts: this.counts } = this.#findings);
    this.#input = new PluginInput(plugin.facts, {
      session,
      fields: given.vocabulary.fields,
      fromStart,
      onArrival: () => this.#signal(),
    });
    this.done = this.#live();
  }

  get queued(): number {
    return this.#input.queued;
  }

  get dropped(): number {
    return this.#input.dropped;
  }

  /** Stops it after the call that is under way. */
  async detach(): Promise<void> {
    this.#detached = true;
    this.#signal();
    await this.done;
  }

  /**
   * Puts new code in force between two batches: the old gets each event before, the new each one after. The old code goes on when
   * the new does not load.
   */
  replace(plugin: LoadedPlugin): Promise<void> {
    const replaced = this.#replacing.then(() => this.#replace(plugin));
    this.#replacing = replaced.catch(() => undefined);
    return replaced;
  }

  async #replace(plugin: LoadedPlugin): Promise<void> {
    try {
      const options = checkOptions(plugin.facts, this.#given.given, 'options');
      const { trackers } = this.session.spec;
      const missing = Object.keys(plugin.facts.reads).filter(
        (name) => !trackers.some((tracker) => tracker.name === name),
      );
      if (missing.length)
        throw new Error(
          `it reads ${missing.join(', ')} now, which the session does not have; it goes on with version ${this.plugin.facts.version}`,
        );
      const { thread } = await PluginThread.load(
        plugin.source,
        plugin.realm,
        this.#given.limits,
        this.#given.vocabulary,
      );
      const isOver = this.#detached || this.state === 'STOPPED';
      const unused = isOver ? thread : this.#next?.thread;
      if (!isOver) this.#next = { plugin, options, thread };
      await unused?.end();
      if (isOver) return;
    } catch (error) {
      this.#findings.see({ message: `reloading: ${messageOf(error)}`, at: null });
      return;
    }
    if (this.state === 'FAILED' && !this.#detached) {
      this.state = 'STARTING';
      this.results.resume();
      await this.#input.reopen(plugin.facts);
      this.done = this.#live();
    }
    this.#signal();
  }

  async #live(): Promise<void> {
    for (let backoff = FIRST_BACKOFF_MS; ; backoff = Math.min(backoff * 2, LONGEST_BACKOFF_MS)) {
      const since = Date.now();
      try {
        await this.#read(await this.#begin());
        await this.#finish();
        return;
      } catch (error) {
        const told = error instanceof PluginDied ? error.plugin : { message: messageOf(error), at: null };
        await this.#fell(told);
        if (this.#given.restart === 'NEVER' || this.#detached) return this.#close('FAILED');
      }
      if (Date.now() - since > LONGEST_BACKOFF_MS) backoff = FIRST_BACKOFF_MS;
      this.state = 'BACKOFF';
      await this.#pause(backoff);
      if (this.#detached) return this.#close('STOPPED');
      this.counts.restarts++;
    }
  }

  async #begin(): Promise<Calls> {
    const { limits, vocabulary } = this.#given;
    const next = this.#next;
    this.#next = null;
    if (next) {
      this.counts.reloads++;
      this.plugin = next.plugin;
      this.options = next.options;
    }
    const { plugin, session } = this;
    this.#thread = next?.thread ?? (await PluginThread.load(plugin.source, plugin.realm, limits, vocabulary)).thread;
    await this.#input.follow(plugin.facts);
    const trackers = session.spec.trackers.map(({ name }) => name);
    const done = await this.#thread.call('start', {
      facts: plugin.facts,
      options: this.options,
      session: { id: session.id, name: session.spec.name },
      trackers,
    });
    this.#findings.take(done, plugin.facts);
    if (done.error) throw new PluginDied({ message: `onStart: ${done.error.message}`, at: done.error.at });
    const calls = new Calls(
      this.#thread,
      (called, part) => {
        this.counts.calls++;
        if (part) this.counts[called.error ? 'failed' : 'events'] += part.to - part.from;
        this.#findings.take(called, plugin.facts);
      },
      () => this.#signal(),
    );
    this.#calls = calls;
    const { everyMs } = plugin.facts;
    if (everyMs !== null) {
      this.#interval = setInterval(() => {
        this.#intervalDue = true;
        this.#signal();
      }, everyMs).unref();
    }
    this.state = 'RUNNING';
    this.problem = null;
    return calls;
  }

  /** Hands on what comes, until there is no more; throws PluginDied. */
  async #read(begun: Calls): Promise<void> {
    for (let calls = begun; ;) {
      if (calls.died) throw calls.died;
      if (this.#next && calls.isIdle && !this.#detached) {
        calls = await this.#swap();
        continue;
      }
      if (calls.isIdle && (this.#detached || this.#input.ended)) return;
      if (!this.#detached && !this.#next && !calls.isFull && this.#callNext(calls)) continue;
      await this.#signalOrWait();
    }
  }

  /** Returns whether there was something to do. */
  #callNext(calls: Calls): boolean {
    if (this.#intervalDue) {
      this.#intervalDue = false;
      calls.interval();
      return true;
    }
    const part = this.#input.next();
    if (part) calls.batch(part);
    return part !== null;
  }

  async #swap(): Promise<Calls> {
    await this.#endThread(true);
    return this.#begin();
  }

  async #finish(): Promise<void> {
    const { failure } = this.#input;
    if (failure && !this.#detached)
      this.#findings.see({ message: `its session failed, and may have had more events: ${failure.message}`, at: null });
    await this.#endThread(true);
    await this.#close('STOPPED');
  }

  async #fell(error: PluginError): Promise<void> {
    const abandoned = this.#calls?.abandon();
    if (abandoned?.victim) this.counts.failed += abandoned.victim.to - abandoned.victim.from;
    // The call that ended the thread is not tried again.
    this.#input.putBack(abandoned?.behind ?? []);
    this.counts.failures++;
    this.problem = error.at === null ? error.message : `${error.at}: ${error.message}`;
    this.#findings.see(error);
    this.#given.log.warn(
      { plugin: this.plugin.facts.name, session: this.session.id, problem: this.problem },
      'a plugin failed',
    );
    await this.#endThread(false);
  }

  async #endThread(kindly: boolean): Promise<void> {
    if (this.#interval) clearInterval(this.#interval);
    this.#interval = null;
    this.#intervalDue = false;
    const thread = this.#thread;
    this.#thread = null;
    this.#calls = null;
    if (!thread) return;
    try {
      if (kindly) this.#findings.take(await thread.call('stop', null), this.plugin.facts);
    } catch (error) {
      this.#findings.see({ message: `onStop: ${messageOf(error)}`, at: null });
    }
    await thread.end();
  }

  async #close(state: 'STOPPED' | 'FAILED'): Promise<void> {
    this.state = state;
    const unused = this.#next?.thread;
    this.#next = null;
    await unused?.end();
    await this.#input.close();
    this.results.end();
  }

  async #pause(ms: number): Promise<void> {
    const until = Date.now() + ms;
    for (let left = ms; left > 0 && !this.#detached && !this.#next; left = until - Date.now()) {
      const timer = setTimeout(() => this.#signal(), left).unref();
      await this.#signalOrWait();
      clearTimeout(timer);
    }
  }

  #signal(): void {
    this.#signalled = true;
    this.#wake?.();
    this.#wake = null;
  }

  async #signalOrWait(): Promise<void> {
    if (!this.#signalled) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#signalled = false;
  }
}
