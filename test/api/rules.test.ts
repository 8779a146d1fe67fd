import { mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { RuleTrialThread } from '../../src/service/rules/trial-thread.js';
import { until } from '../support/until.js';
import { exits } from './updating.js';
import { createFixture, createServer, post, type Fixture, type FixtureOptions, type GraphQLAnswer } from './support.js';

/** The contract of rules, and how they come in force. What they find on a real kernel, test/e2e shows. */

const tokens = { admin: 'secret-of-the-admin', operator: 'secret-of-the-operator', viewer: 'secret-of-the-viewer' };
type Role = keyof typeof tokens;

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface AlertFacts {
  readonly message: string;
  readonly time: string;
  readonly count: string;
}

class RuleServer {
  readonly fixture: Fixture;
  readonly #server: ApiServer;

  constructor(fixture: Fixture, server: ApiServer) {
    this.fixture = fixture;
    this.#server = server;
  }

  static async open(options: FixtureOptions = {}): Promise<RuleServer> {
    const secrets = Object.entries(tokens).map(([role, secret]) => ({ role: role as Role, secret }));
    const fixture = await createFixture({ ...options, tokens: secrets });
    const made = new RuleServer(fixture, await createServer(fixture.services));
    closing.push(() => made.close());
    return made;
  }

  async close(): Promise<void> {
    await this.fixture.services.rules.close();
    await this.fixture.services.manager.close();
    await this.#server.close();
    await Promise.all([...this.fixture.services.stores.values()].map((store) => store.close()));
  }

  async ask<Data = Record<string, never>>(
    query: string,
    variables: object = {},
    role: Role = 'admin',
  ): Promise<GraphQLAnswer<Data>> {
    return (await post<Data>(this.#server.url, { query, variables }, { authorization: `Bearer ${tokens[role]}` })).json;
  }

  load(name: string, source: string, role: Role = 'admin'): Promise<GraphQLAnswer> {
    return this.ask(
      'mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name source } }',
      { input: { name, source } },
      role,
    );
  }

  async alerts(): Promise<readonly AlertFacts[]> {
    const { data } = await this.ask<{ alerts: { nodes: readonly AlertFacts[] } }>(
      '{ alerts(first: 10000) { nodes { message time count source severity session { id name } } } }',
    );
    return data?.alerts.nodes ?? [];
  }
}

async function folderOf(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-rules-'));
  closing.push(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return folder;
}

const ended = (message: string, more = ''): string => `rules:
  - name: ended
    description: A process ended.
    severity: LOW
    trackers: exit
    condition: 'true'
    message: '${message}'
    key: [bootNs]
    interval: 0s
    throttle: { alerts: 10000, within: 1s }${more}`;

describe('rules of a folder', () => {
  it('raise alerts of what they look for, in a session of their own', async () => {
    const server = await RuleServer.open({ rules: [await folderOf({ 'a.yaml': ended('{process.comm} ended') })] });
    exits(server.fixture, 0, 3);
    await until('three alerts', async () => (await server.alerts()).length === 3);
    const { data } = await server.ask<{ rules: { rules: readonly { id: string }[] } }>(
      '{ rules { problem evaluated comparisons missed sessions { name capture explain { where } } ' +
        'rules { id name description severity enabled problem origin steps { trackers condition pushdowns { inKernel lookedUpBy } } ' +
        'stats { matched alerts repeated suppressed forgotten lastAlertAt } } } }',
    );
    expect(data).toMatchObject({
      rules: {
        problem: null,
        evaluated: '3',
        comparisons: '3',
        missed: '0',
        sessions: [{ name: 'rules', capture: 'DEMANDED' }],
        rules: [
          {
            name: 'ended',
            description: 'A process ended.',
            severity: 'LOW',
            enabled: true,
            problem: null,
            origin: 'DIRECTORY',
            steps: [{ trackers: ['exit'], condition: 'true', pushdowns: [{ inKernel: null, lookedUpBy: null }] }],
            stats: { matched: '3', alerts: '3', repeated: '0', suppressed: '0', forgotten: '0' },
          },
        ],
      },
    });
    const id = data?.rules.rules[0]?.id ?? '';
    expect(
      await server.ask('query ($id: ID!) { node(id: $id) { ... on Rule { name } } rule(name: "ended") { id } }', {
        id,
      }),
    ).toEqual({
      data: { node: { name: 'ended' }, rule: { id } },
    });
    const [alert] = await server.alerts();
    expect(alert).toMatchObject({ source: 'rule:ended', session: { name: 'rules' }, count: '1' });
  });

  it('are read again when a file changes, comes and goes; what does not compile changes nothing', async () => {
    const folder = await folderOf({ 'a.yaml': ended('one') });
    const server = await RuleServer.open({ rules: [folder] });
    const facts = async (): Promise<{ problem: string | null; names: string[] }> => {
      const { data } = await server.ask<{ rules: { problem: string | null; rules: { name: string }[] } }>(
        '{ rules { problem rules { name } } }',
      );
      return { problem: data?.rules.problem ?? null, names: data?.rules.rules.map(({ name }) => name) ?? [] };
    };
    await writeFile(join(folder, 'b.yaml'), ended('two').replace('name: ended', 'name: other'));
    await until('both are there', async () => (await facts()).names.join() === 'ended,other');
    await writeFile(join(folder, 'a.yaml'), ended('one').replace('exit', 'exot'));
    await until('the mistake is told', async () => (await facts()).problem !== null);
    expect(await facts()).toEqual({
      problem: expect.stringMatching(/a\.yaml:5:15: rules\[0\]\.trackers\[0\]: .*did you mean "exit"/) as string,
      names: ['ended', 'other'],
    });
    await rm(join(folder, 'a.yaml'));
    await until('one is left', async () => (await facts()).names.join() === 'other');
    expect((await facts()).problem).toBeNull();
    await rm(join(folder, 'b.yaml'));
    await until('no session is left', async () => server.fixture.services.manager.list().length === 0);
  });

  it('are read again when the folder is a link that leads elsewhere from now on', async () => {
    const [one, two, links] = [
      await folderOf({ 'a.yaml': ended('one') }),
      await folderOf({ 'a.yaml': ended('two').replace('name: ended', 'name: other') }),
      await folderOf({}),
    ];
    const link = join(links, 'rules');
    await symlink(one, link);
    const server = await RuleServer.open({ rules: [link] });
    await symlink(two, `${link}.new`);
    await rename(`${link}.new`, link);
    await until(
      'the other one is there',
      () => server.fixture.services.rules.rules[0]?.rule.definition.name === 'other',
    );
  });

  it('keep what they have learned over a restart, a change of their condition, and while they are away', async () => {
    const dataDirectory = await folderOf({});
    const learning = (condition: string): string =>
      ended('new').replace("'true'", condition).replace('key: [bootNs]', 'key: [process.comm]') +
      '\n    firstSeen: { values: [process.comm], for: [], learn: 0s }';
    const first = await RuleServer.open({ dataDirectory });
    await first.load('mine', learning("'true'"));
    exits(first.fixture, 0, 1);
    await until('an alert', async () => (await first.alerts()).length === 1);
    await first.load('mine', learning('process.uid >= 0'));
    exits(first.fixture, 1, 1);
    await first.load('mine', ended('none').replace('name: ended', 'name: away'));
    closing.pop();
    await first.close();

    const second = await RuleServer.open({ dataDirectory });
    await second.load('mine', learning("'true'"));
    exits(second.fixture, 2, 1);
    await until('it is evaluated', async () => {
      const { data } = await second.ask<{ rules: { evaluated: string } }>('{ rules { evaluated } }');
      return data?.rules.evaluated === '1';
    });
    expect(await second.alerts()).toEqual([]);
  });

  it('learn anew where they look for something else', async () => {
    const dataDirectory = await folderOf({});
    const learning = (value: string): string =>
      ended(value).replace('key: [bootNs]', `key: [${value}]`) +
      `\n    firstSeen: { values: [${value}], for: [], learn: 1h }`;
    const server = await RuleServer.open({ dataDirectory });
    const learned = (): readonly object[] => [
      ...(server.fixture.services.rules.runner.engine.learned().get('ended')?.book.stored() ?? []),
    ];
    await server.load('mine', learning('process.comm'));
    exits(server.fixture, 0, 1);
    await until('it has learned', () => learned().length === 1);
    await server.load('mine', learning('process.uid'));
    expect(learned()).toEqual([]);
  });

  it('that do not compile keep the server from starting', async () => {
    const folder = await folderOf({ 'a.yaml': ended('{nothing}') });
    await expect(createFixture({ rules: [folder] })).rejects.toMatchObject({ code: 'BAD_RULES' });
    await expect(createFixture({ rules: [join(folder, 'no')] })).rejects.toThrow(
      /^--rules \S+: cannot be read: ENOENT/,
    );
  });

  it('that need a tracker which cannot run here say so, and the others run', async () => {
    const tcp = ended('x').replace('name: ended', 'name: connected').replace('exit', 'tcp');
    const server = await RuleServer.open({ rules: [await folderOf({ 'a.yaml': ended('x'), 'b.yaml': tcp })] });
    const { data } = await server.ask('{ rules { problem rules { name problem } } }');
    expect(data).toEqual({
      rules: {
        problem: null,
        rules: [
          { name: 'connected', problem: 'the tracker tcp cannot run here: no tp_btf/inet_sock_set_state' },
          { name: 'ended', problem: null },
        ],
      },
    });
    exits(server.fixture, 0, 1);
    await until('an alert', async () => (await server.alerts()).length === 1);
  });
});

describe('rules that are sent', () => {
  it.each(['viewer', 'operator'] as const)('are not taken of the role %s', async (role) => {
    const server = await RuleServer.open();
    const { errors } = await server.load('mine', ended('x'), role);
    expect(errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
    expect(await server.ask('mutation { unloadRules(name: "mine") }', {}, role)).toMatchObject({
      errors: [{ extensions: { code: 'FORBIDDEN' } }],
    });
  });

  it.each<[string, string, string]>([
    ['a name that is none', 'My rules', 'input.name: "My rules" is no name; give up to 64 lower-case letters'],
    ['no name', '', 'input.name: "" is no name'],
  ])('are refused for %s', async (_what, name, problem) => {
    const server = await RuleServer.open();
    const { errors } = await server.load(name, ended('x'));
    expect(errors?.[0]?.message).toContain(problem);
  });

  it('are refused with all that is wrong, and change nothing then', async () => {
    const server = await RuleServer.open();
    expect(await server.load('mine', ended('one'))).toEqual({
      data: { loadRules: { name: 'mine', source: ended('one') } },
    });
    const { errors } = await server.load('mine', ended('{pid}').replace('LOW', 'low'));
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'BAD_RULES', line: 4, column: 15 } });
    const { data } = await server.ask('{ rules { uploads { name source } rules { origin file } } }');
    expect(data).toEqual({
      rules: { uploads: [{ name: 'mine', source: ended('one') }], rules: [{ origin: 'UPLOAD', file: 'mine' }] },
    });
  });

  it('are checked without being loaded', async () => {
    const server = await RuleServer.open();
    const check = (source: string, role: Role = 'operator'): Promise<GraphQLAnswer> =>
      server.ask(
        'query ($input: LoadRulesInput!) { checkRules(input: $input) { valid problem rules { name steps { condition } } } }',
        { input: { name: 'mine', source } },
        role,
      );
    expect(await check(ended('x'))).toEqual({
      data: { checkRules: { valid: true, problem: null, rules: [{ name: 'ended', steps: [{ condition: 'true' }] }] } },
    });
    expect(await check(ended('{x}'))).toMatchObject({ data: { checkRules: { valid: false, rules: [] } } });
    expect(await check(ended('x'), 'viewer')).toMatchObject({
      errors: [
        { message: expect.stringMatching(/^checkRules needs the role operator/), extensions: { code: 'FORBIDDEN' } },
      ],
    });
    expect(server.fixture.services.rules.rules).toEqual([]);
  });

  it('outlive the server, and are taken back by name', async () => {
    const dataDirectory = await folderOf({});
    const first = await RuleServer.open({ dataDirectory });
    await first.load('mine', ended('kept'));
    closing.pop();
    await first.close();

    const second = await RuleServer.open({ dataDirectory });
    exits(second.fixture, 0, 1);
    await until('an alert', async () => (await second.alerts()).some(({ message }) => message === 'kept'));
    expect(await second.ask('mutation { unloadRules(name: "mine") }')).toEqual({ data: { unloadRules: 'mine' } });
    expect(await second.ask('mutation { unloadRules(name: "mine") }')).toMatchObject({
      errors: [{ message: expect.stringContaining('no rules were sent as "mine"; there are none') as string }],
    });
    closing.pop();
    await second.close();

    const third = await RuleServer.open({ dataDirectory });
    expect(third.fixture.services.rules.rules).toEqual([]);
  });

  it('and that do not compile beside the folders of now do not keep the server from starting', async () => {
    const dataDirectory = await folderOf({});
    const first = await RuleServer.open({ dataDirectory });
    await first.load('mine', ended('kept'));
    closing.pop();
    await first.close();
    const second = await RuleServer.open({ dataDirectory, rules: [await folderOf({ 'a.yaml': ended('folder') })] });
    const { data } = await second.ask('{ rules { problem rules { file } } }');
    expect(data).toMatchObject({ rules: { problem: expect.stringContaining('"ended" is there already') as string } });
    expect(await second.ask('mutation { unloadRules(name: "mine") }')).toEqual({ data: { unloadRules: 'mine' } });
    expect(await second.ask('{ rules { problem } }')).toEqual({ data: { rules: { problem: null } } });
  });
});

describe('a rule that fires on each event', () => {
  it('is throttled and counted, keeps so much and no more, and leaves other rules alone', async () => {
    const server = await RuleServer.open();
    const storm = (name: string, more: string): string => `
  - name: ${name}
    description: A process ended.
    severity: LOW
    trackers: exit
    condition: 'true'
    message: '{process.pid} ended'
    ${more}`;
    const rules = [
      storm('storm', 'key: [bootNs]\n    interval: 0s'),
      storm('alike', 'key: []\n    interval: 1h'),
      storm('rate', 'key: []\n    rate: { count: 2, within: 1h, by: [bootNs] }'),
      storm('first', 'key: []\n    firstSeen: { values: [process.comm], for: [bootNs], learn: 1h }'),
      storm('calm', 'key: []').replace("'true'", 'process.pid == 22222'),
    ];
    expect((await server.load('mine', `rules:${rules.join('')}`)).errors).toBeUndefined();
    const events = 40_000;
    type Counted = {
      rules: { missed: string; evaluated: string; rules: { name: string; stats: Record<string, string> }[] };
    };
    const counted = async (): Promise<Counted['rules']> => {
      const { data } = await server.ask<Counted>(
        '{ rules { missed evaluated rules { name stats { matched alerts repeated suppressed forgotten } } } }',
      );
      if (!data) throw new Error('no rules are told of');
      return data.rules;
    };
    for (let sent = 0; sent < events; sent += 5000) {
      exits(server.fixture, sent, 5000);
      await until('they are evaluated', async () => Number((await counted()).evaluated) >= sent + 5000);
    }
    const { missed, rules: all } = await counted();
    expect(missed).toBe('0');
    const zero = { repeated: '0', suppressed: '0', forgotten: '0' };
    const matched = String(events);
    expect(Object.fromEntries(all.map(({ name, stats }) => [name, stats]))).toEqual({
      storm: { ...zero, matched, alerts: '60', suppressed: String(events - 60) },
      alike: { ...zero, matched, alerts: '1', repeated: String(events - 1) },
      rate: { ...zero, matched, alerts: '0', forgotten: String(events - 10_000) },
      first: { ...zero, matched, alerts: '0', forgotten: String(events - 500) },
      calm: { ...zero, matched: '1', alerts: '1' },
    });
    const alerts = await server.alerts();
    expect(alerts).toHaveLength(62);
    expect(alerts.map(({ count }) => count)).toContain(matched);
  }, 60_000);
});

describe('a change of rules', () => {
  it('evaluates each event once, by the rules before or by those after', async () => {
    const server = await RuleServer.open();
    await server.load('mine', ended('0'));
    let sent = 0;
    const timer = setInterval(() => {
      exits(server.fixture, sent, 5);
      sent += 5;
    }, 3);
    const other = ended('x')
      .replace('name: ended', 'name: exec')
      .replace('exit', 'exec')
      .replace("'true'", 'process.uid == 7');
    for (let version = 1; version <= 12; version++) {
      // Every third change needs another tracker, which comes with a session of its own, and goes again.
      const more = version % 3 === 0 ? other.slice('rules:'.length) : '';
      const { errors } = await server.load('mine', `${ended(String(version))}${more}`);
      expect(errors).toBeUndefined();
      await sleep(20);
    }
    clearInterval(timer);
    await until('all are evaluated', async () => (await server.alerts()).length >= sent);
    await sleep(100);
    const versions = (await server.alerts()).map(({ message }) => Number(message)).reverse();
    expect(versions).toHaveLength(sent);
    expect(new Set(versions).size).toBeGreaterThan(6);
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    expect(await server.ask('{ rules { missed sessions { trackers } } }')).toEqual({
      data: { rules: { missed: '0', sessions: expect.any(Array) as unknown[] } },
    });
  });

  it('that cannot be made leaves the rules before in force', async () => {
    const server = await RuleServer.open({ limits: { sessions: 1 } });
    await server.load('mine', ended('x'));
    const { kernel } = server.fixture;
    kernel.refuse = new Error('no memory');
    const other = ended('x').replace('name: ended', 'name: opened').replace('exit', 'open').slice('rules:'.length);
    await server.load('mine', `${ended('y')}${other}`);
    expect(await server.ask('{ rules { problem } }')).toMatchObject({
      data: { rules: { problem: expect.stringContaining('; the rules before are in force') as string } },
    });
    exits(server.fixture, 0, 2);
    await until('two alerts', async () => (await server.alerts()).length === 2);
    expect((await server.alerts()).map(({ message }) => message)).toEqual(['x', 'x']);
    kernel.refuse = null;
    await until('it is made', async () => {
      const { data } = await server.ask<{ rules: { problem: string | null } }>('{ rules { problem } }');
      return data?.rules.problem === null;
    });
    exits(server.fixture, 2, 1);
    await until('the new one', async () => (await server.alerts()).some(({ message }) => message === 'y'));
  });

  it('of trackers that aggregate in the kernel is one of what is read, and not of their session', async () => {
    const server = await RuleServer.open();
    const counted = ended('x')
      .replace('name: ended', 'name: counted')
      .replace('exit', 'syscount')
      .slice('rules:'.length);
    await server.load('mine', `${ended('1')}${counted}`);
    const sessions = () => server.fixture.services.rules.runner.sessions.map(({ id }) => id);
    const before = sessions();
    expect(before).toHaveLength(2);
    await server.load('mine', `${ended('2')}${counted.replace("'true'", 'process.uid == 7')}`);
    expect(sessions()).toEqual(before);
    expect(await server.ask('{ rules { problem } }')).toEqual({ data: { rules: { problem: null } } });
  });

  it('which read what an option sets have it set, in a session beside the one before', async () => {
    const server = await RuleServer.open();
    const counted = (condition: string): string =>
      ended('x').replace('exit', 'syscount').replace("'true'", `'${condition}'`);
    const options = () =>
      server.fixture.services.rules.runner.sessions.map(({ spec }) => spec.trackers[0]?.options['arguments']);
    await server.load('mine', counted('count > 1'));
    expect(options()).toEqual([false]);
    await server.load('mine', counted('argument == 16'));
    expect(options()).toEqual([true]);
    // What is counted apart serves those, too, who do not ask.
    const before = server.fixture.services.rules.runner.sessions;
    await server.load('mine', counted('count > 2'));
    expect(server.fixture.services.rules.runner.sessions).toEqual(before);
    expect(await server.ask('{ rules { problem } }')).toEqual({ data: { rules: { problem: null } } });
  });

  it('is refused to others in their session, which is made again when it ends', async () => {
    const server = await RuleServer.open();
    await server.load('mine', ended('x'));
    const { data } = await server.ask<{ rules: { sessions: { id: string }[] } }>('{ rules { sessions { id } } }');
    const [session] = data?.rules.sessions ?? [];
    for (const mutation of [
      'stopSession(id: $id) { id }',
      'removeSession(id: $id)',
      'updateSession(id: $id, input: { name: "x" }) { id }',
    ])
      expect(await server.ask(`mutation ($id: ID!) { ${mutation} }`, session)).toMatchObject({
        errors: [{ extensions: { code: 'SESSION_OF_RULES' } }],
      });
    await server.fixture.services.manager.stop(session?.id ?? '');
    await until('the problem is told', async () => {
      const { data: now } = await server.ask<{ rule: { problem: string | null } }>(
        '{ rule(name: "ended") { problem } }',
      );
      return now?.rule.problem === 'the session of the rules was stopped';
    });
    await until('another one runs', () => server.fixture.services.rules.runner.sessions.length === 1);
    exits(server.fixture, 0, 1);
    await until('an alert', async () => (await server.alerts()).length === 1);
    expect(await server.ask('{ rule(name: "ended") { problem } }')).toEqual({ data: { rule: { problem: null } } });
  });
});

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
      'mine.test.yaml:5:37: tests[0].events[0].process.pdi: there is no such setting; did you mean "pid" or "ppid"',
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

  it('that take too long are ended, and hold up nobody', async () => {
    const thread = new RuleTrialThread('server/rule-trial/worker', 300);
    closing.push(() => thread.end());
    const ask = (text: string) =>
      thread.test(
        { rules: [{ name: 'r.yaml', text: ended('x') }], tests: { name: 't', text }, rule: null, webhooks: [] },
        new AbortController().signal,
      );
    const long = `tests: [{ name: t, events: [${'{ tracker: exit }, '.repeat(10_000)}], alerts: [] }]`;
    await expect(ask(long)).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
      message: 'the thread that runs tests of rules was ended after 0.3 s; ask for less',
    });
  });
});
