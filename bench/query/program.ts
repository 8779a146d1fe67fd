import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

/** The kernel's own clock of BPF programs (bpf_stats_enabled): exact for what costs less than the call around it differs. */

const SWITCH = '/proc/sys/kernel/bpf_stats_enabled';

/** Counts runs and their time while `work` goes on; the count itself costs each run some 20 ns, which are not in its time. */
export async function withProgramStats<T>(work: () => Promise<T>): Promise<T> {
  const before = readFileSync(SWITCH, 'utf8');
  writeFileSync(SWITCH, '1');
  try {
    return await work();
  } finally {
    writeFileSync(SWITCH, before);
  }
}

/** Nanoseconds in all programs that a process holds, since they were loaded. */
export function programNs(pid: number | 'self' = 'self'): number {
  return sumOf('run_time_ns', pid);
}

/** How often they ran. */
export function programRuns(pid: number | 'self' = 'self'): number {
  return sumOf('run_cnt', pid);
}

function sumOf(field: string, pid: number | 'self'): number {
  const pattern = new RegExp(`^${field}:\\s+(\\d+)`, 'm');
  let sum = 0;
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    try {
      sum += Number(pattern.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? 0);
    } catch {
      // The folder itself was open while it was listed.
    }
  }
  return sum;
}
