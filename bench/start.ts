import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { root } from '#eunomia/base/paths.js';
import { buildPrograms } from './build.js';
import { median, type Report } from './figure.js';
import { measureLatency } from './latency.js';
import { ClientProcess, ServerProcess } from './served.js';
import { Workload } from './workload.js';

const COMMAND_GOAL = 0.6;
const READY_GOAL = 1;
const READY_CPU_GOAL = 1;
/** USER_HZ of /proc/PID/stat, on all architectures. */
const TICKS = 100;

const run = promisify(execFile);
const program = join(root, 'dist/main.js');
const lower = (goal: number) => ({ goal, better: 'lower' as const });

interface Taken {
  readonly seconds: number;
  readonly cpu: number;
}

/** How soon there is something to see: of a server, of its first session and of the commands. */
export async function start(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  const rounds = quick ? 3 : 9;
  await buildPrograms();
  const workload = await Workload.start();
  const client = new ClientProcess();
  try {
    await measureLatency(report, workload, client, { cold: rounds, warm: quick ? 3 : 7 });
    add(report, 'server, from exec until it listens', await repeated(rounds, serverReady), READY_GOAL, READY_CPU_GOAL);
    add(report, 'eunomia run open, to its first line', await repeated(rounds, () => firstLine(workload)), COMMAND_GOAL);
    for (const command of ['trackers', 'containers'])
      add(report, `eunomia ${command}`, await repeated(rounds, () => whole(command)), COMMAND_GOAL);
  } finally {
    await client.close();
    await workload.close();
  }
}

function add(report: Report, name: string, taken: readonly Taken[], goal: number, cpuGoal: number | null = null): void {
  const seconds = taken.map((one) => one.seconds);
  const cpu = taken.map((one) => one.cpu);
  const note = (list: readonly number[]) => `median of ${list.length}, worst ${Math.max(...list).toFixed(2)}`;
  report.add(name, median(seconds) * 1000, 'ms', lower(goal * 1000), worst(seconds));
  report.add(`${name}: CPU`, median(cpu), 's', cpuGoal === null ? null : lower(cpuGoal), note(cpu));
}

function worst(seconds: readonly number[]): string {
  return `median of ${seconds.length}, worst ${Math.round(Math.max(...seconds) * 1000)}`;
}

async function repeated(rounds: number, measure: () => Promise<Taken>): Promise<readonly Taken[]> {
  const taken: Taken[] = [];
  for (let i = 0; i < rounds; i++) taken.push(await measure());
  return taken;
}

async function serverReady(): Promise<Taken> {
  const begin = performance.now();
  const server = await ServerProcess.start();
  const seconds = (performance.now() - begin) / 1000;
  const cpu = cpuSeconds(server.pid);
  await server.close();
  return { seconds, cpu };
}

/** Of a command that prints its table's head and an event, while a process opens a file a thousand times a second. */
async function firstLine(workload: Workload): Promise<Taken> {
  const begin = performance.now();
  const child = spawn(process.execPath, [
    program,
    'run',
    'open',
    '--engine',
    'none',
    '--output',
    'json',
    '--pid',
    String(workload.pid),
  ]);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let busy = true;
  const working = (async () => {
    while (busy) await workload.paced('opened', 1_000, 50);
  })();
  try {
    for await (const line of createInterface(child.stdout)) {
      if (!line) continue;
      return { seconds: (performance.now() - begin) / 1000, cpu: cpuSeconds(child.pid ?? 0) };
    }
    throw new Error('eunomia run ended before its first event');
  } finally {
    busy = false;
    child.kill();
    await Promise.all([ended, working]);
  }
}

/** A command from exec to exit. The shell's `times` tells what its children have used. */
async function whole(command: string): Promise<Taken> {
  const begin = performance.now();
  const script = `"$0" "$1" ${command} --engine none > /dev/null; times`;
  const { stdout } = await run('/bin/sh', ['-c', script, process.execPath, program]);
  const seconds = (performance.now() - begin) / 1000;
  const cpu = [...(stdout.trim().split('\n')[1] ?? '').matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, minutes, rest]) => sum + 60 * Number(minutes) + Number(rest),
    0,
  );
  return { seconds, cpu };
}

/** Of all threads of a process, those that have ended too. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}
