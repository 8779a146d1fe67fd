import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

/** A client that keeps its connection and asks one thing again and again, in a thread of its own; says how long each response took. */

export interface ProbeData {
  readonly url: string;
  /** Of the server. */
  readonly pid: number;
  readonly query: string;
}

/**
 * How long a response took, and how much of that the server's main thread had a processor: other programs of the
 * machine lengthen only the first.
 */
export interface Delay {
  readonly ms: number;
  readonly cpuMs: number;
}

/** A request without a response by then counts as so long. */
const PATIENCE_MS = 20_000;
const PAUSE_MS = 3;

/** CPU time of a process's first thread, as the scheduler counts it: to a tick of a few milliseconds while it runs. */
function cpuMsOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

function ask({ url, query }: ProbeData, agent: Agent): Promise<void> {
  return new Promise((resolve) => {
    const body = JSON.stringify({ query });
    const sent = request(
      url,
      {
        agent,
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        timeout: PATIENCE_MS,
      },
      (response) => {
        response.resume();
        response.once('end', resolve);
      },
    );
    sent.once('timeout', () => sent.destroy());
    sent.once('error', () => resolve());
    sent.end(body);
  });
}

if (parentPort) {
  let ends = false;
  parentPort.once('message', () => (ends = true));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const delays: Delay[] = [];
  const data = workerData as ProbeData;
  while (!ends) {
    const [since, cpu] = [performance.now(), cpuMsOf(data.pid)];
    await ask(data, agent);
    delays.push({ ms: performance.now() - since, cpuMs: cpuMsOf(data.pid) - cpu });
    await sleep(PAUSE_MS);
  }
  agent.destroy();
  parentPort.postMessage(delays);
}
