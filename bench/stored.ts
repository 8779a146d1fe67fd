import { setTimeout as sleep } from 'node:timers/promises';
import type { Tracer } from './ladder.js';
import { startSession, type ServerProcess } from './served.js';

const STATS = `query ($id: ID!) { session(id: $id) { stats { lost delivered } persistence { written pending dropped problem } } }`;
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

/** A session of the open tracker whose events are persisted. What it has received is what is written. */
export async function store(
  server: ServerProcess,
  pid: number,
): Promise<{ readonly id: string; readonly tracer: Tracer }> {
  const id = await startSession(server, pid, { capture: 'DEFAULT', persist: {} });
  const tracer: Tracer = { settle: (expected) => settle(server, id, expected), close: () => server.removeSession(id) };
  await tracer.settle(0);
  return { id, tracer };
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
