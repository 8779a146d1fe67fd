import { setTimeout as sleep } from 'node:timers/promises';
import type { Tracer } from '../ladder.js';
import { startSession, type ServerProcess } from '../served.js';
import type { Audience } from './audience-process.js';

const STUCK_MS = 1_000;

/** Every call of a process, grouped and measured live: by container, comm and call, counted, with the 99th percentile of what they took. */
export async function aggregateLive(server: ServerProcess, audience: Audience, pid: number): Promise<Tracer> {
  const session = await startSession(server, pid, {
    trackers: [{ syscall: { only: ['openat'] } }],
    ringBytes: 64 << 20,
  });
  const measures = [{ fn: 'COUNT' }, { fn: 'QUANTILE', field: 'durationNs', q: 0.99 }];
  await audience.ask({
    kind: 'aggregate',
    url: server.url,
    session,
    groupBy: ['container.name', 'process.comm', 'name'],
    measures,
  });
  return {
    graceMs: 100,
    settle: async (expected) => {
      let seen = await audience.ask<'aggregated'>({ kind: 'aggregated' });
      for (let idle = 0; seen.events < expected && idle < STUCK_MS; idle += 20) {
        await sleep(20);
        const before = seen.events;
        seen = await audience.ask<'aggregated'>({ kind: 'aggregated' });
        if (seen.events > before) idle = 0;
      }
      if (seen.events > 0 && seen.rows !== 1) throw new Error(`${seen.rows} groups of one process's one call`);
      return { received: seen.events, lost: seen.missing, at: seen.at - performance.timeOrigin };
    },
    close: async () => {
      await audience.ask({ kind: 'leave' });
      await server.removeSession(session);
    },
  };
}
