import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createServer, createFixture, post, startedId, type Fixture, type GraphQLAnswer } from './support.js';

/** The contract of plugins and alerts. What plugins do with events, the kernel tests show: they read real records. */

const tokens = {
  admin: 'secret-of-the-admin',
  operator: 'secret-of-the-operator',
  viewer: 'secret-of-the-viewer',
} as const;
const source = (name: string, more = ''): string => `import { definePlugin } from 'eunomia/plugin';
export default definePlugin({ name: '${name}', version: '1.2.3', summary: 'A test.',
  options: { n: { type: 'integer', default: 3, min: 1, description: 'How many.' } },
  reads: { exec: ['args', 'process'] }, where: 'exec.errno == null', ${more} onBatch() {} });`;

let fixture: Fixture;
let server: ApiServer;

beforeEach(async () => {
  fixture = await createFixture({
    tokens: Object.entries(tokens).map(([role, secret]) => ({ role: role as keyof typeof tokens, secret })),
  });
  server = await createServer(fixture.services);
});
afterEach(async () => {
  await fixture.services.manager.close();
  await fixture.services.plugins.close();
  await server.close();
});

async function ask(query: string, variables: object = {}, role: keyof typeof tokens = 'admin'): Promise<GraphQLAnswer> {
  return (await post(server.url, { query, variables }, { authorization: `Bearer ${tokens[role]}` })).json;
}

const LOAD =
  'mutation ($input: LoadPluginInput!) { loadPlugin(input: $input) { name version origin file trackers fields ' +
  'where problem sessions { id } options { name type { name kind list values { name } } default min max description } } }';
const load = (text: string, role: keyof typeof tokens = 'admin', replace = false): Promise<GraphQLAnswer> =>
  ask(LOAD, { input: { file: 'p.ts', source: text, replace } }, role);
const START =
  'mutation ($plugins: [PluginInput!]) { startSession(input: { trackers: [{ exec: {} }], plugins: $plugins }) { ' +
  'id plugins { name version state options problem stats { events dropped } results { nodes { seq value } ' +
  'pageInfo { hasNextPage } } errors { message at count } } } }';

describe('loading a plugin', () => {
  it('tells what it is', async () => {
    expect(await load(source('p'))).toEqual({
      data: {
        loadPlugin: {
          name: 'p',
          version: '1.2.3',
          origin: 'UPLOAD',
          file: 'p.ts',
          trackers: ['exec'],
          where: 'exec.errno == null',
          problem: null,
          sessions: [],
          fields: expect.arrayContaining(['args', 'process.pid']),
          options: [
            {
              name: 'n',
              type: { name: 'Int!', kind: 'INTEGER', list: false, values: null },
              default: 3,
              min: 1,
              max: null,
              description: 'How many.',
            },
          ],
        },
      },
    });
    expect(await ask('{ plugins { name } none: plugins(name: "x") { name } }', {}, 'viewer')).toEqual({
      data: { plugins: [{ name: 'p' }], none: [] },
    });
  });

  it.each(['viewer', 'operator'] as const)('is not for the role %s, also through a fragment', async (role) => {
    const { errors } = await load(source('p'), role);
    expect(errors?.[0]).toMatchObject({
      message: expect.stringMatching(/loadPlugin needs the role admin|mutations need/),
      extensions: { code: 'FORBIDDEN' },
    });
    const hidden = await ask('mutation { ...F } fragment F on Mutation { ... { unloadPlugin(name: "p") } }', {}, role);
    expect(hidden.errors?.[0]?.extensions?.['code']).toBe('FORBIDDEN');
    expect(fixture.services.plugins.list()).toEqual([]);
  });

  it.each([
    ['a syntax error', 'const a =\n= 1;', /p\.ts:2: Unexpected token/],
    ['no plugin', 'export const a = 1;', /p\.ts: has no plugin/],
    [
      'an unknown tracker',
      source('p').replace('exec:', 'exce:'),
      /reads\.exce: there is no tracker "exce"; did you mean "exec"/,
    ],
    ['an unknown field', source('p').replace("'args'", "'arg'"), /no event of exec has the field "arg"/],
    ['something that throws', '\n\nthrow new Error("on load");', /p\.ts:3: Error: on load/],
  ])('with %s is refused', async (_what, text, message) => {
    const { errors } = await load(text);
    expect(errors?.[0]).toMatchObject({ message: expect.stringMatching(message), extensions: { code: 'BAD_PLUGIN' } });
  });

  it('of a name that is there asks for replace', async () => {
    await load(source('p'));
    expect((await load(source('p'))).errors?.[0]).toMatchObject({
      message: expect.stringContaining('replace: true'),
      extensions: { code: 'PLUGIN_EXISTS' },
    });
    expect((await load(source('p').replace('1.2.3', '2'), 'admin', true)).data?.['loadPlugin']).toMatchObject({
      version: '2',
    });
  });

  it('refuses a file name that is a path', async () => {
    expect((await ask(LOAD, { input: { file: '../p.ts', source: source('p') } })).errors?.[0]?.message).toMatch(
      /input\.file/,
    );
  });
});

describe('a session', () => {
  beforeEach(() => load(source('p')));

  it('is given a plugin at its start, and later; it is detached and unloaded', async () => {
    const started = await ask(START, { plugins: [{ name: 'p', options: { n: 7 } }] }, 'operator');
    expect(started.data?.['startSession']).toMatchObject({
      plugins: [
        {
          name: 'p',
          version: '1.2.3',
          options: { n: 7 },
          problem: null,
          results: { nodes: [], pageInfo: { hasNextPage: false } },
          errors: [],
        },
      ],
    });
    const id = startedId({ json: started });
    expect(fixture.services.manager.get(id)?.captured()).toContain('args');
    const again = await ask(
      'mutation ($id: ID!) { attachPlugin(session: $id, plugin: "p") { state } }',
      { id },
      'operator',
    );
    expect(again.errors?.[0]?.extensions?.['code']).toBe('ALREADY_ATTACHED');
    expect(
      (await ask('mutation ($id: ID!) { detachPlugin(session: $id, plugin: "p") { state } }', { id }, 'operator')).data,
    ).toEqual({ detachPlugin: { state: 'STOPPED' } });
    expect(
      (
        await ask(
          'mutation ($id: ID!) { attachPlugin(session: $id, plugin: "p", options: { n: 2 }) { options } }',
          { id },
          'operator',
        )
      ).data,
    ).toEqual({ attachPlugin: { options: { n: 2 } } });
    expect((await ask('{ plugins { sessions { id } } }')).data).toEqual({ plugins: [{ sessions: [{ id }] }] });
    expect((await ask('mutation { unloadPlugin(name: "p") }')).data).toEqual({ unloadPlugin: 'p' });
    expect(
      (await ask('query ($id: ID!) { plugins { name } session(id: $id) { plugins { name state } } }', { id })).data,
    ).toEqual({ plugins: [], session: { plugins: [{ name: 'p', state: 'STOPPED' }] } });
  });

  it.each([
    [[{ name: 'q' }], /input\.plugins\[0\]: there is no plugin "q"/],
    [[{ name: 'p' }, { name: 'p' }], /input\.plugins\[1\]\.name: "p" is there already/],
    [[{ name: 'p', options: { m: 1 } }], /input\.plugins\[0\]\.options\.m: the plugin p has no option "m"/],
    [[{ name: 'p', options: { n: 0 } }], /input\.plugins\[0\]\.options\.n: must be a whole number from 1/],
    [[{ name: 'p', options: [1] }], /must be an object/],
  ])('is not started with %j', async (plugins, message) => {
    const { errors } = await ask(START, { plugins }, 'operator');
    expect(errors?.[0]?.message).toMatch(message);
    expect(fixture.services.manager.list()).toEqual([]);
  });

  it('with more plugins than there are places left is refused before anything is loaded', async () => {
    for (const name of ['one', 'two'])
      expect(
        (await ask(LOAD, { input: { file: `${name}.ts`, source: source(name), replace: false } })).errors,
      ).toBeUndefined();
    const { plugins } = fixture.services;
    const check = plugins.check.bind(plugins);
    // As if 31 of the 32 places were taken.
    vi.spyOn(plugins, 'check').mockImplementation((request, trackers, where, before = 0) =>
      check(request, trackers, where, 31 + before),
    );
    const { errors } = await ask(START, { plugins: [{ name: 'one' }, { name: 'two' }] });
    expect(errors).toMatchObject([{ extensions: { code: 'TOO_MANY_PLUGINS' } }]);
    expect(errors?.[0]?.message).toMatch(/^input\.plugins\[1\]: /);
    expect(fixture.kernel.sources).toHaveLength(0);
    vi.restoreAllMocks();
  });

  it('without the trackers that a plugin reads is refused', async () => {
    const { errors } = await ask(
      'mutation { startSession(input: { trackers: [{ open: {} }], plugins: [{ name: "p" }] }) { id } }',
      {},
      'operator',
    );
    expect(errors?.[0]?.message).toMatch(/reads the trackers exec; the session lacks exec/);
  });

  it('tells which plugins it has when asked for another', async () => {
    const { errors } = await ask('mutation { detachPlugin(session: "x", plugin: "p") { state } }', {}, 'operator');
    expect(errors?.[0]?.extensions?.['code']).toBe('UNKNOWN_SESSION');
  });
});

it('alerts and attachments lead to the plugin as long as one of its name is loaded', async () => {
  await load(source('p'));
  const started = await ask(START, { plugins: [{ name: 'p' }] }, 'operator');
  const id = startedId({ json: started });
  const alert = { title: 't', message: 'm', time: null, tracker: null, process: null, container: null, key: null };
  fixture.services.alerts.raise({ ...alert, severity: 'LOW', session: id, source: 'plugin:p' });
  fixture.services.alerts.raise({ ...alert, severity: 'LOW', session: id, source: 'p' });
  const found = async () =>
    (
      await ask(
        'query ($id: ID!) { alerts { nodes { source plugin { id name } } } session(id: $id) { plugins { plugin { id } } } }',
        { id },
        'viewer',
      )
    ).data;
  const node = { id: `plugin:${fixture.services.server.node.id}:p` };
  expect(await found()).toEqual({
    alerts: {
      nodes: [
        { source: 'p', plugin: null },
        { source: 'plugin:p', plugin: { ...node, name: 'p' } },
      ],
    },
    session: { plugins: [{ plugin: node }] },
  });
  await ask('mutation ($id: ID!) { stopSession(id: $id) { id } }', { id }, 'operator');
  await ask('mutation { unloadPlugin(name: "p") }');
  expect(await found()).toMatchObject({ alerts: { nodes: [{ plugin: null }, { plugin: null }] } });
});

it('alerts are listed newest first, by severity and session', async () => {
  const alert = {
    title: 't',
    message: 'm',
    source: 'plugin:p',
    time: null,
    tracker: 'exec',
    process: { pid: 7, ppid: 1, uid: 0, comm: 'sh', startTime: null },
    container: null,
    key: null,
  };
  fixture.services.alerts.raise({ ...alert, severity: 'LOW', session: 'a' });
  fixture.services.alerts.raise({ ...alert, severity: 'HIGH', session: 'b' });
  const { data } = await ask(
    '{ all: alerts { totalCount nodes { severity process { pid comm } count time } } ' +
      'severe: alerts(severity: MEDIUM) { nodes { sessionId session { id } } } of: alerts(session: "a") { nodes { severity } } }',
    {},
    'viewer',
  );
  expect(data).toEqual({
    all: {
      totalCount: '2',
      nodes: [
        { severity: 'HIGH', process: { pid: 7, comm: 'sh' }, count: '1', time: expect.any(String) },
        { severity: 'LOW', process: { pid: 7, comm: 'sh' }, count: '1', time: expect.any(String) },
      ],
    },
    severe: { nodes: [{ sessionId: 'b', session: null }] },
    of: { nodes: [{ severity: 'LOW' }] },
  });
  expect((await ask('{ alerts(first: 0) { nodes { id } } }')).errors?.[0]?.message).toMatch(/first/);
});

describe('live, over WebSocket', () => {
  let client: Client;
  beforeEach(() => {
    client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: { authorization: `Bearer ${tokens.viewer}` },
    });
  });
  afterEach(() => client.dispose());

  it('a reader gets what a plugin finds, what it found before if it asks, and the end', async () => {
    await load(source('p'));
    const started = await ask(START, { plugins: [{ name: 'p' }] }, 'operator');
    const id = startedId({ json: started });
    const attachment = fixture.services.plugins.need(id, 'p');
    attachment.results.add(
      [
        { kind: 'old', json: '{"n":1}', place: null },
        { kind: 'old', json: '{"n":2}', place: null },
      ],
      '1',
    );
    const stream = client.iterate({
      query:
        'subscription ($id: ID!) { pluginResults(session: $id, plugin: "p", replay: 1) { results { seq kind value version } dropped } }',
      variables: { id },
    });
    expect((await stream.next()).value).toEqual({
      data: { pluginResults: { results: [{ seq: 1, kind: 'old', value: { n: 2 }, version: '1' }], dropped: 0 } },
    });
    const next = stream.next();
    attachment.results.add([{ kind: 'new', json: '{"n":3}', place: null }], '1');
    expect((await next).value).toMatchObject({ data: { pluginResults: { results: [{ seq: 2, value: { n: 3 } }] } } });
    const pages = async (args: string) => {
      const { data } = await ask(
        `query ($id: ID!) { session(id: $id) { plugins { results${args} { totalCount edges { cursor node { seq } } } } } }`,
        { id },
        'viewer',
      );
      const { session } = data as unknown as {
        session: { plugins: { results: { totalCount: string; edges: { cursor: string; node: { seq: number } }[] } }[] };
      };
      return session.plugins[0]?.results;
    };
    const all = await pages('');
    expect(all?.edges.map(({ node }) => node.seq)).toEqual([0, 1, 2]);
    const [first, , last] = all?.edges ?? [];
    expect((await pages(`(after: "${first?.cursor}")`))?.edges.map(({ node }) => node.seq)).toEqual([1, 2]);
    expect((await pages(`(last: 1, before: "${last?.cursor}")`))?.edges.map(({ node }) => node.seq)).toEqual([1]);
    expect(await pages(`(after: "${last?.cursor}")`)).toEqual({ totalCount: '3', edges: [] });
    const end = stream.next();
    await ask('mutation ($id: ID!) { stopSession(id: $id) { id } }', { id }, 'operator');
    expect((await end).done).toBe(true);
  });

  it('a reader gets alerts of the severity that it asks for', async () => {
    const stream = client.iterate({
      query: 'subscription { alerts(severity: HIGH) { title severity container { name } } }',
    });
    const first = stream.next();
    const alert = {
      message: 'm',
      source: 'plugin:p',
      session: 's',
      time: null,
      tracker: null,
      process: null,
      container: { id: 'i', name: 'web', image: null },
      key: null,
    };
    const raise = setInterval(() => {
      fixture.services.alerts.raise({ ...alert, severity: 'LOW', title: 'low' });
      fixture.services.alerts.raise({ ...alert, severity: 'CRITICAL', title: 'critical' });
    }, 20);
    expect((await first).value).toEqual({
      data: { alerts: { title: 'critical', severity: 'CRITICAL', container: { name: 'web' } } },
    });
    clearInterval(raise);
    await stream.return?.();
  });
});
