import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { blocksRunBy } from '../support/page.js';
import { startServer, type TestServer } from '../support/server.js';
import { until, untilHolds } from '../support/until.js';

/** Tools for agents, by the client of the protocol's own SDK. */
const main = join(root, 'dist/main.js');
const TOKEN = 'secret-of-the-admin';
const VIEWER = 'secret-of-a-viewer';
const [shown, shownCommand] = blocksRunBy('test/e2e/mcp.test.ts', 2);
const listening: ChildProcess[] = [];
let server: TestServer;
let folder: string;
let secret: string;
let thief: ReturnType<typeof spawn>;
const clients: Client[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-mcp-'));
  secret = join(folder, 'secret.key');
  writeFileSync(secret, 'hidden');
  const args = [
    '--engine',
    'none',
    '--data-dir',
    join(folder, 'data'),
    '--token',
    `admin:${TOKEN}`,
    '--token',
    `viewer:${VIEWER}`,
  ];
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
  const stopped = new RegExp(`^${startSession.id} .*stopped`, 'm');
  await untilHolds(
    'it has stopped',
    async () => (await call(agent, 'sessions')).text,
    (sessions) => stopped.test(sessions),
  );
  const stored = await call(agent, 'history', { session: [startSession.id], 'group-by': 'path' });
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
  const [session] = await untilHolds('it runs', named, (sessions) => sessions.length === 1);
  expect(session).toEqual({ name: 'eunomia run exec' });
  given.abort();
  await expect(running).rejects.toThrow();
  await untilHolds('it has ended', named, (sessions) => sessions.length === 0);
});

/** `eunomia mcp --listen`, and what it says. */
async function listen(...args: readonly string[]) {
  const env = { PATH: process.env['PATH'] ?? '' };
  const child = spawn(process.execPath, [main, 'mcp', '--listen', '127.0.0.1:0', ...args], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  listening.push(child);
  let told = '';
  child.stderr.on('data', (data: Buffer) => (told += String(data)));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const url = await until(
    'an address',
    () => /http:\S+(?=;)/.exec(told)?.[0] ?? (child.exitCode === null ? null : told),
  );
  return { url, child, ended };
}

describe('over HTTP', () => {
  let url: string;
  beforeAll(async () => {
    // As docs/mcp.md shows: the last flag counts.
    const words = shownCommand?.text.trim().split(' ').slice(2) ?? [];
    ({ url } = await listen(...words, '--listen', '127.0.0.1:0', '--server', server.url));
  });
  afterAll(() => {
    for (const child of listening) child.kill('SIGKILL');
  });

  const headersOf = (token: string | null): Record<string, string> =>
    token === null ? {} : { authorization: `Bearer ${token}` };
  async function connectHttp(token: string | null = TOKEN): Promise<Client> {
    const client = new Client({ name: 'a test', version: '1' });
    // Its types are not made for exactOptionalPropertyTypes.
    await client.connect(
      new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: headersOf(token) } }) as Transport,
    );
    clients.push(client);
    return client;
  }
  const begin = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'x', version: '1' } },
  };
  const post = (body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headersOf(TOKEN),
        ...headers,
      },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  const sessionsOf = async (): Promise<readonly string[]> =>
    (
      await server.query<{ sessions: { nodes: { id: string; state: string }[] } }>(
        '{ sessions(first: 1000) { nodes { id state } } }',
      )
    ).sessions.nodes
      .filter(({ state }) => state === 'RUNNING')
      .map(({ id }) => id);

  it('has the same tools, with the rights of the token', async () => {
    const agent = await connectHttp();
    expect((await agent.listTools()).tools).toEqual((await (await connect()).listTools()).tools);
    const where = 'path.endsWith("/secret.key")';
    const counted = await call(agent, 'count', { tracker: ['open'], by: ['process.comm', 'path'], where, for: '2s' });
    expect(counted.text).toMatch(new RegExp(`^\\d+ +\\d+ +cat +${secret}$`, 'm'));
    const viewer = await connectHttp(VIEWER);
    expect((await call(viewer, 'status')).isError).toBe(false);
    expect(await call(viewer, 'trace', { tracker: ['exec'], for: '1s' })).toMatchObject({
      isError: true,
      text: expect.stringContaining('operator'),
    });
  });

  it.each([
    ['no token', null, 401],
    ['a token that the server does not know', 'nobody-has-this-one', 401],
  ])('refuses %s', async (_what, token, status) => {
    await expect(connectHttp(token)).rejects.toThrow(/token/);
    const response = await post(begin, { authorization: token === null ? '' : `Bearer ${token}` });
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([status, 'Bearer']);
  });

  it('refuses pages of other origins, names that were made to lead here, other paths and methods', async () => {
    const statusOf = async (response: Promise<Response>): Promise<number> => (await response).status;
    expect(await statusOf(post(begin, { origin: 'https://evil.example' }))).toBe(403);
    expect(await statusOf(post(begin, { origin: new URL(url).origin }))).toBe(200);
    const rebound = await raw(
      url,
      `POST /mcp HTTP/1.1\r\nHost: evil.example:${new URL(url).port}\r\nContent-Length: 0\r\n\r\n`,
    );
    expect(rebound).toMatch(/^HTTP\/1.1 403 [^]*the header Host is to be one of localhost:/);
    expect(await statusOf(fetch(new URL('/', url), { method: 'POST', headers: headersOf(TOKEN) }))).toBe(404);
    expect(await statusOf(fetch(url, { headers: headersOf(TOKEN) }))).toBe(405);
  });

  it('refuses what is no message, too large, or of another session', async () => {
    expect((await post('{')).status).toBe(400);
    expect((await post({ jsonrpc: '2.0', id: 1, method: 'tools/list' })).status).toBe(400);
    expect((await post({ ...begin, padding: 'x'.repeat(2 << 20) })).status).toBe(413);
    expect((await post(begin, { 'content-type': 'text/plain' })).status).toBe(415);
    const id = (await post(begin)).headers.get('mcp-session-id') ?? '';
    const list = { jsonrpc: '2.0', id: 2, method: 'tools/list' };
    expect((await post(list, { 'mcp-session-id': id })).status).toBe(200);
    expect((await post(list, { 'mcp-session-id': id, authorization: `Bearer ${VIEWER}` })).status).toBe(404);
    expect((await post(list, { 'mcp-session-id': 'none' })).status).toBe(404);
    expect(
      (await fetch(url, { method: 'DELETE', headers: { ...headersOf(TOKEN), 'mcp-session-id': id } })).status,
    ).toBe(200);
    expect((await post(list, { 'mcp-session-id': id })).status).toBe(404);
  });

  it('keeps a few sessions of a token, and others are served meanwhile', async () => {
    const viewer = await connectHttp(VIEWER);
    const ids: string[] = [];
    for (let i = 0; i < 100; i++)
      ids.push(
        ...(await Promise.all(
          Array.from({ length: 10 }, async () => {
            const response = await post(begin);
            await response.text();
            return response.headers.get('mcp-session-id') ?? `${response.status}`;
          }),
        )),
      );
    const list = { jsonrpc: '2.0', id: 2, method: 'tools/list' };
    const alive: number[] = [];
    for (const id of ids.filter((each) => each.length > 3).slice(-60)) {
      const response = await post(list, { 'mcp-session-id': id });
      await response.text();
      alive.push(response.status);
    }
    expect(alive.filter((status) => status === 200).length).toBeLessThanOrEqual(20);
    expect(alive.at(-1)).toBe(200);
    expect((await call(viewer, 'status')).isError).toBe(false);
  });

  it('ends what a client began that goes away', async () => {
    const before = await sessionsOf();
    const id = (await post(begin)).headers.get('mcp-session-id') ?? '';
    const leaving = new AbortController();
    const params = { name: 'trace', arguments: { tracker: ['exec'], for: '5m' } };
    const asked = fetch(url, {
      method: 'POST',
      signal: leaving.signal,
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headersOf(TOKEN),
        'mcp-session-id': id,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 3, method: 'tools/call', params }),
    }).then((response) => response.text());
    await until('it runs', async () => (await sessionsOf()).length > before.length);
    leaving.abort();
    await expect(asked).rejects.toThrow();
    await until('it has ended', async () => (await sessionsOf()).length === before.length);
  });

  it('closes a connection whose request does not come', async () => {
    const started = Date.now();
    const answer = await raw(url, `POST /mcp HTTP/1.1\r\nHost: ${new URL(url).host}\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 408 /);
    expect(Date.now() - started).toBeLessThan(60_000);
  });

  it('ends with its signal, and the sessions that it has begun', async () => {
    const before = await sessionsOf();
    const own = await listen('--server', server.url);
    const client = new Client({ name: 'a test', version: '1' });
    await client.connect(
      new StreamableHTTPClientTransport(new URL(own.url), { requestInit: { headers: headersOf(TOKEN) } }) as Transport,
    );
    const called = client
      .callTool({ name: 'trace', arguments: { tracker: ['exec'], for: '5m' } })
      .catch(() => undefined);
    await until('it runs', async () => (await sessionsOf()).length > before.length);
    own.child.kill('SIGTERM');
    expect(await own.ended).toBe(0);
    await until('it has ended', async () => (await sessionsOf()).length === before.length);
    await client.close();
    await called;
  });

  it('is refused where every agent would have the rights of its user', async () => {
    const open = await startServer();
    expect((await listen('--server', open.url)).url).toContain('lets this user in without a token');
    expect((await listen()).url).toContain('--listen: the tokens are those of a server');
    expect((await listen('--server', server.url, '--token', TOKEN)).url).toContain(
      '--token: does nothing with --listen',
    );
    expect((await listen('--server', server.url, '--listen', '0.0.0.0:0')).url).toContain(
      '0.0.0.0 is no loopback address',
    );
    expect((await listen('--server', server.url, '--listen', '4100')).url).toContain('"4100" is no address');
    const { port } = new URL(url);
    expect((await listen('--server', server.url, '--listen', `127.0.0.1:${port}`)).url).toContain('EADDRINUSE');
  });
});

/** What the server answers to these bytes, until it closes the connection. */
function raw(to: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(to);
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connectSocket(Number(port), hostname, () => socket.write(bytes));
    socket.on('data', (data: Buffer) => (answer += String(data)));
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

it('is configured as docs/mcp.md shows', async () => {
  const { mcpServers } = JSON.parse(shown?.text ?? '') as {
    mcpServers: { eunomia: { command: string; args: string[]; env: Record<string, string> } };
  };
  const { command, args, env } = mcpServers.eunomia;
  expect([command, Object.keys(env)]).toEqual(['eunomia', ['EUNOMIA_SERVER', 'EUNOMIA_TOKEN']]);
  expect((await (await connect(...args.slice(1))).listTools()).tools.length).toBeGreaterThan(10);
});
