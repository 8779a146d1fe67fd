import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until, untilHolds } from '../support/until.js';

/** A tree of processes of a container, its events in a store, and the server started anew. */

const exec = promisify(execFile);
const run = randomBytes(3).toString('hex');
/** What the two shells of the tree are told, and nobody else. */
const [left, right] = ['left', 'right'].map((side) => `: ${side}-${run}; sh /tmp/leaf.sh; :`) as [string, string];

interface Relative {
  readonly pid: number;
  readonly comm: string;
  readonly executable: string | null;
  readonly args: readonly string[] | null;
}
interface Found {
  readonly process: Relative & {
    readonly exitCode: number | null;
    readonly parent: Relative | null;
    readonly ancestors: readonly Relative[] | null;
  };
}
const RELATIVE = 'pid identity comm uid startTime executable executableState args argsTruncated cwd';
const SELECTED =
  `... on OpenEvent { path } process { ${RELATIVE} exitTime exitCode container { name } ` +
  `parent { ${RELATIVE} } ancestors(first: 32) { ${RELATIVE} } }`;

const opened = { open: { path: { glob: '/tmp/leaf-*' } } };
/** The shells above the leaves have no other sign: all are called sh, and all run the same program. */
const isBelow =
  (sign: string) =>
  ({ process: { ancestors } }: Found): boolean =>
    ancestors?.some(({ args }) => args?.includes(sign)) ?? false;
const below = (sign: string): object => ({
  expr: `process.ancestors.exists(p, "${sign}" in p.args)`,
});

const ways: readonly (readonly [where: object, naive: (found: Found) => boolean])[] = [
  [below(left), isBelow(left)],
  [{ not: below(left) }, (found) => !isBelow(left)(found)],
  [{ process: { ancestors: { any: { comm: { eq: 'sh' } } } } }, () => true],
  [
    { process: { parent: { args: { has: '/tmp/leaf.sh' } } } },
    ({ process: { parent } }) => parent?.args?.includes('/tmp/leaf.sh') ?? false,
  ],
  [
    { process: { executable: { suffix: 'busybox' }, args: { has: '/tmp/leaf-2' } } },
    ({ process: { args } }) => args?.includes('/tmp/leaf-2') ?? false,
  ],
];

/** Below one of two shells, a script whose children read what they are named after. */
const script =
  'cd /tmp; for i in 1 2 3; do echo $i > leaf-$i; done; ' +
  'echo "for i in 1 2 3; do cat /tmp/leaf-\\$i > /dev/null; done; :" > leaf.sh; sleep 1; ' +
  `sh -c "${left}"; sh -c "${right}"; sleep 1`;

let docker: TestDocker;
let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let id: string;
let before: readonly Found[];
let grouped: unknown;
let exported: string;

async function fed(): Promise<void> {
  await until('the table of processes is fed', async () => {
    const { server: of } = await server.query<{ server: { processTable: { running: boolean } } }>(
      '{ server { processTable { running } } }',
    );
    return of.processTable.running;
  });
}

async function started(): Promise<void> {
  server = await startServer(['--engine', docker.host, '--data-dir', folder.path], { keep: true });
  await fed();
}

async function pageOf(where: object): Promise<readonly Found[]> {
  const { session } = await server.query<{ session: { events: { nodes: readonly Found[] } } }>(
    `query ($id: ID!, $where: EventFilter) { session(id: $id) { events(first: 10000, where: $where) { nodes { ${SELECTED} } } } }`,
    { id, where },
  );
  return session.events.nodes;
}

const leaves = (): Promise<readonly Found[]> => pageOf({ and: [opened, { process: { comm: { eq: 'cat' } } }] });

async function groups(): Promise<unknown> {
  const { session } = await server.query<{ session: { aggregate: unknown } }>(
    `query ($id: ID!, $where: EventFilter) { session(id: $id) { aggregate(
      groupBy: ["process.parent.comm", "process.executable", "process.args"], where: $where,
      measures: [{ fn: DISTINCT, field: "process.parent.pid" }]) { key { value } count values { text } } } }`,
    { id, where: { and: [opened, { process: { ancestors: { any: { comm: { eq: 'sh' } } } } }] } },
  );
  return session.aggregate;
}

async function download(): Promise<string> {
  const where = `open.path.startsWith("/tmp/leaf-") && process.ancestors.exists(p, "${left}" in p.args)`;
  const response = await fetch(
    server.url.replace('/graphql', `/export/${id}.csv?fields=time,process.pid,path&where=${encodeURIComponent(where)}`),
    { headers: { 'x-eunomia': '1' } },
  );
  return response.text();
}

const stored = async (): Promise<unknown> =>
  (
    await server.query<{ session: { persistence: { processes: unknown } } }>(
      `{ session(id: "${id}") { persistence { processes { stored dropped } } } }`,
    )
  ).session.persistence.processes;

beforeAll(async () => {
  folder = await temporaryDirectory();
  docker = await startDocker();
  await started();
  id = await startSession(
    server,
    '{ trackers: [{ open: {} }], target: { containers: [{ name: "tree" }], waitForContainers: true }, persist: {}, bufferBytes: 67108864 }',
  );
  await docker.run('--name', 'tree', TEST_IMAGE, 'sh', '-c', script);
  await untilHolds(
    'the tree has ended',
    leaves,
    (found) => found.length >= 6 && found.every(({ process }) => process.exitCode === 0),
  );
  await stopSession(server, id);
  before = await leaves();
  grouped = await groups();
  exported = await download();
  await server.end('SIGTERM');
  await started();
});

afterAll(async () => {
  await server?.end('SIGTERM');
  await docker?.stop();
  await folder?.remove();
});

describe('the processes of a session that is in its store only, after a restart', () => {
  it('and their ancestors are those that the server before knew, though all have ended', async () => {
    expect(before).toHaveLength(6);
    for (const { process } of before) {
      expect(process).toMatchObject({ comm: 'cat', exitCode: 0, parent: { comm: 'sh', args: ['sh', '/tmp/leaf.sh'] } });
      expect(process.ancestors?.filter(({ comm }) => comm === 'sh').length).toBe(3);
    }
    expect(await leaves()).toEqual(before);
    expect(await stored()).toMatchObject({ dropped: '0' });
  });

  it.each(ways.map(([where, naive]) => [JSON.stringify(where), where, naive] as const))(
    'are filtered as they are by hand: %s',
    async (_name, where, naive) => {
      const expected = before.filter(naive);
      expect(expected.length).toBeGreaterThan(0);
      expect(await pageOf({ and: [opened, { process: { comm: { eq: 'cat' } } }, where] })).toEqual(expected);
    },
  );

  it('are grouped and exported as before', async () => {
    expect(grouped).toMatchObject([{ count: '2' }, { count: '2' }, { count: '2' }]);
    expect(await groups()).toEqual(grouped);
    expect(exported.trim().split('\n')).toHaveLength(4);
    expect(await download()).toBe(exported);
  });

  it('are found in the history, and in a subscription to what is stored', async () => {
    const from = new Date(Date.now() - 3_600_000).toISOString();
    const { history } = await server.query<{ history: { events: { nodes: readonly Found[] } } }>(
      `query ($where: EventFilter) { history(from: "${from}", where: $where) { events(first: 100) { nodes { ${SELECTED} } } } }`,
      { where: { and: [opened, { process: { comm: { eq: 'cat' } } }, below(right)] } },
    );
    expect(history.events.nodes).toEqual(before.filter(isBelow(right)));
    const streamed: Found[] = [];
    for await (const { events } of server.subscribe<{ events: { events: readonly Found[] } }>(
      `subscription ($id: ID!, $where: EventFilter) { events(session: $id, where: $where, replay: 1000000) { events { ${SELECTED} } } }`,
      { id, where: { and: [opened, { process: { comm: { eq: 'cat' } } }, below(right)] } },
    ))
      streamed.push(...events.events);
    expect(streamed).toEqual(history.events.nodes);
  });

  it('have neither children nor open files, which nobody has stored', async () => {
    const { session } = await server.query<{ session: { events: { nodes: readonly unknown[] } } }>(
      `query ($id: ID!, $where: EventFilter) { session(id: $id) { events(first: 1, where: $where) { nodes { process {
        children { pid } openFiles { fd } sockets { inode } } } } } }`,
      { id, where: opened },
    );
    expect(session.events.nodes).toEqual([{ process: { children: null, openFiles: null, sockets: null } }]);
  });
});

it('of a server that was killed are there up to two seconds before', async () => {
  const second = await startSession(server, '{ trackers: [{ open: {} }], target: { uids: [0] }, persist: {} }');
  await exec('sh', ['-c', `: ${left}; cat /etc/hostname > /dev/null; :`]);
  await untilHolds(
    'its processes are stored',
    () =>
      server.query<{ session: { persistence: { processes: { stored: string } } } }>(
        `{ session(id: "${second}") { persistence { processes { stored } } } }`,
      ),
    ({ session }) => Number(session.persistence.processes.stored) > 0,
  );
  await new Promise((resolve) => setTimeout(resolve, 2000)); // what is promised
  await server.end('SIGKILL');
  await started();
  const { session } = await server.query<{ session: { stopReason: string; events: { nodes: readonly Found[] } } }>(
    `query ($where: EventFilter) { session(id: "${second}") { stopReason events(where: $where) { nodes { ${SELECTED} } } } }`,
    { where: { expr: `open.path == "/etc/hostname" && process.parent.args.exists(a, a.contains("${left}"))` } },
  );
  expect(session).toMatchObject({
    stopReason: 'INTERRUPTED',
    events: { nodes: [{ process: { comm: 'cat', exitCode: 0, parent: { comm: 'sh' } } }] },
  });
});
