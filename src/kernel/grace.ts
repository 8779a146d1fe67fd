import { arch } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { later, loadLibc } from './libbpf.js';

const MEMBARRIER_CMD_GLOBAL = 1;
const NR_membarrier: Readonly<Record<string, number>> = { x64: 324, arm64: 283 };
/** A program runs for microseconds; where the kernel cannot tell that all have ended, this must do. */
const LONGER_THAN_A_PROGRAM_MS = 100;

/**
 * Resolves when every program that ran when this was called has ended: within an RCU grace period, which membarrier(2) waits
 * for (kernel/sched/membarrier.c). It refuses to on kernels with full dynamic ticks (nohz_full) in use.
 */
export async function programsEnded(): Promise<void> {
  const result = await later(loadLibc().syscall, NR_membarrier[arch()] ?? -1, MEMBARRIER_CMD_GLOBAL, 0, 0, 0, 0);
  if (result !== 0) await sleep(LONGER_THAN_A_PROGRAM_MS);
}
