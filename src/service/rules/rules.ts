import { authorize, type Caller } from '../../access/caller.js';
import { EunomiaError } from '../../base/errors.js';
import { inTurns } from '../../base/turn.js';
import { KernelFilter } from '../../filter/index.js';
import type { CompiledRule, CompiledStep } from '../../rules/compile.js';
import { Plan } from '../../rules/plan.js';
import type { Parts } from '../parts.js';
import type { SessionHandle } from '../session/handle.js';
import type { Sessions } from '../sessions.js';
import type { RuleActions } from './actions.js';
import { checkSent, checkText, nameOfSent, type LoadedRule, type SentRules } from './host.js';
import type { RuleTrialOutcome } from './trial-protocol.js';

type RuleParts = Pick<Parts, 'rules' | 'ruleTrials' | 'catalog' | 'fields' | 'server'>;

/** What the kernel evaluates of steps, by tracker: the same for as long as the rules are. */
const inKernel = new WeakMap<CompiledStep, Promise<ReadonlyMap<string, string | null>>>();

function inKernelOf(step: CompiledStep, { catalog, fields }: RuleParts): Promise<ReadonlyMap<string, string | null>> {
  const known = inKernel.get(step);
  if (known) return known;
  const targets = step.trackers.map((name) => catalog.need(name));
  const parts = [{ filter: step.filter.filter, trackers: step.trackers }];
  const made = inTurns(KernelFilter.of(parts, targets, fields)).then(
    (filter) => new Map(step.trackers.map((name) => [name, filter.inKernel(name)])),
  );
  inKernel.set(step, made);
  return made;
}

/** A rule, as the schema's `Rule`. */
export class RuleView {
  readonly #loaded: LoadedRule;
  readonly #parts: RuleParts;
  readonly #plan: () => Plan | Promise<Plan>;

  /** `plan`: of all rules that it is evaluated with. */
  constructor(
    loaded: LoadedRule,
    parts: RuleParts,
    plan: () => Plan | Promise<Plan> = () => parts.rules.runner.engine.plan,
  ) {
    this.#loaded = loaded;
    this.#parts = parts;
    this.#plan = plan;
  }

  get id(): string {
    return `rule:${this.#parts.server.node.id}:${this.name}`;
  }

  get name(): string {
    return this.#rule.definition.name;
  }

  get description(): string {
    return this.#rule.definition.description;
  }

  get severity() {
    return this.#rule.definition.severity;
  }

  get tags(): readonly string[] {
    return this.#rule.definition.tags;
  }

  get attack(): readonly string[] {
    return this.#rule.definition.attack;
  }

  get enabled(): boolean {
    return this.#rule.definition.enabled;
  }

  get problem(): string | null {
    return this.#loaded.problem;
  }

  get origin(): 'DIRECTORY' | 'UPLOAD' {
    return this.#loaded.sent === null ? 'DIRECTORY' : 'UPLOAD';
  }

  get file(): string {
    return this.#loaded.sent ?? this.#rule.definition.file.name;
  }

  get evades(): string | null {
    return this.#rule.definition.evades;
  }

  get falsePositives(): string | null {
    return this.#rule.definition.falsePositives;
  }

  get actions() {
    const { actions: taking } = this.#parts.rules;
    return this.#rule.definition.actions.map((action) => ({
      kind: action.kind.toUpperCase(),
      webhook: action.kind === 'webhook' ? action.webhook : null,
      trackers: action.kind === 'collect' ? action.trackers : null,
      for: action.kind === 'collect' ? action.forMs : null,
      events: action.kind === 'collect' ? action.events : null,
      signal: action.kind === 'kill' ? action.signal : null,
      problem: taking.problemOf(action),
    }));
  }

  get steps() {
    const { steps, absence } = this.#rule;
    const pushdownsOf = (step: CompiledStep) => this.#pushdownsOf(step);
    return [...steps, ...(absence ? [absence.step] : [])].map((step) => ({
      trackers: step.trackers,
      condition: step.filter.text,
      get pushdowns() {
        return pushdownsOf(step);
      },
    }));
  }

  async #pushdownsOf(step: CompiledStep) {
    const inKernel = await inKernelOf(step, this.#parts);
    const requirements = (await this.#plan()).requirements.get(step);
    return step.trackers.map((tracker) => ({
      tracker,
      inKernel: inKernel.get(tracker) ?? null,
      lookedUpBy: requirements?.get(tracker)?.path ?? null,
    }));
  }

  get stats() {
    const { engine } = this.#parts.rules.runner;
    const counts = engine.countsOf(this.name);
    return {
      matched: String(counts?.matched ?? 0),
      alerts: String(counts?.alerts ?? 0),
      repeated: String(counts?.repeated ?? 0),
      suppressed: String(counts?.suppressed ?? 0),
      forgotten: String(engine.evictedOf(this.name)),
      lastAlertAt: counts?.lastAt ?? null,
    };
  }

  get #rule(): CompiledRule {
    return this.#loaded.rule;
  }
}

/** What a client sent, as the schema's `RuleUpload`. */
export interface RuleUploadView {
  readonly name: string;
  readonly source: string;
  readonly loadedAt: string;
}

/** All rules, as the schema's `Rules`. */
export interface RulesView {
  readonly rules: readonly RuleView[];
  readonly uploads: readonly RuleUploadView[];
  readonly sessions: readonly SessionHandle[];
  readonly actions: {
    readonly mode: 'OFF' | 'DRY_RUN' | 'ON';
    readonly taken: string;
    readonly failed: string;
    readonly skipped: string;
    readonly collecting: number;
  };
  readonly loadedAt: string;
  readonly problem: string | null;
  readonly evaluated: string;
  readonly comparisons: string;
  readonly missed: string;
  readonly withoutFacts: string;
}

/** Tests to run, as the schema's `TestRulesInput`. */
export interface RuleTrialInput {
  readonly name: string;
  readonly source?: string | null | undefined;
  readonly tests: string;
  readonly rule?: string | null | undefined;
}

/** What became of one test, as the schema's `RuleTest`. */
export interface RuleTestView extends RuleTrialOutcome {
  readonly passed: boolean;
}

/** What became of tests, as the schema's `RuleTestRun`. */
export interface RuleTrialView {
  readonly valid: boolean;
  readonly problem: string | null;
  readonly passed: number;
  readonly failed: number;
  readonly tests: readonly RuleTestView[];
  readonly untested: readonly string[];
}

/** The rules of the server: asking for them, sending and taking them back. */
export class Rules {
  readonly #parts: RuleParts;
  readonly #sessions: Sessions;
  #checking: Promise<unknown> = Promise.resolve();

  constructor(parts: RuleParts, sessions: Sessions) {
    this.#parts = parts;
    this.#sessions = sessions;
  }

  async all(caller: Caller): Promise<RulesView> {
    const { rules: host } = this.#parts;
    const { runner } = host;
    const sessions = await Promise.all(runner.sessions.map(({ id }) => this.#sessions.find(caller, id)));
    return {
      rules: host.rules.map((rule) => new RuleView(rule, this.#parts)),
      uploads: host.sent.map(uploadOf),
      sessions: sessions.filter((session) => session !== null),
      actions: statusOf(host.actions),
      loadedAt: host.loadedAt,
      problem: host.problem ?? runner.problem,
      evaluated: String(runner.engine.events),
      comparisons: String(runner.engine.comparisons),
      missed: String(runner.missed),
      withoutFacts: String(runner.withoutFacts),
    };
  }

  find(_caller: Caller, name: string): RuleView | null {
    const rule = this.#parts.rules.find(name);
    return rule && new RuleView(rule, this.#parts);
  }

  byId(caller: Caller, id: string): RuleView | null {
    const of = `rule:${this.#parts.server.node.id}:`;
    return id.startsWith(of) ? this.find(caller, id.slice(of.length)) : null;
  }

  /** Rejects with FORBIDDEN, BAD_USER_INPUT, BAD_RULES, LIMIT_EXCEEDED or STORE_UNAVAILABLE. */
  async load(
    caller: Caller,
    { name, source }: { readonly name: string; readonly source: string },
  ): Promise<RuleUploadView> {
    authorize(caller, 'loadRules');
    return uploadOf(await this.#parts.rules.load(name, source));
  }

  async unload(caller: Caller, name: string): Promise<void> {
    authorize(caller, 'unloadRules');
    await this.#parts.rules.unload(name);
  }

  /** One after the other: compiling is work for which others wait. Rejects with FORBIDDEN or BAD_USER_INPUT. */
  async check(caller: Caller, { name, source }: { readonly name: string; readonly source: string }) {
    authorize(caller, 'checkRules');
    checkSent(name, source);
    const checked = this.#checking.then(() => this.#check(name, source));
    this.#checking = checked.catch(() => undefined);
    return checked;
  }

  /**
   * Runs tests of rules beside those that there are, in threads that do nothing else. Rejects with FORBIDDEN, BAD_USER_INPUT,
   * LIMIT_EXCEEDED or SHUTTING_DOWN.
   */
  async test(caller: Caller, { name, source = null, tests, rule = null }: RuleTrialInput): Promise<RuleTrialView> {
    authorize(caller, 'testRules');
    checkSent(name, source ?? '');
    checkText('input.tests', tests);
    const { rules: host, ruleTrials } = this.#parts;
    try {
      const ask = {
        rules: await host.filesWith(name, source),
        tests: { name: `${name}.test.yaml`, text: tests },
        rule,
        webhooks: host.webhooks,
      };
      const { tests: outcomes, untested } = await ruleTrials.test(ask, caller);
      const views = outcomes.map((outcome) => ({ ...outcome, passed: outcome.problems.length === 0 }));
      const passed = views.filter((view) => view.passed).length;
      return {
        valid: true,
        problem: null,
        passed,
        failed: views.length - passed,
        tests: views,
        untested: untested.flatMap((one) => (nameOfSent(one.file) === name ? [one.name] : [])),
      };
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code !== 'BAD_RULES') throw error;
      return { valid: false, problem: error.message, passed: 0, failed: 0, tests: [], untested: [] };
    }
  }

  /** Tests under way are refused, and none begins any more. Idempotent. */
  end(): Promise<void> {
    return this.#parts.ruleTrials.end();
  }

  async #check(name: string, source: string) {
    try {
      const { rules } = await this.#parts.rules.check(name, source);
      let plan: Promise<Plan> | null = null;
      const enabled = rules.filter(({ definition }) => definition.enabled);
      const planned = (): Promise<Plan> => (plan ??= inTurns(Plan.of(enabled, this.#parts.fields)));
      const views = rules.map(
        (rule) => new RuleView({ rule, sent: null, problem: rule.problem }, this.#parts, planned),
      );
      return { valid: true, problem: null, rules: views };
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code !== 'BAD_RULES') throw error;
      return { valid: false, problem: error.message, rules: [] };
    }
  }
}

const modes = { off: 'OFF', 'dry-run': 'DRY_RUN', on: 'ON' } as const;

function statusOf(actions: RuleActions): RulesView['actions'] {
  return {
    mode: modes[actions.mode],
    taken: String(actions.countOf('taken')),
    failed: String(actions.countOf('failed')),
    skipped: String(actions.countOf('skipped')),
    collecting: actions.collecting,
  };
}

function uploadOf({ name, text, loadedAt }: SentRules): RuleUploadView {
  return { name, source: text, loadedAt };
}
