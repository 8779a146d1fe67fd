import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import {
  getNamedType,
  isEnumType,
  isObjectType,
  isRequiredArgument,
  type GraphQLObjectType,
  type GraphQLOutputType,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { isOfGraph } from '../../src/event/data-field.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { selectionOf, Typed } from '../support/typed.js';
import { until } from '../support/until.js';

/** Every root field and every object of the schema, over real data: each value is what its type says, ids and cursors included. */
const schema = contractSchema();
const run = promisify(execFile);
const typed = new Typed(schema);

let server: TestServer;
let docker: TestDocker;
let folder: string;
let live: string;
let stored: string;
let chosen: string;
let traced: string;
let alert: string;
let advised: string;
let rights: string;
const TRACKERS = ['exec', 'exit', 'open', 'tcp', 'udp', 'bind', 'privilege', 'signal', 'dns', 'syscall', 'seccomp'];
/** Those of which a session cannot be updated: they aggregate in the kernel. */
const FIXED = ['capability', 'runqlat'];
const PLUGIN = `import { definePlugin } from 'eunomia/plugin';
let thrown = '';
export default definePlugin({ name: 'typed', version: '1', summary: 'A test.',
  options: { n: { type: 'integer', default: 3, min: 1, max: 9, description: 'How many.' },
    how: { type: 'string', default: 'a', enum: ['a', 'b'], description: 'How.' } },
  reads: { exec: ['args', 'process', 'container'] }, where: 'exec.errno == null',
  onBatch(events, context) {
    if (!thrown) throw new Error((thrown = 'once'));
    for (const event of events) {
      context.emit('seen', { args: event.args }, { event });
      context.alert({ severity: 'LOW', title: 'seen', message: 'seen', event });
      context.alert({ severity: 'INFO', title: 'seen', message: 'seen', key: event.process.comm });
    }
  } });`;
const RULES = `rules:
  - name: typed
    description: A test.
    severity: LOW
    tags: [test]
    attack: [T1059.004]
    trackers: [exec, open]
    condition: process.comm == "cat"
    message: '{process.comm}'
    key: []
    actions: [{ webhook: nobody }, { collect: { trackers: [exec], for: 10s, events: 100 } }, kill]
    evades: Nothing.
    falsePositives: All.`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-types-'));
  docker = await startDocker();
  const pod = ['name=cart-0', 'namespace=shop', 'uid=1-2'].map((label) => `io.kubernetes.pod.${label}`);
  const labels = ['tier=web', 'com.docker.compose.project=shop', 'com.docker.compose.service=cart', ...pod];
  await docker.run(
    ...['-d', '--name', 'typed', '--memory', '64m', '--cpus', '1', '--pids-limit', '100'],
    ...[...labels.flatMap((label) => ['--label', label]), TEST_IMAGE],
    ...[
      'sh',
      '-c',
      'httpd -p 8080; while :; do ' +
        'sh -c "cat /etc/passwd /no/such; kill -9 \\$\\$"; wget -q -O /dev/null 127.0.0.1:8080; /bin/sleep 0.2; done',
    ],
  );
  await docker.run('-d', '--name', 'idle', TEST_IMAGE, 'sleep', '600');
  await docker.run('--name', 'over', TEST_IMAGE, 'true');
  const token = 'secret-of-the-admin';
  const webhooks = join(folder, 'webhooks.yaml');
  writeFileSync(webhooks, 'webhooks: [{ name: nobody, url: "http://127.0.0.1:9/" }]', { mode: 0o600 });
  const bounds = [
    '--max-document-tokens',
    '1000000',
    '--retention-age',
    '30d',
    '--retention-bytes',
    '10GiB',
    '--webhooks',
    webhooks,
  ];
  server = await startServer(
    ['--engine', docker.socket, '--data-dir', folder, '--token', `admin:${token}`, ...bounds],
    { keep: true, token },
  );
  await server.query(
    'mutation ($source: String!) { loadPlugin(input: { file: "typed.ts", source: $source }) { id } }',
    {
      source: PLUGIN,
    },
  );
  await server.query('mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name } }', {
    input: { name: 'typed', source: RULES },
  });
  for (const [name, content] of [
    ['typed', '{ filter: { where: { expr: "process.pid > 0" } } }'],
    ['typed opens', '{ filter: { where: { expr: "open.errno != null" }, trackers: ["open"] } }'],
    [
      'typed rows',
      '{ aggregate: { groupBy: ["process.comm"], measures: [{ fn: COUNT }], where: { saved: "typed" } } }',
    ],
    ['typed board', '{ board: ["typed rows"] }'],
  ])
    await server.query(`mutation { saveQuery(name: "${name}", content: ${content}, description: "A test.") { id } }`);
  const silence = async (input: string): Promise<string> =>
    (await server.query<{ silence: { id: string } }>(`mutation { silence(input: { ${input} }) { id } }`)).silence.id;
  await silence('source: "plugin:typed", severityAtMost: INFO, for: "1h", reason: "A test."');
  const over =
    'rule: "r", source: "s", container: "*", image: "*", key: "k", severityAtMost: HIGH, for: "1h", reason: "A test."';
  await server.query(`mutation { endSilence(id: "${await silence(over)}") { id } }`);
  const input = (trackers: readonly string[], more: string) =>
    `{ trackers: [${trackers.map((name) => `{ ${name}: {} }`).join(', ')}], capture: ALL, name: "typed", ` +
    `labels: [{ name: "a", value: "b" }], for: "1h", ttl: "1h", persist: { store: EMBEDDED }, where: { saved: "typed" }, ` +
    `plugins: [{ name: "typed", options: { n: 4 }, restart: ON_FAILURE }], ${more} }`;
  const containers = 'containers: [{ name: "typed", labels: [{ name: "tier", value: "web" }] }]';
  stored = await startSession(server, input([...TRACKERS, ...FIXED], `target: { pids: [${process.pid}] }`));
  live = await startSession(server, input(TRACKERS, `target: { ${containers} }`));
  await server.query(
    `mutation { updateSession(id: "${live}", input: { where: { expr: "true" }, name: "changed" }) { id } }`,
  );
  const triggers = (await loadTrackers())
    .filter(({ name }) => [...TRACKERS, ...FIXED].includes(name))
    .map(({ trigger = 'false' }) => trigger);
  const work = ['cat /etc/passwd /no/such > /dev/null', 'cat /etc/passwd > /dev/null; true', 'kill -9 $$', ...triggers];
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` };
  for (const each of work) await run('bash', ['-c', each], { env }).catch(() => undefined);
  await until('the container works', async () => {
    const { session } = await server.query<{ session: { stats: { delivered: string } } }>(
      `{ session(id: "${live}") { stats { delivered } } }`,
    );
    return Number(session.stats.delivered) > 20;
  });
  await stopSession(server, stored);
  const { container } = await server.query<{ container: { id: string; cgroupId: string } }>(
    '{ container(ref: "typed") { id cgroupId } }',
  );
  chosen = await startSession(
    server,
    '{ trackers: [{ open: {} }], bufferBytes: 65536, where: { expr: "open.path.matches(\\".*\\")" }, target: { ' +
      `containers: [{ id: "${container.id}" }, { image: "*busybox*" }], pids: [${process.pid}], uids: [0], ` +
      `comms: ["sh", "cat"], cgroups: ["${container.cgroupId}"], waitForContainers: true } }`,
  );
  const { trace } = await server.query<{ trace: { id: string } }>(
    'mutation { trace(input: { trackers: [{ open: {} }], ttl: "1h" }, for: "10s", limit: 5) { id } }',
  );
  traced = trace.id;
  const { advise } = await server.query<{ advise: { json: object; rights: object } }>(
    `{ advise${advice()} { json rights } }`,
  );
  [advised, rights] = [literalOf(advise.json), literalOf(advise.rights)];
  alert = await until('there is an alert of the rule', async () => {
    const { alerts } = await server.query<{ alerts: { nodes: { id: string; evidenceSessionId: string | null }[] } }>(
      '{ alerts(first: 1, where: { rules: ["typed"], container: { name: "typed" } }) { nodes { id evidenceSessionId } } }',
    );
    return alerts.nodes.find(({ evidenceSessionId }) => evidenceSessionId !== null)?.id;
  });
  await server.query(`mutation { acknowledgeAlert(id: "${alert}", comment: "A test.") { id } }`);
});

afterAll(async () => {
  await server.end('SIGTERM');
  await docker.stop();
  rmSync(folder, { recursive: true });
});

const rootField = (name: string) => {
  const field = schema.getQueryType()?.getFields()[name];
  if (!field) throw new Error(`no field ${name}`);
  return field;
};

const TRIED_RULE = `rules:
  - { name: t, description: d, severity: LOW, trackers: exec, condition: 'process.pid == 7', message: m }`;

const session = () => `(id: "${live}")`;
const advice = () => `(input: { session: "${live}", container: "typed" })`;
/** JSON as GraphQL writes values. */
const literalOf = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(literalOf).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([name, one]) => `${name}: ${literalOf(one)}`)
    .join(', ')} }`;
};
/** The arguments of root fields that need some, or have more to show with them; others are asked without. */
const roots: Readonly<Record<string, readonly (() => string)[]>> = {
  node: [session],
  container: [() => '(ref: "typed")'],
  process: [() => `(pid: ${process.pid})`],
  history: [() => '(trackers: ["exec"])', () => `(sessions: ["${stored}"])`],
  session: [session, ...[() => stored, () => chosen, () => traced].map((id) => () => `(id: "${id()}")`)],
  alert: [() => `(id: "${alert}")`],
  alerts: [() => '', () => '(last: 10)', () => '(where: { silenced: true })'],
  alertCounts: [() => '(by: [SEVERITY, STATE, SOURCE, RULE, CONTAINER, IMAGE, SESSION])'],
  containers: [() => '', () => '(where: { states: [EXITED] })'],
  openFiles: [() => '', () => '(where: { expr: "container != null" })'],
  advise: [() => advice()],
  mergeAdvice: [() => `(advice: [${advised}])`],
  diffAdvice: [() => `(before: ${advised}, after: ${advised})`],
  adviceWithRights: [() => `(advice: ${advised}, rights: ${rights})`],
  compareReports: [() => `(before: { session: "${stored}" }, after: { session: "${live}", container: "typed" })`],
  rule: [() => '(name: "typed")'],
  checkRules: ['rules: [x]', 'rules: []'].map((source) => () => `(input: { name: "other", source: "${source}" })`),
  testRules: [
    () =>
      '(input: { name: "other", tests: "tests: [{ name: t, rules: [typed], events: [{ tracker: exit }], alerts: [] }]" })',
    () =>
      `(input: { name: "other", source: """${TRIED_RULE}"""
        tests: "tests: [{ name: t, rules: [t], events: [{ tracker: exec, process: { pid: 7 } }], alerts: [{ rule: t }] }]" })`,
    () => '(input: { name: "other", tests: "x" })',
  ],
  savedQuery: [() => '(name: "typed")', () => '(name: "typed rows")', () => '(name: "typed board")'],
};

/** The arguments of subscriptions that need some. */
const subscriptions: Readonly<Record<string, () => string>> = {
  events: () => `(session: "${live}", replay: 100)`,
  aggregate: () =>
    `(session: "${live}", groupBy: ["process.comm"], measures: [{ fn: COUNT }], every: "100ms", replay: 100)`,
  savedAggregate: () => `(session: "${live}", name: "typed rows", every: "100ms", replay: 100)`,
  sessionStats: () => `(session: "${live}")`,
  pluginResults: () => `(session: "${live}", plugin: "typed", replay: 100)`,
};

/** Where each field is that takes a cursor: the fields above it, as they are asked for. */
const pages: Readonly<Record<string, () => readonly string[]>> = {
  'Session.events': () => [`session${session()}`],
  'History.events': () => [`history(sessions: ["${stored}"])`],
  'SessionPlugin.results': () => [`session${session()}`, 'plugins'],
  'Process.events': () => [`process(pid: ${process.pid})`],
  ...Object.fromEntries(
    ['events', 'processes', 'sockets', 'openFiles', 'mounts'].map((name) => [
      `Container.${name}`,
      () => ['container(ref: "typed")'],
    ]),
  ),
};
/** Required arguments of these. */
const needed: Readonly<Record<string, () => string>> = {
  'Process.events': () => `session: "${stored}", `,
  'Container.events': () => `session: "${live}", `,
};

const objects = Object.values(schema.getTypeMap()).filter(
  (type): type is GraphQLObjectType => isObjectType(type) && !type.name.startsWith('__'),
);
const isEvent = (type: GraphQLObjectType): boolean => type.getInterfaces().some(({ name }) => name === 'TraceEvent');

interface Page {
  readonly edges: readonly { readonly cursor: string }[];
  readonly pageInfo: { readonly endCursor: string | null };
}

/** All fields; of a session, but for the resources of its containers, with which it would exceed the limit of cost. */
const allOf = (type: GraphQLOutputType): string => {
  const named = getNamedType(type);
  return selectionOf(schema, named, {
    takes: (of, field) => !['Session', 'Rules'].includes(named.name) || of !== 'Container' || !isOfGraph(of, field),
  });
};

/** What is at the end of a path of fields; those of all entries of the lists on it. */
function below(data: unknown, path: readonly string[]): readonly unknown[] {
  return path.reduce<readonly unknown[]>(
    (values, one) => values.flatMap((value) => Reflect.get(value as object, one.replace(/\(.*/, '')) as unknown),
    [data],
  );
}

/** A page of the field, somewhere below others. */
async function pageOf(of: string, args: string): Promise<Page> {
  const [type = '', name = ''] = of.split('.');
  const owner = schema.getType(type);
  const field = isObjectType(owner) ? owner.getFields()[name] : undefined;
  if (!field) throw new Error(`no field ${of}`);
  const above = pages[of]?.() ?? [];
  const page = `${name}(${needed[of]?.() ?? ''}${args}) ${allOf(field.type)}`;
  const data = await server.query<object>(`{ ${[...above, page].join(' { ')} ${'} '.repeat(above.length)}}`);
  const [found] = below(data, [...above, name]);
  typed.check(found, field.type, of);
  return found as Page;
}

describe('each value is of the type that the schema declares', () => {
  it.each(Object.keys(schema.getQueryType()?.getFields() ?? {}))('of the query %s', async (name) => {
    const field = rootField(name);
    for (const args of roots[name] ?? [() => '']) {
      const data = await server.query<Record<string, unknown>>(`{ ${name}${args()} ${allOf(field.type)} }`);
      expect(data[name]).not.toBeNull();
      typed.check(data[name], field.type, name);
    }
  });

  it.each(Object.values(schema.getSubscriptionType()?.getFields() ?? {}))(
    'of the subscription $name',
    async ({ name, type }) => {
      const document = `subscription { ${name}${subscriptions[name]?.() ?? ''} ${allOf(type)} }`;
      for await (const data of server.subscribe<Record<string, unknown>>(document)) {
        typed.check(data[name], type, name);
        return;
      }
      throw new Error('no result');
    },
  );

  it('of what a subscriber has missed', async () => {
    const small = await startSession(
      server,
      `{ trackers: [{ open: {} }], bufferBytes: 65536, target: { pids: [${process.pid}] } }`,
    );
    await readFile('/etc/hostname');
    const { session } = await server.query<{ session: { events: { nodes: { cursor: string }[] } } }>(
      `{ session(id: "${small}") { events(first: 1) { nodes { cursor } } } }`,
    );
    const after = session.events.nodes[0]?.cursor ?? '';
    await until('it is evicted', async () => {
      for (let i = 0; i < 500; i++) await readFile('/etc/hostname');
      const { session } = await server.query<{ session: { stats: { evicted: string } } }>(
        `{ session(id: "${small}") { stats { evicted } } }`,
      );
      return Number(session.stats.evicted) > 10;
    });
    const type = schema.getType('EventBatch');
    if (!isObjectType(type)) throw new Error('no EventBatch');
    for await (const { events } of server.subscribe<{ events: { gap: object | null } }>(
      `subscription { events(session: "${small}", after: "${after}") ${allOf(type)} }`,
    )) {
      expect(events.gap).not.toBeNull();
      typed.check(events, type, 'events');
      break;
    }
  });

  it('of a container that changes', async () => {
    const type = schema.getType('ContainerChange');
    if (!isObjectType(type)) throw new Error('no ContainerChange');
    const id = await docker.run('-d', '--name', 'ending', TEST_IMAGE, 'sleep', '600');
    const changes = server.subscribe<{ containerChanged: { before: string | null } }>(
      `subscription { containerChanged(where: { any: [{ name: "ending" }] }) ${allOf(type)} }`,
    );
    for await (const { containerChanged } of changes) {
      typed.check(containerChanged, type, 'containerChanged');
      if (containerChanged.before !== null) break;
      await docker.docker('rm', '-f', id);
    }
  });

  it.each(['live', 'stored'])('of aggregates with every measure, %s', async (which) => {
    const row = schema.getType('AggregateRow');
    const measure = schema.getType('MeasureFunction');
    if (!isObjectType(row) || !isEnumType(measure)) throw new Error('no AggregateRow');
    const extra: Readonly<Record<string, string>> = { QUANTILE: ', q: 0.5', TOP_K: ', k: 3' };
    const measures = measure
      .getValues()
      .map(
        ({ name }) =>
          `{ fn: ${name}, field: "${which === 'live' ? 'process.pid' : 'durationNs'}", name: "${name}"${extra[name] ?? ''} }`,
      );
    const where = which === 'live' ? `session(id: "${live}")` : `history(sessions: ["${stored}"], trackers: ["tcp"])`;
    const data = await server.query<Record<string, { aggregate: unknown[] }>>(
      `{ ${where} { aggregate(groupBy: ["process.comm"], measures: [${measures.join(', ')}], window: { ` +
        `size: "10s" }) ${selectionOf(schema, row)} } }`,
    );
    const rows = Object.values(data)[0]?.aggregate ?? [];
    expect(rows.length).toBeGreaterThan(0);
    rows.forEach((each, i) => typed.check(each, row, `aggregate[${i}]`));
  });
});

it('of values that are named at run time, and of what else needs an argument', async () => {
  const { trackers } = await server.query<{ trackers: { name: string; fields: { path: string }[] }[] }>(
    '{ trackers { name fields { path } } }',
  );
  const ask = async (path: readonly string[], type: string): Promise<void> => {
    const of = schema.getType(type);
    if (!isObjectType(of)) throw new Error(`no ${type}`);
    const selection = selectionOf(schema, of);
    const data = await server.query<object>(`{ ${path.join(' { ')} ${selection} ${'} '.repeat(path.length)}`);
    const found = below(data, path);
    expect([path, found.length]).not.toEqual([path, 0]);
    for (const each of found) typed.check(each, of, path.join('.'));
  };
  const one = `session${session()}`;
  for (const { name, fields } of trackers.filter(({ name }) => [...TRACKERS, ...FIXED].includes(name)))
    await ask(
      [
        `history(sessions: ["${stored}", "${live}"], trackers: ["${name}"])`,
        'events(first: 1)',
        'edges',
        'node',
        `values(fields: ${JSON.stringify(fields.map(({ path }) => path))})`,
      ],
      'EventValue',
    );
  await ask([one, 'report(container: "typed")'], 'BehaviourReport');
  await ask([one, 'savedAggregate(name: "typed rows")'], 'AggregateRow');
  await ask([one, 'savedAggregate(name: "typed rows")', 'value(name: "COUNT")'], 'MeasureValue');
  await ask([`history(sessions: ["${live}"])`, 'savedAggregate(name: "typed rows")'], 'AggregateRow');
});

describe('a cursor', () => {
  const taking = [...objects, schema.getQueryType()]
    .filter((type) => type?.name !== 'Subscription')
    .flatMap((type) =>
      Object.values(type?.getFields() ?? {}).map((field) => ({ field, of: `${type?.name}.${field.name}` })),
    )
    .filter(({ field }) => field.args.some(({ type }) => getNamedType(type).name === 'Cursor'));

  it.each([...new Set(taking.map(({ of }) => of))])('of %s leads back to its place', async (of) => {
    expect([of, of.startsWith('Query.') || of in pages]).toEqual([of, true]);
    const cursorsOf = async (args: string) => (await pageOf(of, args)).edges.map(({ cursor }) => cursor);
    const { edges, pageInfo } = await pageOf(of, 'first: 3');
    const cursors = edges.map(({ cursor }) => cursor);
    expect(cursors.length).toBeGreaterThan(0);
    expect(cursors.at(-1)).toBe(pageInfo.endCursor);
    expect(await cursorsOf(`first: 2, after: "${cursors[0]}"`)).toEqual(cursors.slice(1));
    expect(await cursorsOf(`last: 2, before: "${cursors.at(-1)}"`)).toEqual(cursors.slice(0, -1));
  });

  it('of an event, a session, a change or a delivery is a place in the session', async () => {
    const places = typed.cursors;
    const { session } = await server.query<{ session: { cursor: string; changes: { cursor: string }[] } }>(
      `{ session(id: "${live}") { cursor changes { cursor } } }`,
    );
    const cursors = [session.cursor, ...session.changes.map(({ cursor }) => cursor)];
    expect(cursors.length).toBeGreaterThan(1);
    for await (const { events } of server.subscribe<{ events: { cursor: string; events: { cursor: string }[] } }>(
      `subscription { events(session: "${live}", replay: 10) { cursor events { cursor } } }`,
    )) {
      cursors.push(events.cursor, ...events.events.map(({ cursor }) => cursor));
      expect(events.events.at(-1)?.cursor).toBe(events.cursor);
      break;
    }
    for (const cursor of cursors) {
      const { session } = await server.query<{ session: { events: object } }>(
        `{ session(id: "${live}") { events(first: 1, after: "${cursor}") { totalCount } } }`,
      );
      expect(session.events).toBeTruthy();
    }
    expect(places.size).toBeGreaterThan(10);
  });
});

it('each id leads back to its object', async () => {
  const found = [...typed.identified.values()];
  for (const name of new Set(found.map(({ type }) => type)))
    for (const { id } of found.filter(({ type }) => type === name).slice(0, 5))
      expect(await server.query(`query ($id: ID!) { node(id: $id) { __typename id } }`, { id })).toEqual({
        node: { __typename: name, id },
      });
  const nodes = objects.filter((type) => type.getInterfaces().some(({ name }) => name === 'Node') && !isEvent(type));
  expect(nodes.map(({ name }) => name).filter((name) => !typed.types.has(name))).toEqual([]);
});

/** Fields that have no value here, and why. */
const unseen: readonly (readonly [RegExp, string])[] = [
  [/\.(problem|eventsAfterProblem)$/, 'nothing is wrong here'],
  [/^Advice(Verification|Round|Check|Refusal|Attempt)\./, 'a mutation makes them (advise-verify.test.ts)'],
];

it('every field of every type has had a value, but those that are listed', () => {
  const operations = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
  const missing = objects
    .filter((type) => !isEvent(type) && !operations.includes(type))
    .flatMap((type) => Object.values(type.getFields()).map((field) => ({ field, name: `${type.name}.${field.name}` })))
    // Those are asked for with their arguments, as what they are of.
    .filter(({ field, name }) => !field.args.some(isRequiredArgument) && !typed.seen.has(name) && !(name in pages))
    .map(({ name }) => name);
  expect(missing.filter((name) => !unseen.some(([of]) => of.test(name)))).toEqual([]);
});
