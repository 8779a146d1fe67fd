import { expect, it } from 'vitest';
import { AlertBook } from '../../alerts/book.js';
import { createLog } from '../../base/log.js';
import type { Action } from '../../rules/action.js';
import type { RuleAlert } from '../../rules/alert.js';
import { until } from '../../../test/support/until.js';
import { RuleActions, type ActionOptions } from './actions.js';

const noSession = (): null => null;
let seconds = 0;
/** A new alert of a process of its own. */
function alertWith(actions: readonly Action[], fields: Partial<RuleAlert> = {}): RuleAlert {
  const pid = 1000 + seconds++;
  return {
    rule: 'miner',
    severity: 'HIGH',
    title: 'A miner runs.',
    message: 'it runs',
    tags: [],
    attack: [],
    time: '2026-01-31T08:15:30.000000000Z',
    eventId: null,
    tracker: 'exec',
    process: { pid, comm: 'xmrig' },
    container: { id: 'c0ffee', name: 'web', image: 'nginx' },
    startNs: 7,
    actions,
    key: `${pid}`,
    intervalMs: 300_000,
    evidence: null,
    ...fields,
  };
}

function actionsWith(mode: ActionOptions['mode'], given: Partial<ActionOptions> = {}) {
  const done: string[] = [];
  const book = new AlertBook();
  const actions = new RuleActions({
    book,
    mode,
    evidence: null,
    after: { begin: () => undefined },
    responder: {
      signal: ({ pid, startNs }, signal) => Promise.resolve(void done.push(`${signal} ${pid} ${startNs}`)),
      container: (id, action) => Promise.resolve(void done.push(`${action} ${id}`)),
    },
    log: createLog('silent'),
    ...given,
  });
  const told = () => [...book.newest()].reverse().flatMap(({ history }) => history.map(({ comment }) => comment));
  return { actions, book, done, told };
}

const kill: Action = { kind: 'kill', signal: 'SIGKILL' };

it('act once on an alert, and tell it in its history', async () => {
  const { actions, book, done, told } = actionsWith('on');
  const alert = alertWith([kill, { kind: 'pause' }, { kind: 'stop' }], { eventId: 'event:s:7' });
  for (let i = 0; i < 3; i++) actions.raise(alert, noSession);
  const { pid } = alert.process as { pid: number };
  await until('all is told', () => told().length === 3);
  expect(done.sort()).toEqual([`SIGKILL ${pid} 7`, 'pause c0ffee', 'stop c0ffee']);
  expect(told().sort()).toEqual([
    `kill: sent SIGKILL to process ${pid} (xmrig)`,
    'pause: paused container web',
    'stop: stopped container web',
  ]);
  expect([...book.newest()][0]).toMatchObject({
    count: 3,
    eventId: 'event:s:7',
    state: 'OPEN',
    history: [{ action: 'ACTED', by: 'rule:miner' }, {}, {}],
  });
});

it('of one that is raised again after somebody has resolved it are for what happened then', async () => {
  const { actions, book, done } = actionsWith('on');
  const first = alertWith([kill], { key: 'k', process: { pid: 11, comm: 'one' }, startNs: 1 });
  const second = alertWith([kill], { key: 'k', process: { pid: 22, comm: 'two' }, startNs: 2, message: 'again' });
  const repeat = () => actions.raise({ ...first, evidence: null }, noSession, () => second);
  actions.raise(first, noSession);
  repeat();
  await until('the first one is killed', () => done.length === 1);
  const [alert] = [...book.newest()];
  if (!alert) throw new Error('there is no alert');
  await book.change(alert, 'RESOLVED', 'ada', null);
  repeat();
  await until('the second one is killed', () => done.length === 2);
  expect(done).toEqual(['SIGKILL 11 1', 'SIGKILL 22 2']);
  expect([...book.newest()].map(({ message, process, count }) => [message, process?.pid, count])).toEqual([
    ['again', 22, 1],
    ['it runs', 11, 2],
  ]);
});

it('a storm of repetitions of one alert is counted as each of them would be, also over its end and while it is silenced', async () => {
  const { actions, book } = actionsWith('off');
  const first = alertWith([], { key: 'k' });
  const repeated = { ...first, evidence: null };
  const storm = (): void => {
    for (let i = 0; i < 100; i++) actions.raise(repeated, noSession, () => first);
  };
  actions.raise(first, noSession);
  storm();
  const [one] = [...book.newest()];
  if (!one) throw new Error('there is no alert');
  await book.change(one, 'ACKNOWLEDGED', 'ada', null);
  storm();
  expect(one.count).toBe(201);
  await book.change(one, 'RESOLVED', 'ada', null);
  storm();
  const until = new Date(Date.now() + 60_000).toISOString();
  const nothing = { source: null, container: null, image: null, severityAtMost: null, key: null };
  const silence = await book.addSilence({ ...nothing, rule: 'miner', reason: 'r', by: 'ada', until });
  const [two] = [...book.newest()];
  if (two) await book.change(two, 'RESOLVED', 'ada', null);
  storm();
  await book.endSilence(silence, 'ada');
  storm();
  expect([...book.newest()].map(({ count, silencedBy }) => [count, silencedBy !== null])).toEqual([
    [100, false],
    [100, true],
    [100, false],
    [201, false],
  ]);
  expect(book.counts()).toMatchObject([{ raised: 501, alerts: 4, silenced: 1, suppressed: 0 }]);
});

it('only tell what they would do in a dry run, and do nothing where they are off', async () => {
  const dry = actionsWith('dry-run');
  dry.actions.raise(alertWith([kill, { kind: 'stop' }], { process: { pid: 5, comm: 'x' } }), noSession);
  await until('all is told', () => dry.told().length === 2);
  expect(dry.told()).toEqual([
    'kill: dry run: would send SIGKILL to process 5 (x)',
    'stop: dry run: would stop container web',
  ]);
  const off = actionsWith('off');
  off.actions.raise(alertWith([kill, { kind: 'stop' }]), noSession);
  await new Promise(setImmediate);
  expect([...dry.done, ...off.done, ...off.told()]).toEqual([]);
  expect([off, dry].map(({ actions }) => actions.problemOf(kill) !== null)).toEqual([true, true]);
});

it('leave silenced alerts alone', async () => {
  const { actions, book, done } = actionsWith('on');
  const match = { rule: 'miner', source: null, container: null, image: null, key: null, severityAtMost: null };
  await book.addSilence({ ...match, reason: 'a test', by: 'ada', until: '2099-01-01T00:00:00Z' });
  actions.raise(alertWith([kill]), noSession);
  await new Promise(setImmediate);
  expect(done).toEqual([]);
});

it('tell what failed, and that there were too many', async () => {
  const { actions, told } = actionsWith('on', {
    responder: {
      signal: () => Promise.reject(new Error('the process has ended')),
      container: () => Promise.resolve(),
    },
  });
  actions.raise(alertWith([{ kind: 'pause' }], { container: null }), noSession);
  for (let i = 0; i < 100; i++) actions.raise(alertWith([kill], { rule: `rule-${i % 5}` }), noSession);
  await until('all is told', () => told().length === 101);
  const count = (text: string): number => told().filter((each) => each === text).length;
  expect(count('pause: failed: the process is in no container')).toBe(1);
  expect(count('kill: failed: the process has ended')).toBe(60);
  expect(count('kill: not done: 60 a minute are the most of all rules')).toBe(40);
  expect((['taken', 'failed', 'skipped'] as const).map((result) => actions.countOf(result))).toEqual([0, 61, 40]);
});

it('of a rule in a storm leave those of other rules their part', async () => {
  const { actions, done, told } = actionsWith('on');
  for (let i = 0; i < 200; i++) actions.raise(alertWith([kill], { rule: 'storm' }), noSession);
  actions.raise(alertWith([kill], { rule: 'other', process: { pid: 9, comm: 'x' } }), noSession);
  await until('what is taken is done', () => done.length >= 21);
  expect(done).toHaveLength(21);
  expect(done).toContain('SIGKILL 9 7');
  expect(told()).toContain('kill: not done: 20 a minute are the most of one rule');
});

it('wait for an engine that hangs with nothing but what is asked of it', async () => {
  const { actions, done, told } = actionsWith('on', {
    responder: {
      signal: ({ pid }) => Promise.resolve(void done.push(`${pid}`)),
      container: () => new Promise(() => undefined),
    },
  });
  for (let i = 0; i < 20; i++) actions.raise(alertWith([{ kind: 'stop' }, kill]), noSession);
  await until('all are killed', () => done.length === 20);
  expect(told().filter((each) => each?.startsWith('stop'))).toEqual([]);
});

it('count alerts by rule and container where the rule says so', () => {
  const { actions } = actionsWith('off');
  actions.raise(alertWith([{ kind: 'metric' }]), noSession);
  actions.raise(alertWith([{ kind: 'metric' }], { container: null }), noSession);
  actions.raise(alertWith([]), noSession);
  const samples = actions.metrics().find(({ name }) => name === 'eunomia_rule_alerts_total')?.samples;
  expect(samples).toEqual([
    { labels: { rule: 'miner', container: 'web' }, value: 1 },
    { labels: { rule: 'miner', container: '' }, value: 1 },
  ]);
});

it('send the alert to the webhooks that are named', () => {
  const { actions, book } = actionsWith('off');
  actions.raise(alertWith([{ kind: 'webhook', webhook: 'oncall' }]), noSession);
  actions.raise(alertWith([]), noSession);
  expect([...book.newest()].map(({ webhooks }) => webhooks)).toEqual([null, ['oncall']]);
});
