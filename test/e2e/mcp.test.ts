import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer, type TestServer } from '../support/server.js';

/** Tools for agents, by the client of the protocol's own SDK. */
const main = join(root, 'dist/main.js');
const TOKEN = 'secret-of-the-admin';
let server: TestServer;
let folder: string;
let secret: string;
let thief: ReturnType<typeof spawn>;
const clients: Client[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-mcp-'));
  secret = join(folder, 'secret.key');
  writeFileSync(secret, 'hidden');
  const args = ['--engine', 'none', '--data-dir', join(folder, 'data'), '--token', `admin:${TOKEN}`];
  server = await startServer(args, { keep: true, token: TOKEN });
  thief = spawn('sh', ['-c', `while :; do cat '${secret}'; sleep 0.2; done`], { stdio: 'ignore' });
});
afterAll(async () => {
  for (const client of clients) await client.close();
  thief.kill('SIGKILL');
  await server.end('SIGTERM');
  rmSync(folder, { recursive: true });
});

async function connect(...args: readonly string[]): Promise<Client> {
  const client = new Client({ name: 'a test', version: '1' });
  const env = { PATH: process.env['PATH'] ?? '', EUNOMIA_SERVER: server.url, EUNOMIA_TOKEN: TOKEN };
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [main, 'mcp', ...args], env }));
  clients.push(client);
  return client;
}

async function call(client: Client, name: string, args: Readonly<Record<string, unknown>> = {}) {
  const { content, isError } = await client.callTool({ name, arguments: { ...args } });
  const [part] = content as readonly { readonly type: string; readonly text: string }[];
  return { text: part?.text ?? '', isError };
}

it('finds the process that opens a secret file', async () => {
  const agent = await connect();
  expect((await call(agent, 'trackers', {})).text).toMatch(/^open +yes +Files that are opened/m);
  expect((await call(agent, 'trackers', { name: 'open' })).text).toMatch(/^path +String +on demand/m);
  const where = 'path.endsWith("/secret.key")';
  const counted = await call(agent, 'count', { tracker: ['open'], by: ['process.comm', 'path'], where, for: '2s' });
  expect(counted.text).toMatch(new RegExp(`^\\d+ +\\d+ +cat +${secret}$`, 'm'));
  expect(counted.text).toMatch(/^\d+ events, 0 lost, 0 dropped$/m);
  const traced = await call(agent, 'trace', {
    tracker: ['open'],
    where,
    limit: 1,
    fields: ['process.pid', 'process.ppid', 'path'],
  });
  const [, parent] = new RegExp(`^\\d+ +(\\d+) +${secret}$`, 'm').exec(traced.text) ?? [];
  expect(Number(parent)).toBe(thief.pid);
  const { text } = await call(agent, 'graphql', {
    query: 'query ($pid: Int!) { process(pid: $pid) { comm args } }',
    variables: { pid: Number(parent) },
  });
  expect(JSON.parse(text)).toMatchObject({ process: { comm: 'sh' } });
});

it('has tools that are read only, and says so; more when it is allowed', async () => {
  const named = async (client: Client) =>
    (await client.listTools()).tools.map(({ name, annotations }) => [name, annotations?.readOnlyHint] as const);
  const careful = await named(await connect());
  expect(careful).toContainEqual(['trace', true]);
  expect(careful.filter(([, isReadOnly]) => isReadOnly !== true)).toEqual([]);
  const free = await named(await connect('--allow-changes'));
  expect(free).toEqual(
    expect.arrayContaining([
      ['acknowledge_alert', false],
      ['graphql', false],
      ['trace', true],
    ]),
  );
});

it('describes arguments by the flags of the command line', async () => {
  const { tools } = await (await connect()).listTools();
  const trace = tools.find(({ name }) => name === 'trace')?.inputSchema;
  expect(trace).toMatchObject({
    required: ['tracker'],
    additionalProperties: false,
    properties: {
      tracker: { type: 'array', items: { type: 'string' } },
      container: { type: 'array' },
      where: { type: 'string', description: expect.stringContaining('CEL') },
      wait: { type: 'boolean' },
    },
  });
  expect(Object.keys(trace?.properties ?? {})).not.toEqual(expect.arrayContaining(['server', 'token', 'output']));
  for (const { description } of tools) expect(description).toMatch(/^\S.{20,}/);
});

it('reads what is stored, of a session that it may start when it is allowed', async () => {
  const agent = await connect('--allow-changes');
  const started = await call(agent, 'graphql', {
    query: 'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
    variables: { input: { trackers: [{ open: {} }], for: '1s', persist: {}, where: { expr: `path == "${secret}"` } } },
  });
  const { startSession } = JSON.parse(started.text) as { startSession: { id: string } };
  await expect
    .poll(async () => (await call(agent, 'sessions')).text)
    .toMatch(new RegExp(`^${startSession.id} .*stopped`, 'm'));
  const stored = await call(agent, 'history', { session: [startSession.id], from: '1h', 'group-by': 'path' });
  expect(stored.text).toMatch(new RegExp(`${secret},`));
});

it.each([
  ['trace', { tracker: ['exec'], wher: 'true' }, 'trace has no argument "wher"; did you mean "where"?'],
  ['trace', { tracker: ['exex'] }, 'no tracker "exex"; did you mean "exec"'],
  ['trace', {}, "missing required argument 'tracker'"],
  ['trace', { tracker: ['exec'], where: 'pth == 1' }, 'no event of exec has the field "pth"'],
  ['trace', { tracker: ['exec'], limit: 0 }, '--limit: "0" is no whole number'],
  ['trace', { tracker: ['--server=http://127.0.0.1:9'] }, 'no tracker "--server=http'],
  ['trase', {}, 'there is no tool "trase"; did you mean "trace"'],
  ['graphql', { query: 'mutation { stopSession(id: "a") { id } }' }, 'was started without --allow-changes'],
  ['graphql', { query: 'subscription { alerts { id } }' }, 'a subscription has no end'],
  ['graphql', { query: '{' }, 'query: Syntax Error'],
  ['graphql', { query: '{ server { versio } }' }, 'Did you mean "version"'],
  ['schema', { type: 'Contaner' }, 'there is no type "Contaner"; did you mean "Container"'],
  ['acknowledge_alert', { alert: ['a'] }, 'there is no tool "acknowledge_alert" here: it changes something'],
])('refuses in words: %s %j', async (tool, args, message) => {
  const answer = await call(clients[0] ?? (await connect()), tool, args);
  expect(answer).toEqual({ isError: true, text: expect.stringContaining(message) });
});

it('cuts what is too long, and says so; what an agent cancels ends', async () => {
  const [agent] = clients;
  if (!agent) throw new Error('no client');
  const long = await call(agent, 'trackers', { name: undefined });
  expect(long.text.length).toBeLessThan(25_000);
  const types = await call(agent, 'graphql', {
    query: '{ __schema { types { name description fields { name description } } } }',
  });
  expect(types).toEqual({ isError: true, text: expect.stringContaining('select fewer fields') });
  const given = new AbortController();
  const running = agent.callTool(
    { name: 'trace', arguments: { tracker: ['exec'], for: '5m', where: 'process.comm == "none"' } },
    undefined,
    {
      signal: given.signal,
    },
  );
  const named = async () =>
    (await server.query<{ sessions: { nodes: { name: string }[] } }>('{ sessions(state: RUNNING) { nodes { name } } }'))
      .sessions.nodes;
  await expect.poll(named).toEqual([expect.objectContaining({ name: 'eunomia run exec' })]);
  given.abort();
  await expect(running).rejects.toThrow();
  await expect.poll(named).toEqual([]);
});
