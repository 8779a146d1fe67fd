import { expect, it } from 'vitest';
import { at, engineOf, ruleContext, rulesOf } from '../../test/support/rules.js';
import { webhooksOf } from './action.js';
import { compileRules } from './compile.js';

const ruleWith = (actions: string, more = ''): string => `rules:
  - name: shell
    description: A shell ran.
    severity: LOW
    trackers: exec
    condition: process.comm == "sh"
    message: '{process.comm}'
    actions: ${actions}
${more}`;
const actionsOf = (actions: string, more = '') =>
  rulesOf(ruleWith(actions, more)).rules[0]?.definition.actions.map(
    ({ file: _file, path: _path, ...action }) => action,
  );

it('are words, or words with their settings', () => {
  expect(
    actionsOf(
      '[log, metric, { webhook: oncall }, { webhook: chat }, { collect: { trackers: [exec], for: 30s, events: 5 } }, kill, pause, stop]',
    ),
  ).toEqual([
    { kind: 'log' },
    { kind: 'metric' },
    { kind: 'webhook', webhook: 'oncall' },
    { kind: 'webhook', webhook: 'chat' },
    { kind: 'collect', trackers: ['exec'], forMs: 30_000, events: 5 },
    { kind: 'kill', signal: 'SIGKILL' },
    { kind: 'pause' },
    { kind: 'stop' },
  ]);
  expect(actionsOf('[collect, { kill: SIGTERM }]')).toEqual([
    { kind: 'collect', trackers: ['exec', 'open', 'tcp'], forMs: 60_000, events: 10_000 },
    { kind: 'kill', signal: 'SIGTERM' },
  ]);
  expect(rulesOf(ruleWith('[]')).rules[0]?.definition.actions).toEqual([]);
});

it.each([
  [
    '[kil]',
    '8:15: rules[0].actions[0]: is to be log, metric, webhook, collect, kill, pause, stop; did you mean "kill"?',
  ],
  ['kill', '8:14: rules[0].actions: is to be a list'],
  ['[{ log: {}, kill: SIGKILL }]', '8:15: rules[0].actions[0]: is to be one action; write a list: [log, kill]'],
  ['[{ pause: 5s }]', '8:24: rules[0].actions[0].pause: has no settings; write pause'],
  ['[{ kill: SIGKIL }]', '8:23: rules[0].actions[0].kill: is to be SIGKILL'],
  ['[webhook]', '8:15: rules[0].actions[0]: is missing, for example { webhook: oncall }'],
  ['[kill, { kill: SIGTERM }]', '8:21: rules[0].actions[1]: kill is there already, in actions[0]'],
  ['[{ collect: { for: 2m } }]', '8:33: rules[0].actions[0].collect.for: is to be a duration from "1s" to "1m"'],
  [
    '[{ collect: { events: 0 } }]',
    '8:36: rules[0].actions[0].collect.events: is to be a whole number from 1 to 100000',
  ],
  ['[{ collect: { trackers: [] } }]', 'actions[0].collect.trackers: has 0 entries; give 1 to 8'],
  ['[{ collect: { trackers: [exce] } }]', '8:39: rules[0].actions[0].collect.trackers[0]: '],
])('refuse %s with its place', (actions, message) => {
  expect(() => rulesOf(ruleWith(actions))).toThrow(message);
});

it('name webhooks that there are, where that is known', () => {
  const sources = [{ name: 'rules.yaml', text: ruleWith('[{ webhook: onccall }]') }];
  expect(compileRules(sources, ruleContext).rules).toHaveLength(1);
  expect(() => compileRules(sources, { ...ruleContext, webhooks: ['oncall', 'chat'] })).toThrow(
    '8:26: rules[0].actions[0].webhook: there is no webhook "onccall"; did you mean "oncall"?; --webhooks has oncall, chat',
  );
  expect(() => compileRules(sources, { ...ruleContext, webhooks: [] })).toThrow('--webhooks has none');
});

it('of an override replace those of the rule, and what it has counted goes on', () => {
  const before = engineOf(rulesOf(ruleWith('[log]')));
  before.engine.evaluate(at(0, 'exec', { process: { comm: 'sh' } }));
  const set = rulesOf(
    ruleWith('[log]', 'overrides: { rules: { shell: { actions: [{ webhook: a }, { webhook: b }] } } }'),
  );
  const after = engineOf(set, before.engine);
  expect(after.engine.countsOf('shell')).toMatchObject({ alerts: 1 });
  after.engine.evaluate(at(1, 'exec', { process: { comm: 'sh', pid: 77 } }));
  expect(webhooksOf(after.alerts[0]?.actions ?? [])).toEqual(['a', 'b']);
  expect(webhooksOf(before.alerts[0]?.actions ?? [])).toBe(null);
});
