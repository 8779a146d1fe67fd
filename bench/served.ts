import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { programs } from './build.js';
import { root } from '#eunomia/base/paths.js';
import { LineProcess } from './child.js';
import type { Tracer } from './ladder.js';
import { RING_BYTES } from './peer.js';
import type { Answer, Ask } from './protocol.js';

const START = `mutation Start($input: StartSessionInput!) { startSession(input: $input) { id } }`;
const REMOVE = `mutation Remove($id: ID!) { removeSession(id: $id) }`;
const STATS = `query Stats($id: ID!) { session(id: $id) { stats { lost received subscribers { dropped delivered } } } }`;
/** A client that gets nothing new for so long gets no more. */
const STUCK_MS = 500;

interface Stats {
  readonly lost: string;
  readonly received: string;
  readonly subscribers: readonly { readonly dropped: string; readonly delivered: string }[];
}

/** A server as users run it: `eunomia serve`, a process of its own. */
export class ServerProcess {
  readonly #child: ChildProcess;
  readonly url: string;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.url = url;
  }

  /** Resolves when it says that it listens. */
  static async start(nodeFlags: readonly string[] = [], flags: readonly string[] = []): Promise<ServerProcess> {
    const args = [
      ...nodeFlags,
      join(root, 'dist/main.js'),
      'serve',
      '--port',
      '0',
      '--engine',
      'none',
      '--data-dir',
      'none',
      '--log-level',
      'error',
      ...flags,
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const end = () => void child.kill();
    process.on('exit', end); // a bench that fails or is interrupted leaves no server
    child.once('exit', () => process.off('exit', end));
    for await (const line of createInterface(child.stdout)) {
      const url = /https?:\S+/.exec(line)?.[0];
      if (url) return new ServerProcess(child, url);
    }
    throw new Error('eunomia serve ended before it listened');
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async ask<T>(query: string, variables: object): Promise<T> {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = (await response.json()) as { data?: T; errors?: unknown };
    if (!data || errors) throw new Error(JSON.stringify(errors));
    return data;
  }

  async removeSession(id: string): Promise<void> {
    await this.ask(REMOVE, { id });
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
  }
}

/** What has come to a client of the session that it watches. */
export interface Count {
  readonly events: number;
  /** When the last came: milliseconds of the wall clock. */
  readonly at: number;
}

/** A WebSocket client in a process of its own, that selects five fields of the open tracker's events and looks at each. */
export interface Client {
  /** Counts the events of a session that watches one process, from 0 on. */
  watch(url: string, session: string, pid: number): Promise<void>;
  /** Rejects when one was not what was selected, or the session has ended. */
  count(): Promise<Count>;
  readonly pid: number;
  close(): Promise<void>;
}

/** bench/client.ts: graphql-ws, and JSON.parse. */
export class ClientProcess implements Client {
  readonly #child = fork(join(root, 'build/bench/client.js'));

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async ask<Kind extends Answer['kind']>(ask: Ask): Promise<Extract<Answer, { kind: Kind }>> {
    const answered = once(this.#child, 'message') as Promise<[Answer]>;
    this.#child.send(ask);
    const [answer] = await answered;
    if (answer.kind === 'failed') throw new Error(`the client: ${answer.message}`);
    return answer as Extract<Answer, { kind: Kind }>;
  }

  async watch(url: string, session: string, pid: number): Promise<void> {
    await this.ask({ kind: 'watch', url, session, pid });
  }

  async count(): Promise<Count> {
    const count = await this.ask<'count'>({ kind: 'count' });
    if (count.strange) throw new Error(`${count.strange} events were not what the client had selected`);
    return count;
  }

  /** How long it took from the request to the first event, and of that until the session had started. */
  async first(server: ServerProcess, pid: number): Promise<{ readonly ms: number; readonly startMs: number }> {
    const first = await this.ask<'first'>({ kind: 'first', url: server.url, start: START, variables: sessionOf(pid) });
    await server.removeSession(first.session);
    return first;
  }

  async close(): Promise<void> {
    this.#child.disconnect();
    await once(this.#child, 'exit');
  }
}

/** bench/listener.c: what a program in C can take. */
export class ListenerProcess implements Client {
  #process: LineProcess | null = null;

  async watch(url: string, session: string, pid: number): Promise<void> {
    await this.close();
    this.#process = new LineProcess(programs.listener, [
      new URL(url).port,
      session,
      String(pid),
      'workload',
      '/dev/null',
    ]);
    await this.#process.line();
  }

  async count(): Promise<Count> {
    const [events = 0, us = 0] = (await this.#process?.ask('count')) ?? [];
    return { events, at: us / 1000 };
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async close(): Promise<void> {
    await this.#process?.close();
    this.#process = null;
  }
}

function sessionOf(pid: number): { readonly input: object } {
  const target = { pids: [pid], descendants: false };
  return { input: { trackers: [{ open: {} }], target, capture: 'DEMANDED', ringBytes: RING_BYTES } };
}

/** A session of trackers that watches one process, as demanded; answers its id. */
export async function startSession(server: ServerProcess, pid: number, input: object = {}): Promise<string> {
  const { input: usual } = sessionOf(pid);
  const { startSession: session } = await server.ask<{ startSession: { id: string } }>(START, {
    input: { ...usual, ...input },
  });
  return session.id;
}

/** The open tracker, and a WebSocket client that selects five fields of its events. */
export async function serve(server: ServerProcess, client: Client, pid: number): Promise<Tracer> {
  const id = await startSession(server, pid);
  const stats = async () => (await server.ask<{ session: { stats: Stats } }>(STATS, { id })).session.stats;
  await client.watch(server.url, id, pid);
  while ((await stats()).subscribers.length === 0) {
    await client.count();
    await sleep(10);
  }
  return {
    settle: async (expected) => {
      let seen = await client.count();
      for (let idle = 0; seen.events < expected && idle < STUCK_MS; idle += 5) {
        await sleep(5);
        const before = seen.events;
        seen = await client.count();
        if (seen.events > before) idle = 0;
      }
      const { lost, subscribers } = await stats();
      const dropped = subscribers.reduce((sum, subscriber) => sum + Number(subscriber.dropped), 0);
      return { received: seen.events, lost: Number(lost) + dropped, at: seen.at - performance.timeOrigin };
    },
    close: () => server.removeSession(id),
  };
}
