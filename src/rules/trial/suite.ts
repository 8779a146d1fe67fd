import { EunomiaError, suggest } from '../../base/errors.js';
import { compileRules, type RuleSet } from '../compile.js';
import type { RuleDefinition } from '../definition.js';
import { throwInOrder, type RuleSource } from '../format.js';
import type { TestContext } from './event.js';
import { readTests, type Recordings, type RuleTest } from './file.js';
import { runTest, type TestOutcome } from './run.js';

export type TrialContext = TestContext & { readonly recordings: Recordings };

/** What became of the tests of a set of rules. */
export interface RuleTests {
  readonly outcomes: readonly TestOutcome[];
  /** Rules that no test names, be it in `rules` or in `alerts`. */
  readonly untested: readonly RuleDefinition[];
}

/**
 * Runs all tests of a set of rules, or those of one rule, and calls `onOutcome` after each. Rejects with BAD_RULES and the places of all
 * that is wrong, with BAD_USER_INPUT for a rule that is not there, and with BAD_RECORDING.
 */
export async function runTests(
  files: { readonly rules: readonly RuleSource[]; readonly tests: readonly RuleSource[] },
  rule: string | null,
  context: TrialContext,
  onOutcome: (outcome: TestOutcome) => Promise<void> | void,
): Promise<RuleTests> {
  const set = compileRules(files.rules, context);
  if (rule !== null) needRule(set, rule);
  const all = readAll(files.tests, set, context);
  const outcomes: TestOutcome[] = [];
  for (const test of all) {
    if (rule !== null && !named(test).includes(rule)) continue;
    const outcome = await runTest(test, set, context);
    outcomes.push(outcome);
    await onOutcome(outcome);
  }
  const tested = new Set(all.flatMap(named));
  const untested = set.definition.rules.filter(({ name }) => !tested.has(name));
  return { outcomes, untested: rule === null ? untested : untested.filter(({ name }) => name === rule) };
}

/** Throws BAD_USER_INPUT. */
export function needRule({ definition }: RuleSet, rule: string): void {
  const known = definition.rules.map(({ name }) => name);
  if (!known.includes(rule))
    throw new EunomiaError(
      'BAD_USER_INPUT',
      `rule: there is no rule "${rule.slice(0, 100)}"${suggest(rule.slice(0, 100), known)}`,
    );
}

function named({ rules, alerts }: RuleTest): readonly string[] {
  return [...(rules ?? []), ...alerts.map(({ rule }) => rule)];
}

/** Throws what is wrong with any of them at once. */
function readAll(sources: readonly RuleSource[], set: RuleSet, context: TrialContext): readonly RuleTest[] {
  const errors: EunomiaError[] = [];
  const tests = sources.flatMap((source) => {
    try {
      return readTests(source, set, context);
    } catch (error) {
      if (!(error instanceof EunomiaError)) throw error;
      errors.push(error);
      return [];
    }
  });
  throwInOrder(errors);
  return tests;
}
