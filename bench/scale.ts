import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import { median, type Report } from './figure.js';
import { cpuNs, ownBytes } from './query/process.js';
import { ContainerCgroups } from './scale/cgroups.js';
import { ServerProcess, startSession } from './served.js';
import { Workload } from './workload.js';

const SESSIONS = [1, 10, 100] as const;
const CONTAINERS = [10, 100, 1_000] as const;
const RATE = 2_000;
const CALLS = 40_000;
const CPU = 1;
const LISTED = '{ containers(first: 1000) { nodes { id name state } } }';
const CHURN_PER_SECOND = 20;
const CHURN_MS = 600_000;
/** What each costs among many, by what it costs among few. Two measurements differ by up to `noise`. */
const LINEAR = { goal: 1, better: 'lower', noise: 0.25 } as const;
/** Two measurements differ by as much. */
const CHURN_GOAL = 5;

/** What it costs that there are many: sessions whose programs differ, and containers. */
export async function scale(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const workload = await Workload.start({ cpu: CPU });
  const containers = new ContainerCgroups();
  try {
    await withServer((server) => manySessions(report, server, workload, quick ? 1_500 : 10_000));
    await withServer((server) => manyContainers(report, server, workload, containers, quick));
    if (quick) report.skip('containers that come and go', 'memory that grows shows in minutes: not with --quick');
    else await withServer((server) => churn(report, server, containers));
  } finally {
    await containers.close();
    await workload.close();
  }
}

async function withServer(work: (server: ServerProcess) => Promise<void>): Promise<void> {
  const server = await ServerProcess.start([], ['--max-sessions', '128', '--max-cost', '1000000']);
  try {
    await work(server);
  } finally {
    await server.close();
  }
}

/** Sessions that share nothing: each has programs of its own, and all of them see the same process. */
async function manySessions(report: Report, server: ServerProcess, workload: Workload, ms: number): Promise<void> {
  const series = new Series(report, 'sessions that share nothing');
  const untraced = await nsPerCall(workload);
  const ids: string[] = [];
  for (const count of SESSIONS) {
    const starts: number[] = [];
    while (ids.length < count) {
      const before = performance.now();
      const comms = ['workload', `none-${ids.length}`];
      ids.push(
        await startSession(server, workload.pid, {
          target: { pids: [workload.pid], descendants: false, comms },
          bufferBytes: 65_536,
          ringBytes: 1 << 20,
        }),
      );
      starts.push(performance.now() - before);
    }
    await workload.paced('refused', RATE, ms / 2);
    const before = cpuNs(server.pid);
    const { calls } = await workload.paced('refused', RATE, ms);
    series.add('to start one more', count, median(starts), 'ms');
    series.add("the server's CPU", count, (cpuNs(server.pid) - before) / 1000 / calls, 'µs/call');
    series.add("the workload's call", count, (await nsPerCall(workload)) - untraced, 'ns added');
    series.add('memory of its own', count, ownBytes(server.pid) / 2 ** 20, 'MiB');
  }
  series.slope("the server's CPU", 'memory of its own', "the workload's call");
}

/** Containers that run, one session that watches them all, and a list of them. */
async function manyContainers(
  report: Report,
  server: ServerProcess,
  workload: Workload,
  containers: ContainerCgroups,
  quick: boolean,
): Promise<void> {
  const series = new Series(report, 'containers');
  for (const count of CONTAINERS) {
    await containers.resize(count);
    await listed(server, count);
    const times: number[] = [];
    const before = cpuNs(server.pid);
    const lists = quick ? 10 : 50;
    for (let i = 0; i < lists; i++) {
      const start = performance.now();
      await listed(server, count);
      times.push(performance.now() - start);
    }
    series.add(
      'to list them',
      count,
      median(times),
      'ms',
      `${((cpuNs(server.pid) - before) / 1e6 / lists).toFixed(1)} ms of CPU`,
    );
    const start = performance.now();
    const id = await startSession(server, workload.pid, { target: { containers: [{ name: '*' }] } });
    series.add('to start a session of all', count, performance.now() - start, 'ms');
    const untraced = await nsPerCall(workload);
    series.add('a call that is in none of them', count, untraced, 'ns', 'with the session');
    await server.removeSession(id);
    series.add('memory of its own', count, ownBytes(server.pid) / 2 ** 20, 'MiB');
  }
  series.slope('to list them', 'memory of its own');
}

/** Containers come and go, while a session watches all. */
async function churn(report: Report, server: ServerProcess, containers: ContainerCgroups): Promise<void> {
  await containers.resize(CHURN_PER_SECOND);
  // It retains next to no events: its buffer would grow with them.
  await startSession(server, 1, { target: { containers: [{ name: '*' }] }, bufferBytes: 65_536 });
  const replaceFor = async (time: number): Promise<void> => {
    const start = performance.now();
    for (let made = 0; performance.now() - start < time; made++) {
      await containers.replace();
      await sleep(Math.max(0, start + (made + 1) * (1000 / CHURN_PER_SECOND) - performance.now()));
    }
  };
  // The directory's tombstones are bounded, and fill before.
  await replaceFor(CHURN_MS / 2);
  const before = ownBytes(server.pid);
  const cpu = cpuNs(server.pid);
  await replaceFor(CHURN_MS / 2);
  const what = `${CHURN_PER_SECOND} containers a second come and go`;
  report.add(`${what}: the server's CPU`, (100 * (cpuNs(server.pid) - cpu)) / 1e6 / (CHURN_MS / 2), '% of a core');
  report.add(
    `${what}: growth`,
    (ownBytes(server.pid) - before) / 2 ** 20,
    'MiB',
    { goal: CHURN_GOAL, better: 'lower' },
    `in ${CHURN_MS / 120_000} minutes, after as many; ${Math.round(before / 2 ** 20)} MiB before`,
  );
}

async function listed(server: ServerProcess, count: number): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    const { containers } = await server.ask<{ containers: { nodes: readonly object[] } }>(LISTED, {});
    if (containers.nodes.length >= count) return;
    await sleep(20);
  }
  throw new Error(`the server does not list ${count} containers`);
}

/** Of the best round: what else the machine does meanwhile only adds. */
async function nsPerCall(workload: Workload): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3; round++) best = Math.min(best, await workload.nsPerCall('refused', CALLS));
  return best;
}

/** Figures at several counts, and how they grow. */
class Series {
  readonly #report: Report;
  readonly #subject: string;
  readonly #values = new Map<string, { readonly count: number; readonly value: number }[]>();

  constructor(report: Report, subject: string) {
    this.#report = report;
    this.#subject = subject;
  }

  add(what: string, count: number, value: number, unit: string, note?: string): void {
    this.#report.add(`${count.toLocaleString('en-US')} ${this.#subject}: ${what}`, value, unit, null, note);
    this.#values.set(what, [...(this.#values.get(what) ?? []), { count, value }]);
  }

  /** What each costs at the largest count, by what it costs at the one below: 1 is linear, less is better. */
  slope(...all: readonly string[]): void {
    for (const what of all) {
      const [few, many] = (this.#values.get(what) ?? []).slice(-2);
      if (!few || !many) continue;
      this.#report.add(
        `${this.#subject}: ${what}, each of ${many.count.toLocaleString('en-US')} by each of ${few.count}`,
        many.value / many.count / (few.value / few.count),
        'times',
        LINEAR,
      );
    }
  }
}
