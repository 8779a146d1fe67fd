import { argumentOf } from '../../linux/call-arguments.js';
import { readdir, readFile } from 'node:fs/promises';
import { emptyObservation, keyOf } from '../../analysis/advice/observation.js';
import { isOfRuntime } from '../../analysis/advice/runtime.js';
import type { Observation, SeenCall } from '../../event/advice.js';
import { nowText } from '../../event/clock.js';
import type { Resources } from '../../graph/resources.js';
import type { Container } from '../../inventory/container.js';
import { readMountNs } from '../../inventory/process-cgroup.js';
import { compatAbi, nativeAbi, syscallName } from '../../linux/syscalls.js';
import { processesOf } from '../../graph/resources.js';

/** In the number of a call. */
const X32_BIT = 0x40000000;
/**
 * What no event tells of a container that runs: the calls that its threads are in, which have not returned since before anybody watched,
 * and what it has used at most. What is gone or not readable counts for nothing.
 */
export async function liveFacts(container: Container, used: Resources | null): Promise<Observation | null> {
  if (container.pid === null || !used) return null;
  const pids = await processesOf(container.pid, container.id);
  const calls = (await Promise.all(pids.map(callsInProgress))).flat();
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

/** The calls that the threads of a process are in. */
export async function callsInProgress(pid: string): Promise<SeenCall[]> {
  const is32bit = await runs32bit(pid);
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
      const isX32 = nativeAbi === 'X86_64' && (Number(number) & X32_BIT) !== 0;
      const abi = isX32 ? 'X32' : is32bit ? compatAbi : nativeAbi;
      const made = syscallName(isX32 ? Number(number) - X32_BIT : Number(number), abi);
      return [
        {
          name: made,
          abi,
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

/**
 * Whether the numbers of a process's calls are those of the 32-bit ABI: its auxiliary vector has words of 32 bits, of which the second is
 * no zero. Its program is not looked at: it may be in a file system that the container serves itself.
 */
async function runs32bit(pid: string): Promise<boolean> {
  const vector = await readFile(`/proc/${pid}/auxv`).catch(() => Buffer.alloc(0));
  return vector.length >= 8 && vector.readUInt32LE(4) !== 0;
}

function numberOf(text: string | null | undefined): number | null {
  return text == null ? null : Number(text);
}
