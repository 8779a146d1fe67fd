import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '../figure.js';
import { startSession, type ServerProcess } from '../served.js';
import type { Workload } from '../workload.js';
import type { Audience } from './audience-process.js';

const EVENTS_PER_SECOND = 1_000;
const P50_MS = 5;
const P99_MS = 20;

/** From the moment of an event, as the kernel tells it, to that when its text has come to a WebSocket client and was parsed. */
export async function measureDelay(
  report: Report,
  workload: Workload,
  server: ServerProcess,
  audience: Audience,
  ms: number,
): Promise<void> {
  const session = await startSession(server, workload.pid);
  try {
    await audience.ask({ kind: 'delay', url: server.url, session });
    const { calls } = await workload.paced('opened', EVENTS_PER_SECOND, ms);
    await sleep(100);
    const { ms: delays } = await audience.ask<'delayed'>({ kind: 'delayed' });
    if (delays.length !== calls) throw new Error(`${delays.length} events came, of ${calls}`);
    const at = (share: number) => delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? Number.NaN;
    const note = `${calls} events at ${EVENTS_PER_SECOND}/s, worst ${at(1).toFixed(1)}`;
    report.add('event to client, p50', at(0.5), 'ms', { goal: P50_MS, better: 'lower' }, note);
    report.add('event to client, p99', at(0.99), 'ms', { goal: P99_MS, better: 'lower' }, note);
  } finally {
    await audience.ask({ kind: 'leave' });
    await server.removeSession(session);
  }
}
