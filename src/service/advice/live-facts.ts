import { argumentOf } from '../../linux/call-arguments.js';
import { readdir, readFile } from 'node:fs/promises';
import { emptyObservation, keyOf } from '../../analysis/advice/observation.js';
import { isOfRuntime } from '../../analysis/advice/runtime.js';
import type { Observation, SeenCall } from '../../event/advice.js';
import { nowText } from '../../event/clock.js';
import type { Resources } from '../../graph/resources.js';
import type { Container } from '../../inventory/container.js';
import { readMountNs } from '../../inventory/process-cgroup.js';
import { nativeAbi, syscallName } from '../../linux/syscalls.js';
import { processesOf } from '../../graph/resources.js';

/**
 * What no event tells of a container that runs: the calls that its threads are in, which have not returned since before anybody watched,
 * and what it has used at most. What is gone or not readable counts for nothing.
 */
export async function liveFacts(container: Container, used: Resources | null): Promise<Observation | null> {
  if (container.pid === null || !used) return null;
  const pids = await processesOf(container.pid, container.id);
  const calls = (await Promise.all(pids.map(callsOf))).flat();
  const usedNs = Number(used.cpu?.usageNs ?? NaN);
  const aliveMs = container.startedAt === null ? NaN : Date.now() - Date.parse(container.startedAt);
  const cpus = usedNs / 1e6 / aliveMs;
  return {
    ...emptyObservation(),
    calls: [...new Map(calls.map((call) => [keyOf('calls', call), call])).values()],
    peaks: {
      memoryBytes: numberOf(used.memory?.peakBytes),
      pids: numberOf(used.tasks?.peak ?? used.tasks?.current),
      cpus: Number.isFinite(cpus) && cpus >= 0 ? cpus : null,
    },
  };
}

async function callsOf(pid: string): Promise<SeenCall[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const inode = await readMountNs(Number(pid));
  const mountNs = inode === null ? null : String(inode);
  const found = await Promise.all(
    threads.map(async (tid): Promise<SeenCall[]> => {
      const read = (file: string): Promise<string> =>
        readFile(`/proc/${pid}/task/${tid}/${file}`, 'utf8').catch(() => '');
      const [call, comm] = await Promise.all([read('syscall'), read('comm')]);
      const [number = '', ...args] = call.split(' ');
      const name = comm.trimEnd();
      if (!/^\d+$/.test(number) || isOfRuntime({ comm: name, mountNs })) return [];
      const at = nowText();
      const made = syscallName(Number(number));
      return [
        {
          name: made,
          abi: nativeAbi,
          argument: argumentOf(made, args),
          runtime: false,
          errors: 0,
          comms: [name],
          first: at,
          last: at,
          count: 0,
        },
      ];
    }),
  );
  return found.flat();
}

function numberOf(text: string | null | undefined): number | null {
  return text == null ? null : Number(text);
}
