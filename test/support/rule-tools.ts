import type { RuleTools } from '../../src/cli/world.js';

/** Of a world in which nobody works on rules. */
export const noRuleTools: RuleTools = {
  check: () => Promise.reject(new Error('not asked for')),
  test: () => Promise.reject(new Error('not asked for')),
  explain: () => Promise.reject(new Error('not asked for')),
};
