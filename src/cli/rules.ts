import { Option, type Command } from 'commander';
import { EunomiaError } from '../base/errors.js';
import { counted } from '../base/listed.js';
import { addRulesImport } from './rules-import.js';
import { addRulesList } from './rules-list.js';
import { Unsuccessful } from './usage.js';
import type { RuleExplanation, RuleTestOutcome, World } from './world.js';

interface Flags {
  readonly rule?: string;
  readonly output: 'text' | 'json';
}

const PATHS = 'rule files, or directories of them (*.yaml, *.yml); "builtin" for those that come with Eunomia';

export function addRules(program: Command, world: World): void {
  const rules = program
    .command('rules')
    .description(
      'check, test and explain rule files, translate those of other systems, and list the rules of a server',
    );
  rules
    .command('check')
    .description('compile rule files as one set, and print all errors with their places')
    .argument('<path...>', PATHS)
    .action((paths: readonly string[]) => check(paths, world));
  rules
    .command('test')
    .description('run the tests beside rule files (NAME.test.yaml): events in, alerts expected out')
    .argument('<path...>', `${PATHS}; or single files of tests`)
    .option('--rule <name>', 'only tests that name this rule')
    .addOption(outputOption())
    .action((paths: readonly string[], flags: Flags) => withPlaces(world, () => test(paths, flags, world)));
  rules
    .command('explain')
    .description(
      'print what each rule compares, what of it the kernel can evaluate, what it captures, and when it raises an alert',
    )
    .argument('<path...>', PATHS)
    .option('--rule <name>', 'only this rule')
    .addOption(outputOption())
    .action((paths: readonly string[], flags: Flags) => withPlaces(world, () => explain(paths, flags, world)));
  addRulesImport(rules, world);
  addRulesList(rules, world);
}

function outputOption(): Option {
  return new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text');
}

async function check(paths: readonly string[], world: World): Promise<void> {
  const { files, rules, lists, macros } = await withPlaces(world, () => world.rules.check(paths));
  await world.output.write(
    `${counted(rules, 'rule')}, ${counted(lists, 'list')}, ${counted(macros, 'macro')} in ${counted(files, 'file')}: ok\n`,
  );
}

async function test(paths: readonly string[], { rule, output }: Flags, world: World): Promise<void> {
  const { outcomes, untested } = await world.rules.test(paths, rule ?? null, async (outcome) => {
    if (output === 'text') await world.output.write(textOf(outcome));
  });
  const failed = outcomes.filter(({ problems }) => problems.length > 0).length;
  const passed = outcomes.length - failed;
  if (output === 'json')
    await world.output.write(
      `${JSON.stringify({ passed, failed, untested, tests: outcomes.map(recordOf) }, null, 2)}\n`,
    );
  else {
    if (untested.length > 0) await world.output.write(`without a test: ${untested.join(', ')}\n`);
    await world.output.write(`${passed} passed, ${failed} failed\n`);
  }
  if (outcomes.length === 0)
    throw new Unsuccessful('there are no tests: write them into NAME.test.yaml beside NAME.yaml');
  if (failed > 0) throw new Unsuccessful(`${counted(failed, 'test')} failed`);
}

function textOf({ file, line, name, problems }: RuleTestOutcome): string {
  const status = problems.length > 0 ? 'failed' : 'passed';
  return [`${status}  ${file}:${line}  ${name}`, ...problems.map((problem) => `        ${problem}`), ''].join('\n');
}

function recordOf({ file, line, name, events, alerts, problems }: RuleTestOutcome): object {
  const raised = alerts.map(({ alert: { rule, severity, message }, times, event }) => ({
    rule,
    severity,
    message,
    times,
    event,
  }));
  return { file, line, name, passed: problems.length === 0, events, alerts: raised, problems };
}

async function explain(paths: readonly string[], { rule, output }: Flags, world: World): Promise<void> {
  const rules = await world.rules.explain(paths, rule ?? null);
  const text = output === 'json' ? `${JSON.stringify(rules, null, 2)}\n` : rules.map(explained).join('\n');
  await world.output.write(text);
}

function explained({ name, description, severity, enabled, conditions, alerts }: RuleExplanation): string {
  const lines = [`${name} (${severity}${enabled ? '' : ', not enabled'}): ${description}`];
  for (const { role, condition, readsProcesses, trackers } of conditions) {
    lines.push(`  ${role}: ${condition}`);
    if (readsProcesses) lines.push('    reads the table of processes');
    for (const { tracker, inKernel, inServer, lookup, captured } of trackers)
      lines.push(
        `    ${tracker}`,
        `      in the kernel: ${inKernel ?? 'nothing'}`,
        `      in the server: ${inServer ?? 'nothing'}`,
        `      compared with: ${lookup === null ? 'each event' : `events whose ${lookup}`}`,
        `      captured on demand: ${captured.join(', ') || 'nothing'}`,
      );
  }
  lines.push('  alerts:', ...alerts.map((sentence) => `    ${sentence}`), '');
  return lines.join('\n');
}

/** Errors of rules as lines that begin with a place, as editors and CI read them. */
async function withPlaces<Result>(world: World, act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof EunomiaError) || error.code !== 'BAD_RULES') throw error;
    world.tell(error.message);
    throw new Unsuccessful('these rules cannot be used');
  }
}
