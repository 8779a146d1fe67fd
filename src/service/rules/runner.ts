import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../base/errors.js';
import { inTurns, turns } from '../../base/turn.js';
import type { Log } from '../../base/log.js';
import type { KernelFilter } from '../../filter/index.js';
import { placeOfId } from '../../record/place.js';
import type { CompiledRule, RuleContext } from '../../rules/compile.js';
import type { RuleAlert } from '../../rules/alert.js';
import { Plan } from '../../rules/plan.js';
import { RuleEngine, type FirstStart, type RuleSink } from '../../rules/engine.js';
import type { SessionManager } from '../../session/manager.js';
import type { Session } from '../../session/session.js';
import type { SessionSpec } from '../../session/spec.js';
import type { TrackerStatus } from '../parts.js';
import type { EventsAfterAlerts } from './after.js';
import { learnFromHistory, type HistoryScan } from './baseline.js';
import type { EngineDescriptions } from './held.js';
import type { LearnedFile } from './learned.js';
import { demandOf, filterOf, inSessions, isSamePart, partsOf, type RulePart } from './part.js';
import { RuleReader } from './reader.js';

/** What rules see of the events around an alert, for whoever looks at the session then. */
const BUFFER_BYTES = 8 << 20;
const RING_BYTES = 16 << 20;
/** The name of the sessions, for whoever lists them. */
const NAME = 'rules';
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;
/** How long what a session saw before no rule needed it is evaluated. */
const FINISH_MS = 10_000;
/** An event may come so much later than one that happened after it; what is aggregated in the kernel is read at an interval. */
const GRACE_MS = 500;
const AGGREGATED_GRACE_MS = 2000;

export interface RunnerOptions {
  readonly context: RuleContext;
  /** Null where there is no kernel, so that no rule runs. */
  readonly manager: Pick<SessionManager, 'start' | 'remove'> | null;
  readonly trackerStatus: (name: string) => TrackerStatus | Promise<TrackerStatus>;
  /**
   * Called with an alert, new or repeated, and what finds the id of the session that saw its event; null if it has ended. `renew`: of a
   * repeated one, what this time would raise. Both are called at once, or not at all.
   */
  readonly raise: (alert: RuleAlert, session: () => string | null, renew?: () => RuleAlert) => void;
  readonly after: EventsAfterAlerts;
  readonly facts: EngineDescriptions;
  /** Where what rules have learned is kept over restarts. */
  readonly learned: LearnedFile;
  /** Stored events, for rules that begin with them. */
  readonly history: HistoryScan;
  readonly log: Log;
}

/**
 * Runs the rules: keeps sessions with all trackers that they need, and filters of what any of them looks for, for as long as there are
 * rules. A change of rules takes hold at one place of each session: every event is evaluated once, by the rules before or by those after.
 */
export class RuleRunner {
  readonly #options: RunnerOptions;
  #engine: RuleEngine;
  #rules: readonly CompiledRule[] = [];
  /** Those that are in force. */
  #runnable: readonly CompiledRule[] = [];
  #readers: readonly RuleReader[] = [];
  /** Those that no rule needs any more, or whose sessions have ended, until they are closed. */
  readonly #ending = new Set<RuleReader>();
  /** Why rules cannot be evaluated here, by their names. */
  #problems: ReadonlyMap<string, string> = new Map();
  /** By readers whose sessions have ended. */
  #missedBefore = 0;
  #withoutFactsBefore = 0;
  /** Why no rule is evaluated, though there are some; null otherwise. */
  problem: string | null = null;
  #changing: Promise<unknown> = Promise.resolve();
  #learning: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | null = null;
  #retryMs = FIRST_RETRY_MS;
  #due: { readonly timer: NodeJS.Timeout; readonly dueMs: number } | null = null;
  /** What is due is being raised. */
  #isPassing = false;
  /** The time of the newest event, in ms since boot, and when it was here. */
  #newest: { readonly bootMs: number; readonly at: number } | null = null;
  #isClosed = false;

  readonly #sink: RuleSink;

  constructor(options: RunnerOptions) {
    this.#options = options;
    const raise = (alert: RuleAlert, renew?: () => RuleAlert): void =>
      options.raise(alert, () => this.#sessionOf(alert), renew);
    const failed = (rule: string, error: unknown): void =>
      options.log.error({ rule, err: error }, 'a rule has failed, and is not evaluated any more');
    this.#sink = { raise: (alert) => raise(alert), repeat: raise, failed };
    this.#engine = new RuleEngine([], options.context, this.#sink);
  }

  get engine(): RuleEngine {
    return this.#engine;
  }

  /** Why a rule is not evaluated though it is switched on; null when it is. */
  problemOf(rule: string): string | null {
    const failure = this.#engine.problemOf(rule);
    if (failure !== null) return `it has failed, and is not evaluated until it is changed: ${failure}`;
    return this.#problems.get(rule) ?? this.problem;
  }

  get sessions(): readonly Session[] {
    return this.#readers.map(({ session }) => session);
  }

  /** Events that no rule saw: lost in the kernel, or dropped since the server was busy. */
  get missed(): number {
    return this.#all.reduce((sum, { missed }) => sum + missed, this.#missedBefore);
  }

  /** Events that rules evaluated without what an engine would have told of their container. */
  get withoutFacts(): number {
    return this.#all.reduce((sum, { withoutFacts }) => sum + withoutFacts, this.#withoutFactsBefore);
  }

  /** Also those that end, as long as what they have counted is theirs. */
  get #all(): readonly RuleReader[] {
    return [...this.#readers, ...this.#ending];
  }

  /** The one that saw an alert's event; null if it has ended. */
  #sessionOf({ eventId, tracker }: RuleAlert): string | null {
    const of = eventId === null ? null : placeOfId(eventId);
    const isOf = ({ session, trackers }: RuleReader): boolean =>
      of === null ? trackers.includes(tracker) : session.id === of.session;
    return this.#all.find(isOf)?.session.id ?? null;
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
    if (this.#due) clearTimeout(this.#due.timer);
    await this.#changing;
    await Promise.all(this.#readers.map((reader) => reader.close()));
    this.#options.after.close();
    await this.#options.learned.close();
  }

  async #use(rules: readonly CompiledRule[]): Promise<void> {
    if (this.#isClosed) return;
    const { context, log } = this.#options;
    this.#rules = rules;
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    try {
      const runnable = await this.#thatCanRun(rules.filter(({ definition }) => definition.enabled));
      const plan = await inTurns(Plan.of(runnable, context.fields));
      const engine = new RuleEngine(runnable, context, this.#sink, this.#engine, plan);
      // What a rule has learned that was away for a while.
      engine.restore(await this.#options.learned.kept());
      const starts = engine.firstStarts();
      for (const { book } of starts) book.beginHistory();
      try {
        await this.#change(runnable, engine);
      } catch (error) {
        for (const { book } of starts) book.dropHistory();
        throw error;
      }
      this.#runnable = runnable;
      this.#engine = engine;
      this.#options.learned.follow(engine);
      this.#learn(starts);
      // An event of its first session may have come before that.
      this.#watchDue();
      this.problem = null;
      this.#retryMs = FIRST_RETRY_MS;
      log.info({ rules: runnable.length, trackers: engine.trackers.length }, 'rules are in force');
    } catch (error) {
      const before = this.#readers.length > 0 ? '; the rules before are in force' : '';
      this.problem = `the rules cannot be put in force: ${messageOf(error)}${before}`;
      log.error({ err: error }, 'rules cannot be put in force; this is tried again');
      this.#later();
    }
  }

  /** One rule at a time reads the history, however often rules change, and only while it is in force. */
  #learn(starts: readonly FirstStart[]): void {
    const isOver = ({ rule, book }: FirstStart): boolean =>
      this.#isClosed || this.#engine.learned().get(rule.definition.name)?.book !== book;
    this.#learning = this.#learning.then(() => learnFromHistory(starts, { ...this.#options, isOver }));
  }

  /** Those whose trackers all run here. */
  async #thatCanRun(rules: readonly CompiledRule[]): Promise<readonly CompiledRule[]> {
    const { manager, trackerStatus } = this.#options;
    const names = [...new Set(rules.flatMap(({ demand }) => [...demand.keys()]))];
    const statuses = await Promise.all(names.map(async (name) => [name, await trackerStatus(name)] as const));
    const missing = new Map(
      statuses.filter(([, { available }]) => !available).map(([name, { reason }]) => [name, reason]),
    );
    const problems = new Map<string, string>();
    for (const { definition, demand, problem } of rules) {
      const absent = [...demand.keys()].filter((name) => missing.has(name));
      // Of a rule on several trackers, those that are there are enough; a sequence needs all of its steps.
      const isLost = definition.sequence || definition.absence ? absent.length > 0 : absent.length === demand.size;
      if (manager === null) problems.set(definition.name, 'this server has no kernel to watch');
      else if (demand.size > 0 && isLost)
        problems.set(
          definition.name,
          absent.map((name) => `the tracker ${name} cannot run here: ${missing.get(name) ?? 'unknown'}`).join('; '),
        );
      else if (problem !== null) problems.set(definition.name, problem);
    }
    this.#problems = problems;
    return rules.filter(({ definition }) => !problems.has(definition.name));
  }

  /** All of it, or nothing: rejects with what went wrong. */
  async #change(rules: readonly CompiledRule[], engine: RuleEngine): Promise<void> {
    const wanted = partsOf(rules, await this.#available(engine.trackers));
    const isIn = (parts: readonly RulePart[], part: RulePart): boolean => parts.some((one) => isSamePart(one, part));
    const unused = this.#readers.filter(({ parts }) => !parts.some((part) => isIn(wanted, part)));
    const used = this.#readers.filter((reader) => !unused.includes(reader));
    const covered = used.flatMap(({ parts }) => parts);
    const uncovered = wanted.filter((part) => !isIn(covered, part));
    const added: RuleReader[] = [];
    const changed: RuleReader[] = [];
    try {
      // The process of the first event may have ended when it is read: the table of processes hears of it if it runs before the session.
      await engine.ready?.();
      for (const parts of inSessions(uncovered, this.#options.context))
        added.push(await this.#start(rules, engine, parts));
      this.#readers = [...this.#readers, ...added];
      for (const reader of used) {
        await this.#put(reader, rules, engine);
        changed.push(reader);
      }
    } catch (error) {
      for (const reader of added) await this.#stop(reader);
      for (const reader of changed) await this.#put(reader, this.#runnable, this.#engine);
      throw error;
    }
    await Promise.all(unused.map((reader) => this.#finish(reader)));
  }

  /** Puts rules in force in a session that runs. */
  async #put(reader: RuleReader, rules: readonly CompiledRule[], engine: RuleEngine): Promise<void> {
    const { session, parts, isAggregated } = reader;
    const where = isAggregated ? null : await this.#filterFor(rules, parts);
    await reader.change(engine, demandOf(rules, parts), () => session.change((spec) => ({ ...spec, where })));
  }

  async #available(trackers: readonly string[]): Promise<readonly string[]> {
    const statuses = await Promise.all(trackers.map((name) => this.#options.trackerStatus(name)));
    return trackers.filter((_name, i) => statuses[i]?.available);
  }

  async #start(rules: readonly CompiledRule[], engine: RuleEngine, parts: readonly RulePart[]): Promise<RuleReader> {
    const { context, manager } = this.#options;
    if (!manager) throw new RangeError('a rule runs where there is no kernel');
    const isAggregated = parts.some(({ tracker }) => context.catalog.need(tracker).kernelAggregate !== null);
    const spec: SessionSpec = {
      trackers: parts.map(({ tracker, options }) => ({
        name: tracker,
        options: context.catalog.checkOptions(tracker, options),
      })),
      target: null,
      where: isAggregated ? null : await this.#filterFor(rules, parts),
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
      // No client has asked for it: `rules` tells what for.
      asked: null,
    };
    const session = await manager.start(spec, { isOwn: true });
    const reader: RuleReader = new RuleReader({
      session,
      engine,
      demand: demandOf(rules, parts),
      parts,
      after: this.#options.after,
      facts: this.#options.facts,
      onEvaluated: (bootMs) => this.#evaluated(bootMs),
      onEnd: (error) => this.#ended(reader, error),
    });
    return reader;
  }

  #filterFor(rules: readonly CompiledRule[], parts: readonly RulePart[]): Promise<KernelFilter> {
    return inTurns(filterOf(rules, parts, this.#options.context));
  }

  /** No rule needs it any more: what it saw until now is evaluated before it ends. */
  async #finish(reader: RuleReader): Promise<void> {
    this.#end(reader);
    await Promise.race([reader.finish(), sleep(FINISH_MS, undefined, { ref: false })]);
    await this.#stop(reader);
  }

  async #stop(reader: RuleReader): Promise<void> {
    const { manager, log } = this.#options;
    this.#end(reader);
    await reader.close();
    this.#ending.delete(reader);
    this.#missedBefore += reader.missed;
    this.#withoutFactsBefore += reader.withoutFacts;
    await manager
      ?.remove(reader.session.id)
      .catch((error: unknown) => log.warn({ err: error, session: reader.session.id }, 'ending a session of rules'));
  }

  #end(reader: RuleReader): void {
    this.#readers = this.#readers.filter((one) => one !== reader);
    this.#ending.add(reader);
  }

  /** Its session has ended, though rules need it. */
  #ended(reader: RuleReader, error: unknown): void {
    if (this.#isClosed || !this.#readers.includes(reader)) return;
    const { stopReason } = reader.session;
    if (stopReason === 'SHUTDOWN') return;
    void this.#stop(reader);
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
    if (dueMs === null || !this.#newest || this.#isClosed || this.#isPassing) return;
    if (this.#due && this.#due.dueMs <= dueMs) return;
    if (this.#due) clearTimeout(this.#due.timer);
    const inMs = Math.max(0, dueMs + this.#graceMs - this.#bootMs(this.#newest));
    this.#due = { timer: setTimeout(() => void this.#passed(), inMs).unref(), dueMs };
  }

  async #passed(): Promise<void> {
    this.#due = null;
    if (!this.#newest || this.#isClosed) return;
    // What has come and is not evaluated may be what was waited for.
    if (this.#all.some(({ isBehind }) => isBehind)) {
      this.#due = { timer: setTimeout(() => void this.#passed(), GRACE_MS).unref(), dueMs: Number.NEGATIVE_INFINITY };
      return;
    }
    this.#isPassing = true;
    await inTurns(this.#engine.advancing(this.#bootMs(this.#newest) - this.#graceMs + 1), undefined, turns, 'FLOW');
    this.#isPassing = false;
    this.#watchDue();
  }

  get #graceMs(): number {
    return this.#all.some(({ isAggregated }) => isAggregated) ? AGGREGATED_GRACE_MS : GRACE_MS;
  }

  /** Now, in ms since boot: at most so much as an event takes to come here behind the clock. */
  #bootMs({ bootMs, at }: { readonly bootMs: number; readonly at: number }): number {
    return bootMs + performance.now() - at;
  }
}
