import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '../figure.js';
import { ServerProcess, startSession } from '../served.js';
import { Workload } from '../workload.js';
import type { Audience } from './audience-process.js';
import { cpuMs, ownBytes } from './process.js';
import { programNs, withProgramStats } from './program.js';

const COUNTS = [1, 10, 100] as const;
const CALLS = 60_000;
const RATE = 5_000;
const FLAT = 1.15;
const SESSION_BYTES = 1 << 20;
/** Two measurements of one program differ by up to so much on the machines that we saw. */
const NOISE = 0.05;
const CPU = 1;

/** What identical sessions, and subscribers of one session, cost the traced process and the server. */
export async function measureSharing(
  report: Report,
  audience: Audience,
  { rounds, ms }: { readonly rounds: number; readonly ms: number },
): Promise<void> {
  const workload = await Workload.start({ cpu: CPU });
  try {
    const server = await ServerProcess.start([], ['--max-sessions', '128']);
    try {
      await sessions(report, workload, server, rounds, ms);
      await subscribers(report, workload, server, audience, ms);
    } finally {
      await server.close();
    }
  } finally {
    await workload.close();
  }
}

async function sessions(
  report: Report,
  workload: Workload,
  server: ServerProcess,
  rounds: number,
  ms: number,
): Promise<void> {
  const ids: string[] = [];
  const slow: number[] = [];
  const used: number[] = [];
  const hooks: number[] = [];
  const untraced = await nsPerCall(workload, rounds);
  const bytes: number[] = [];
  const busy: number[] = [];
  for (const count of COUNTS) {
    // Each holds its events itself, of the same records.
    while (ids.length < count)
      ids.push(await startSession(server, workload.pid, { bufferBytes: 65_536, fields: ['path'] }));
    const before = cpuMs(server.pid);
    const { calls } = await workload.paced('refused', RATE, ms);
    used.push(((cpuMs(server.pid) - before) / calls) * 1000);
    // Before the process goes as fast as it can: then the server has chunks under way too, however many sessions there are.
    bytes.push(ownBytes(server.pid));
    slow.push((await nsPerCall(workload, rounds)) - untraced);
    hooks.push(await hookNs(workload, server, rounds));
    busy.push(ownBytes(server.pid));
    report.add(
      `${count} identical sessions: the workload's call`,
      slow.at(-1) ?? 0,
      'ns',
      null,
      'added to one that is not traced',
    );
    report.add(
      `${count} identical sessions: the hooks`,
      hooks.at(-1) ?? 0,
      'ns/event',
      null,
      "by the kernel's own clock of its programs",
    );
    report.add(
      `${count} identical sessions: the server's CPU`,
      used.at(-1) ?? 0,
      'µs/event',
      null,
      `at ${RATE} events/s`,
    );
  }
  const [one = 0, , hundred = 0] = slow;
  report.add('100 identical sessions to 1: the workload', hundred / one, 'times', {
    goal: FLAT,
    better: 'lower',
    noise: NOISE,
  });
  const [alone = 0, , shared = 0] = hooks;
  report.add('100 identical sessions to 1: the hooks', shared / alone, 'times', {
    goal: FLAT,
    better: 'lower',
    noise: NOISE,
  });
  const [least = 0, , most = 0] = bytes;
  report.add(
    'a session more, beyond its ring',
    (most - least) / 99 / 1024,
    'KiB',
    { goal: SESSION_BYTES / 1024, better: 'lower' },
    'resident memory of 100 less that of 1, by 99',
  );
  report.add(
    '100 sessions to 1, at the rate that the process goes',
    ((busy.at(-1) ?? 0) - (busy[0] ?? 0)) / 2 ** 20,
    'MiB',
    null,
    'resident memory, with what the server has not got to yet',
  );
  await Promise.all(ids.map((id) => server.removeSession(id)));
}

async function subscribers(
  report: Report,
  workload: Workload,
  server: ServerProcess,
  audience: Audience,
  ms: number,
): Promise<void> {
  for (const equal of [true, false]) {
    for (const count of COUNTS) {
      const session = await startSession(server, workload.pid);
      await audience.ask({ kind: 'fan', url: server.url, session, subscribers: count, equal });
      await workload.paced('refused', RATE, ms / 2); // compiled, warmed up
      await taken(server, session);
      const before = cpuMs(server.pid);
      const { calls } = await workload.paced('refused', RATE, ms);
      const dropped = await taken(server, session);
      const used = cpuMs(server.pid) - before;
      const { bytes } = await audience.ask<'fanned'>({ kind: 'fanned' });
      await audience.ask({ kind: 'leave' });
      await server.removeSession(session);
      report.add(
        `${count} subscribers, ${equal ? 'equal' : 'different'} selections: the server's CPU`,
        (used / calls) * 1000,
        'µs/event',
        null,
        `at ${RATE} events/s, ${dropped} dropped; ${Math.round(bytes / count / 1024)} KiB to each`,
      );
    }
  }
}

/** Waits until the subscribers have what there is; answers how many events were dropped for them. */
async function taken(server: ServerProcess, id: string): Promise<number> {
  const query = 'query Q($id: ID!) { session(id: $id) { stats { subscribers { queued dropped } } } }';
  for (;;) {
    const { session } = await server.ask<{
      session: { stats: { subscribers: readonly { readonly queued: string; readonly dropped: string }[] } };
    }>(query, { id });
    const { subscribers: all } = session.stats;
    if (all.every(({ queued }) => queued === '0')) return all.reduce((sum, { dropped }) => sum + Number(dropped), 0);
    await sleep(50);
  }
}

/** Of the server's programs, an event, in the best round. Those of the machine's other calls, which they leave at once, are in it. */
function hookNs(workload: Workload, server: ServerProcess, rounds: number): Promise<number> {
  return withProgramStats(async () => {
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < rounds; round++) {
      const before = programNs(server.pid);
      await workload.nsPerCall('refused', CALLS);
      best = Math.min(best, (programNs(server.pid) - before) / CALLS);
    }
    return best;
  });
}

/** Of the best round: counts are measured one after the other, and what else the machine does meanwhile only adds. */
async function nsPerCall(workload: Workload, rounds: number): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) best = Math.min(best, await workload.nsPerCall('refused', CALLS));
  return best;
}
