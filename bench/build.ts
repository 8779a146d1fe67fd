import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { isOfCgroups } from '#eunomia/kernel/kernel-object.js';
import { root } from '#eunomia/base/paths.js';

const out = join(root, 'build/bench');
const machine = process.arch === 'arm64' ? 'arm64' : 'x86';

const bpfFlags = [
  '-g',
  '-O2',
  '-target',
  'bpf',
  '-mcpu=v3',
  `-D__TARGET_ARCH_${machine}`,
  '-Wall',
  '-Ibpf/include',
  // Debian's compilers find <asm/unistd.h> there for their own machine, not for BPF.
  `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`,
  '-c',
];
const peerFolder = 'bench/peers';
const peerHeader = `${peerFolder}/peer.bpf.h`;
/** Trackers beside which there is a C program: bench/peers/NAME.bpf.c. */
export const peerNames: readonly string[] = readdirSync(join(root, peerFolder))
  .filter((name) => name.endsWith('.bpf.c'))
  .map((name) => name.replace('.bpf.c', ''));

export const programs = {
  workload: join(out, 'workload'),
  consumer: join(out, 'consumer'),
  listener: join(out, 'listener'),
  drain: join(out, 'drain'),
  consumerObject: join(out, 'consumer.bpf.o'),
  emptyObject: join(out, 'empty.bpf.o'),
  peerObject: (name: string) => join(out, `peer-${name}.bpf.o`),
} as const;

/** Compiles the bench's C programs, those that changed. Rejects with the compiler's message. */
export async function buildPrograms(): Promise<void> {
  mkdirSync(out, { recursive: true });
  await Promise.all([
    compile('bench/workload.c', programs.workload, ['-O2', '-Wall']),
    compile('bench/consumer.c', programs.consumer, ['-O2', '-Wall'], ['-lbpf', '-lpthread']),
    compile('bench/listener.c', programs.listener, ['-O2', '-Wall']),
    compile('bench/drain.c', programs.drain, ['-O2', '-Wall']),
    compile('bench/consumer.bpf.c', programs.consumerObject, bpfFlags, [], [peerHeader]),
    compile('bench/empty.bpf.c', programs.emptyObject, bpfFlags),
    ...peerNames.map((name) =>
      compile(`${peerFolder}/${name}.bpf.c`, programs.peerObject(name), bpfFlags, [], [peerHeader]),
    ),
  ]);
}

/** Compiles an object with a program that does nothing on each of these hooks. Resolves to its path. */
export async function buildEmpty(hooks: readonly string[]): Promise<string> {
  const name = `empty-${createHash('sha256').update(hooks.join()).digest('hex').slice(0, 16)}`;
  const source = join(out, `${name}.bpf.c`);
  if (!existsSync(source)) {
    // A program of a cgroup that returns 0 refuses.
    const programsAt = hooks.map(
      (hook, i) => `SEC("${hook}") int at_${i}(void *context) { return ${Number(isOfCgroups(hook))}; }`,
    );
    const head = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "Dual BSD/GPL";';
    writeFileSync(source, [head, ...programsAt, ''].join('\n'));
  }
  const target = join(out, `${name}.bpf.o`);
  await compile(source, target, bpfFlags);
  return target;
}

async function compile(
  source: string,
  target: string,
  flags: readonly string[],
  libraries: readonly string[] = [],
  headers: readonly string[] = [],
): Promise<void> {
  const newest = Math.max(...[source, ...headers].map((file) => statSync(resolve(root, file)).mtimeMs));
  if (existsSync(target) && statSync(target).mtimeMs > newest) return;
  await promisify(execFile)(findClang(), [...flags, '-o', target, source, ...libraries], { cwd: root });
}

/** The set-up has installed one; Debian's has its version in its name. */
function findClang(): string {
  const names = ['clang', ...Array.from({ length: 17 }, (_, i) => `clang-${30 - i}`)];
  for (const name of names) {
    const path = findProgram(name);
    if (path) return path;
  }
  throw new Error('no clang 14 or later in PATH; `npm run build` installs one');
}

export function findProgram(name: string): string | null {
  const folders = (process.env['PATH'] ?? '').split(':').filter(Boolean);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}
