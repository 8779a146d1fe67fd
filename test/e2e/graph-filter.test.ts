import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { sharedServer, startServer, startSession, statsOf, stopSession, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { scratch } from '../support/workload.js';

const exec = promisify(execFile);
const run = randomBytes(3).toString('hex');
/** A shell by another name, which its children descend from. */
const daemon = `sshd${run}`;
const file = join(scratch, 'read.txt');

async function fed(server: TestServer): Promise<void> {
  await until('the table of processes is fed', async () => {
    const { server: of } = await server.query<{ server: { processTable: { running: boolean } } }>(
      '{ server { processTable { running } } }',
    );
    return of.processTable.running;
  });
}

/** sshd → sh → cat, which is orphaned: sh has ended when it opens the file, and somebody has adopted it. And sh → cat without any sshd. */
async function work(): Promise<void> {
  await writeFile(file, 'x');
  await copyFile('/bin/sh', join(scratch, daemon)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ETXTBSY' && error.code !== 'EEXIST') throw error;
  });
  const orphan = `(while kill -0 $$ 2>/dev/null; do sleep 0.01; done; exec cat ${file}) & exit 0`;
  await exec(join(scratch, daemon), ['-c', `sh -c '${orphan}'; sh -c 'cat ${file}; :'; sleep 0.3; :`]);
  await exec('sh', ['-c', `sh -c 'cat ${file}; :'; :`]);
}

interface Found {
  readonly path: string;
  readonly process: {
    readonly pid: number;
    readonly comm: string;
    readonly executable: string | null;
    readonly args: readonly string[] | null;
    readonly parent: { readonly comm: string; readonly executable: string | null } | null;
    readonly ancestors: readonly { readonly comm: string; readonly args: readonly string[] | null }[] | null;
  };
}
const SELECTED =
  '... on OpenEvent { path } process { pid comm executable args parent { comm executable } ancestors { comm args } }';

async function pageOf(server: TestServer, id: string, where: object | null): Promise<readonly Found[]> {
  const { session } = await server.query<{ session: { events: { nodes: readonly Found[] } } }>(
    `query ($id: ID!, $where: EventFilter) { session(id: $id) { events(first: 10000, where: $where) { nodes { ${SELECTED} } } } }`,
    { id, where },
  );
  return session.events.nodes;
}

const isOfDaemon = ({ process: { ancestors } }: Found): boolean =>
  ancestors?.some(({ comm }) => comm === daemon) ?? false;
const opened = { open: { path: { eq: file } } };
const ofDaemon = { process: { ancestors: { any: { comm: { eq: daemon } } } } };

const ways: readonly (readonly [where: object, naive: (found: Found) => boolean])[] = [
  [ofDaemon, isOfDaemon],
  [{ expr: `process.ancestors.exists(p, p.comm == "${daemon}")` }, isOfDaemon],
  [{ not: ofDaemon }, (found) => !isOfDaemon(found)],
  [{ process: { parent: { comm: { eq: 'sh' } } } }, ({ process: { parent } }) => parent?.comm === 'sh'],
  [{ expr: 'process.parent.comm == "sh"' }, ({ process: { parent } }) => parent?.comm === 'sh'],
  [
    { process: { executable: { suffix: 'cat' }, args: { has: file } } },
    ({ process: { executable, args } }) => (executable?.endsWith('cat') ?? false) && (args?.includes(file) ?? false),
  ],
  [
    { expr: `process.ancestors.exists(p, p.comm == "sh" && p.args.exists(a, a.contains("${file}")))` },
    ({ process: { ancestors } }) =>
      ancestors?.some(({ comm, args }) => comm === 'sh' && args?.some((arg) => arg.includes(file))) ?? false,
  ],
];

it('filters and groups by parents and ancestors, in pages, streams, aggregates and exports alike', async () => {
  const server = await sharedServer();
  await fed(server);
  const id = await startSession(server, '{ trackers: [{ open: {} }], target: { uids: [0] } }');
  const live = server.subscribe<{ events: { events: readonly Found[] } }>(
    `subscription ($id: ID!, $where: EventFilter) { events(session: $id, where: $where, maxDelay: "0ms") { events { ${SELECTED} } } }`,
    { id, where: { and: [opened, ofDaemon] } },
  );
  const streamed: Found[] = [];
  const reading = (async () => {
    for await (const { events } of live) streamed.push(...events.events);
  })();
  await until('it is subscribed', async () => (await statsOf(server, id)).subscribers.length === 1);
  await work();
  await until('the stream has both', () => streamed.length >= 2);
  await stopSession(server, id);
  await reading;

  const all = await pageOf(server, id, null);
  const cats = all.filter(({ path, process }) => path === file && process.comm === 'cat');
  expect(cats.map((found) => [found.process.parent?.comm, isOfDaemon(found)]).sort()).toEqual([
    ['sh', false],
    ['sh', true],
    ['sh', true],
  ]);
  expect(streamed).toEqual(all.filter((found) => found.path === file && isOfDaemon(found)));
  for (const [where, naive] of ways) {
    const expected = cats.filter(naive);
    // Of the test's own: other processes of the machine rename themselves meanwhile, in all their events.
    const found = await pageOf(server, id, { and: [opened, { process: { comm: { eq: 'cat' } } }, where] });
    expect([where, found]).toEqual([where, expected]);
    expect(expected.length).toBeGreaterThan(0);
  }

  const { session } = await server.query<{
    session: {
      aggregate: readonly { key: readonly { value: string | null }[]; count: string; values: { text: string }[] }[];
    };
  }>(
    `query ($id: ID!, $where: EventFilter) { session(id: $id) { aggregate(
      groupBy: ["process.parent.comm", "process.executable"], where: $where,
      measures: [{ fn: DISTINCT, field: "process.parent.pid" }]) { key { value } count values { text } } } }`,
    { id, where: { and: [opened, ofDaemon] } },
  );
  expect(session.aggregate).toMatchObject([
    { key: [{ value: 'sh' }, { value: cats[0]?.process.executable }], count: '2', values: [{ text: '2' }] },
  ]);

  const expression = encodeURIComponent(`open.path == "${file}" && process.ancestors.exists(p, p.comm == "${daemon}")`);
  const exported = await fetch(server.url.replace('/graphql', `/export/${id}.ndjson?where=${expression}`), {
    headers: { 'x-eunomia': '1' },
  });
  expect((await exported.text()).match(/"path":"[^"]*read.txt"/g)).toHaveLength(2);
});

it('has a session keep only what descends from a process, and pushes the rest of its filter into the kernel', async () => {
  const server = await sharedServer();
  await fed(server);
  const where = `process.comm == "cat" && process.ancestors.exists(p, p.comm == "${daemon}")`;
  const id = await startSession(server, `{ trackers: [{ open: {} }], where: { expr: ${JSON.stringify(where)} } }`);
  await work();
  await stopSession(server, id);
  const { session } = await server.query<{ session: { explain: object } }>(
    'query ($id: ID!) { session(id: $id) { explain { where trackers { inKernel inServer } } } }',
    { id },
  );
  expect(session.explain).toEqual({
    where: `process.comm == "cat" && process.ancestors.exists(x, x.comm == "${daemon}")`,
    trackers: [{ inKernel: 'process.comm == "cat"', inServer: `process.ancestors.exists(x, x.comm == "${daemon}")` }],
  });
  const found = await pageOf(server, id, null);
  expect(found.filter(({ path }) => path === file)).toHaveLength(2);
  expect(found.filter((one) => !isOfDaemon(one))).toEqual([]);
  const { received, discarded, delivered, queued } = await statsOf(server, id);
  expect([received, queued]).toEqual([discarded + delivered, 0]);
  expect(discarded).toBeGreaterThan(0);
});

it('finds what is open, by ancestors', async () => {
  const server = await sharedServer();
  await fed(server);
  const { openFiles } = await server.query<{ openFiles: { nodes: readonly { process: { pid: number } }[] } }>(
    'query ($where: OpenFileFilter) { openFiles(where: $where) { nodes { process { pid } } } }',
    { where: { process: { parent: { pid: { eq: process.pid } } }, fd: { eq: 1 } } },
  );
  expect(openFiles.nodes.map(({ process: { pid } }) => pid)).toContain(server.pid);
});

it('refuses what it cannot know: without a table, and of events that are older than it', async () => {
  const refusal = async (server: TestServer, document: string): Promise<string> =>
    server.query(document).then(
      () => 'accepted',
      (error: unknown) => String(error),
    );
  const without = await startServer(['--engine', 'none', '--process-table', '0']);
  expect(
    await refusal(
      without,
      'mutation { startSession(input: { trackers: [{ exec: {} }], where: { process: { parent: { comm: { eq: "sh" } } } } }) { id } }',
    ),
  ).toMatch(
    /where.process.parent: .*table of processes, and there is none: the server was started with --process-table 0/,
  );

  const flags = ['--engine', 'none', '--data-dir', join(scratch, 'kept')];
  const first = await startServer([...flags, '--process-table', '0']);
  const id = await startSession(first, '{ trackers: [{ open: {} }], persist: {} }');
  await work();
  await stopSession(first, id);
  await first.end('SIGTERM');
  const second = await startServer(flags);
  await fed(second);
  expect(
    await refusal(
      second,
      `{ session(id: "${id}") { events(where: { process: { executable: { suffix: "cat" } } }) { nodes { tracker } } } }`,
    ),
  ).toMatch(
    /where: the executables, arguments and ancestors of processes were not stored .*the session .* is older than this server's table/,
  );
  expect(
    await refusal(second, `{ session(id: "${id}") { aggregate(groupBy: ["process.parent.comm"]) { count } } }`),
  ).toMatch(/groupBy: .*were not stored/);
  const anHourAgo = new Date(Date.now() - 3_600_000).toISOString();
  const history = `history(from: "${anHourAgo}", where: { process: { parent: { comm: { eq: "sh" } } } })`;
  expect(await refusal(second, `{ ${history} { events(first: 10) { nodes { tracker } } } }`)).toMatch(
    /where: .*were not stored .*the session .* is older/,
  );
});
