import { readFileSync, readlinkSync } from 'node:fs';
import { loadLibc } from './libbpf.js';
import type { ClockOffset } from '../base/clock.js';

const CLOCK_REALTIME = 0;
const CLOCK_BOOTTIME = 7;
const BILLION = 1_000_000_000n;
const CHECK_EVERY_NS = 1e9;
/** Smaller differences are the measurement's own; to follow them would make times run backwards. */
const STEP_NS = 100_000n;

const time = new BigInt64Array(2);

/**
 * What a time namespace adds to CLOCK_BOOTTIME of this process. `bpf_ktime_get_boot_ns` knows no namespaces (kernel
 * commit 769071ac9f20 gave them to clock_gettime and /proc alone). It stays for the life of a process; without time
 * namespaces (before Linux 5.6) it is 0.
 */
export const bootNamespaceNs = readNamespaceOffset();

function readNamespaceOffset(): bigint {
  try {
    // The file is about the namespace of children to come; of a program that has unshared and not executed yet it would be another.
    const [own, children] = ['time', 'time_for_children'].map((name) => readlinkSync(`/proc/self/ns/${name}`));
    if (own !== children) return 0n;
    return parseNamespaceOffset(readFileSync('/proc/self/timens_offsets', 'utf8'));
  } catch {
    return 0n;
  }
}

/** CLOCK_BOOTTIME's line of /proc/PID/timens_offsets ("boottime  -1  500000000"), in ns; 0 when there is none. */
export function parseNamespaceOffset(text: string): bigint {
  const [, seconds, nanoseconds] = /^(?:boottime|7)\s+(-?\d+)\s+(-?\d+)\s*$/m.exec(text) ?? [];
  return seconds === undefined || nanoseconds === undefined ? 0n : BigInt(seconds) * BILLION + BigInt(nanoseconds);
}

/** A clock as the kernel's programs read it. */
function now(clock: number): bigint {
  loadLibc().clock_gettime(clock, time);
  return (time[0] ?? 0n) * BILLION + (time[1] ?? 0n) - (clock === CLOCK_BOOTTIME ? bootNamespaceNs : 0n);
}

/** CLOCK_BOOTTIME in ns, as events have it, in a time namespace too; exact for the first 104 days of uptime, then to 2 ns and so on. */
export function bootNow(): number {
  return Number(now(CLOCK_BOOTTIME));
}

/** Wall clock minus boot clock, of several samples the one taken fastest. */
function sampleOffset(): bigint {
  let best = 0n;
  let fastest = 1n << 62n;
  for (let i = 0; i < 5; i++) {
    const before = now(CLOCK_BOOTTIME);
    const wall = now(CLOCK_REALTIME);
    const took = now(CLOCK_BOOTTIME) - before;
    if (took < fastest) {
      fastest = took;
      best = wall - before - took / 2n;
    }
  }
  return best;
}

/** The offset between the clocks, steady as long as nobody sets the wall clock. */
export class ClockWatch {
  #offset = sampleOffset();
  #checkedAt = bootNow();

  offset(): ClockOffset {
    const at = bootNow();
    if (at - this.#checkedAt > CHECK_EVERY_NS) {
      this.#checkedAt = at;
      const sample = sampleOffset();
      const difference = sample - this.#offset;
      if (difference > STEP_NS || difference < -STEP_NS) this.#offset = sample;
    }
    return split(this.#offset);
  }

  /** The same for times in /proc, which are those of this process's time namespace. */
  procOffset(): ClockOffset {
    this.offset();
    return split(this.#offset - bootNamespaceNs);
  }
}

/** The nanoseconds are never negative. */
function split(ns: bigint): ClockOffset {
  const nanoseconds = ((ns % BILLION) + BILLION) % BILLION;
  return { seconds: Number((ns - nanoseconds) / BILLION), nanoseconds: Number(nanoseconds) };
}
