import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { WebSocket } from 'ws';
import { root } from '#eunomia/base/paths.js';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import type { Delay, ProbeData } from './probe.js';
import { ownBytes } from './query/process.js';
import { ServerProcess, startSession } from './served.js';
import { WatchedLoop } from './watched.js';
import { Workload } from './workload.js';

const EVENTS = 400_000;
const GOAL_MS = 50;
/** Both clients are there for so long before the one begins. */
const QUIET_MS = 300;
/** A flood that lasts longer is left. */
const LONGEST_MS = 5_000;

/** What a client sends at once. Resolves with what came of it. */
interface Flood {
  readonly name: string;
  readonly send: (server: ServerProcess) => Promise<Outcome>;
}

interface Outcome {
  readonly results: number;
  readonly errors: number;
  /** Operations without a result in time. */
  readonly missing: number;
}

const SERVER = 'version startedAt hostname kernel { release cpus features { name available reason } } healthy problem';
const page = (session: string, first: number): string =>
  `{ session(id: "${session}") { events(first: ${first}) { nodes { time } } } }`;

/** What a client that sends all at once leaves for another one. */
export async function floods(report: Report, options: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const workload = await Workload.start();
  const file = join(folder, 'loop.json');
  process.env['EUNOMIA_BENCH_LOOP'] = file;
  process.env['EUNOMIA_BENCH_PIECES'] = '1';
  const server = await ServerProcess.start(
    ['--import', join(root, 'build/bench/loop.js')],
    ['--data-dir', join(folder, 'data')],
  );
  const loop = new WatchedLoop(server.pid, file);
  try {
    const held = await startSession(server, workload.pid);
    const kept = await startSession(server, workload.pid, { persist: { store: 'EMBEDDED' }, bufferBytes: 65_536 });
    await workload.nsPerCall('refused', EVENTS);
    await untilWritten(server, kept);
    const times = (count: number, of: (i: number) => string): string[] =>
      Array.from({ length: count }, (_, i) => of(i));
    const aliases = (session: string): string =>
      `{ session(id: "${session}") { ${times(24, (i) => `a${i}: events(first: 20000) { nodes { time } }`).join(' ')} } }`;
    const fields = (i: number): string[] => times(30, (j) => `a${i}_${j}: server { ${SERVER} }`);
    const document = (i: number): string => `{ ${fields(i).join(' ')} }`;
    const all: readonly Flood[] = [
      {
        name: '100 pages of 20,000 stored events, one WebSocket that reads nothing',
        send: webSocket(
          times(100, () => page(kept, 20_000)),
          false,
        ),
      },
      {
        name: '… that reads them',
        send: webSocket(
          times(100, () => page(kept, 20_000)),
          true,
        ),
      },
      { name: '24 pages of 20,000 stored events, one operation', send: http([aliases(kept)]) },
      {
        name: '20 requests for pages of 20,000 stored events at once',
        send: http(times(20, () => page(kept, 20_000))),
      },
      {
        name: '100 pages of 20,000 events in memory, one WebSocket that reads nothing',
        send: webSocket(
          times(100, () => page(held, 20_000)),
          false,
        ),
      },
      { name: '300 pipelined requests', send: pipelined(times(300, () => '{ __typename }')) },
      { name: '300 pipelined requests, each with a document of its own', send: pipelined(times(300, document)) },
      {
        name: '90 operations, each with a document of its own, one WebSocket',
        send: webSocket(times(90, document), true),
      },
    ];
    // Measures those alone whose name has it.
    const only = process.env['EUNOMIA_FLOOD'];
    for (const flood of all.filter(({ name }) => only === undefined || name.includes(only)))
      for (let i = 0; i < (options.quick ? 1 : 3); i++) await measure(report, server, loop, flood, page(kept, 10));
  } finally {
    delete process.env['EUNOMIA_BENCH_PIECES'];
    await server.close();
    await workload.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(
  report: Report,
  server: ServerProcess,
  loop: WatchedLoop,
  { name, send }: Flood,
  small: string,
): Promise<void> {
  const probes = [
    new Probe({ url: server.url, pid: server.pid, query: '{ __typename }' }),
    new Probe({ url: server.url, pid: server.pid, query: small }),
  ];
  await sleep(QUIET_MS);
  await loop.longestPieceMs();
  let bytes = 0;
  const look = setInterval(() => (bytes = Math.max(bytes, ownBytes(server.pid))), 20);
  const since = performance.now();
  const { results, errors, missing } = await send(server);
  const seconds = (performance.now() - since) / 1000;
  clearInterval(look);
  const pieceMs = await loop.longestPieceMs();
  const [simple = [], paging = []] = await Promise.all(probes.map((probe) => probe.end()));
  const most = (of: readonly Delay[], key: keyof Delay): number => Math.max(...of.map((delay) => delay[key]));
  const told = `${results} results, ${errors} errors, ${missing} without one within ${seconds.toFixed(1)} s; server ${bytes >> 20} MiB`;
  const goal = { goal: GOAL_MS, better: 'lower' } as const;
  report.add(
    `${name}: another client's request, of the server's time, at most`,
    most(simple, 'cpuMs'),
    'ms',
    goal,
    told,
  );
  report.add(`${name}: … by the clock`, most(simple, 'ms'), 'ms', null, `${simple.length} requests`);
  report.add(`${name}: its page of 10 stored events, of the server's time, at most`, most(paging, 'cpuMs'), 'ms', goal);
  report.add(`${name}: … by the clock`, most(paging, 'ms'), 'ms', null, `${paging.length} requests`);
  report.add(`${name}: longest piece of the event loop`, pieceMs, 'ms', goal, 'CPU time');
}

class Probe {
  readonly #worker: Worker;

  constructor(data: ProbeData) {
    this.#worker = new Worker(join(root, 'build/bench/probe.js'), { workerData: data });
  }

  async end(): Promise<readonly Delay[]> {
    this.#worker.postMessage('end');
    const [delays] = (await once(this.#worker, 'message')) as [readonly Delay[]];
    await this.#worker.terminate();
    return delays;
  }
}

/** One that reads nothing is read after a while, to see what came. */
function webSocket(queries: readonly string[], reads: boolean): Flood['send'] {
  return async ({ url }) => {
    const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws', { maxPayload: 1 << 30 });
    await once(socket, 'open');
    socket.send('{"type":"connection_init"}');
    await once(socket, 'message');
    let results = 0;
    let errors = 0;
    const done = new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer) => {
        const { type } = /"type":"(?<type>\w+)"/.exec(data.toString('latin1', 0, 200))?.groups ?? {};
        if (type === 'next') results += 1;
        else if (type === 'error') errors += 1;
        if (type !== 'ping' && results + errors === queries.length) resolve();
      });
    });
    if (!reads) socket.pause();
    queries.forEach((query, i) =>
      socket.send(JSON.stringify({ id: String(i), type: 'subscribe', payload: { query } })),
    );
    if (!reads) {
      await sleep(LONGEST_MS);
      socket.resume();
    }
    await Promise.race([done, sleep(LONGEST_MS)]);
    socket.terminate();
    return { results, errors, missing: queries.length - results - errors };
  };
}

function http(queries: readonly string[]): Flood['send'] {
  return async ({ url }) => {
    const signal = AbortSignal.timeout(LONGEST_MS);
    let results = 0;
    let errors = 0;
    const ask = async (query: string): Promise<void> => {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }), signal });
      if ((await response.text()).startsWith('{"errors"')) errors += 1;
      else results += 1;
    };
    await Promise.allSettled(queries.map(ask));
    return { results, errors, missing: queries.length - results - errors };
  };
}

function pipelined(queries: readonly string[]): Flood['send'] {
  return async ({ url }) => {
    const { port, hostname, host, pathname } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    let text = '';
    const done = new Promise<void>((resolve) => {
      socket.on('data', (data: Buffer) => {
        text += data.toString('latin1');
        if (text.split('HTTP/1.1 ').length > queries.length) resolve();
      });
    });
    socket.write(
      queries
        .map((query) => JSON.stringify({ query }))
        .map(
          (body) =>
            `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        )
        .join(''),
    );
    await Promise.race([done, sleep(LONGEST_MS)]);
    socket.destroy();
    const results = text.split('HTTP/1.1 200').length - 1;
    const errors = text.split('HTTP/1.1 ').length - 1 - results;
    return { results, errors, missing: queries.length - results - errors };
  };
}

async function untilWritten(server: ServerProcess, id: string): Promise<void> {
  for (;;) {
    const { session } = await server.ask<{ session: { persistence: { written: string } } }>(
      'query ($id: ID!) { session(id: $id) { persistence { written } } }',
      { id },
    );
    if (Number(session.persistence.written) >= EVENTS) return;
    await sleep(50);
  }
}
