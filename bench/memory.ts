import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { climb } from './ladder.js';
import { residentOf, watchMemory } from './resident.js';
import { ListenerProcess, serve, ServerProcess } from './served.js';
import { store } from './stored.js';
import { Workload } from './workload.js';

const MB = 1e6;
const IDLE_GOAL = 120;
const RATE_GOAL = 300;
const STORING_GOAL = 500;
const CALM_RATE = 2_000;
/** A megabyte an hour: less than what one measurement differs from the next. */
const GROWTH_GOAL = 1 / 60;
/** Before it, DuckDB's cache and V8's heap grow to what they need. */
const WARM_MS = 5 * 60_000;
const CALM_MS = 20 * 60_000;

const lower = (goal: number) => ({ goal, better: 'lower' as const });

/** Resident memory of a server: with nothing to do, as fast as it goes, and while it stores. */
export async function memory(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const workload = await Workload.start();
  const stepMs = quick ? 1_000 : 5_000;
  try {
    await withServer(async (server) => {
      const restMs = quick ? 20_000 : 60_000;
      const started = await residentOf(server.pid);
      report.add('as it begins to listen', started / MB, 'MB');
      await sleep(restMs);
      report.add('no session', (await residentOf(server.pid)) / MB, 'MB', lower(IDLE_GOAL), `after ${restMs / 1000} s`);
      const client = new ListenerProcess();
      const session = await serve(server, client, workload.pid);
      const most = watchMemory(server.pid);
      const { rate } = await climb(workload, session, { from: 200_000, stepMs });
      most.stop();
      report.add(
        'at full rate, at most',
        most.most() / MB,
        'MB',
        lower(RATE_GOAL),
        `${Math.round(rate)} events/s to a client in C`,
      );
      await session.close();
      await client.close();
    });
    await withServer(async (server) => {
      const { tracer } = await store(server, workload.pid);
      const most = watchMemory(server.pid);
      const { rate } = await climb(workload, tracer, { from: 200_000, stepMs });
      most.stop();
      report.add(
        'storing at full rate, at most',
        most.most() / MB,
        'MB',
        lower(STORING_GOAL),
        `${Math.round(rate)} events/s`,
      );
    });
    if (!quick)
      await withServer(async (server) => {
        await store(server, workload.pid);
        await workload.paced('opened', CALM_RATE, WARM_MS);
        const before = await residentOf(server.pid);
        await workload.paced('opened', CALM_RATE, CALM_MS);
        const after = await residentOf(server.pid);
        report.add(
          `storing ${CALM_RATE.toLocaleString('en-US')} events/s, growth`,
          (after - before) / MB / (CALM_MS / 60_000),
          'MB/min',
          lower(GROWTH_GOAL),
          `${Math.round(before / MB)} MB after ${WARM_MS / 60_000} minutes, ${Math.round(after / MB)} MB ${CALM_MS / 60_000} minutes later`,
        );
      });
  } finally {
    await workload.close();
  }
}

/** A server with a data directory of its own, as it is by default: it loads what it needs when it needs it. */
async function withServer(work: (server: ServerProcess) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const server = await ServerProcess.start([], ['--data-dir', directory]);
  try {
    await work(server);
  } finally {
    await server.close();
    await rm(directory, { recursive: true, force: true });
  }
}
