import { readdirSync, readFileSync } from 'node:fs';

/** What the kernel tells of a process that is measured from outside. */

const TICK_MS = 10; // sysconf(_SC_CLK_TCK) is 100 wherever Linux runs
const PAGE_BYTES = 4096;

/** CPU time of each of its threads since they began, in milliseconds, by thread id. */
export function threadTimes(pid: number): Map<string, number> {
  const times = new Map<string, number>();
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      times.set(tid, (Number(fields[11]) + Number(fields[12])) * TICK_MS);
    } catch {
      // It has ended since.
    }
  }
  return times;
}

/** The same of the whole process, threads that have ended included. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Memory of its own: without what it maps from files or shares (a ring is shared with the kernel). */
export function ownBytes(pid: number): number {
  const [, resident = 0, shared = 0] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ').map(Number);
  return (resident - shared) * PAGE_BYTES;
}

/** CPU time of all threads of a process, as the scheduler counts it, in nanoseconds. A thread that has ended is not in it. */
export function cpuNs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce(
    (sum, tid) => sum + Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0]),
    0,
  );
}
