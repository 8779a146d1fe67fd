import { messageOf } from '../base/errors.js';
import { finish, type Work } from '../base/turn.js';
import type { TraceEvent } from '../event/event.js';
import type { EventFilter } from '../filter/index.js';
import { AbsenceBook } from './absence.js';
import { AlertWriter, keyOf, type EventsBefore, type RuleAlert } from './alert.js';
import { Bonds } from './bond.js';
import type { CompiledRule, RuleContext, Variant } from './compile.js';
import { FirstSeenBook, type Learned } from './first-seen.js';
import { ABSENT, Plan, type Candidate } from './plan.js';
import { SequenceBook } from './sequence.js';
import { RateWindow, Recent, ThrottleWindow } from './window.js';

/** What becomes of a rule's alerts. */
export interface RuleSink {
  /** A new alert. */
  raise(alert: RuleAlert): void;
  /** The same again, within the rule's interval. `renew`, called at once or not at all, returns what this time would raise. */
  repeat(alert: RuleAlert, renew: () => RuleAlert): void;
  /** A rule has thrown, and is not evaluated any more. */
  failed(rule: string, error: unknown): void;
}

/** What is counted of a rule since it was loaded, or last changed. */
export interface RuleCounts {
  /** Events that matched one of its conditions. */
  matched: number;
  /** New alerts. */
  alerts: number;
  /** Raised again within the interval, and combined with one before. */
  repeated: number;
  /** Not raised, for the rule raised too many. */
  suppressed: number;
  /** RFC 3339; null when it never was. */
  lastAt: string | null;
}

/** A rule that is to learn from the history before it raises anything. */
export interface FirstStart {
  readonly rule: CompiledRule;
  readonly baselineMs: number;
  /** What it learns. */
  readonly book: FirstSeenBook;
  /** An event of the history that matches the rule's condition. */
  learn(event: TraceEvent): void;
}

const MAX_RECENT = 10_000;
const noEvents: EventsBefore = () => () => [];
const never = (): boolean => false;

/** What is known of an event where it is read. */
export interface EventTrace {
  /** Only rules that need these options of the tracker, where its events are of a session with them; absent: all. */
  readonly variant?: Variant | undefined;
  /** When it happened, in ms since boot: to be read from the record, a text is made of it and parsed. */
  readonly atMs?: number;
}

interface Holding {
  /** Whether rules that read what an engine tells are to wait with it. Called once, or not at all. */
  readonly hold?: () => boolean;
}

/**
 * Evaluates rules on events, whatever their source. Time is that of the events: nothing here reads a clock. What the rules have counted
 * holds over a change of others.
 */
export class RuleEngine {
  readonly #rules: ReadonlyMap<string, RuleState>;
  /** Those that wait for what does not come. */
  readonly #waiting: readonly RuleState[];
  /** By which it finds the steps that an event can match. */
  readonly plan: Plan;
  readonly #bonds: Bonds;
  readonly #writer: AlertWriter;
  readonly #sink: RuleSink;
  /** To be awaited before events that came up to now are evaluated, as `EventFilter.ready`. */
  readonly ready: EventFilter['ready'];
  /** Events that were evaluated. */
  events = 0;
  /** Steps that events were compared with. */
  comparisons = 0;
  /** Alerts that were written: each costs as much as thousands of comparisons. */
  written = 0;

  /** Rules that are equal to those of the engine before go on with what they had. `plan`: of those that are enabled. */
  constructor(
    rules: readonly CompiledRule[],
    { catalog, fields, idOf }: RuleContext,
    sink: RuleSink,
    before: RuleEngine | null = null,
    plan: Plan | null = null,
  ) {
    const enabled = rules.filter(({ definition }) => definition.enabled);
    this.plan = plan ?? finish(Plan.of(enabled, fields));
    const { lineage } = catalog;
    // Each alert tells the ancestors of its process, whatever the conditions read.
    this.ready = lineage && enabled.length > 0 ? () => lineage.ready() : null;
    this.#bonds = new Bonds(catalog.lineage);
    this.#writer = new AlertWriter(catalog, idOf);
    this.#sink = sink;
    this.#rules = new Map(
      enabled.map((rule) => {
        const { name } = rule.definition;
        const known = before ? before.#rules.get(name) : undefined;
        return [name, known?.fingerprint === rule.fingerprint ? known : new RuleState(rule, known)];
      }),
    );
    this.#waiting = [...this.#rules.values()].filter(({ absence }) => absence !== null);
  }

  /** Trackers whose events it can use. */
  get trackers(): readonly string[] {
    return this.plan.trackers;
  }

  /** Null for a rule that is not evaluated. */
  countsOf(rule: string): RuleCounts | null {
    return this.#rules.get(rule)?.counts ?? null;
  }

  /** Why a rule is not evaluated any more: it has thrown. Null for all others. */
  problemOf(rule: string): string | null {
    return this.#rules.get(rule)?.problem ?? null;
  }

  /** Forgotten to make room, by rule: keys, sequences and values. */
  evictedOf(rule: string): number {
    return this.#rules.get(rule)?.evicted ?? 0;
  }

  /**
   * Reads the event, and keeps nothing of it. `before` is called at once, or not at all. Where `hold` returns true, rules that read what an
   * engine tells of the container are left out, for `evaluateHeld`.
   */
  evaluate(event: TraceEvent, before: EventsBefore = noEvents, seen: EventTrace & Holding = {}): void {
    this.events++;
    const { hold = never } = seen;
    let isHeld: boolean | null = null;
    this.#evaluate(event, before, seen, ({ readsEngine }) => !readsEngine || !(isHeld ??= hold()));
  }

  /** The rules that `evaluate` has left out. */
  evaluateHeld(event: TraceEvent, before: EventsBefore = noEvents, seen: EventTrace = {}): void {
    this.#evaluate(event, before, seen, ({ readsEngine }) => readsEngine);
  }

  #evaluate(
    event: TraceEvent,
    before: EventsBefore,
    { variant, atMs: known }: EventTrace,
    isMeant: (rule: CompiledRule) => boolean,
  ): void {
    const matched: Candidate[] = [];
    this.plan.visit(event, (candidate) => {
      const { step, rule } = candidate;
      if (variant !== undefined && rule.variants.get(event.tracker) !== variant) return;
      if (!isMeant(rule)) return;
      this.comparisons++;
      if (this.#safely(rule.definition.name, () => step.filter.matches(event))) matched.push(candidate);
    });
    if (matched.length === 0) return;
    const atMs = known ?? bootMs(event);
    // What an event settles before what it begins, and later steps first: it is not the next step of what it begins.
    if (matched.length > 1) matched.sort((a, b) => orderOf(a) - orderOf(b));
    let used: CompiledRule | null = null;
    for (const candidate of matched) {
      const { rule } = candidate;
      // A sequence that it carried on has used it.
      if (rule === used && rule.definition.sequence) continue;
      if (this.#safely(rule.definition.name, () => this.#matched(candidate, event, atMs, before)) === 'USED')
        used = rule;
    }
  }

  /** When `advance` has something to do at the earliest, in ms since boot; null while nothing waits. */
  get nextDueMs(): number | null {
    let next: number | null = null;
    for (const { absence } of this.#waiting) {
      const dueMs = absence?.nextDueMs ?? null;
      if (dueMs !== null && (next === null || dueMs < next)) next = dueMs;
    }
    return next;
  }

  /** Events up to this time, in ms since boot, were evaluated: raises what waited for one that did not come. */
  advance(nowMs: number): void {
    finish(this.advancing(nowMs));
  }

  /** The same in pieces: thousands may wait for the same moment. Events may be evaluated between them. */
  *advancing(nowMs: number): Work<void> {
    for (const state of this.#waiting)
      for (const alert of state.absence?.due(nowMs) ?? []) {
        this.#raise(state, alert.key, nowMs, () => alert);
        yield;
      }
  }

  /** What rules that look for what is new have learned, by rule. It goes on growing. */
  learned(): ReadonlyMap<string, Learned> {
    const found = new Map<string, Learned>();
    for (const [name, { learns: of, firstSeen: book }] of this.#rules)
      if (of !== null && book) found.set(name, { of, book });
    return found;
  }

  /** Rules that look for what is new go on with what was kept of them. To be called before the first event. */
  restore(kept: ReadonlyMap<string, Learned>): void {
    for (const [name, { of, book }] of kept) {
      const state = this.#rules.get(name);
      if (state?.learns === of) state.firstSeen = book;
    }
  }

  /** Rules that have learned nothing yet, and are to begin with what the history has. */
  firstStarts(): readonly FirstStart[] {
    return [...this.#rules.values()].flatMap(({ rule, firstSeen }) => {
      const { baselineMs = null } = rule.definition.firstSeen ?? {};
      const reading = rule.firstSeen;
      if (!firstSeen || !reading || baselineMs === null || !firstSeen.isEmpty || firstSeen.isReading) return [];
      const learn = (event: TraceEvent): void =>
        firstSeen.learn(keyOf(reading.for, event), keyOf(reading.values, event), Date.parse(event.time));
      return [{ rule, baselineMs, book: firstSeen, learn }];
    });
  }

  /** A rule that throws is not evaluated any more; the others are. */
  #safely<Result>(name: string, evaluate: () => Result): Result | null {
    const state = this.#rules.get(name);
    if (!state || state.problem !== null) return null;
    try {
      return evaluate();
    } catch (error) {
      state.problem = messageOf(error);
      this.#sink.failed(name, error);
      return null;
    }
  }

  #matched({ rule, index }: Candidate, event: TraceEvent, atMs: number, before: EventsBefore): 'USED' | null {
    const state = this.#rules.get(rule.definition.name);
    if (!state) return null;
    const { absence, sequence, rate, firstSeen } = rule.definition;
    if (index === ABSENT) {
      if (absence) state.absence?.settle(this.#bonds.keysOf(event, absence.by), atMs);
      return null;
    }
    state.counts.matched++;
    if (sequence && state.sequence && index === 0) {
      state.sequence.begin(this.#bonds.keyOf(event, sequence.by), atMs);
      return null;
    }
    if (sequence && state.sequence) {
      const progress = state.sequence.advance(index, this.#bonds.keysOf(event, sequence.by), atMs);
      if (progress !== 'COMPLETE') return progress === 'FURTHER' ? 'USED' : null;
    }
    if (rate && state.rate && rule.rate) {
      const value = rule.rate.distinct && keyOf(rule.rate.distinct, event);
      if (!state.rate.add(keyOf(rule.rate.by, event), value, atMs)) return null;
    }
    if (firstSeen && state.firstSeen && rule.firstSeen) {
      const { values, for: of } = rule.firstSeen;
      const [subject, value] = [keyOf(of, event), keyOf(values, event)];
      if (!state.firstSeen.isNew(subject, value, Date.parse(event.time), firstSeen.learnMs)) return null;
    }
    const key = keyOf(rule.key, event);
    const write = (): RuleAlert => {
      this.written++;
      return this.#writer.write(rule, event, key, before);
    };
    if (absence && state.absence) state.absence.begin(this.#bonds.keyOf(event, absence.by), write, atMs);
    else this.#raise(state, key, atMs, write);
    return 'USED';
  }

  #raise({ counts, recent, throttle }: RuleState, key: string, atMs: number, write: () => RuleAlert): void {
    const known = recent.find(key, atMs);
    if (known) {
      counts.repeated++;
      this.#sink.repeat(known, write);
      return;
    }
    if (!throttle.take(atMs)) return void counts.suppressed++;
    const alert = write();
    counts.alerts++;
    counts.lastAt = alert.time;
    recent.add(key, { ...alert, evidence: null }, atMs);
    this.#sink.raise(alert);
  }
}

/** What one rule has counted, and waits for. */
class RuleState {
  readonly rule: CompiledRule;
  readonly fingerprint: string;
  readonly counts: RuleCounts = { matched: 0, alerts: 0, repeated: 0, suppressed: 0, lastAt: null };
  readonly recent: Recent<RuleAlert>;
  readonly throttle: ThrottleWindow;
  readonly rate: RateWindow | null;
  readonly sequence: SequenceBook | null;
  readonly absence: AbsenceBook<RuleAlert> | null;
  firstSeen: FirstSeenBook | null;
  /** What `firstSeen` is of. */
  readonly learns: string | null;
  /** Why it is not evaluated any more. */
  problem: string | null = null;

  /** `before`: of the rule that it replaces. */
  constructor(rule: CompiledRule, before?: RuleState) {
    const { fingerprint, steps, definition } = rule;
    this.rule = rule;
    const { intervalMs, throttle, rate, sequence, absence, firstSeen } = definition;
    this.fingerprint = fingerprint;
    this.recent = new Recent(intervalMs, MAX_RECENT);
    this.throttle = new ThrottleWindow(throttle.alerts, throttle.withinMs);
    this.rate = rate && new RateWindow(rate.count, rate.withinMs);
    this.sequence = sequence && new SequenceBook(steps.length, sequence.withinMs);
    this.absence = absence && new AbsenceBook(absence.withinMs);
    this.learns = firstSeen && JSON.stringify(firstSeen);
    // What is usual stays what it is when the condition changes.
    const isSame = before !== undefined && before.learns === this.learns;
    this.firstSeen = firstSeen && ((isSame && before.firstSeen) || new FirstSeenBook());
  }

  get evicted(): number {
    const { rate, sequence, absence, firstSeen } = this;
    return [rate, sequence, absence, firstSeen].reduce((sum, book) => sum + (book?.evicted ?? 0), 0);
  }
}

function orderOf({ index }: Candidate): number {
  return index === ABSENT ? Number.NEGATIVE_INFINITY : -index;
}

/** A double has the milliseconds exactly, and microseconds for a hundred years. */
function bootMs({ bootNs }: TraceEvent): number {
  return Number(bootNs) / 1e6;
}
