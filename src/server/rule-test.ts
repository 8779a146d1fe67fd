import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { contractSchema } from '../api/graphql/schema.js';
import { EunomiaError, messageOf, suggest } from '../base/errors.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import type { TraceEvent } from '../event/event.js';
import { FilterFields } from '../filter/index.js';
import { Recording, Reviver } from '../formats/index.js';
import { createRuntime } from '../record/runtime.js';
import { compileRules, type RuleSet } from '../rules/compile.js';
import { explainRules, type ExplainedRule } from '../rules/explain.js';
import { throwInOrder, type RuleSource } from '../rules/format.js';
import {
  readTests,
  runTest,
  TestProcesses,
  type Recordings,
  type RuleTest,
  type TestContext,
  type TestOutcome,
} from '../rules/trial/index.js';
import { readRuleFiles } from './rule-files.js';

/** How many there are in a set. */
export interface RuleTotals {
  readonly files: number;
  readonly rules: number;
  readonly lists: number;
  readonly macros: number;
}

export interface RuleTests {
  readonly outcomes: readonly TestOutcome[];
  /** Rules that no test names, be it in `rules` or in `alerts`. */
  readonly untested: readonly string[];
}

export type RuleTestContext = TestContext & { readonly recordings: Recordings };

/** Compiles the rules at these paths: needs neither BPF nor root. Rejects with BAD_RULES and the places of all that is wrong. */
export async function checkRules(paths: readonly string[]): Promise<RuleTotals> {
  const { rules } = await readRuleFiles(paths);
  const { definition } = compileRules(rules, await createRuleContext());
  return {
    files: rules.length,
    rules: definition.rules.length,
    lists: definition.lists.size,
    macros: definition.macros.size,
  };
}

/**
 * Runs the tests at these paths, or those of one rule, and calls `onOutcome` after each. Rejects with BAD_RULES, with BAD_USER_INPUT for
 * a rule that is not there, and with BAD_RECORDING.
 */
export async function testRules(
  paths: readonly string[],
  rule: string | null,
  onOutcome: (outcome: TestOutcome) => Promise<void> | void,
): Promise<RuleTests> {
  const files = await readRuleFiles(paths);
  const context = await createRuleContext();
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
  const untested = set.definition.rules.map(({ name }) => name).filter((name) => !tested.has(name));
  return { outcomes, untested: rule === null ? untested : untested.filter((name) => name === rule) };
}

/** What becomes of the rules at these paths, or of one of them. Rejects as `testRules` does. */
export async function explainRulesAt(paths: readonly string[], rule: string | null): Promise<readonly ExplainedRule[]> {
  const { rules } = await readRuleFiles(paths);
  const context = await createRuleContext();
  const set = compileRules(rules, context);
  if (rule !== null) needRule(set, rule);
  return explainRules(set, context, rule);
}

function named({ rules, alerts }: RuleTest): readonly string[] {
  return [...(rules ?? []), ...alerts.map(({ rule }) => rule)];
}

/** Throws what is wrong with any of them at once. */
function readAll(sources: readonly RuleSource[], set: RuleSet, context: RuleTestContext): readonly RuleTest[] {
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

/** The vocabulary of this build, without a kernel. */
export async function createRuleContext(): Promise<RuleTestContext> {
  const schema = contractSchema();
  const definitions = await loadTrackers();
  const runtimes = new Map(definitions.map((definition) => [definition.name, createRuntime(definition)]));
  const catalog = new Catalog(
    schema,
    definitions,
    (tracker, field) => runtimes.get(tracker)?.onDemand.includes(field) ?? false,
  );
  const processes = new TestProcesses();
  catalog.lineage = processes;
  const reviver = new Reviver(schema, definitions, { partial: true });
  const recordings: Recordings = {
    problem: (recording, file) => problemOf(resolve(dirname(file), recording)),
    async *events(recording, file): AsyncGenerator<TraceEvent> {
      const opened = await Recording.open(resolve(dirname(file), recording), schema, definitions);
      try {
        for await (const entry of opened.entries()) if (entry.kind === 'event') yield entry.event;
        if (opened.problem !== null) throw new EunomiaError('BAD_RECORDING', opened.problem);
      } finally {
        await opened.close();
      }
    },
  };
  return {
    catalog,
    fields: new FilterFields(schema, catalog),
    processes,
    revive: (line) => reviver.event(line),
    recordings,
  };
}

function problemOf(recording: string): string | null {
  try {
    return statSync(recording).isFile() ? null : `${recording} is no regular file`;
  } catch (error) {
    return `there is no recording: ${messageOf(error)}`;
  }
}

function needRule({ definition }: RuleSet, rule: string): void {
  const known = definition.rules.map(({ name }) => name);
  if (!known.includes(rule))
    throw new EunomiaError('BAD_USER_INPUT', `rule: there is no rule "${rule}"${suggest(rule, known)}`);
}
