import { median, type Report } from './figure.js';
import { ServerProcess, type ClientProcess } from './served.js';
import type { Workload } from './workload.js';

const EVENTS_PER_SECOND = 1_000;
const COLD_MS = 100;
const WARM_MS = 20;

/**
 * From the moment when a client sends `startSession` over HTTP until it has the first event, which a new WebSocket brings:
 * connecting, the handshake and subscribing are in it. The client has done it before; a cold server has not.
 */
export async function measureLatency(
  report: Report,
  workload: Workload,
  client: ClientProcess,
  rounds: { readonly cold: number; readonly warm: number },
): Promise<void> {
  let busy = true;
  const working = (async () => {
    while (busy) await workload.paced('opened', EVENTS_PER_SECOND, 100);
  })();
  const cold: number[] = [];
  const coldStart: number[] = [];
  const warm: number[] = [];
  const warmStart: number[] = [];
  try {
    // One more than is measured: what the client does for the first time is not the server's.
    for (let i = 0; i <= rounds.cold; i++) {
      const server = await ServerProcess.start();
      try {
        const first = await client.first(server, workload.pid);
        if (i === 0) continue;
        cold.push(first.ms);
        coldStart.push(first.startMs);
        for (let j = 0; j < rounds.warm; j++) {
          const later = await client.first(server, workload.pid);
          warm.push(later.ms);
          warmStart.push(later.startMs);
        }
      } finally {
        await server.close();
      }
    }
  } finally {
    busy = false;
    await working;
  }
  const note = (list: readonly number[], start: readonly number[]) =>
    `median of ${list.length}, worst ${Math.round(Math.max(...list))}; startSession alone ${Math.round(median(start))}`;
  report.add('first event, cold server', median(cold), 'ms', { goal: COLD_MS, better: 'lower' }, note(cold, coldStart));
  report.add('first event, warm server', median(warm), 'ms', { goal: WARM_MS, better: 'lower' }, note(warm, warmStart));
}
