import { expect } from 'vitest';
import { readHosts, readUsers } from '../../src/rules/falco/facts.js';
import { importFalco, type ImportedRules } from '../../src/rules/falco/import.js';
import { ruleContext, rulesOf } from './rules.js';

export const users = readUsers(
  'root:x:0:0::/root:/bin/sh\nbin:x:2:2::/:/\nwww-data:x:33:33::/:/\n# none\n',
  '/etc/passwd',
);
export const hosts = readHosts(
  '10.96.0.1 kubernetes.default.svc kubernetes.default.svc.cluster.local # the API\n::1 localhost\n',
);

/** What becomes of a file of Falco's. */
export function imported(text: string, { approximate = false, facts = true } = {}): ImportedRules {
  const told = facts ? { users, hosts } : { users: null, hosts: new Map<string, string[]>() };
  return importFalco([{ name: 'rules.yaml', text }], { approximate, ...told }, ruleContext);
}

/** A rule of Falco's. */
export const rule = (condition: string, more = ''): string => `
- rule: A rule
  desc: What it is for.
  condition: >
    ${condition}
  output: Something happened
  priority: WARNING
  ${more}
`;

interface Written {
  readonly trackers: string;
  readonly condition: string;
}

/** Our rules for a condition of Falco's, as "tracker: condition" on one line. */
export function translated(condition: string, before = ''): readonly string[] {
  const { text, rules } = imported(`${before}${rule(condition)}`);
  expect(rules[0]?.problems).toEqual([]);
  const found = rulesOf(text).definition.rules.map(({ steps }): Written => ({
    trackers: steps[0]?.trackers.join() ?? '',
    condition: steps[0]?.condition.first.text.replace(/\s+/g, ' ').replace(/\( /g, '(').replace(/ \)/g, ')') ?? '',
  }));
  return found.map((one) => `${one.trackers}: ${one.condition}`);
}

/** Why a rule of this condition cannot be translated. */
export function problems(condition: string, before = ''): readonly string[] {
  const { rules } = imported(`${before}${rule(condition)}`);
  expect(rules[0]?.names).toEqual([]);
  return rules[0]?.problems ?? [];
}
