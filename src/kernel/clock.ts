import { loadLibc } from './libbpf.js';
import type { ClockOffset } from './protocol.js';

const CLOCK_REALTIME = 0;
const CLOCK_BOOTTIME = 7;
const BILLION = 1_000_000_000n;
const CHECK_EVERY_NS = 1e9;
/** Smaller differences are the measurement's own; to follow them would make times run backwards. */
const STEP_NS = 100_000n;

const time = new BigInt64Array(2);

function now(clock: number): bigint {
  loadLibc().clock_gettime(clock, time);
  return (time[0] ?? 0n) * BILLION + (time[1] ?? 0n);
}

/** CLOCK_BOOTTIME in ns; exact for the first 104 days of uptime, then to 2 ns and so on. */
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
    return { seconds: Number(this.#offset / BILLION), nanoseconds: Number(this.#offset % BILLION) };
  }
}
