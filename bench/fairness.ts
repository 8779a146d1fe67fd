import { Agent, request } from 'node:http';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms, programs } from './build.js';
import { root } from '#eunomia/base/paths.js';
import { LineProcess } from './child.js';
import type { Report } from './figure.js';
import type { LoopFigures } from './loop.js';
import { ServerProcess, startSession } from './served.js';
import { Workload } from './workload.js';

const READERS = [1, 20] as const;
const REQUEST_GOAL_MS = 50;
const END_GOAL_MS = 3_000;
/** A request that is not answered by then counts as so long. */
const PATIENCE_MS = 10_000;
const PAUSE_MS = 5;
/** Calls between two looks at the time. */
const CALLS = 100_000;

const PROCESS = 'process { pid tid ppid uid gid comm startTime mountNs }';
const QUERY =
  'subscription Events($session: ID!) { events(session: $session) { events { tracker time bootNs cgroupId ' +
  `${PROCESS} ... on OpenEvent { errno fd path resolved flags mode } } gap { lost dropped } } }`;
const STATS =
  'query Stats($id: ID!) { session(id: $id) { stats { received lost subscribers { dropped delivered } } } }';

interface Stats {
  readonly session: {
    readonly stats: {
      readonly received: string;
      readonly lost: string;
      readonly subscribers: readonly { readonly dropped: string; readonly delivered: string }[];
    };
  };
}

/** What readers that read as fast as they can, of a session that is as busy as it can be, leave for everybody else. */
export async function fairness(report: Report, options: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  for (const readers of READERS) await measure(report, readers, options.quick ? 5_000 : 20_000);
}

async function measure(report: Report, readers: number, ms: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const file = join(folder, 'loop.json');
  const workload = await Workload.start();
  process.env['EUNOMIA_BENCH_LOOP'] = file;
  const server = await ServerProcess.start(['--import', join(root, 'build/bench/loop.js')]);
  try {
    const session = await startSession(server, workload.pid);
    const drain = new LineProcess(programs.drain, [new URL(server.url).port, String(readers), QUERY, session]);
    try {
      await drain.line();
      await sleep(300);
      let busy = true;
      const working = (async () => {
        while (busy) await workload.nsPerCall('refused', CALLS);
      })();
      await sleep(500);
      const since = performance.now();
      const before = await statsOf(server, session);
      if (before.subscribers !== readers) throw new Error(`${before.subscribers} of ${readers} readers are subscribed`);
      const delays = await probe(server.url, ms);
      const after = await statsOf(server, session);
      const seconds = (performance.now() - since) / 1000;
      const name = `${readers} reader${readers > 1 ? 's' : ''}`;
      const at = (share: number): number =>
        delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? Number.NaN;
      report.add(
        `${name}: another client's request, p50`,
        at(0.5),
        'ms',
        null,
        `{ __typename }, ${delays.length} one after the other`,
      );
      report.add(
        `${name}: another client's request, p99`,
        at(0.99),
        'ms',
        { goal: REQUEST_GOAL_MS, better: 'lower' },
        `at most ${Math.round(at(1))} ms`,
      );
      report.add(
        `${name}: events taken from the kernel`,
        (after.received - before.received) / seconds,
        'events/s',
        null,
        `${after.lost - before.lost} lost`,
      );
      report.add(
        `${name}: events delivered, all readers`,
        (after.delivered - before.delivered) / seconds,
        'events/s',
        null,
        `${after.dropped - before.dropped} dropped at slow readers`,
      );
      const asked = performance.now();
      await server.close();
      report.add(`${name}: SIGTERM to the process's end`, performance.now() - asked, 'ms', {
        goal: END_GOAL_MS,
        better: 'lower',
      });
      const loop = JSON.parse(await readFile(file, 'utf8')) as LoopFigures;
      report.add(`${name}: event loop delay, p99`, loop.p99Ms, 'ms', null, `at most ${Math.round(loop.maxMs)} ms`);
      busy = false;
      await working;
    } finally {
      await drain.close();
    }
  } finally {
    await server.close();
    await workload.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function statsOf(
  server: ServerProcess,
  id: string,
): Promise<{ received: number; lost: number; delivered: number; dropped: number; subscribers: number }> {
  const { received, lost, subscribers } = (await server.ask<Stats>(STATS, { id })).session.stats;
  const sum = (of: 'delivered' | 'dropped'): number =>
    subscribers.reduce((total, subscriber) => total + Number(subscriber[of]), 0);
  return {
    received: Number(received),
    lost: Number(lost),
    delivered: sum('delivered'),
    dropped: sum('dropped'),
    subscribers: subscribers.length,
  };
}

/** How long requests of a client that keeps its connection take, sorted. */
async function probe(url: string, ms: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const delays: number[] = [];
  for (const until = performance.now() + ms; performance.now() < until; await sleep(PAUSE_MS)) {
    const since = performance.now();
    await ask(url, agent);
    delays.push(performance.now() - since);
  }
  agent.destroy();
  return delays.sort((a, b) => a - b);
}

function ask(url: string, agent: Agent): Promise<void> {
  return new Promise((resolve) => {
    const body = '{"query":"{ __typename }"}';
    const sent = request(
      url,
      {
        agent,
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': body.length },
        timeout: PATIENCE_MS,
      },
      (response) => {
        response.resume();
        response.once('end', resolve);
      },
    );
    sent.once('timeout', () => sent.destroy());
    sent.once('error', () => resolve());
    sent.end(body);
  });
}
