import { spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram, programs } from './build.js';
import { LineProcess } from './child.js';
import type { Tracer } from './ladder.js';

export const RING_BYTES = 16 << 20;

/** A program of bench/consumer.bpf.c, and how bench/consumer.c reads its ring. */
export interface ConsumerMode {
  readonly program: 'empty' | 'whole' | 'fixed';
  readonly drain: 'poll' | 'paced' | 'json';
}

export async function startConsumer(pid: number, { program, drain }: ConsumerMode): Promise<Tracer> {
  const process = new LineProcess(programs.consumer, [
    programs.consumerObject,
    program,
    String(pid),
    String(RING_BYTES),
    drain,
  ]);
  await process.line();
  return {
    settle: async () => {
      const [received = 0, lost = 0] = await process.ask('totals');
      return { received, lost, at: performance.now() };
    },
    close: () => process.close(),
  };
}

// Where the registers of a task's system call are: at the end of its kernel stack (task_pt_regs of x86_64, 16 KiB stacks).
const STACK_BYTES = 16_384;
const PT_REGS_BYTES = 168;
const NR_OPENAT = 257;
/** Its buffer for each CPU, of the same size as the others' ring. */
const PAGES = RING_BYTES / 4096;
const IDLE_MS = 60;
const ASK_AGAIN_MS = 200;
const ENDS_WITHIN_MS = 5_000;

/** Why bpftrace cannot be measured here, or null. */
export function bpftraceMissing(): string | null {
  if (process.arch !== 'x64') return 'the script finds the arguments on x86_64 only';
  return findProgram('bpftrace') ? null : 'bpftrace is not installed (apt-get install bpftrace)';
}

/** A bpftrace that runs, and what it prints into a file. */
interface Bpftrace {
  readonly pid: number;
  /** Events that it told of as lost so far. */
  lost(): number;
  /** Ends it; then the file is whole. Resolves to the number of its lines. */
  close(): Promise<number>;
}

/** Resolves when the script's programs are attached. */
async function runBpftrace(script: string): Promise<Bpftrace> {
  const folder = mkdtempSync(join(tmpdir(), 'eunomia-bench-'));
  const output = join(folder, 'out');
  // tracefs may not be mounted: it is, in a mount namespace that ends with bpftrace.
  const mount = 'mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace "$@"';
  const child = spawn('unshare', ['-m', 'sh', '-c', mount, 'sh', '-B', 'full', '-o', output, '-e', script], {
    env: { ...process.env, BPFTRACE_PERF_RB_PAGES: String(PAGES) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let told = '';
  let ended = false;
  child.stderr.on('data', (data: Buffer) => (told += String(data)));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  void closed.then(() => (ended = true));
  const kill = () => void child.kill('SIGKILL');
  process.on('exit', kill); // a bench that fails or is interrupted leaves no bpftrace
  /** It misses a SIGINT that comes between its look at the flag and its epoll_wait (0.17), so it is asked until it ends. */
  const interrupt = async () => {
    const asking = setInterval(() => child.kill('SIGINT'), ASK_AGAIN_MS);
    const last = setTimeout(kill, ENDS_WITHIN_MS);
    child.kill('SIGINT');
    await closed;
    clearInterval(asking);
    clearTimeout(last);
    process.off('exit', kill);
  };
  const close = async () => {
    await interrupt();
    const lines = existsSync(output) ? await countLines(output) : 0;
    rmSync(folder, { recursive: true, force: true });
    return lines;
  };

  const started = Date.now();
  while (!attached(child.pid ?? 0)) {
    if (ended || Date.now() - started > 10_000) {
      await close();
      throw new Error(`bpftrace does not start: ${told.trim().split('\n').slice(-3).join('; ')}`);
    }
    await sleep(20);
  }
  return {
    pid: child.pid ?? 0,
    lost: () => [...told.matchAll(/Lost (\d+) events/g)].reduce((sum, [, count]) => sum + Number(count), 0),
    close,
  };
}

/**
 * bpftrace's printf of five fields into a file. It tells of losses on stderr. What it has printed is counted when it has
 * ended: the file is written in blocks. So `received` is what was made less what was lost, checked at the end.
 */
export async function startBpftrace(pid: number): Promise<Tracer & { readonly pid: number }> {
  const peer = await runBpftrace(`tracepoint:raw_syscalls:sys_exit /pid == ${pid} && args->id == ${NR_OPENAT}/ {
    $r = (struct pt_regs *)((uint64)curtask->stack + ${STACK_BYTES - PT_REGS_BYTES});
    printf("%llu %d %s %s %d\\n", nsecs, pid, comm, str(uptr($r->si)), args->ret); }`);
  let lostBefore = 0;
  let made = 0;
  return {
    pid: peer.pid,
    settle: async (expected) => {
      await idle(peer.pid);
      const at = performance.now() - IDLE_MS;
      made = Math.max(made, expected + lostBefore);
      lostBefore = peer.lost();
      return { received: made - lostBefore, lost: lostBefore, at };
    },
    close: async () => {
      const printed = await peer.close();
      if (printed + peer.lost() < made)
        throw new Error(`bpftrace printed ${printed} events and lost ${peer.lost()}, of ${made}`);
    },
  };
}

/** bpftrace's printf of time, process and name at each of these tracepoints, of one process. */
export function startBpftraceAt(tracepoints: readonly string[], pid: number): Promise<Bpftrace> {
  const places = tracepoints.map((name) => `tracepoint:*:${name}`).join(', ');
  return runBpftrace(`${places} /pid == ${pid}/ { printf("%llu %d %s\\n", nsecs, pid, comm); }`);
}

/** It has opened its perf events, and waits. */
function attached(pid: number): boolean {
  try {
    return (
      readFileSync(`/proc/${pid}/comm`, 'utf8') === 'bpftrace\n' &&
      readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('epoll')
    );
  } catch {
    return false;
  }
}

/** Waits until a process has used no CPU time for a while. */
async function idle(pid: number): Promise<void> {
  let before = -1;
  for (let quiet = 0; quiet < IDLE_MS; quiet += 20) {
    await sleep(20);
    const now = cpuTicks(pid);
    if (now !== before) quiet = 0;
    before = now;
  }
}

function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

async function countLines(file: string): Promise<number> {
  let lines = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++;
  }
  return lines;
}
