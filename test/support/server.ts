import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createClient, type Client } from 'graphql-ws';
import { afterAll, afterEach } from 'vitest';
import { WebSocket } from 'ws';
import { root } from '../../src/base/paths.js';
import { firstLine, start } from './workload.js';

/** The real server, as `eunomia serve` starts it, in a process of its own; and clients of it. */
export interface TestServer {
  readonly url: string;
  readonly pid: number;
  /** Rejects when the response has errors. */
  query<Data>(document: string, variables?: Record<string, unknown>): Promise<Data>;
  /** Each result of a subscription over WebSocket. Rejects when one has errors. Leaving the loop ends it. */
  subscribe<Data>(document: string, variables?: Record<string, unknown>): AsyncGenerator<Data, void>;
  /** Sends a signal and waits for the end. Returns the exit code, or the signal that ended it. */
  end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null>;
}

const running: TestServer[] = [];

/** Starts a server on a free port; it is stopped after the test unless `keep` is set. */
export async function startServer(
  args: readonly string[] = ['--engine', 'none'],
  { keep = false, token }: { readonly keep?: boolean; readonly token?: string } = {},
): Promise<TestServer> {
  const child = start(process.execPath, [
    join(root, 'dist/main.js'),
    'serve',
    '--port',
    '0',
    '--log-level',
    'error',
    ...(args.includes('--data-dir') ? [] : ['--data-dir', 'none']),
    ...args,
  ]);
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const line = await Promise.race([firstLine(child), exited.then(([code]) => `ended with ${code}`)]);
  const url = /(http:\S+)/.exec(line)?.[1];
  if (url === undefined) throw new Error(`the server did not start: ${line}`);
  const server = new RunningServer(url, child, exited, token);
  if (!keep) running.push(server);
  return server;
}

const shared = new Map<string, Promise<TestServer>>();

/**
 * One server for those tests of a file that neither end it nor ask what it has done before: a start takes more than most of them.
 * It is as `startServer` makes it; the sessions of a test are removed after it.
 */
export function sharedServer(args: readonly string[] = ['--engine', 'none']): Promise<TestServer> {
  const key = JSON.stringify(args);
  const server = shared.get(key) ?? startServer(args, { keep: true });
  shared.set(key, server);
  return server;
}

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.end('SIGTERM')));
  for (const server of await Promise.all(shared.values())) {
    const { sessions } = await server.query<{ sessions: { nodes: readonly { id: string }[] } }>(
      '{ sessions(first: 1000) { nodes { id } } }',
    );
    for (const { id } of sessions.nodes)
      await server.query('mutation ($id: ID!) { removeSession(id: $id) }', { id }).catch((error: unknown) => {
        if (!String(error).includes('UNKNOWN_SESSION')) throw error; // its time to live was over
      });
  }
});

afterAll(async () => {
  for (const server of await Promise.all(shared.values())) await server.end('SIGTERM');
  shared.clear();
});

class RunningServer implements TestServer {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<[number | null, NodeJS.Signals | null]>;
  readonly #authorization: Record<string, string>;
  readonly #clients = new Set<Client>();

  constructor(
    url: string,
    child: ChildProcess,
    exited: Promise<[number | null, NodeJS.Signals | null]>,
    token?: string,
  ) {
    this.#authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    this.url = url;
    this.#child = child;
    this.#exited = exited;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async query<Data>(document: string, variables: Record<string, unknown> = {}): Promise<Data> {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', ...this.#authorization },
      body: JSON.stringify({ query: document, variables }),
    });
    const { data, errors } = (await response.json()) as { data?: Data; errors?: unknown };
    if (errors !== undefined || !data) throw new Error(JSON.stringify(errors));
    return data;
  }

  async *subscribe<Data>(document: string, variables: Record<string, unknown> = {}): AsyncGenerator<Data, void> {
    const client = createClient({
      url: this.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: this.#authorization,
    });
    this.#clients.add(client);
    try {
      for await (const { data, errors } of client.iterate<Data>({ query: document, variables })) {
        if (errors !== undefined || !data) throw new Error(JSON.stringify(errors));
        yield data;
      }
    } finally {
      await client.dispose();
      this.#clients.delete(client);
    }
  }

  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal);
    const [code, by] = await this.#exited;
    for (const client of this.#clients) client.terminate();
    return code ?? by;
  }
}

export const STATS =
  'stats { produced lost received discarded delivered queued dropped retained evicted subscribers { id received ' +
  'discarded delivered dropped queued } }';

export type Stats = Readonly<
  Record<
    'produced' | 'lost' | 'received' | 'discarded' | 'delivered' | 'queued' | 'dropped' | 'retained' | 'evicted',
    string
  >
> & {
  readonly subscribers: readonly Readonly<
    Record<'id' | 'received' | 'discarded' | 'delivered' | 'dropped' | 'queued', string>
  >[];
};

/** The session's stats as numbers. */
export async function statsOf(server: TestServer, id: string) {
  const { session } = await server.query<{ session: { stats: Stats } }>(
    `query ($id: ID!) { session(id: $id) { ${STATS} } }`,
    { id },
  );
  const { subscribers, ...counts } = session.stats;
  const numbers = <Name extends string>(texts: Readonly<Record<Name, string>>) =>
    Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Number(text)])) as Record<Name, number>;
  return { ...numbers(counts), subscribers: subscribers.map(numbers) };
}

/** Starts a session and returns its id. `input` is a GraphQL literal. */
export async function startSession(server: TestServer, input: string): Promise<string> {
  const { startSession } = await server.query<{ startSession: { id: string } }>(
    `mutation { startSession(input: ${input}) { id } }`,
  );
  return startSession.id;
}

export async function stopSession(server: TestServer, id: string): Promise<void> {
  await server.query('mutation ($id: ID!) { stopSession(id: $id) { id } }', { id });
}
