import { describe, expect, it } from 'vitest';
import { RuleTrialThreads } from '../../src/service/rules/trial-threads.js';
import { until } from '../support/until.js';
import { closing, ended, folderOf, RuleServer, type Role } from './rule-server.js';

/** The contract of tests of rules that a server runs for clients. */

describe('tests of rules', () => {
  const QUERY =
    'query ($input: TestRulesInput!) { testRules(input: $input) { valid problem passed failed untested ' +
    'tests { name line passed rules events problems alerts { rule severity message times event } } } }';
  interface Run {
    readonly testRules: {
      readonly valid: boolean;
      readonly problem: string | null;
      readonly passed: number;
      readonly failed: number;
      readonly tests: readonly { readonly problems: readonly string[] }[];
    };
  }
  const test = (server: RuleServer, input: object, role: Role = 'operator') =>
    server.ask<Run>(QUERY, { input: { name: 'mine', ...input } }, role);
  const other = ended('x').replace('name: ended', 'name: other').replace("'true'", 'process.pid == 9');
  const tests = (alerts: string, more = ''): string => `tests:
  - name: a process that ends
    rules: [ended]
    events:
      - { tracker: exit, process: { pid: 7, comm: sh } }
      - { after: 1s, tracker: exit, process: { pid: 8, comm: sh } }
    alerts: ${alerts}${more}
`;

  it('pass and fail as those of the command line, beside the rules that there are, and load nothing', async () => {
    const server = await RuleServer.open({ rules: [await folderOf({ 'a.yaml': other })] });
    const second = `
  - name: of a file of the server
    events: [{ tracker: exit, process: { pid: 9 } }]
    alerts: [{ rule: other }, { rule: ended, message: 'process 9' }]`;
    const rules = ended('{process.comm} {process.pid}');
    const { data } = await test(server, { source: rules, tests: tests('[{ rule: ended, message: sh 7 }]', second) });
    expect(data).toEqual({
      testRules: {
        valid: true,
        problem: null,
        passed: 1,
        failed: 1,
        untested: [],
        tests: [
          {
            name: 'a process that ends',
            line: 2,
            passed: false,
            rules: ['ended'],
            events: 2,
            alerts: [7, 8].map((pid, event) => ({
              rule: 'ended',
              severity: 'LOW',
              message: `sh ${pid}`,
              times: 1,
              event,
            })),
            problems: [
              'mine.test.yaml:6:9: tests[0].events[1]: ended raised an alert that is not expected, for events[1]: sh 8',
            ],
          },
          {
            name: 'of a file of the server',
            line: 8,
            passed: true,
            rules: ['other', 'ended'],
            events: 1,
            alerts: [
              expect.objectContaining({ rule: 'other', message: 'x' }),
              expect.objectContaining({ rule: 'ended', message: 'process 9' }),
            ].sort() as unknown,
            problems: [],
          },
        ],
      },
    });
    expect((await test(server, { source: rules, tests: tests('[]', second), rule: 'other' })).data).toMatchObject({
      testRules: { passed: 1, failed: 0, tests: [{ name: 'of a file of the server' }] },
    });
    const ofServer = tests('[]').replace('rules: [ended]', 'rules: [other]');
    expect((await test(server, { tests: ofServer })).data).toMatchObject({ testRules: { passed: 1, untested: [] } });
    expect((await test(server, { source: rules, tests: ofServer })).data).toMatchObject({
      testRules: { passed: 1, untested: ['ended'] },
    });
    expect(server.fixture.services.rules.rules.map(({ rule }) => rule.definition.name)).toEqual(['other']);
    expect(await server.alerts()).toEqual([]);
  });

  it.each([
    ['rules: [x]', tests('[]'), 'mine (sent):1:9: rules[0]: is to be a mapping'],
    [ended('x'), 'tests: [', 'mine.test.yaml:1:9: '],
    [
      ended('x'),
      tests('[{ rule: endet }]'),
      'mine.test.yaml:7:22: tests[0].alerts[0].rule: there is no rule "endet"; did you mean "ended"?',
    ],
    [
      ended('x'),
      tests('[]').replace('pid: 7', 'pdi: 7'),
      'mine.test.yaml:5:37: tests[0].events[0].process.pdi: there is no such setting; did you mean "pid"',
    ],
    [
      ended('x'),
      'tests: [{ name: t, recording: /etc/passwd, alerts: [] }]',
      'a server reads no recording for a client',
    ],
    [ended('x'), '', 'mine.test.yaml:1:1: tests: there are no tests'],
  ])('that cannot be read are told with their places: %s', async (source, text, problem) => {
    const server = await RuleServer.open();
    const { data } = await test(server, { source, tests: text });
    expect(data?.testRules).toMatchObject({ valid: false, passed: 0, failed: 0, tests: [], untested: [] });
    expect(data?.testRules.problem).toContain(problem);
  });

  it('are for operators, and bounded', async () => {
    const server = await RuleServer.open();
    const refused = async (input: object, role: Role = 'operator') => {
      const { errors = [] } = await test(server, { tests: tests('[]'), ...input }, role);
      return errors.map(({ message, extensions }) => `${String(extensions?.['code'])}: ${message}`).join();
    };
    expect(await refused({}, 'viewer')).toMatch(/^FORBIDDEN: testRules needs the role operator/);
    expect(await refused({ name: 'No' })).toMatch(/^BAD_USER_INPUT: input.name: "No" is no name/);
    expect(await refused({ source: '#'.repeat(300_000) })).toMatch(/^BAD_USER_INPUT: input.source: has 300000 bytes/);
    expect(await refused({ tests: '#'.repeat(300_000) })).toMatch(/^BAD_USER_INPUT: input.tests: has 300000 bytes/);
    expect(await refused({ source: ended('x'), rule: 'endet' })).toMatch(
      /^BAD_USER_INPUT: rule: there is no rule "endet"; did you mean "ended"\?/,
    );
    const events = '{ tracker: exit }, '.repeat(10_000);
    const many = `tests: [{ name: t, events: [${events}], alerts: [] }]`;
    expect(await refused({ source: ended('x'.repeat(200)), tests: many })).toMatch(
      /^LIMIT_EXCEEDED: what these tests raised is more than 1048576 bytes, up to "t"/,
    );
  });

  const LONG = `tests: [{ name: t, events: [${'{ tracker: exit }, '.repeat(10_000)}], alerts: [] }]`;

  it('that take too long are ended, and those of others do not wait for them', async () => {
    const threads = new RuleTrialThreads('server/rule-trial/worker', { shortMs: 300, mostMs: 1000 });
    closing.push(() => threads.end());
    const ask = (text: string, connection: object) =>
      threads.test(
        { rules: [{ name: 'r.yaml', text: ended('x') }], tests: { name: 't', text }, rule: null, webhooks: [] },
        { connection, signal: new AbortController().signal },
      );
    const [busy, other] = [{}, {}];
    const done: string[] = [];
    const longs = [1, 2].map(async (i) => {
      await expect(ask(LONG, busy)).rejects.toMatchObject({
        code: 'LIMIT_EXCEEDED',
        message: 'the thread that runs tests of rules was ended after 1 s; ask for less',
      });
      done.push(`long ${i}`);
    });
    const short = ask('tests: [{ name: t, events: [{ tracker: exit }], alerts: [{ rule: ended }] }]', other);
    await expect(short).resolves.toMatchObject({ tests: [{ problems: [] }] });
    done.push('short');
    await Promise.all(longs);
    expect(done).toEqual(['short', 'long 1', 'long 2']);
  });

  it('that run when the server ends are told so', async () => {
    const server = await RuleServer.open();
    const asked = test(server, { source: ended('x'), tests: LONG });
    await until('it runs', () => server.fixture.services.ruleTrials.isStarted);
    await server.end();
    const { errors = [] } = await asked;
    expect(errors.map(({ message, extensions }) => `${String(extensions?.['code'])}: ${message}`)).toEqual([
      'SHUTTING_DOWN: the server ends: the thread that runs tests of rules is gone',
    ]);
  });
});
