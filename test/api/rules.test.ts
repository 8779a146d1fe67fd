import { rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { exits } from './updating.js';
import { closing, ended, folderOf, RuleServer, type Role } from './rule-server.js';
import { createFixture, type GraphQLAnswer } from './support.js';

/** The contract of rules, and how they come in force. What they find on a real kernel, test/e2e shows. */

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

  it('change while more events wait than their session holds: each is evaluated once', async () => {
    const server = await RuleServer.open();
    const counting = ended('x').replace('name: ended', 'name: counting').replace('interval: 0s', 'interval: 1h');
    await server.load('counting', counting.replace('[bootNs]', '[tracker]'));
    await server.load('mine', ended('one'));
    const [all, part] = [150_000, 5000];
    for (let i = 0; i < all; i += part) exits(server.fixture, i, part);
    const [session] = server.fixture.services.rules.runner.sessions;
    await until('its session holds no more', () => (session?.oldestSeq ?? 0) > 0);
    await server.load('mine', ended('two'));
    const told = async () => {
      const { data } = await server.ask<{ rule: { stats: { matched: string } }; rules: { missed: string } }>(
        '{ rule(name: "counting") { stats { matched } } rules { missed } }',
      );
      return { matched: Number(data?.rule.stats.matched), missed: Number(data?.rules.missed) };
    };
    await until('all are evaluated', async () => {
      const { matched, missed } = await told();
      return matched + missed >= all;
    });
    expect(await told()).toEqual({ matched: all, missed: 0 });
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

  it('which read what an option sets have it set in a session beside, as long as there are such', async () => {
    const server = await RuleServer.open();
    const counted = (condition: string, name = 'ended'): string =>
      ended('x')
        .replace('exit', 'syscount')
        .replace("'true'", `'${condition}'`)
        .replace('name: ended', `name: ${name}`);
    const sessions = () => server.fixture.services.rules.runner.sessions;
    const options = () => sessions().map(({ spec }) => spec.trackers[0]?.options['arguments']);
    await server.load('mine', counted('count > 1'));
    expect(options()).toEqual([false]);
    const [usual] = sessions();
    await server.load('other', counted('argument == 16', 'other'));
    expect(options()).toEqual([false, true]);
    const [, apart] = sessions();
    await server.load('mine', counted('count > 2'));
    expect(sessions()).toEqual([usual, apart]);
    await server.ask('mutation { unloadRules(name: "other") }');
    expect(sessions()).toEqual([usual]);
    expect(server.fixture.services.manager.list()).toHaveLength(1);
    await server.load('mine', counted('argument == 2'));
    expect(options()).toEqual([true]);
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
