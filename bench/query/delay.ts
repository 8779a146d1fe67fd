import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '../figure.js';
import { startSession, type ServerProcess } from '../served.js';
import type { Workload } from '../workload.js';
import type { Audience } from './audience-process.js';

const EVENTS_PER_SECOND = 1_000;
/** Goals in milliseconds, of a client that wants events at once and of one that says nothing: it gets them gathered. */
const ways = [
  { name: 'event to client, maxDelay 0', maxDelay: '0ms', p50: 5, p99: 20 },
  { name: 'event to client', maxDelay: '50ms', p50: null, p99: 70 },
] as const;

/** From the moment of an event, as the kernel tells it, to that when its text has come to a WebSocket client and was parsed. */
export async function measureDelay(
  report: Report,
  workload: Workload,
  server: ServerProcess,
  audience: Audience,
  ms: number,
): Promise<void> {
  for (const { name, maxDelay, p50, p99 } of ways) {
    const session = await startSession(server, workload.pid);
    try {
      await audience.ask({ kind: 'delay', url: server.url, session, maxDelay });
      const { calls } = await workload.paced('opened', EVENTS_PER_SECOND, ms);
      await sleep(200);
      const { ms: delays } = await audience.ask<'delayed'>({ kind: 'delayed' });
      if (delays.length !== calls) throw new Error(`${delays.length} events came, of ${calls}`);
      const at = (share: number) =>
        delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? Number.NaN;
      const note = `${calls} events at ${EVENTS_PER_SECOND}/s, worst ${at(1).toFixed(1)}`;
      report.add(`${name}, p50`, at(0.5), 'ms', p50 && { goal: p50, better: 'lower' }, note);
      report.add(`${name}, p99`, at(0.99), 'ms', { goal: p99, better: 'lower' }, note);
    } finally {
      await audience.ask({ kind: 'leave' });
      await server.removeSession(session);
    }
  }
}
