import { finish } from '../base/turn.js';
import { formatDuration } from '../base/duration.js';
import { listed } from '../base/listed.js';
import type { Severity } from '../event/severity.js';
import { SessionFilter } from '../filter/index.js';
import type { CompiledRule, CompiledStep, RuleContext, RuleSet } from './compile.js';
import type { Bond } from './definition.js';
import { Plan, type Requirement } from './plan.js';

/** How one tracker's events are compared with a condition. */
export interface ExplainedTracker {
  readonly tracker: string;
  /** What the kernel evaluates where nothing else needs the tracker's other events, as CEL; null: nothing. */
  readonly inKernel: string | null;
  /** What is left for the server then; null: nothing. */
  readonly inServer: string | null;
  /** By which field, in words, an event finds the rule; null: each event of the tracker is compared with it. */
  readonly lookup: string | null;
  /** The on-demand fields that the rule has captured. */
  readonly captured: readonly string[];
}

export interface ExplainedCondition {
  /** "condition", "step 1", "absence". */
  readonly role: string;
  /** Canonical CEL, with macros, lists, overrides and exceptions in it. */
  readonly condition: string;
  /** Whether it reads the table of processes. */
  readonly readsProcesses: boolean;
  readonly trackers: readonly ExplainedTracker[];
}

export interface ExplainedRule {
  readonly name: string;
  readonly description: string;
  readonly severity: Severity;
  readonly enabled: boolean;
  readonly conditions: readonly ExplainedCondition[];
  /** When a match is an alert, a sentence each. */
  readonly alerts: readonly string[];
}

/** What becomes of the rules of a set: all of them, or the one of a name. Pure. */
export function explainRules(
  { rules }: RuleSet,
  { catalog, fields }: RuleContext,
  only: string | null,
): readonly ExplainedRule[] {
  // By which field an event finds a rule depends on the others of the set.
  const { requirements } = finish(Plan.of(rules, fields));
  const explained = (rule: CompiledRule, role: string, step: CompiledStep): ExplainedCondition => ({
    role,
    condition: step.filter.text,
    readsProcesses: step.filter.ready !== null,
    trackers: step.trackers.map((name) => {
      const tracker = catalog.need(name);
      const filter = new SessionFilter(step.filter, [tracker], fields);
      const read = rule.demand.get(name) ?? new Set<string>();
      const onDemand = tracker.fields.filter(({ path, onDemand: costly }) => read.has(path) && costly);
      return {
        tracker: name,
        inKernel: filter.inKernel(name),
        inServer: filter.rest.textOf(name),
        lookup: lookupText(requirements.get(step)?.get(name) ?? null),
        captured: onDemand.map(({ path }) => path),
      };
    }),
  });
  return rules
    .filter(({ definition }) => only === null || definition.name === only)
    .map((rule) => {
      const { name, description, severity, enabled } = rule.definition;
      const steps = rule.steps.map((step, i) =>
        explained(rule, rule.steps.length === 1 ? 'condition' : `step ${i + 1}`, step),
      );
      const absence = rule.absence ? [explained(rule, 'absence', rule.absence.step)] : [];
      return { name, description, severity, enabled, conditions: [...steps, ...absence], alerts: alertsOf(rule) };
    });
}

function lookupText(requirement: Requirement | null): string | null {
  if (!requirement) return null;
  const { path, kind, values } = requirement;
  const [first = ''] = values;
  const is = kind === 'values' ? 'is' : 'begins with';
  return values.length === 1
    ? `${path} ${is} ${JSON.stringify(first)}`
    : `${path} ${is} one of ${values.length} ${kind === 'values' ? 'values' : 'texts'}`;
}

function alertsOf({ definition }: CompiledRule): readonly string[] {
  const { sequence, rate, absence, firstSeen, key, intervalMs, throttle, steps } = definition;
  const interval = formatDuration(intervalMs);
  return [
    ...(sequence
      ? [
          `the ${steps.length} steps happen in their order ${bondText(sequence.by)} within ${formatDuration(sequence.withinMs)}`,
        ]
      : []),
    ...(rate
      ? [
          `${rate.count} ${rate.distinct === null ? 'events' : `different values of ${rate.distinct}`}` +
            `${rate.by.length > 0 ? ` with equal ${listed(rate.by)}` : ''} come within ${formatDuration(rate.withinMs)}`,
        ]
      : []),
    ...(absence
      ? [`no event that matches the absence follows ${bondText(absence.by)} within ${formatDuration(absence.withinMs)}`]
      : []),
    ...(firstSeen
      ? [
          `${listed(firstSeen.values)} ${firstSeen.values.length === 1 ? 'has a value' : 'have values'} not seen before` +
            `${firstSeen.for.length > 0 ? ` for the same ${listed(firstSeen.for)}` : ''}, ` +
            `which was watched for ${formatDuration(firstSeen.learnMs)}`,
        ]
      : []),
    intervalMs === 0
      ? 'each is a new alert'
      : `those ${key.length > 0 ? `with equal ${listed(key)} ` : ''}are combined with the first one for ${interval}`,
    `at most ${throttle.alerts} are new within ${formatDuration(throttle.withinMs)}; more are counted as suppressed`,
  ];
}

function bondText(by: Bond): string {
  return { process: 'in one process', tree: 'in one process tree', container: 'in one container' }[by];
}
