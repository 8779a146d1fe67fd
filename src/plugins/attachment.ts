import { thousandths } from '../base/decimal.js';
import { messageOf } from '../base/errors.js';
import type { Demand } from '../event/event.js';
import type { FilterFields } from '../filter/index.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import { cursorOf } from '../session/cursor.js';
import type { Slice } from '../record/history.js';
import type { Session } from '../session/session.js';
import type { Delivery } from '../record/delivery.js';
import type { EventStream, StreamFilter } from '../session/stream/stream.js';
import { packBatch } from '../record/wire.js';
import { checkOptions, whereOf, type PluginFacts, type Vocabulary } from './definition.js';
import { MetricBook } from './metrics.js';
import type { EngineKind, EngineLimits, PluginError, PluginGap, RaisedAlert } from './protocol.js';
import { Results } from './results.js';
import type { PluginSource } from './source.js';
import { PluginDied, PluginThread, type Done } from './thread.js';

/** A plugin that was loaded: what a session can be given. */
export interface LoadedPlugin {
  readonly facts: PluginFacts;
  readonly source: PluginSource;
  readonly engine: EngineKind;
}

export type AttachmentState = 'STARTING' | 'RUNNING' | 'BACKOFF' | 'STOPPED' | 'FAILED';
export type Restart = 'NEVER' | 'ON_FAILURE';

export interface SeenError extends PluginError {
  count: number;
  lastAt: string;
}

export interface AttachmentOptions {
  readonly session: Session;
  readonly given: unknown;
  readonly restart: Restart;
  /** From the session's first event that it holds, not from now on. */
  readonly fromStart: boolean;
  readonly limits: EngineLimits;
  readonly vocabulary: Vocabulary;
  readonly log: Log;
  readonly raise: (alert: RaisedAlert, plugin: string, session: string) => void;
}

/** Events of one call at most. */
const CALL_EVENTS = 1024;
/** Calls that are under way: the thread always has the next one. */
const CALLS = 2;
/** Calls in a row that may fail. */
const MAX_FAILURES = 10;
const MAX_ERRORS = 20;
const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 60_000;

interface Part extends Slice {
  readonly gap: PluginGap;
}

/** A plugin at work in a session: a reader with a bounded queue like any other, its thread, and what came of it. */
export class Attachment {
  readonly session: Session;
  readonly attachedAt = nowText();
  readonly results = new Results();
  readonly metrics = new MetricBook();
  readonly errors: SeenError[] = [];
  readonly counts = {
    events: 0,
    failed: 0,
    calls: 0,
    alerts: 0,
    suppressed: 0,
    errors: 0,
    failures: 0,
    restarts: 0,
    reloads: 0,
    busyMs: 0,
    memoryBytes: 0,
  };
  /** Resolves when it is STOPPED or FAILED; a reload may bring a failed one back. */
  done: Promise<void>;
  plugin: LoadedPlugin;
  options: Readonly<Record<string, unknown>>;
  state: AttachmentState = 'STARTING';
  /** Why it is FAILED or in BACKOFF; null otherwise. */
  problem: string | null = null;

  readonly #given: AttachmentOptions;
  #stream: EventStream;
  #thread: PluginThread | null = null;
  #next: {
    readonly plugin: LoadedPlugin;
    readonly options: Readonly<Record<string, unknown>>;
    readonly thread: PluginThread;
  } | null = null;
  #parts: Part[] = [];
  /** Under way, oldest first; null stands for a call without events. */
  #calls: (Part | null)[] = [];
  #arrived: IteratorResult<Delivery, undefined> | null = null;
  #asked = false;
  #ended = false;
  #detached = false;
  #intervalDue = false;
  #interval: NodeJS.Timeout | null = null;
  #failures = 0;
  #died: PluginDied | null = null;
  /** Place of the first event that no call was given. */
  #place: number | null = null;
  /** By the streams that others have followed. */
  #droppedBefore = 0;
  /** When it failed: what it had queued then is dropped unless new code reads it. */
  #droppedAtEnd: number | null = null;
  #signalled = false;
  #wake: (() => void) | null = null;

  /** `options` must have been checked. */
  constructor(plugin: LoadedPlugin, options: Readonly<Record<string, unknown>>, given: AttachmentOptions) {
    this.plugin = plugin;
    this.options = options;
    this.session = given.session;
    this.#given = given;
    this.#stream = this.#subscribe(given.fromStart ? cursorOf(given.session.id, 0) : null);
    this.done = this.#live();
  }

  get queued(): number {
    return this.#stream.stats.queued + this.#parts.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  get dropped(): number {
    return this.#droppedBefore + this.#stream.stats.dropped;
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
  async replace(plugin: LoadedPlugin): Promise<void> {
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
        plugin.engine,
        this.#given.limits,
        this.#given.vocabulary,
      );
      await this.#next?.thread.end();
      this.#next = { plugin, options, thread };
    } catch (error) {
      this.#seen({ message: `reloading: ${messageOf(error)}`, at: null });
      return;
    }
    if (this.state === 'FAILED' && !this.#detached) {
      this.state = 'STARTING';
      this.#died = null;
      this.results.resume();
      this.#subscribeAgain();
      this.done = this.#live();
    }
    this.#signal();
  }

  async #live(): Promise<void> {
    for (let backoff = FIRST_BACKOFF_MS; ; backoff = Math.min(backoff * 2, LONGEST_BACKOFF_MS)) {
      const since = Date.now();
      try {
        await this.#begin();
        await this.#read();
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

  async #begin(): Promise<void> {
    const { limits, vocabulary } = this.#given;
    const next = this.#next;
    this.#next = null;
    if (next) {
      this.counts.reloads++;
      this.plugin = next.plugin;
      this.options = next.options;
    }
    const { plugin, session } = this;
    this.#thread = next?.thread ?? (await PluginThread.load(plugin.source, plugin.engine, limits, vocabulary)).thread;
    const trackers = session.spec.trackers.map(({ name }) => name);
    const done = await this.#thread.call('start', {
      facts: plugin.facts,
      options: this.options,
      session: { id: session.id, name: session.spec.name },
      trackers,
    });
    this.#failures = 0;
    this.#took(done);
    if (done.error) throw new PluginDied({ message: `onStart: ${done.error.message}`, at: done.error.at });
    const { everyMs } = plugin.facts;
    if (everyMs !== null) {
      this.#interval = setInterval(() => {
        this.#intervalDue = true;
        this.#signal();
      }, everyMs).unref();
    }
    this.state = 'RUNNING';
    this.problem = null;
  }

  /** Hands on what comes, until there is no more; throws PluginDied. */
  async #read(): Promise<void> {
    for (;;) {
      if (this.#died) throw this.#died;
      const idle = this.#calls.length === 0;
      if (this.#next && idle && !this.#detached) {
        await this.#swap();
        continue;
      }
      if (idle && (this.#detached || (this.#ended && !this.#parts.length))) return;
      if (!this.#detached && !this.#next && this.#calls.length < CALLS && this.#callNext()) continue;
      await this.#signalOrWait();
    }
  }

  /** Answers whether there was something to do. */
  #callNext(): boolean {
    if (this.#intervalDue) {
      this.#intervalDue = false;
      this.#call(null);
      return true;
    }
    const part = this.#parts.shift();
    if (part) {
      this.#call(part);
      return true;
    }
    if (this.#arrived) {
      const { done, value } = this.#arrived;
      this.#arrived = null;
      this.#asked = false;
      if (done) this.#ended = true;
      else this.#parts = partsOf(value, CALL_EVENTS);
      return true;
    }
    if (!this.#asked && !this.#ended) {
      this.#asked = true;
      const stream = this.#stream;
      void stream.next().then((result) => {
        if (stream !== this.#stream) return; // another has taken its place
        this.#arrived = result;
        this.#signal();
      });
    }
    return false;
  }

  #call(part: Part | null): void {
    const thread = this.#thread;
    if (!thread) return;
    this.#calls.push(part);
    if (part && part.to > part.from) this.#place = part.batch.placeOf(part.to - 1) + 1;
    const packed = part && packBatch(part.batch);
    const call =
      part && packed
        ? thread.call(
            'batch',
            { message: packed.message, from: part.from, to: part.to, gap: part.gap },
            packed.transfer,
          )
        : thread.call('interval', null);
    void this.#await(call, part);
  }

  async #await(call: Promise<Done>, part: Part | null): Promise<void> {
    try {
      const done = await call;
      this.#calls.shift();
      this.counts.calls++;
      if (part) this.counts[done.error ? 'failed' : 'events'] += part.to - part.from;
      this.#took(done);
    } catch (error) {
      this.#died ??= error instanceof PluginDied ? error : new PluginDied({ message: messageOf(error), at: null });
    }
    this.#signal();
  }

  #took({ outcome, error, busyMs, memoryBytes }: Done): void {
    const { facts } = this.plugin;
    this.counts.busyMs = thousandths(this.counts.busyMs + busyMs);
    this.counts.memoryBytes = memoryBytes || this.counts.memoryBytes;
    this.counts.suppressed += outcome.suppressed;
    this.counts.alerts += outcome.alerts.length;
    this.results.add(outcome.results, facts.version);
    this.metrics.add(outcome.metrics, facts.metrics);
    for (const alert of outcome.alerts) this.#given.raise(alert, facts.name, this.session.id);
    for (const text of outcome.logs) this.#given.log.info({ plugin: facts.name, session: this.session.id }, text);
    this.#failures = error ? this.#failures + 1 : 0;
    if (!error) return;
    this.#seen(error);
    if (this.#failures >= MAX_FAILURES)
      this.#died ??= new PluginDied({
        message: `${MAX_FAILURES} calls in a row failed, the last with: ${error.message}`,
        at: error.at,
      });
  }

  async #swap(): Promise<void> {
    const old = this.plugin.facts;
    await this.#endThread(true);
    await this.#begin();
    const { facts } = this.plugin;
    if (facts.where === old.where && JSON.stringify(facts.reads) === JSON.stringify(old.reads)) return;
    const before = this.#stream;
    this.#subscribeAgain();
    await before.return();
  }

  async #finish(): Promise<void> {
    await this.#endThread(true);
    await this.#close('STOPPED');
  }

  async #fell(error: PluginError): Promise<void> {
    const [victim, ...behind] = this.#calls;
    if (victim) this.counts.failed += victim.to - victim.from;
    // The call that ended the thread is not tried again; those behind it had not begun.
    this.#parts.unshift(...behind.filter((part) => part !== null));
    const [next] = this.#parts;
    if (next) this.#place = next.batch.placeOf(next.from);
    this.#calls = [];
    this.#died = null;
    this.counts.failures++;
    this.problem = error.at === null ? error.message : `${error.at}: ${error.message}`;
    this.#seen(error);
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
    if (!thread) return;
    try {
      if (kindly) this.#took(await thread.call('stop', null));
    } catch (error) {
      this.#seen({ message: `onStop: ${messageOf(error)}`, at: null });
    }
    await thread.end();
  }

  async #close(state: 'STOPPED' | 'FAILED'): Promise<void> {
    this.state = state;
    this.#droppedAtEnd = this.#stream.stats.dropped;
    await this.#next?.thread.end();
    this.#next = null;
    await this.#stream.return();
    this.#parts = [];
    this.results.end();
  }

  /** From behind the last event that a call was given; what the stream before had queued is read again. */
  #subscribeAgain(): void {
    this.#droppedBefore += this.#droppedAtEnd ?? this.#stream.stats.dropped;
    this.#droppedAtEnd = null;
    this.#stream = this.#subscribe(this.#place === null ? null : cursorOf(this.session.id, this.#place));
    this.#parts = [];
    this.#arrived = null;
    this.#asked = false;
    this.#ended = false;
  }

  #subscribe(after: string | null): EventStream {
    const { reads } = this.plugin.facts;
    const demand: Demand = new Map(Object.entries(reads).map(([tracker, paths]) => [tracker, new Set(paths)]));
    const filter = whereOf(this.plugin.facts, this.#given.vocabulary.fields);
    return this.session.subscribe({
      after,
      demand: filter ? joined(demand, filter.demand) : demand,
      where: streamFilter(this.plugin.facts, this.session, this.#given.vocabulary.fields),
    });
  }

  #seen({ message, at }: PluginError): void {
    this.counts.errors++;
    const known = this.errors.find((error) => error.message === message && error.at === at);
    if (known) {
      known.count++;
      known.lastAt = nowText();
      return;
    }
    this.errors.push({ message, at, count: 1, lastAt: nowText() });
    if (this.errors.length > MAX_ERRORS) this.errors.shift();
  }

  async #pause(ms: number): Promise<void> {
    const until = Date.now() + ms;
    while (Date.now() < until && !this.#detached && !this.#next) {
      const timer = setTimeout(() => this.#signal(), until - Date.now()).unref();
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

/** What a delivery is to a plugin: calls of a bounded size. What is missing is told with the first. */
function partsOf({ slices, gap }: Delivery, size: number): Part[] {
  let missing: PluginGap = gap && { lost: gap.lost, dropped: gap.dropped };
  const parts: Part[] = [];
  for (const { batch, from, to } of slices) {
    for (let start = from; start < to; start += size) {
      parts.push({ batch, from: start, to: Math.min(to, start + size), gap: missing });
      missing = null;
    }
  }
  return parts;
}

/** Which of the session's events are the plugin's: those of its trackers that its `where` takes. Null when all are. */
function streamFilter(facts: PluginFacts, session: Session, fields: FilterFields): StreamFilter | null {
  const where = whereOf(facts, fields);
  const all = session.spec.trackers.every(({ name }) => name in facts.reads);
  if (all) return where;
  const trackers = new Set(Object.keys(facts.reads));
  const text = `tracker in ${[...trackers].sort().join(',')} && (${where?.text ?? 'true'})`;
  return {
    text,
    matches: where
      ? (event) => trackers.has(event.tracker) && where.matches(event)
      : (event) => trackers.has(event.tracker),
  };
}

function joined(a: Demand, b: Demand): Demand {
  return new Map([...a].map(([tracker, fields]) => [tracker, new Set([...fields, ...(b.get(tracker) ?? [])])]));
}
