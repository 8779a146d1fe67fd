import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { bpftraceMissing, startBpftrace } from './peer.js';
import { cpuNs } from './query/process.js';
import { ListenerProcess, serve, ServerProcess, startSession } from './served.js';
import { Workload } from './workload.js';

/** Events a second, and the share of a core that the server may take for them, in percent. */
const GOALS = [
  [100, 0.6],
  [1_000, 1.6],
  [5_000, 5],
  [20_000, 10],
] as const;
const IDLE_GOAL = 0.2;
const SESSIONS = 50;
const SESSIONS_GOAL = 1;
/** What starts late, and what collects garbage of the start, is over by then. */
const SETTLED_MS = 2_000;
/** In a server that has just started, V8 compiles what the first 100,000 events run, for longer than a rate is measured. */
const WARM_RATE = 20_000;
const WARM_MS = 5_000;
const FRESH_RATE = 100;

/**
 * CPU of the server at the rates of a watcher that runs day and night: tracker `open` with five fields, one WebSocket subscriber. bpftrace
 * prints the same fields of the same calls at the same time, so that what the machine does besides is the same for both.
 */
export async function idle(report: Report, options: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const ms = options.quick ? 4_000 : 20_000;
  const workload = await Workload.start();
  const server = await ServerProcess.start();
  try {
    await sleep(SETTLED_MS);
    const cpu = async (pid: number, work: () => Promise<unknown>) => (await sharesOf([pid], work))[0] ?? Number.NaN;
    report.add('no session', await cpu(server.pid, () => sleep(ms)), '% of a core', lower(IDLE_GOAL));
    await measureRates(report, server, workload, ms);
    await startSessions(server, SESSIONS);
    await sleep(SETTLED_MS);
    report.add(
      `${SESSIONS} sessions whose targets are silent`,
      await cpu(server.pid, () => sleep(ms)),
      '% of a core',
      lower(SESSIONS_GOAL),
    );
    // The other process of the machine makes calls that the sessions’ programs look at, and that match none of them.
    report.add(
      `${SESSIONS} such sessions beside 20,000 calls a second of another process`,
      await cpu(server.pid, () => workload.paced('refused', 20_000, ms)),
      '% of a core',
      lower(SESSIONS_GOAL),
    );
  } finally {
    await workload.close();
    await server.close();
  }
}

async function measureRates(report: Report, server: ServerProcess, workload: Workload, ms: number): Promise<void> {
  const client = new ListenerProcess();
  const session = await serve(server, client, workload.pid);
  const missing = bpftraceMissing();
  if (missing) report.skip('bpftrace', missing);
  const peer = missing ? null : await startBpftrace(workload.pid);
  try {
    let made = (await client.count()).events;
    const fresh = await sharesOf([server.pid], () => workload.paced('refused', FRESH_RATE, ms));
    report.add(`${FRESH_RATE} events/s, the first that a server has`, fresh[0] ?? Number.NaN, '% of a core');
    await workload.paced('refused', WARM_RATE, WARM_MS);
    made += Math.round((FRESH_RATE * ms + WARM_RATE * WARM_MS) / 1000);
    await session.settle(made);
    await sleep(SETTLED_MS);
    for (const [rate, goal] of GOALS) {
      await workload.paced('refused', rate, 500);
      const shares = await sharesOf([server.pid, ...(peer ? [peer.pid] : [])], () =>
        workload.paced('refused', rate, ms),
      );
      const name = `${rate.toLocaleString('en-US')} events/s`;
      report.add(name, shares[0] ?? Number.NaN, '% of a core', lower(goal));
      if (peer) report.add(`${name}, bpftrace printf`, shares[1] ?? Number.NaN, '% of a core');
      made += Math.round((rate * (ms + 500)) / 1000);
      const { lost } = await session.settle(made);
      if (lost) throw new Error(`${lost} events were lost at ${rate} a second`);
    }
  } finally {
    await peer?.close();
    await session.close();
    await client.close();
  }
}

/** Sessions of `open` whose target has no event: the first process, while it has a name that it never has. */
async function startSessions(server: ServerProcess, count: number): Promise<void> {
  for (let i = 0; i < count; i++)
    await startSession(server, 1, { target: { pids: [1], descendants: false, comms: [`none-${i}`] } });
}

const lower = (goal: number) => ({ goal, better: 'lower' as const });

/** The share of a core that each process takes while `work` is under way, in percent. */
async function sharesOf(pids: readonly number[], work: () => Promise<unknown>): Promise<readonly number[]> {
  const before = pids.map(cpuNs);
  const since = process.hrtime.bigint();
  await work();
  const elapsed = Number(process.hrtime.bigint() - since);
  return pids.map((pid, i) => (100 * (cpuNs(pid) - (before[i] ?? 0))) / elapsed);
}
