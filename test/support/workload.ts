import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll } from 'vitest';
import { root } from '../../src/base/paths.js';

/** Real processes that do what trackers watch, and real BPF objects, compiled as a test needs them. */

const exec = promisify(execFile);
const { findClang } = (await import(join(root, 'scripts/setup/clang.mjs'))) as {
  findClang: () => { path: string; identity: unknown } | null;
};

function clang(): { path: string; identity: unknown } {
  const found = findClang();
  if (!found) throw new Error('no clang: run npm run build');
  return found;
}

/** A folder of this test file's own; its processes may use it too. Gone after the file's last test. */
export const scratch = mkdtempSync(join(tmpdir(), 'eunomia-test-'));
chmodSync(scratch, 0o755); // for processes of other users

/** Where programs of earlier test files are kept, by what they are made of. */
const kept = join(root, '.cache/test-programs');

/**
 * Compiles with clang what no file has compiled before, and returns the path of a copy in `scratch`: the checkout may be where other
 * users cannot go. `parts` is all that the outcome depends on, beside the compiler.
 */
async function compiled(name: string, args: readonly string[], source: string, parts: readonly string[]) {
  const { path, identity } = clang();
  const hash = createHash('sha256')
    .update(JSON.stringify([identity, args, ...parts]))
    .digest('hex')
    .slice(0, 32);
  const [made, copy] = [join(kept, hash), join(scratch, name)];
  if (!existsSync(made)) {
    await mkdir(kept, { recursive: true });
    const own = `${made}.${process.pid}`;
    await exec(path, [...args, source, '-o', own]);
    await rename(own, made); // another file may be making the same
  }
  await copyFile(made, copy);
  return copy;
}

/** The text of the headers in a folder. */
async function headersOf(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.h')).sort();
  return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
}

const support = join(root, 'test/support');

async function compiledWorkload(name: string, ...flags: readonly string[]): Promise<string> {
  const source = join(support, 'workload.c');
  const parts = [await readFile(source, 'utf8'), ...(await headersOf(support))];
  return compiled(name, ['-O1', '-Wall', '-pthread', ...flags], source, parts);
}

let workload: Promise<string> | null = null;

/** The path of the compiled workload.c. */
export function workloadPath(): Promise<string> {
  return (workload ??= compiledWorkload('workload'));
}

/** The path of workload.c compiled without shared libraries, for containers. */
export async function staticWorkload(): Promise<string> {
  return compiledWorkload('workload-static', '-static');
}

/** Compiles C source to a program of the test's own and returns its path. */
export async function compileC(name: string, source: string, ...flags: readonly string[]): Promise<string> {
  const file = join(scratch, `${name}.c`);
  await writeFile(file, source);
  return compiled(name, ['-O1', '-Wall', `-I${support}`, ...flags], file, [source, ...(await headersOf(support))]);
}

/** Compiles BPF source to NAME.bpf.o and returns its path. */
export async function compileBpf(name: string, source: string): Promise<string> {
  const file = join(scratch, `${name}.bpf.c`);
  await writeFile(file, source);
  const target = process.arch === 'arm64' ? 'arm64' : 'x86';
  const include = join(root, 'bpf/include');
  const args = ['-g', '-O2', '-target', 'bpf', '-mcpu=v3', `-D__TARGET_ARCH_${target}`, `-I${include}`, '-c'];
  return compiled(`${name}.bpf.o`, args, file, [source, ...(await headersOf(include))]);
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
  // What was killed may still write.
  rmSync(scratch, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
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
