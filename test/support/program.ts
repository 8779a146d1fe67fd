import type { Command } from 'commander';
import { plainOutput } from '../../src/cli/output.js';
import { createProgram } from '../../src/cli/program.js';
import type { World } from '../../src/cli/world.js';
import { noRuleTools } from './rule-tools.js';

/** Who runs a command that is not to do anything. */
export const nobody: World = {
  testPlugin: () => Promise.reject(new Error('not here')),
  importRules: () => Promise.reject(new Error('not here')),
  rules: noRuleTools,
  serve: () => Promise.reject(new Error('not here')),
  local: () => Promise.reject(new Error('not here')),
  output: plainOutput(async () => true),
  tell: () => undefined,
  signal: new AbortController().signal,
};

/** The command line, to look at: none of its commands does anything. */
export function programOfNobody(): Command {
  return createProgram('0.0.0', nobody);
}
