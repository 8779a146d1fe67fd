import { messageOf } from '../../base/errors.js';
import { inTurns } from '../../base/turn.js';
import type { Log } from '../../base/log.js';
import type { Demand } from '../../event/event.js';
import { KernelFilter } from '../../filter/index.js';
import type { CompiledRule, RuleContext } from '../../rules/compile.js';
import type { RuleAlert } from '../../rules/alert.js';
import { RuleEngine, type RuleSink } from '../../rules/engine.js';
import type { AskedInput } from '../../session/asked.js';
import type { SessionManager } from '../../session/manager.js';
import type { Session } from '../../session/session.js';
import type { SessionSpec } from '../../session/spec.js';
import type { TrackerStatus } from '../parts.js';
import { RuleReader } from './reader.js';

/** What rules see of the events around an alert, for whoever looks at the session then. */
const BUFFER_BYTES = 8 << 20;
const RING_BYTES = 16 << 20;
/** The name of the sessions, for whoever lists them. */
const NAME = 'rules';
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** An event may come so much later than one that happened after it. */
const GRACE_MS = 500;

export interface RunnerOptions {
  readonly context: RuleContext;
  /** Null where there is no kernel, so that no rule runs. */
  readonly manager: Pick<SessionManager, 'start' | 'remove'> | null;
  readonly trackerStatus: (name: string) => TrackerStatus | Promise<TrackerStatus>;
  /** Called with an alert, new or repeated, and the id of the session that saw its event; null if it has ended. */
  readonly raise: (alert: RuleAlert, session: string | null) => void;
  readonly log: Log;
}

/** Why a rule is not evaluated, by its name. */
export type RuleProblems = ReadonlyMap<string, string>;

/**
 * Runs the rules: keeps sessions with all trackers that they need, and filters of what any of them looks for, for as long as there are
 * rules. A change of rules takes hold at one place of each session: every event is evaluated once, by the rules before or by those after.
 */
export class RuleRunner {
  readonly #options: RunnerOptions;
  #engine: RuleEngine;
  #rules: readonly CompiledRule[] = [];
  #readers: readonly RuleReader[] = [];
  #problems: RuleProblems = new Map();
  /** By readers whose sessions have ended. */
  #missedBefore = 0;
  /** Why no rule is evaluated, though there are some; null otherwise. */
  problem: string | null = null;
  #changing: Promise<unknown> = Promise.resolve();
  #retry: NodeJS.Timeout | null = null;
  #retryMs = FIRST_RETRY_MS;
  #due: NodeJS.Timeout | null = null;
  /** The time of the newest event, in ms since boot, and when it was here. */
  #newest: { readonly bootMs: number; readonly at: number } | null = null;
  #isClosed = false;

  readonly #sink: RuleSink;

  constructor(options: RunnerOptions) {
    this.#options = options;
    const raise = (alert: RuleAlert): void => {
      const reader = this.#readers.find(({ trackers }) => trackers.includes(alert.tracker));
      options.raise(alert, reader?.session.id ?? null);
    };
    this.#sink = { raise, repeat: raise };
    this.#engine = new RuleEngine([], options.context, this.#sink);
  }

  get engine(): RuleEngine {
    return this.#engine;
  }

  get problems(): RuleProblems {
    return this.#problems;
  }

  get sessions(): readonly Session[] {
    return this.#readers.map(({ session }) => session);
  }

  /** Events that no rule saw: lost in the kernel, or dropped since the server was busy. */
  get missed(): number {
    return this.#readers.reduce((sum, { missed }) => sum + missed, this.#missedBefore);
  }

  /** Puts rules in force. Resolves when they hold; never rejects: what is wrong is in `problem`, and tried again. */
  use(rules: readonly CompiledRule[]): Promise<void> {
    const changed = this.#changing.then(() => this.#use(rules));
    this.#changing = changed;
    return changed;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#retry) clearTimeout(this.#retry);
    if (this.#due) clearTimeout(this.#due);
    await this.#changing;
    await Promise.all(this.#readers.map((reader) => reader.close()));
  }

  async #use(rules: readonly CompiledRule[]): Promise<void> {
    if (this.#isClosed) return;
    const { context, log } = this.#options;
    this.#rules = rules;
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    try {
      const runnable = await this.#runnable(rules.filter(({ definition }) => definition.enabled));
      const engine = new RuleEngine(runnable, context, this.#sink, this.#engine);
      await this.#change(runnable, engine);
      this.#engine = engine;
      this.problem = null;
      this.#retryMs = FIRST_RETRY_MS;
      log.info({ rules: runnable.length, trackers: engine.trackers.length }, 'rules are in force');
    } catch (error) {
      this.problem = messageOf(error);
      log.error({ err: error }, 'rules cannot be put in force; this is tried again');
      await this.#stopAll();
      this.#later();
    }
  }

  /** Those whose trackers all run here. */
  async #runnable(rules: readonly CompiledRule[]): Promise<readonly CompiledRule[]> {
    const { manager, trackerStatus } = this.#options;
    const names = [...new Set(rules.flatMap(({ demand }) => [...demand.keys()]))];
    const statuses = await Promise.all(names.map(async (name) => [name, await trackerStatus(name)] as const));
    const missing = new Map(
      statuses.filter(([, { available }]) => !available).map(([name, { reason }]) => [name, reason]),
    );
    const problems = new Map<string, string>();
    for (const { definition, demand } of rules) {
      const absent = [...demand.keys()].filter((name) => missing.has(name));
      // Of a rule on several trackers, those that are there are enough; a sequence needs all of its steps.
      const isLost = definition.sequence || definition.absence ? absent.length > 0 : absent.length === demand.size;
      if (manager === null) problems.set(definition.name, 'this server has no kernel to watch');
      else if (demand.size > 0 && isLost)
        problems.set(
          definition.name,
          absent.map((name) => `the tracker ${name} cannot run here: ${missing.get(name) ?? 'unknown'}`).join('; '),
        );
    }
    this.#problems = problems;
    return rules.filter(({ definition }) => !problems.has(definition.name));
  }

  async #change(rules: readonly CompiledRule[], engine: RuleEngine): Promise<void> {
    const available = await this.#available(engine.trackers);
    const unused = this.#readers.filter(({ trackers }) => !trackers.some((name) => available.includes(name)));
    const used = this.#readers.filter((reader) => !unused.includes(reader));
    const covered = new Set(used.flatMap(({ trackers }) => trackers));
    const uncovered = available.filter((name) => !covered.has(name));
    const added = uncovered.length > 0 ? await this.#start(rules, engine, uncovered) : null;
    this.#readers = [...used, ...unused, ...(added ? [added] : [])];
    for (const reader of used) {
      const { session, trackers } = reader;
      const made = await this.#criteria(rules, trackers);
      await reader.change(engine, demandOf(rules, trackers), () =>
        session.change((spec) => ({ ...spec, where: made.where, asked: made.asked })),
      );
    }
    await Promise.all(unused.map((reader) => this.#stop(reader)));
  }

  async #available(trackers: readonly string[]): Promise<readonly string[]> {
    const statuses = await Promise.all(trackers.map((name) => this.#options.trackerStatus(name)));
    return trackers.filter((_name, i) => statuses[i]?.available);
  }

  async #start(rules: readonly CompiledRule[], engine: RuleEngine, trackers: readonly string[]): Promise<RuleReader> {
    const { context, manager } = this.#options;
    if (!manager) throw new RangeError('a rule runs where there is no kernel');
    const spec: SessionSpec = {
      trackers: trackers.map((name) => ({ name, options: context.catalog.checkOptions(name, {}) })),
      target: null,
      ...(await this.#criteria(rules, trackers)),
      capture: 'DEMANDED',
      fields: [],
      forMs: null,
      name: NAME,
      labels: [],
      ttlMs: null,
      bufferBytes: BUFFER_BYTES,
      ringBytes: RING_BYTES,
      limit: null,
      persist: null,
    };
    const session = await manager.start(spec);
    const reader: RuleReader = new RuleReader({
      session,
      engine,
      demand: demandOf(rules, trackers),
      onEvaluated: (bootMs) => this.#evaluated(bootMs),
      onEnd: (error) => this.#ended(reader, error),
    });
    return reader;
  }

  /** What the sessions of these trackers look for. */
  async #criteria(
    rules: readonly CompiledRule[],
    trackers: readonly string[],
  ): Promise<Pick<SessionSpec, 'where' | 'asked'>> {
    const { catalog, fields } = this.#options.context;
    const steps = rules.flatMap(({ steps: own, absence }) => [...own, ...(absence ? [absence.step] : [])]);
    const parts = steps.map(({ filter: { filter }, trackers: of }) => ({ filter, trackers: of }));
    const targets = trackers.map((name) => catalog.need(name));
    // The engine finds the rules that an event can match; comparing it with all of them before would cost more than that.
    const where = await inTurns(KernelFilter.of(parts, targets, fields));
    const input: AskedInput = {
      trackers: trackers.map((name) => ({ [name]: {} })),
      where: { expr: where.text },
      capture: 'DEMANDED',
      fields: [],
      name: NAME,
      labels: [],
      bufferBytes: BUFFER_BYTES,
      ringBytes: RING_BYTES,
      plugins: [],
    };
    return { where, asked: { input, where: where.text, limit: null } };
  }

  async #stop(reader: RuleReader): Promise<void> {
    const { manager, log } = this.#options;
    this.#readers = this.#readers.filter((one) => one !== reader);
    this.#missedBefore += reader.missed;
    await reader.close();
    await manager
      ?.remove(reader.session.id)
      .catch((error: unknown) => log.warn({ err: error, session: reader.session.id }, 'ending a session of rules'));
  }

  async #stopAll(): Promise<void> {
    await Promise.all(this.#readers.map((reader) => this.#stop(reader)));
  }

  /** Its session has ended, though rules need it. */
  #ended(reader: RuleReader, error: unknown): void {
    if (this.#isClosed || !this.#readers.includes(reader)) return;
    this.#readers = this.#readers.filter((one) => one !== reader);
    this.#missedBefore += reader.missed;
    const { stopReason } = reader.session;
    if (stopReason === 'SHUTDOWN') return;
    this.problem = error ? messageOf(error) : 'the session of the rules was stopped';
    this.#options.log.warn({ session: reader.session.id, stopReason, err: error }, 'rules have lost their session');
    this.#later();
  }

  #later(): void {
    if (this.#isClosed || this.#retry) return;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      void this.use(this.#rules);
    }, this.#retryMs).unref();
    this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
  }

  #evaluated(bootMs: number): void {
    if (!this.#newest || bootMs > this.#newest.bootMs) this.#newest = { bootMs, at: performance.now() };
    this.#watchDue();
  }

  /** Time passes for rules that wait for what does not come: a timer runs only while one waits. */
  #watchDue(): void {
    const dueMs = this.#engine.nextDueMs;
    if (dueMs === null || this.#due !== null || !this.#newest) return;
    const inMs = Math.max(0, dueMs + GRACE_MS - this.#bootMs(this.#newest));
    this.#due = setTimeout(() => {
      this.#due = null;
      if (this.#newest) this.#engine.advance(this.#bootMs(this.#newest) - GRACE_MS + 1);
      this.#watchDue();
    }, inMs).unref();
  }

  /** Now, in ms since boot: at most so much as an event takes to come here behind the clock. */
  #bootMs({ bootMs, at }: { readonly bootMs: number; readonly at: number }): number {
    return bootMs + performance.now() - at;
  }
}

function demandOf(rules: readonly CompiledRule[], trackers: readonly string[]): Demand {
  const demand = new Map<string, Set<string>>();
  for (const rule of rules)
    for (const [tracker, read] of rule.demand)
      if (trackers.includes(tracker)) demand.set(tracker, new Set([...(demand.get(tracker) ?? []), ...read]));
  return demand;
}
