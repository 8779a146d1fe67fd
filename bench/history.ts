import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { climb } from './ladder.js';
import { watchMemory } from './resident.js';
import { ServerProcess } from './served.js';
import { store } from './stored.js';
import { Workload } from './workload.js';

const STOP = `mutation ($id: ID!) { stopSession(id: $id) { persistence { state written dropped problem } } }`;
const GROUP =
  'query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["process.comm", "errno"], measures: [{ fn: MAX, ' +
  'field: "process.pid" }]) { count } } }';
const STORED_GOAL = 200_000;
const GROUP_GOAL_MS = 1000;
const MILLION = 1_000_000;

/** What the embedded store takes, keeps and answers. */
export async function history(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const workload = await Workload.start();
  try {
    const millions = quick ? 1 : 10;
    const kept = await fill(report, workload, directory, quick, millions);
    await answer(report, directory, kept, millions);
  } finally {
    await workload.close();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Kept {
  readonly session: string;
  readonly events: number;
}

async function fill(
  report: Report,
  workload: Workload,
  directory: string,
  quick: boolean,
  millions: number,
): Promise<Kept> {
  const server = await ServerProcess.start([], ['--data-dir', directory]);
  const memory = watchMemory(server.pid);
  try {
    const { id, tracer } = await store(server, workload.pid);
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
