import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll } from 'vitest';
import { root } from '../../src/base/paths.js';

/** Real processes that do what trackers watch, and real BPF objects, compiled as a test needs them. */

const exec = promisify(execFile);
const { findClang } = (await import(join(root, 'scripts/setup/clang.mjs'))) as {
  findClang: () => { path: string } | null;
};

function clang(): string {
  const found = findClang();
  if (!found) throw new Error('no clang: run npm run build');
  return found.path;
}

/** A folder of this test file's own; its processes may use it too. Gone after the file's last test. */
export const scratch = mkdtempSync(join(tmpdir(), 'eunomia-test-'));
chmodSync(scratch, 0o755); // for processes of other users

let workload: Promise<string> | null = null;

/** The path of the compiled workload.c. */
export function workloadPath(): Promise<string> {
  workload ??= (async () => {
    const path = join(scratch, 'workload');
    await exec(clang(), ['-O1', '-Wall', '-pthread', join(root, 'test/support/workload.c'), '-o', path]);
    return path;
  })();
  return workload;
}

/** The path of workload.c compiled without shared libraries, for containers. */
export async function staticWorkload(): Promise<string> {
  const path = join(scratch, 'workload-static');
  await exec(clang(), ['-O1', '-static', '-pthread', join(root, 'test/support/workload.c'), '-o', path]);
  return path;
}

/** Compiles C source to a program of the test's own and returns its path. */
export async function compileC(name: string, source: string, ...flags: readonly string[]): Promise<string> {
  const file = join(scratch, `${name}.c`);
  const program = join(scratch, name);
  await writeFile(file, source);
  await exec(clang(), ['-O1', '-Wall', `-I${join(root, 'test/support')}`, ...flags, file, '-o', program]);
  return program;
}

/** Compiles BPF source to NAME.bpf.o and returns its path. */
export async function compileBpf(name: string, source: string): Promise<string> {
  const file = join(scratch, `${name}.bpf.c`);
  const object = join(scratch, `${name}.bpf.o`);
  await writeFile(file, source);
  const target = process.arch === 'arm64' ? 'arm64' : 'x86';
  await exec(clang(), [
    '-g',
    '-O2',
    '-target',
    'bpf',
    '-mcpu=v3',
    `-D__TARGET_ARCH_${target}`,
    `-I${join(root, 'bpf/include')}`,
    '-c',
    file,
    '-o',
    object,
  ]);
  return object;
}

export interface Ended {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
}

/** Runs a program to its end. Rejects only when it cannot be started. */
export async function run(file: string, args: readonly string[] = [], options: SpawnOptions = {}): Promise<Ended> {
  return ended(start(file, args, options));
}

/** Runs a subcommand of workload.c. */
export async function work(...args: readonly (string | number)[]): Promise<Ended> {
  return run(await workloadPath(), args.map(String));
}

const started = new Set<ChildProcess>();

afterAll(() => {
  for (const child of started) child.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});

export function start(file: string, args: readonly string[] = [], options: SpawnOptions = {}): ChildProcess {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], ...options });
  started.add(child);
  child.once('exit', () => started.delete(child));
  return child;
}

export async function ended(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const closed = once(child, 'close');
  await (child.pid === undefined ? once(child, 'spawn') : undefined);
  const [code, signal] = (await closed) as [number | null, NodeJS.Signals | null];
  return { pid: child.pid ?? 0, code, signal, stdout: stdout.trimEnd() };
}

/** The first line that a program writes. */
export async function firstLine(child: ChildProcess): Promise<string> {
  let text = '';
  for await (const [data] of child.stdout ? onData(child.stdout) : []) {
    text += String(data);
    if (text.includes('\n')) break;
  }
  return text.split('\n')[0] ?? '';
}

async function* onData(stream: NodeJS.ReadableStream): AsyncGenerator<[unknown]> {
  for (;;) yield (await once(stream, 'data')) as [unknown];
}
