import { execFile } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { installClients, runClient, startClient } from '../support/clients.js';
import { blocksRunBy } from '../support/page.js';
import { startServer, startSession, statsOf, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { work } from '../support/workload.js';

const exec = promisify(execFile);
const EVENTS = 100;
const PREFIX = '/no/such/';

let folder: string;
let server: TestServer;
/** It has seen EVENTS opens of paths with numbers. */
let session: string;
let other: string;

beforeAll(async () => {
  folder = await installClients();
  server = await startServer(['--engine', 'none'], { keep: true });
  [session = '', other = ''] = await Promise.all(
    ['workload', 'nobody'].map((comm) =>
      startSession(server, `{ trackers: [{ open: { failedOnly: true } }], target: { comms: ["${comm}"] } }`),
    ),
  );
  await open('first', EVENTS);
  await until('all are there', async () => (await statsOf(server, session)).retained >= EVENTS);
});
afterAll(() => server.end('SIGTERM'));

/** Opens files that do not exist, in one that bears this name; they are numbered. */
async function open(name: string, count: number): Promise<void> {
  await work('count', `${PREFIX}${name}/`, count, 100);
}

/** Runs a program of the installed clients; returns what it prints. */
async function tool(name: string, ...args: readonly string[]): Promise<string> {
  try {
    return (await exec(join(folder, 'node_modules/.bin', name), [...args], { cwd: folder })).stdout;
  } catch (error) {
    throw new Error(`${String(error)}\n${String(Reflect.get(Object(error), 'stdout'))}`, { cause: error });
  }
}

const numbered = (paths: readonly (string | null)[]): readonly number[] =>
  paths.flatMap((path) => (path?.startsWith(PREFIX) ? [Number(path.split('/').at(-1))] : []));
const all = Array.from({ length: EVENTS }, (_, i) => i);

it('Apollo Client: its cache joins the pages of a session, finds an event by its id, and keeps two sessions apart', async () => {
  const seen = await runClient<{
    readonly complaints: readonly string[];
    readonly paths: readonly (string | null)[];
    readonly distinct: number;
  }>(folder, 'apollo.mjs', [server.url, session, other]);
  expect(seen).toMatchObject({
    complaints: [],
    node: true,
    liveInCache: true,
    live: 5,
    subscribers: 2,
    sessionsInCache: 2,
  });
  expect(numbered(seen.paths)).toEqual(all);
  expect(seen.distinct).toBe(seen.paths.length);
});

it('urql with Graphcache: pages, live events and all that is read from its cache, without a warning', async () => {
  const seen = await runClient<{ readonly paths: readonly (string | null)[] }>(folder, 'urql.mjs', [
    server.url,
    session,
  ]);
  expect(seen).toMatchObject({ complaints: [], live: 5, cached: seen.paths.length });
  expect(numbered(seen.paths)).toEqual(all);
});

it('relay-compiler takes the schema as it is, and connections, refetchable fragments and subscriptions on it', async () => {
  await copyFile(join(root, 'schema.graphql'), join(folder, 'schema.graphql'));
  expect(await tool('relay-compiler', 'relay.config.json')).toMatch(
    /compiled documents: \d+ reader, \d+ normalization/,
  );
});

it('what the client preset of GraphQL Code Generator makes compiles, and types results and variables', async () => {
  await copyFile(join(root, 'schema.graphql'), join(folder, 'schema.graphql'));
  await tool('graphql-codegen', '--config', 'codegen.yml');
  await tool('tsc', '-p', 'codegen');
});

it('Apollo Client and urql send the hash of a document, its text once, and from then on the hash alone', async () => {
  interface Seen {
    readonly versions: readonly string[];
    readonly sent: readonly string[];
  }
  const { complaints, ...clients } = await runClient<
    Readonly<Record<'apollo' | 'apolloGet' | 'urql' | 'urqlGet', Seen>> & { readonly complaints: readonly string[] }
  >(folder, 'persisted.mjs', [server.url]);
  expect(complaints).toEqual([]);
  for (const { versions } of Object.values(clients)) expect(versions.filter(Boolean)).toHaveLength(3);
  const posts = ['POST hash', 'POST text', 'POST hash', 'POST hash'];
  expect([clients.apollo.sent, clients.urql.sent]).toEqual([posts, posts]);
  for (const { sent } of [clients.apolloGet, clients.urqlGet])
    expect([sent[0], sent[1]?.split(' ')[1], ...sent.slice(2)]).toEqual(['GET hash', 'text', 'GET hash', 'GET hash']);
});

it('EventSource of Chromium goes on where it was when its connection breaks, without loss or duplicate', async () => {
  const proxy = await Proxy.listen(Number(new URL(server.url).port));
  const selection = '{ events { ... on OpenEvent { path } } gap { lost dropped } }';
  const subscription = `subscription { events(session: "${session}", replay: 0) ${selection} }`;
  const [shown] = blocksRunBy('test/e2e/clients.test.ts', 1);
  const page = `http://127.0.0.1:${proxy.port}/graphql`;
  const browser = startClient(folder, 'eventsource.mjs', [page, subscription, shown?.text ?? '']);
  const paths: (string | null)[] = [];
  const gaps: object[] = [];
  let opened = 0;
  let complaints = '';
  browser.stderr?.on('data', (text: Buffer) => (complaints += String(text)));
  if (browser.stdout)
    createInterface(browser.stdout).on('line', (line) => {
      const told = JSON.parse(line) as
        'opened' | { readonly paths: readonly (string | null)[]; readonly gap: object | null };
      if (told === 'opened') opened++;
      else {
        paths.push(...told.paths);
        if (told.gap) gaps.push(told.gap);
      }
    });
  const ended = new Promise((resolve) => browser.once('exit', resolve));
  await until('the page listens', () => opened === 1 || (browser.exitCode !== null && expect.fail(complaints)));
  for (let round = 1; round <= 3; round++) {
    const before = opened;
    await open(`heard-${round}`, EVENTS / 2);
    proxy.cut();
    // These happen while nobody listens.
    await open(`missed-${round}`, EVENTS / 2);
    await until('it is connected again', () => opened > before, 60_000);
  }
  await until('all have come', () => numbered(paths).length >= 3 * EVENTS);
  browser.stdin?.write('\n');
  await ended;
  await proxy.close();
  expect(gaps).toEqual([]);
  expect(numbered(paths)).toHaveLength(3 * EVENTS);
  expect(new Set(paths).size).toBe(paths.length);
});

/** Passes bytes on, until it breaks all connections. */
class Proxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: number) {
    this.#server = createServer((socket) => {
      const onward = connect(target, '127.0.0.1');
      for (const [from, to] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        this.#sockets.add(from);
        from.on('error', () => undefined);
        from.on('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
  }

  static async listen(target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
