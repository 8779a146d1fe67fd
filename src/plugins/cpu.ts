import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';

const scratch = Buffer.alloc(64);

/**
 * Processor time that a thread of this process has used, in milliseconds: the first number of its schedstat (proc(5), sched-stats.rst).
 * Null where the kernel does not tell (no /proc, or CONFIG_SCHED_INFO is off), or when the thread is gone.
 */
export function threadCpuMs(thread: number | 'own'): number | null {
  try {
    const file = openSync(
      thread === 'own' ? '/proc/thread-self/schedstat' : `/proc/self/task/${thread}/schedstat`,
      'r',
    );
    try {
      const length = readSync(file, scratch, 0, scratch.length, 0);
      const [nanoseconds] = scratch.toString('latin1', 0, length).split(' ');
      const value = Number(nanoseconds);
      return nanoseconds && Number.isFinite(value) ? value / 1e6 : null;
    } finally {
      closeSync(file);
    }
  } catch {
    return null;
  }
}

/** The kernel's id of the calling thread; null where /proc does not tell. */
export function ownThread(): number | null {
  try {
    const id = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
    return Number.isInteger(id) ? id : null;
  } catch {
    return null;
  }
}

/**
 * Bounds what one call may take of a processor. The clock comes first, since it is cheap to read: only a call that outlasts the limit by
 * the clock has its processor time watched, from then on. So a call is over after one to two limits of work, and never
 * for being kept waiting.
 */
export class CallTimer {
  readonly #limitMs: number;
  readonly #cpuMs: () => number | null;
  #deadline = Number.POSITIVE_INFINITY;
  /** Processor time when the clock first ran out; null before. */
  #base: number | null = null;

  constructor(limitMs: number, cpuMs: () => number | null = () => threadCpuMs('own')) {
    this.#limitMs = limitMs;
    this.#cpuMs = cpuMs;
  }

  start(): void {
    this.#base = null;
    this.#deadline = performance.now() + this.#limitMs;
  }

  stop(): void {
    this.#deadline = Number.POSITIVE_INFINITY;
  }

  /** Cheap before the deadline. */
  isOver(): boolean {
    return performance.now() > this.#deadline && this.remainingMs() <= 0;
  }

  /** What is left of the call's time once the clock has run out; sets the time of the next look. */
  remainingMs(): number {
    const cpu = this.#cpuMs();
    if (cpu === null) return 0; // the clock decides
    this.#base ??= cpu;
    const left = this.#limitMs - (cpu - this.#base);
    if (left > 0) this.#deadline = performance.now() + left;
    return left;
  }
}
