import type { ConfigFile } from '../../base/config-file.js';
import { counted } from '../../base/listed.js';
import type { TraceEvent } from '../../event/event.js';
import type { RuleAlert } from '../alert.js';
import type { CompiledRule, RuleSet } from '../compile.js';
import { RuleEngine } from '../engine.js';
import type { TestContext } from './event.js';
import type { Recordings, RuleTest } from './file.js';
import { missOf } from './miss.js';
import { differencesOf, pairsOf } from './pair.js';

/** An alert that a test raised. */
export interface TrialAlert {
  readonly alert: RuleAlert;
  /** With what was combined with it. */
  times: number;
  /** Which event it is of, from 0; -1 for a recorded one that nothing followed. */
  readonly event: number;
}

export interface TestOutcome {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  /** Of the rules that it names. */
  readonly rules: readonly string[];
  readonly events: number;
  readonly alerts: readonly TrialAlert[];
  /** What is not as expected, each with its place "FILE:LINE:COLUMN"; empty where the test passed. */
  readonly problems: readonly string[];
}

/** Alerts among which that is looked for which comes nearest to an expected one. */
const MAX_NEAR = 100;
/** Time that passes beyond the end of an absence before its alert is raised, in ms. */
const JUST_AFTER = 0.001;

/** Runs a test on an engine of its own. Rejects with BAD_RECORDING. */
export async function runTest(
  test: RuleTest,
  set: RuleSet,
  context: TestContext & { readonly recordings: Recordings },
): Promise<TestOutcome> {
  const raised: TrialAlert[] = [];
  const rules = evaluatedBy(test, set);
  let events = 0;
  /** Null while only time passes. */
  let current: number | null = null;
  /** Of written events, the first at each time. */
  const places = new Map(test.events.map(({ event }, i) => [event.time, i] as const).reverse());
  /** The last ones, by rule and key. */
  const known = new Map<string, TrialAlert>();
  const keyOf = ({ rule, key }: RuleAlert): string => JSON.stringify([rule, key]);
  const engine = new RuleEngine(rules, context, {
    raise: (alert) => {
      const one = { alert, times: 1, event: current ?? places.get(alert.time) ?? -1 };
      raised.push(one);
      known.set(keyOf(alert), one);
    },
    repeat: (alert) => {
      const one = known.get(keyOf(alert));
      if (one) one.times++;
    },
    failed: (rule, error) => {
      throw new Error(`the rule ${rule} has failed`, { cause: error });
    },
  });
  let lastMs = 0;
  const evaluate = (event: TraceEvent): void => {
    const atMs = Number(event.bootNs) / 1e6;
    advance(engine, atMs);
    current = events;
    engine.evaluate(event);
    current = null;
    lastMs = Math.max(lastMs, atMs);
    events++;
  };
  if (test.recording === null) for (const { event } of test.events) evaluate(event);
  else for await (const event of context.recordings.events(test.recording, test.file.name)) evaluate(event);
  advance(engine, lastMs + test.forMs);
  const reasons = new Map<string, string>();
  const told = (rule: string): string => {
    const reason = reasons.get(rule) ?? reasonFor(rule);
    reasons.set(rule, reason);
    return reason;
  };
  const reasonFor = (rule: string): string => {
    const compiled = rules.find(({ definition }) => definition.name === rule);
    const counts = engine.countsOf(rule);
    if (test.recording !== null)
      return `its conditions match ${counted(counts?.matched ?? 0, 'event')} of ${events} in ${test.recording}`;
    return compiled ? missOf(compiled, test.events, counts, context.fields) : '';
  };
  return {
    file: test.file.name,
    line: Number(test.file.fail(test.path, '').details['line']),
    name: test.name,
    rules: test.rules ?? [...new Set(test.alerts.map(({ rule }) => rule))],
    events,
    alerts: raised,
    problems: compare(test, raised, told),
  };
}

function evaluatedBy({ rules }: RuleTest, set: RuleSet): readonly CompiledRule[] {
  if (rules === null) return set.rules;
  return set.rules
    .filter(({ definition }) => rules.includes(definition.name))
    .map((rule) => ({ ...rule, definition: { ...rule.definition, enabled: true } }));
}

/** Up to this time, each absence at its own. */
function advance(engine: RuleEngine, toMs: number): void {
  for (let dueMs = engine.nextDueMs; dueMs !== null && dueMs < toMs; dueMs = engine.nextDueMs)
    engine.advance(Math.min(toMs, dueMs + JUST_AFTER));
}

function compare(test: RuleTest, raised: readonly TrialAlert[], missed: (rule: string) => string): readonly string[] {
  const pairs = pairsOf(test.alerts, raised);
  const paired = new Set(pairs.values());
  const left = new Set(raised.filter((one) => !paired.has(one)));
  const byRule = new Map<string, TrialAlert[]>();
  for (const one of left) {
    const ofRule = byRule.get(one.alert.rule);
    if (ofRule) ofRule.push(one);
    else byRule.set(one.alert.rule, [one]);
  }
  const problems: string[] = [];
  const of = (event: number): string => {
    if (test.recording === null) return `events[${event}]`;
    return event < 0 ? 'an event that nothing followed' : `event ${event + 1} of ${test.recording}`;
  };
  for (const expected of test.alerts) {
    if (pairs.has(expected)) continue;
    const unexpected = byRule.get(expected.rule) ?? [];
    const near = unexpected
      .slice(0, MAX_NEAR)
      .map((one) => ({ one, differences: differencesOf(expected, one) }))
      .sort((a, b) => a.differences.length - b.differences.length)[0];
    if (near) {
      left.delete(near.one);
      unexpected.splice(unexpected.indexOf(near.one), 1);
    }
    problems.push(
      near
        ? problem(
            expected,
            `the alert of ${expected.rule} for ${of(near.one.event)} has ${near.differences.join(', ')}`,
          )
        : problem(expected, `${expected.rule} raised no such alert; ${missed(expected.rule)}`),
    );
  }
  for (const { alert, times, event } of left)
    problems.push(
      problem(
        { file: test.file, path: test.recording === null ? [...test.path, 'events', event] : test.path },
        `${alert.rule} raised an alert that is not expected, for ${of(event)}` +
          `${times > 1 ? `, ${times} times` : ''}: ${alert.message}`,
      ),
    );
  return problems;
}

function problem({ file, path }: { readonly file: ConfigFile; readonly path: RuleTest['path'] }, text: string): string {
  return file.fail(path, text).message;
}
