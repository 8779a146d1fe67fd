import { textOfBytes } from '../base/bytes.js';
import { readFileSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import type { ProcessView } from '../event/event.js';
import { wallTimeOf } from '../event/clock.js';
import { sightedAs } from '../event/sighting.js';
import { bootNamespaceNs, bootNow, type ClockWatch } from '../kernel/clock.js';

/** /proc counts in these, whatever the kernel's HZ (include/linux/jiffies.h USER_HZ). */
export const TICK_NS = 10_000_000;

// Of what follows the comm in /proc/PID/stat, counted from 0.
const PPID = 1;
const START = 19;

/** "pid (comm) state ppid … starttime …", where comm may hold anything. */
function statFields(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** When a process started, in ticks since boot: with the pid, its identity. Null when there is none. */
export function startTicks(pid: number): string | null {
  try {
    return statFields(readFileSync(`/proc/${pid}/stat`, 'utf8'))[START] ?? null;
  } catch {
    return null;
  }
}

/** The initial one (include/linux/proc_ns.h, PROC_PID_INIT_INO): in another one, pids are not those that the kernel's programs tell. */
export const INITIAL_PID_NS = 'pid:[4026531836]';

/** A process that is alive now, by /proc; null when there is none. Its start is known to 10 ms. */
export async function readProcess(
  pid: number,
  clock: Pick<ClockWatch, 'offset' | 'procOffset'>,
): Promise<ProcessView | null> {
  try {
    const [stat, status] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'latin1'),
      readFile(`/proc/${pid}/status`, 'latin1'),
    ]);
    const fields = statFields(stat);
    const real = (name: string) => {
      const found = new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1];
      if (found === undefined) throw new Error(`/proc/${pid}/status has no ${name}`); // not 0, which is root
      return Number(found);
    };
    const tgid = real('Tgid');
    if (tgid !== pid) return null; // the id of a thread
    const mountNs = await readlink(`/proc/${pid}/ns/mnt`).catch(() => '');
    const pidNs = await readlink('/proc/self/ns/pid').catch(() => '');
    const process: ProcessView = {
      pid,
      tid: pid,
      ppid: Number(fields[PPID]),
      uid: real('Uid'),
      gid: real('Gid'),
      comm: textOfBytes(Buffer.from(stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')), 'latin1')),
      startTime: wallTimeOf(clock.procOffset(), Number(fields[START]) * TICK_NS),
      mountNs: /\d+/.exec(mountNs)?.[0] ?? null,
    };
    if (pidNs !== INITIAL_PID_NS) return process;
    return sightedAs(process, {
      pid,
      startNs: Number(fields[START]) * TICK_NS - Number(bootNamespaceNs),
      toleranceNs: TICK_NS,
      atNs: bootNow(),
      clock: clock.offset(),
      session: null,
      container: undefined,
    });
  } catch {
    return null;
  }
}
