import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { contractSchema } from '../api/graphql/schema.js';
import { EunomiaError, messageOf } from '../base/errors.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import type { TraceEvent } from '../event/event.js';
import { FilterFields } from '../filter/index.js';
import { Recording, Reviver } from '../formats/index.js';
import { createRuntime } from '../record/runtime.js';
import { compileRules } from '../rules/compile.js';
import { explainRules, type ExplainedRule } from '../rules/explain.js';
import {
  needRule,
  runTests,
  TestProcesses,
  type Recordings,
  type TestOutcome,
  type TrialContext,
} from '../rules/trial/index.js';
import { readRuleFiles } from './rule-files.js';

/** How many there are in a set. */
export interface RuleTotals {
  readonly files: number;
  readonly rules: number;
  readonly lists: number;
  readonly macros: number;
}

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

/** Runs the tests at these paths, or those of one rule, and calls `onOutcome` after each. Rejects as `runTests` does. */
export async function testRules(
  paths: readonly string[],
  rule: string | null,
  onOutcome: (outcome: TestOutcome) => Promise<void> | void,
): Promise<{ readonly outcomes: readonly TestOutcome[]; readonly untested: readonly string[] }> {
  const files = await readRuleFiles(paths);
  const { outcomes, untested } = await runTests(files, rule, await createRuleContext(), onOutcome);
  return { outcomes, untested: untested.map(({ name }) => name) };
}

/** What becomes of the rules at these paths, or of one of them. Rejects as `testRules` does. */
export async function explainRulesAt(paths: readonly string[], rule: string | null): Promise<readonly ExplainedRule[]> {
  const { rules } = await readRuleFiles(paths);
  const context = await createRuleContext();
  const set = compileRules(rules, context);
  if (rule !== null) needRule(set, rule);
  return explainRules(set, context, rule);
}

/** The vocabulary of this build, without a kernel. */
export async function createRuleContext(): Promise<TrialContext> {
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
