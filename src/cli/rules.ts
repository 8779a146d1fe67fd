import type { Command } from 'commander';
import { addRulesImport } from './rules-import.js';
import type { World } from './world.js';

export function addRules(program: Command, world: World): void {
  const rules = program.command('rules').description('translate rules of other systems');
  addRulesImport(rules, world);
}
