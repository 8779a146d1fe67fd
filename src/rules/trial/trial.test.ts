import { describe, expect, it } from 'vitest';
import { createRuleContext } from '../../server/rule-test.js';
import { compileRules } from '../compile.js';
import { readTests, runTest, type TestOutcome } from './index.js';

const context = await createRuleContext();

const rule = (name: string, more: string): string => `
  - name: ${name}
    description: d
    severity: LOW
    message: '{process.comm} {process.pid} {container.name}'
    ${more.trim().split('\n').join('\n    ')}`;
const exec = rule('every-exec', `trackers: exec\ncondition: 'true'`);
const set = (rules: string) => compileRules([{ name: 'r.yaml', text: `rules:${rules}` }], context);

async function outcomesOf(rules: string, tests: string): Promise<readonly TestOutcome[]> {
  const compiled = set(rules);
  const read = readTests({ name: 'r.test.yaml', text: tests }, compiled, context);
  return Promise.all(read.map((test) => runTest(test, compiled, context)));
}

/** The problems of the only test, which has these events and alerts. */
async function problemsOf(rules: string, events: readonly string[], alerts: string, more = ''): Promise<string> {
  const list = events.map((event) => `\n      - { ${event} }`).join('');
  const [outcome] = await outcomesOf(
    rules,
    `tests:\n  - name: t\n    alerts: ${alerts}\n    ${more}\n    events:${list}`,
  );
  return outcome?.problems.join('\n') ?? 'no outcome';
}

describe('a test of rules', () => {
  it('passes when exactly the expected alerts are raised', async () => {
    const events = ['tracker: exec, process: { pid: 7, comm: sh }', 'tracker: exec, process: { pid: 7 }'];
    const alert = 'rule: every-exec, message: sh 7 ?, severity: LOW, process: { pid: 7, comm: sh }, container: null';
    expect(await problemsOf(exec, events, `[{ ${alert}, times: 2 }]`)).toBe('');
    expect(await problemsOf(exec, events, `[{ ${alert} }]`)).toBe(
      'r.test.yaml:3:14: tests[0].alerts[0]: the alert of every-exec for events[0] has times 2, not 1',
    );
    expect(await problemsOf(exec, events, '[]')).toBe(
      'r.test.yaml:6:9: tests[0].events[0]: every-exec raised an alert that is not expected, for events[0], 2 times: sh 7 ?',
    );
    expect(await problemsOf(exec, events, `[{ ${alert}, times: 2 }, { rule: every-exec }]`)).toContain(
      'alerts[1]: every-exec raised no such alert; its condition matches events[0] and events[1]; its alerts are combined',
    );
  });

  it('leaves alerts to those expected that say more', async () => {
    const events = ['tracker: exec, process: { pid: 7 }', 'tracker: exec, process: { pid: 8 }'];
    const [any, seven] = ['{ rule: every-exec }', '{ rule: every-exec, process: { pid: 7 } }'];
    expect(await problemsOf(exec, events, `[${any}, ${seven}]`)).toBe('');
    expect(await problemsOf(exec, events, `[${seven}, ${any}]`)).toBe('');
  });

  it('finds an alert for each of a thousand that say the same, and for those that say more', async () => {
    const rules = exec.replace(
      'severity: LOW',
      'severity: LOW\n    interval: 0s\n    throttle: { alerts: 10000, within: 1h }',
    );
    const events = Array.from({ length: 5000 }, (_, i) => `tracker: exec, process: { pid: ${i % 2 ? 7 : 10 + i} }`);
    const seven = '{ rule: every-exec, process: { pid: 7 } }';
    const any = '{ rule: every-exec }';
    const alerts = [...Array<string>(400).fill(any), ...Array<string>(600).fill(seven)];
    const told = await problemsOf(rules, events, `[${alerts.join(', ')}]`);
    expect(told.split('\n')).toHaveLength(4000);
    expect(told).not.toContain('raised no such alert');
    const fewer = events.slice(0, 1300);
    const lacking = await problemsOf(rules, fewer, `[${alerts.join(', ')}]`);
    expect(lacking.split('\n')).toHaveLength(300);
    const short = await problemsOf(rules, fewer.slice(0, 900), `[${alerts.join(', ')}]`);
    // 450 of pid 7; all others are for those that say nothing of it, and 50 of these are left.
    expect(short.split('\n').filter((line) => line.includes('process.pid'))).toHaveLength(50);
    expect(short.split('\n').filter((line) => line.includes('raised no such alert'))).toHaveLength(100);
  });

  it('tells what of the condition does not hold for the event that comes nearest', async () => {
    const rules = rule('r', `trackers: open\ncondition: process.uid == 0 && path.startsWith("/etc/") && fd == null`);
    const near = 'tracker: open, path: /etc/passwd, process: { uid: 7 }';
    expect(await problemsOf(rules, ['tracker: open, path: /tmp/x, process: { uid: 7 }', near], '[{ rule: r }]')).toBe(
      'r.test.yaml:3:14: tests[0].alerts[0]: r raised no such alert; its condition matches none of the events: ' +
        'of events[1] (open), `process.uid == 0` is false',
    );
    expect(await problemsOf(rules, ['tracker: exec'], '[{ rule: r }]')).toContain('none of them is of open');
  });

  it.each([
    [
      'sequence: { within: 5s, by: process, steps: [{ trackers: exec, condition: "true" }, { trackers: exit, condition: "true" }] }',
      ['tracker: exec, process: { pid: 1 }', 'tracker: exit, process: { pid: 2 }'],
      'step 1 matches events[0] and step 2 matches events[1], but not in this order within 5s in one process',
    ],
    [
      'sequence: { within: 5s, by: tree, steps: [{ trackers: exec, condition: "true" }, { trackers: exit, condition: "true" }] }',
      ['tracker: exec'],
      'step 2 of its sequence matches none of the events: none of them is of exit',
    ],
    [
      'trackers: exec\ncondition: "true"\nrate: { count: 3, within: 5s, by: [process.pid] }',
      ['tracker: exec', 'tracker: exec', 'tracker: exec'],
      'matches events[0], events[1] and events[2], but there are never 3 events of the same process.pid within 5s',
    ],
    [
      'trackers: exec\ncondition: "true"\nabsence: { trackers: exit, condition: "true", within: 5s, by: process }',
      ['tracker: exec, process: { pid: 1 }', 'tracker: exit, process: { pid: 1 }'],
      'its condition matches events[0]; either it is followed (events[1]), or less than 5s pass: see `for`',
    ],
    [
      'trackers: exec\ncondition: "true"\nfirstSeen: { values: [executable], for: [container.image], learn: 1h }',
      ['tracker: exec'],
      'its condition matches events[0], but the value was seen before, or container.image was not yet watched for 1h',
    ],
  ])('tells why %s raised nothing', async (kind, events, expected) => {
    expect(await problemsOf(rule('r', kind), events, '[{ rule: r }]')).toContain(expected);
  });

  it('lets time pass between events, and after the last one', async () => {
    const rules = rule(
      'no-end',
      `trackers: exec\ncondition: 'true'\nabsence: { trackers: exit, condition: 'true', within: 5s, by: process }`,
    );
    const start = (pid: number) => `tracker: exec, process: { pid: ${pid}, comm: job }`;
    const late = 'after: 6s, tracker: exit, process: { pid: 1 }';
    const one = (pid: number) => `{ rule: no-end, process: { pid: ${pid} } }`;
    expect(await problemsOf(rules, [start(1), late], `[${one(1)}]`)).toBe('');
    expect(await problemsOf(rules, [start(1), start(2), late], `[${one(1)}, ${one(2)}]`)).toBe('');
    expect(await problemsOf(rules, [start(1)], '[]', 'for: 5s')).toBe('');
    expect(await problemsOf(rules, [start(1)], `[${one(1)}]`, 'for: 5001ms')).toBe('');
    expect(await problemsOf(rules, [start(1), start(2)], '[]', 'for: 6s')).toContain('for events[1]: job 2');
  });

  it('evaluates the rules that it names, whether they are enabled or not', async () => {
    const rules = exec + rule('off', `trackers: exec\ncondition: 'true'\nenabled: false`);
    expect(await problemsOf(rules, ['tracker: exec'], '[{ rule: off }]', 'rules: [off]')).toBe('');
    expect(await problemsOf(rules, ['tracker: exec'], '[{ rule: every-exec }]')).toBe('');
  });
});

describe('a written event', () => {
  const alertsOf = async (events: readonly string[], condition: string, trackers = 'exec'): Promise<number> => {
    const list = events.map((event) => `\n      - { ${event} }`).join('');
    const [outcome] = await outcomesOf(
      rule('r', `trackers: ${trackers}\ncondition: '${condition}'\ninterval: 0s`),
      `tests:\n  - name: t\n    alerts: []\n    events:${list}`,
    );
    return outcome?.alerts.length ?? -1;
  };

  it('has what is usual for what is left out', async () => {
    for (const condition of [
      'process.pid == 1001 && process.tid == 1001 && process.ppid == 1 && process.comm == "process"',
      'process.uid == 0 && process.gid == 0 && process.mountNs != null && process.executable == null',
      'container == null && args == null && errno == null && !process.ancestors.exists(p, p.pid > 0)',
      'time == timestamp("2026-01-31T08:15:30Z") && process.startTime == timestamp("2026-01-31T08:14:30Z")',
    ])
      expect([condition, await alertsOf(['tracker: exec'], condition)]).toEqual([condition, 1]);
    // What the schema has no null for.
    expect(await alertsOf(['tracker: exit'], 'coreDumped == false && lifetimeNs == 0', 'exit')).toBe(1);
    expect(await alertsOf(['tracker: exit, lifetimeNs: 7'], 'lifetimeNs == 7', 'exit')).toBe(1);
    const web = 'tracker: exec, container: { name: web, labels: { app: shop } }';
    expect(await alertsOf([web], 'container.name == "web" && container.image == null')).toBe(1);
    expect(await alertsOf([web], 'container.labels["app"] == "shop" && container.id != null')).toBe(1);
  });

  it('is of the process of its pid, with what an event before said of it', async () => {
    const first =
      'tracker: exec, executable: /bin/sh, args: [sh], process: { pid: 7, uid: 5, ancestors: [{ comm: sshd, pid: 5 }] }, ' +
      'container: { name: web }';
    const known =
      'process.uid == 5 && process.comm == "sh" && process.executable == "/bin/sh" && process.parent.pid == 5 && ' +
      'container.name == "web"';
    expect(await alertsOf([first, 'tracker: exit, process: { pid: 7 }'], known, 'exit')).toBe(1);
    expect(await alertsOf([first, 'tracker: exit, container: null, process: { pid: 7 }'], known, 'exit')).toBe(0);
    expect(await alertsOf([first, 'tracker: exit'], known, 'exit')).toBe(0);
    const other = "tracker: exit, process: { pid: 7, startTime: '2026-01-31T08:15:00Z' }";
    expect(await alertsOf([first, other], known, 'exit')).toBe(0);
    const child = 'tracker: exit, process: { pid: 8, ancestors: [{ pid: 7 }] }';
    expect(
      await alertsOf([first, child], 'process.parent.comm == "sh" && process.ancestors.exists(p, p.pid == 5)', 'exit'),
    ).toBe(1);
    expect(await alertsOf([first, child], 'container == null', 'exit')).toBe(1);
    // An exec gives the process another program and name.
    const next = 'tracker: exec, filename: /usr/bin/curl, process: { pid: 7 }';
    expect(await alertsOf([first, next], 'process.comm == "curl" && process.uid == 5')).toBe(1);
    const failed = 'tracker: exec, filename: /usr/bin/curl, errno: ENOENT, process: { pid: 7 }';
    expect(await alertsOf([first, failed], 'process.comm == "sh" && errno == "ENOENT"')).toBe(1);
  });

  it.each([
    ['process', [1, 0, 0, 0]],
    ['tree', [1, 1, 1, 0]],
    ['container', [1, 1, 1, 1]],
  ])('is bound to others by its %s', async (by, expected) => {
    const steps = `[{ trackers: tcp, condition: 'true' }, { trackers: exec, condition: 'true' }]`;
    const rules = rule('r', `sequence: { within: 5s, by: ${by}, steps: ${steps} }`);
    const curl = 'process: { pid: 100, ancestors: [{ pid: 50, comm: sh }, { pid: 1 }] }';
    const others = [
      curl,
      'process: { pid: 101, ancestors: [{ pid: 100 }] }',
      'process: { pid: 102, ancestors: [{ pid: 50 }] }',
      'process: { pid: 103, ancestors: [{ pid: 51 }] }',
    ];
    const found = [];
    for (const other of others) {
      const [outcome] = await outcomesOf(
        rules,
        `tests:\n  - name: t\n    alerts: []\n    events:\n      - { tracker: tcp, ${curl} }\n      - { tracker: exec, ${other} }`,
      );
      found.push(outcome?.alerts.length);
    }
    expect(found).toEqual(expected);
  });
});

describe('the times of written events', () => {
  it.each([
    [
      ['tracker: exec', ...Array<string>(101).fill('tracker: exec, after: 8784h')],
      'events[101].after: the event is more than 100 years after',
    ],
    [
      ['tracker: exec', 'tracker: exec, time: 2126-06-01T00:00:00Z'],
      'events[1].time: the event is more than 100 years after',
    ],
    [
      ['tracker: exec, time: 9999-12-31T23:59:59Z', 'tracker: exec, after: 1s'],
      'events[1].after: the event is not between',
    ],
    [['tracker: exec, time: 9999-12-31T23:59:59Z', 'tracker: exec'], 'events[1]: the event is not between'],
    [
      ['tracker: exec, time: 1970-01-01T00:00:00Z'],
      'events[0].time: the event is not between 1970-01-01T01:00:00Z and',
    ],
  ])('are within what a clock counts: %s', async (events, problem) => {
    await expect(problemsOf(exec, events, '[]')).rejects.toThrow(problem);
  });

  it('may be a hundred years apart', async () => {
    const events = ['tracker: exec, time: 1970-01-01T01:00:00Z', 'tracker: exec, time: 2070-01-01T00:00:00Z'];
    expect(await problemsOf(exec, events, '[{ rule: every-exec }, { rule: every-exec }]')).toBe('');
  });
});

describe('a test file that is wrong', () => {
  const wrongOf = (text: string): string => {
    try {
      readTests({ name: 'r.test.yaml', text }, set(exec), context);
      return '';
    } catch (error) {
      expect(error).toMatchObject({ code: 'BAD_RULES' });
      return (error as Error).message;
    }
  };
  const of = (event: string, more = 'alerts: []'): string =>
    `tests:\n  - name: t\n    ${more}\n    events:\n      - { ${event} }`;

  it.each([
    ['tests: []', 'r.test.yaml:1:8: tests: there are no tests'],
    ['test: []', 'r.test.yaml:1:1: test: there is no such setting; did you mean "tests"'],
    ['tests: [{ name: t, alerts: [] }]', 'is to have `events`, or the `recording`'],
    ['tests: [{ name: t, events: [], alerts: [] }]', 'tests[0].events: is empty; write at least one event'],
    [of('tracker: exec', ''), 'tests[0].alerts: is missing; write the alerts that are to be raised, [] for none'],
    [
      of('tracker: exex'),
      'r.test.yaml:5:20: tests[0].events[0].tracker: tracker: there is no tracker "exex"; did you mean',
    ],
    [
      of('tracker: exec, path: /x'),
      'r.test.yaml:5:26: tests[0].events[0].path: no event of exec has the field "path"; fileio, ',
    ],
    [of('tracker: exec, arg: [sh]'), 'no event of exec has the field "arg"; did you mean "args"'],
    [of('tracker: exec, args: sh'), 'r.test.yaml:5:32: tests[0].events[0].args: is "sh", not a list'],
    [of('tracker: exec, args: [sleep, 5]'), 'r.test.yaml:5:40: tests[0].events[0].args[1]: is 5, not a text'],
    [of('tracker: exec, errno: 2'), 'events[0].errno: is 2, not a text'],
    [of('tracker: tcp, tcpOperation: OPEN'), 'events[0].tcpOperation: is "OPEN", not one of CONNECT'],
    [of('tracker: exec, process: { pid: x }'), 'events[0].process.pid: is "x", not a whole number'],
    [of('tracker: exec, process: { com: x }'), 'events[0].process.com: there is no such setting; did you mean "comm"'],
    [
      of('tracker: exec, process: { ancestors: [{ comm: 7 }] }'),
      'events[0].process.ancestors[0].comm: is 7, not a text',
    ],
    [of('tracker: exec, process: { args: [7] }'), 'process.args: is to be a list of texts, or null'],
    [
      of('tracker: exec, container: { nam: x }'),
      'events[0].container.nam: there is no such setting; did you mean "name"',
    ],
    [of('tracker: exec, container: { labels: { a: 1 } }'), 'container.labels'],
    [of('tracker: exec, bootNs: 7'), 'events[0].bootNs: follows from `after` or `time`'],
    [of('tracker: exec, after: 1 s'), 'events[0].after: is to be a duration from "0s" to "8784h"'],
    [of('tracker: exec, time: today'), 'events[0].time: is to be a time like 2026-01-31T08:15:30.5Z'],
    [
      of("tracker: exec, time: '2026-01-31T08:15:30Z' }\n      - { tracker: exec, time: '2026-01-31T08:15:29Z'"),
      'r.test.yaml:6:32: tests[0].events[1].time: goes back: the event before it is at 2026-01-31T08:15:30.000000000Z',
    ],
    [
      of('tracker: exec', 'alerts: [{ rule: every-exe }]'),
      'alerts[0].rule: there is no rule "every-exe"; did you mean "every-exec"',
    ],
    [of('tracker: exec', 'alerts: [{}]'), 'alerts[0].rule: is missing'],
    [of('tracker: exec', 'alerts: []\n    rules: [x]'), 'rules[0]: there is no rule "x"'],
    [of('tracker: exec', 'alerts: []\n    rules: []'), 'rules: is empty; leave it out'],
    [
      of('tracker: exec', 'alerts: [{ rule: every-exec, times: 0 }]'),
      'alerts[0].times: is to be a whole number from 1',
    ],
    [of('tracker: exec', 'alerts: [{ rule: every-exec, severity: BAD }]'), 'alerts[0].severity: is to be INFO'],
    [of('tracker: exec', 'alerts: []\n    for: 1y'), 'tests[0].for: is to be a duration'],
    [
      'tests: [{ name: t, recording: /no/such, alerts: [] }]',
      'r.test.yaml:1:31: tests[0].recording: there is no recording: ENOENT',
    ],
    ['tests: [{ name: t, recording: /dev, alerts: [] }]', 'tests[0].recording: /dev is no regular file'],
    [
      `${of('tracker: exec')}\n  - name: t\n    alerts: []\n    events: [{ tracker: exec }]`,
      'tests[1].name: "t" is there already',
    ],
  ])('%s', (text, message) => {
    expect(wrongOf(text)).toContain(message);
  });

  it('is told all that is wrong at once', () => {
    const lines = wrongOf(of('tracker: exec, arg: 1 }\n      - { tracker: exex', 'alerts: [{ rule: x }]')).split('\n');
    expect(lines.map((line) => line.split(':').slice(1, 3).join(':'))).toEqual(['3:22', '5:26', '6:20']);
  });
});
