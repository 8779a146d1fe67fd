import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import { median, type Report } from './figure.js';
import { cpuNs } from './query/process.js';
import { ServerProcess } from './served.js';
import { Workload } from './workload.js';

const EVENTS = 1_000;
const SETTLED_MS = 2_000;
/** Processes a second that begin, execute a program with two dozen arguments, and end. */
const RATES = [20, 500] as const;
const IDLE_GOAL = 0.2;
const QUERY_GOAL_MS = 100;

const page = (selection: string): string =>
  `query ($id: ID!) { session(id: $id) { events(first: ${EVENTS}) { nodes { time ${selection} } } } }`;
/** What is measured, and what of it is there without the table of processes. */
const QUERIES = {
  'events with pid and comm': page('process { pid comm }'),
  'events with their ancestors': page('process { pid comm executable args ancestors { pid comm executable } }'),
  'events with the files of parents': page('process { pid comm parent { openFiles(first: 10) { fd path } } }'),
};

interface Answer {
  readonly session: { readonly events: { readonly nodes: readonly unknown[] } };
}

/** What the table of processes costs, without any session, and how soon a query has the ancestors of a thousand events. */
export async function graph(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const workload = await Workload.start();
  try {
    for (const [name, flags] of [
      ['without a table', ['--process-table', '0']],
      ['with a table', []],
    ] as const)
      await measureCost(report, workload, name, flags, quick ? 4_000 : 20_000);
    await measureQueries(report, workload, quick ? 5 : 30);
  } finally {
    await workload.close();
  }
}

async function measureCost(
  report: Report,
  workload: Workload,
  name: string,
  flags: readonly string[],
  ms: number,
): Promise<void> {
  const server = await ServerProcess.start([], flags);
  try {
    await sleep(SETTLED_MS);
    const share = async (work: () => Promise<unknown>): Promise<number> => {
      const [before, at] = [cpuNs(server.pid), performance.now()];
      await work();
      return (cpuNs(server.pid) - before) / (performance.now() - at) / 1e4;
    };
    report.add(`${name}, no session`, await share(() => sleep(ms)), '% of a core', {
      goal: IDLE_GOAL,
      better: 'lower',
    });
    for (const rate of RATES) {
      await workload.paced('executed', rate, 500);
      const taken = await share(() => workload.paced('executed', rate, ms));
      report.add(`${name}, ${rate} processes/s, no session`, taken, '% of a core');
    }
    // As many as one after the other can be.
    const ns = await workload.nsPerCall('executed', quickly(ms));
    report.add(`${name}, a fork, an exec and an exit of another process`, ns / 1000, 'µs');
  } finally {
    await server.close();
  }
}

const quickly = (ms: number): number => Math.round(ms / 8);

async function measureQueries(report: Report, workload: Workload, rounds: number): Promise<void> {
  const server = await ServerProcess.start();
  try {
    await sleep(SETTLED_MS);
    const { startSession } = await server.ask<{ startSession: { id: string } }>(
      'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
      { input: { trackers: [{ exec: {} }], target: { pids: [workload.pid], descendants: true } } },
    );
    const { id } = startSession;
    await workload.nsPerCall('executed', EVENTS);
    for (const [name, query] of Object.entries(QUERIES)) {
      const times: number[] = [];
      for (let round = 0; round < rounds; round++) {
        const began = performance.now();
        const { session } = await server.ask<Answer>(query, { id });
        times.push(performance.now() - began);
        if (session.events.nodes.length !== EVENTS)
          throw new Error(`${session.events.nodes.length} events, not ${EVENTS}`);
      }
      const note = `median of ${rounds}, worst ${Math.max(...times).toFixed(0)}`;
      report.add(
        `${EVENTS.toLocaleString('en-US')} ${name}`,
        median(times),
        'ms',
        { goal: QUERY_GOAL_MS, better: 'lower' },
        note,
      );
    }
  } finally {
    await server.close();
  }
}
