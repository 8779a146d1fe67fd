import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { climb, type Tracer } from './ladder.js';
import { RING_BYTES } from './peer.js';
import { ServerProcess } from './served.js';
import { Workload } from './workload.js';

const START = `mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }`;
const STOP = `mutation ($id: ID!) { stopSession(id: $id) { persistence { state written dropped problem } } }`;
const STATS = `query ($id: ID!) { session(id: $id) { stats { lost delivered } persistence { written pending dropped problem } } }`;
const GROUP =
  'query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["process.comm", "errno"], measures: [{ fn: MAX, ' +
  'field: "process.pid" }]) { count } } }';
const STORED_GOAL = 200_000;
const GROUP_GOAL_MS = 1000;
const MILLION = 1_000_000;
/** A store that gets on no further for so long is stuck. */
const STUCK_MS = 20_000;

interface Stats {
  readonly session: {
    readonly stats: { readonly lost: string; readonly delivered: string };
    readonly persistence: {
      readonly written: string;
      readonly pending: string;
      readonly dropped: string;
      readonly problem: string | null;
    };
  };
}

/** What the embedded store takes, keeps and answers. */
export async function history(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const workload = await Workload.start();
  try {
    const millions = quick ? 1 : 10;
    const bytes = await store(report, workload, directory, quick, millions);
    await answer(report, directory, bytes, millions);
  } finally {
    await workload.close();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Kept {
  readonly session: string;
  readonly events: number;
}

async function store(
  report: Report,
  workload: Workload,
  directory: string,
  quick: boolean,
  millions: number,
): Promise<Kept> {
  const server = await ServerProcess.start([], ['--data-dir', directory]);
  const memory = watchMemory(server.pid);
  try {
    const { startSession } = await server.ask<{ startSession: { id: string } }>(START, {
      input: {
        trackers: [{ open: {} }],
        target: { pids: [workload.pid], descendants: false },
        ringBytes: RING_BYTES,
        persist: {},
      },
    });
    const { id } = startSession;
    const tracer: Tracer = { settle: (expected) => settle(server, id, expected), close: async () => undefined };
    await tracer.settle(0);
    const reached = await climb(workload, tracer, { from: 60_000, stepMs: quick ? 2000 : 5000 });
    report.add(
      'kernel to embedded store, sustained',
      reached.rate,
      'events/s',
      { goal: STORED_GOAL, better: 'higher' },
      (
        'five seconds a step, all written; ' +
        `${reached.boundedByWorkload ? 'as fast as the traced process went' : 'a step further something was lost'}`
      ).replace('five', quick ? 'two' : 'five'),
    );
    // Filled at a rate that it bears, up to what the group-by is to read.
    const rate = Math.min(reached.rate * 0.6, STORED_GOAL);
    for (let held = await tracer.settle(0); held.received < millions * MILLION; held = await tracer.settle(0)) {
      const { calls } = await workload.paced(
        'opened',
        rate,
        Math.min(10_000, ((millions * MILLION - held.received) / rate) * 1000 + 10),
      );
      await tracer.settle(held.received + calls);
    }
    const { stopSession } = await server.ask<{
      stopSession: { persistence: { state: string; written: string; problem: string | null } };
    }>(STOP, { id });
    if (stopSession.persistence.state !== 'DONE')
      throw new Error(`the session was not stored to its end: ${JSON.stringify(stopSession.persistence)}`);
    report.add('resident memory of the server, at most while storing', memory.most() / MILLION, 'MB');
    return { session: id, events: Number(stopSession.persistence.written) };
  } finally {
    memory.stop();
    await server.close();
  }
}

async function answer(report: Report, directory: string, { session, events }: Kept, millions: number): Promise<void> {
  const { size } = await stat(join(directory, 'eunomia.duckdb'));
  report.add('bytes an event on disk', size / events, 'bytes', null, `${events} events of the tracker open, with path`);
  // A server of its own: it has to read from the file what it answers.
  const server = await ServerProcess.start([], ['--data-dir', directory]);
  const memory = watchMemory(server.pid);
  try {
    while (
      (await server.ask<{ session: object | null }>(`query ($id: ID!) { session(id: $id) { id } }`, { id: session }))
        .session === null
    )
      await sleep(50);
    const times: number[] = [];
    for (let i = 0; i < 3; i++) {
      const start = performance.now();
      const { session: grouped } = await server.ask<{ session: { aggregate: readonly { count: string }[] } }>(GROUP, {
        id: session,
      });
      times.push(performance.now() - start);
      const counted = grouped.aggregate.reduce((sum, { count }) => sum + Number(count), 0);
      if (counted !== events) throw new Error(`${counted} events were counted, and ${events} are stored`);
    }
    const [first = 0, ...again] = times;
    const goal = millions === 10 ? ({ goal: GROUP_GOAL_MS, better: 'lower' } as const) : null;
    const over = `over ${millions} million stored events`;
    report.add(
      `group-by ${over}, first`,
      first,
      'ms',
      goal,
      `of two fields, with one measure, ${events} events; through GraphQL, after a restart`,
    );
    report.add(`group-by ${over}, again`, Math.min(...again), 'ms', goal);
    report.add(`resident memory of the server, at most while grouping ${over}`, memory.most() / MILLION, 'MB');
  } finally {
    memory.stop();
    await server.close();
  }
}

/** Once all that was made is written. */
async function settle(server: ServerProcess, id: string, expected: number): ReturnType<Tracer['settle']> {
  let last = -1;
  for (let since = performance.now(); ;) {
    const { session } = await server.ask<Stats>(STATS, { id });
    const { written, pending, dropped, problem } = session.persistence;
    if (problem !== null) throw new Error(problem);
    const received = Number(written);
    const lost = Number(session.stats.lost) + Number(dropped);
    const all = Number(session.stats.delivered) === received + Number(dropped) && Number(pending) === 0;
    if (all && received + lost >= expected) return { received, lost, at: performance.now() };
    if (received !== last) since = performance.now();
    else if (all && performance.now() - since > 500) return { received, lost, at: since };
    if (performance.now() - since > STUCK_MS)
      throw new Error(`the store got no further than ${received} of ${expected} events`);
    last = received;
    await sleep(20);
  }
}

function watchMemory(pid: number): { most(): number; stop(): void } {
  let most = 0;
  const look = async (): Promise<void> => {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    most = Math.max(most, Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0) * 1024);
  };
  const timer = setInterval(() => void look(), 200);
  return { most: () => most, stop: () => clearInterval(timer) };
}
