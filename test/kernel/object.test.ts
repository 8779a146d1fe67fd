import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { KernelError } from '../../src/base/errors.js';
import type { AttachTarget } from '../../src/kernel/attach.js';
import { loadLibbpf } from '../../src/kernel/libbpf.js';
import { BpfObject } from '../../src/kernel/object.js';
import { root } from '../../src/base/paths.js';
import { heldIds, heldPrograms, released } from '../support/bpf.js';
import { compileBpf, compileC, ended, run, scratch, start, work, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

const HEAD = `
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } hits SEC(".maps");
static __always_inline int hit(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&hits, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
`;

/** Whether the kernel is older than this. */
function older(major: number, minor: number): boolean {
  const [has = 0, then = 0] = release().split('.').map(Number);
  return has < major || (has === major && then < minor);
}

const open: BpfObject[] = [];
const cgroups: string[] = [];

afterEach(async () => {
  for (const object of open.splice(0)) await object.close();
  for (const path of cgroups.splice(0)) {
    await until(`${path} is empty`, async () => (await readFile(join(path, 'cgroup.procs'), 'utf8')) === '');
    await rmdir(path);
  }
});

async function load(
  name: string,
  source: string,
  attachments: Record<string, AttachTarget> = {},
  constants: Record<string, number | bigint | boolean> = {},
): Promise<BpfObject> {
  const path = await compileBpf(name, HEAD + source);
  const object = await BpfObject.open({ name, path, constants, unneeded: [], attachments });
  open.push(object);
  await object.load();
  return object;
}

function hits(object: BpfObject): number {
  const value = new Uint8Array(8);
  loadLibbpf().map_lookup(object.mapFd('hits'), new Uint8Array(4), value);
  return Number(new BigUint64Array(value.buffer)[0]);
}

async function makeCgroup(): Promise<string> {
  const mount = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
  const path = join(mount?.point ?? '/no/cgroup2', `eunomia-test-${process.pid}-object`);
  await mkdir(path);
  cgroups.push(path);
  return path;
}

describe('attaching a program', () => {
  it('to a tracepoint by its section', async () => {
    const path = await compileBpf(
      't_tp',
      `${HEAD}SEC("tp/sched/sched_process_exec") int on_exec(void *ctx) { return hit(); }`,
    );
    const script = join(scratch, 'tp.mjs');
    await writeFile(
      script,
      `
      import { execFileSync } from 'node:child_process';
      import { BpfObject } from ${JSON.stringify(join(root, 'build/kernel/object.js'))};
      import { loadLibbpf } from ${JSON.stringify(join(root, 'build/kernel/libbpf.js'))};
      const object = await BpfObject.open({ name: 't_tp', path: ${JSON.stringify(path)}, constants: {}, unneeded: [] });
      const hits = () => {
        const value = new Uint8Array(8);
        loadLibbpf().map_lookup(object.mapFd('hits'), new Uint8Array(4), value);
        return value[0];
      };
      await object.load();
      await object.attach();
      execFileSync('/bin/true');
      const attached = hits();
      await object.detach();
      const detached = hits();
      execFileSync('/bin/true');
      console.log(attached > 0, hits() === detached);
      await object.close();`,
    );
    // Classic tracepoints are found through tracefs, which not every host has mounted: in a mount namespace, it leaves no trace.
    const { stdout } = await run('unshare', [
      '--mount',
      '/bin/sh',
      '-c',
      `mount -t tracefs tracefs /sys/kernel/tracing; exec ${process.execPath} ${script}`,
    ]);
    expect(stdout).toBe('true true');
  });

  it('to BTF tracepoints, only those that are selected', async () => {
    const object = await load(
      't_btf',
      `
      SEC("tp_btf/sched_process_exec") int BPF_PROG(on_exec, struct task_struct *task) { return hit(); }
      SEC("tp_btf/sched_process_fork") int BPF_PROG(on_fork, struct task_struct *parent) { return hit(); }`,
    );
    await object.attach((program) => program === 'on_exec');
    expect(heldIds().links.size).toBe(1);
    expect(heldPrograms()).toEqual(['on_exec', 'on_fork']);
    await work('exit', 0);
    expect(hits(object)).toBeGreaterThanOrEqual(1);
  });

  it('to a cgroup, for what runs in it', async () => {
    const path = await makeCgroup();
    const object = await load(
      't_cgroup',
      'SEC("cgroup_skb/egress") int on_egress(struct __sk_buff *skb) { hit(); return 1; }',
      { on_egress: { cgroup: path } },
    );
    await object.attach();
    const refused = ['127.0.0.1', '1'];
    await work('connect', ...refused);
    expect(hits(object)).toBe(0); // outside
    const inside = start(await workloadPath(), ['gate', await workloadPath(), 'connect', ...refused]);
    await writeFile(join(path, 'cgroup.procs'), String(inside.pid));
    inside.stdin?.write('\n');
    await ended(inside);
    expect(hits(object)).toBe(1); // the SYN
  });

  it('to the root of the cgroups where nobody names another place, and so for all processes', async () => {
    const object = await load(
      't_root',
      `SEC("cgroup_skb/egress") int on_egress(struct __sk_buff *skb) { hit(); return 1; }
      SEC("cgroup/connect4") int on_connect(struct bpf_sock_addr *ctx) { hit(); return 1; }`,
    );
    expect(object.ofCgroups).toBe(true);
    await object.attach();
    const before = hits(object);
    await work('connect', '127.0.0.1', '1');
    expect(hits(object)).toBeGreaterThanOrEqual(before + 2); // the call, and its SYN
    await object.close();
    expect(heldIds().links.size).toBe(0);
  });

  it('to a clock that samples every CPU', async () => {
    const object = await load('t_clock', 'SEC("perf_event") int on_sample(void *ctx) { return hit(); }', {
      on_sample: { samplesPerSecond: 997 },
    });
    await object.attach();
    const busyUntil = process.cpuUsage().user + 200_000;
    while (process.cpuUsage().user < busyUntil);
    expect(hits(object)).toBeGreaterThan(0);
  });

  it('to a function of a program, at its entry and at its return, in all processes or in one', async () => {
    const binary = await workloadPath();
    const symbol = 'eunomia_probed';
    const source = 'SEC("uprobe") int on_call(void *ctx) { return hit(); }';
    const calls = await load('t_uprobe', source, { on_call: { uprobe: { binary, symbol } } });
    const returns = await load('t_uret', source, { on_call: { uprobe: { binary, symbol, atReturn: true } } });
    const child = start(binary, ['gate', binary, 'probed', '5']);
    const one = await load('t_upid', source, { on_call: { uprobe: { binary, symbol, pid: child.pid ?? 0 } } });
    for (const object of [calls, returns, one]) await object.attach();
    await work('probed', 7);
    expect([calls, returns, one].map(hits)).toEqual([7, 7, 0]);
    child.stdin?.write('\n');
    await ended(child);
    expect([calls, returns, one].map(hits)).toEqual([12, 12, 5]);
  });

  it('to a cgroup that has as many as the kernel allows says so', async () => {
    const cgroup = await makeCgroup();
    const names = Array.from({ length: 65 }, (_, i) => `f${i}`);
    const object = await load(
      't_many',
      names.map((name) => `SEC("cgroup_skb/egress") int ${name}(struct __sk_buff *skb) { return 1; }`).join('\n'),
      Object.fromEntries(names.map((name) => [name, { cgroup }])),
    );
    await expect(object.attach()).rejects.toThrow(
      /^attaching t_many's program f64 .*: E2BIG \(as many programs as the kernel allows \(64\)/,
    );
  });

  it('to a cgroup that another program holds for itself says so, and asks for no capability', async () => {
    const cgroup = await makeCgroup();
    // With no flag, as BPF_F_ALLOW_MULTI is one; it stays until the cgroup is removed.
    const holder = await compileC(
      'holder',
      `
      #include <fcntl.h>
      #include <linux/bpf.h>
      #include <sys/syscall.h>
      #include <unistd.h>
      int main(int argc, char **argv)
      {
        struct bpf_insn allow[] = {
          { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 }, { .code = BPF_JMP | BPF_EXIT },
        };
        union bpf_attr load = {
          .prog_type = BPF_PROG_TYPE_CGROUP_SKB, .expected_attach_type = BPF_CGROUP_INET_EGRESS,
          .insns = (unsigned long)allow, .insn_cnt = 2, .license = (unsigned long)"GPL",
        };
        union bpf_attr attach = { .attach_type = BPF_CGROUP_INET_EGRESS };
        attach.target_fd = open(argv[1], O_RDONLY | O_DIRECTORY);
        attach.attach_bpf_fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
        return syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) ? 1 : 0;
      }`,
    );
    expect((await run(holder, [cgroup])).code).toBe(0);
    const object = await load('t_held', 'SEC("cgroup_skb/egress") int f(struct __sk_buff *skb) { return 1; }', {
      f: { cgroup },
    });
    await expect(object.attach()).rejects.toThrow(
      /^attaching t_held's program f .*: EPERM \(another program may hold this hook of the cgroup for itself/,
    );
  });

  it('fails with what it was about to do, and what the kernel said', async () => {
    const symbol = 'no_such_function';
    const cases: readonly (readonly [source: string, attachment: Record<string, AttachTarget>, message: RegExp])[] = [
      [
        'SEC("cgroup_skb/egress") int f(struct __sk_buff *skb) { return 1; }',
        { f: { cgroup: '/no/cgroup' } },
        /^attaching bad's program f \(cgroup_skb\/egress\) to \/no\/cgroup: ENOENT/,
      ],
      [
        'SEC("cgroup_skb/egress") int f(struct __sk_buff *skb) { return 1; }',
        { f: { cgroup: scratch } },
        /^attaching bad's program f \(cgroup_skb\/egress\) to .*: EBADF/,
      ],
      [
        'SEC("uprobe") int f(void *ctx) { return 0; }',
        { f: { uprobe: { binary: await workloadPath(), symbol } } },
        /^attaching bad's program f \(uprobe\) to no_such_function of .*workload: ENOENT/,
      ],
      [
        'SEC("uprobe") int f(void *ctx) { return 0; }',
        { f: { uprobe: { binary: '/no/binary', symbol } } },
        /^attaching bad's program f \(uprobe\) to no_such_function of \/no\/binary: ENOENT/,
      ],
      [
        'SEC("perf_event") int f(void *ctx) { return 0; }',
        { f: { samplesPerSecond: 1e9 } },
        /^attaching bad's program f \(perf_event\) on CPU 0: EINVAL/,
      ],
      ['SEC("tp/no/such") int f(void *ctx) { return 0; }', {}, /^attaching bad's program f \(tp\/no\/such\): ENOENT/],
    ];
    for (const [source, attachments, message] of cases) {
      const object = await load('bad', source, attachments);
      const error: unknown = await object.attach().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(KernelError);
      expect((error as KernelError).message).toMatch(message);
      expect(heldIds().links.size).toBe(0);
      await object.close();
    }
  });
});

describe('an object', () => {
  it('that the verifier rejects tells program, errno and the end of the log, and leaves nothing', async () => {
    const good = 'SEC("tp_btf/sched_process_exec") int BPF_PROG(fine, struct task_struct *task) { return hit(); }';
    const bad =
      'SEC("tp_btf/sched_process_exec") int BPF_PROG(reads_wild, struct task_struct *task) { return *(volatile int *)(long)task->pid; }';
    const error: unknown = await load('rejected', good + bad).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KernelError);
    const { operation, errno, verifierLog, message, details } = error as KernelError;
    expect(operation).toBe('loading rejected.bpf.o, program reads_wild');
    expect(errno).toMatch(/^E(ACCES|INVAL)$/);
    expect(verifierLog).toContain('invalid mem access');
    expect(verifierLog?.split('\n').length).toBeLessThanOrEqual(12);
    expect(message).toContain(verifierLog);
    expect(details).toMatchObject({ operation, errno, verifierLog });
    for (const object of open.splice(0)) await object.close();
    expect(heldPrograms()).toEqual([]);
    expect(heldIds().maps.size).toBe(0);
  });

  it('names a hook that this kernel does not have', async () => {
    const error: unknown = await load(
      'nohook',
      'SEC("tp_btf/no_such_tracepoint") int BPF_PROG(f, void *x) { return 0; }',
    ).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      name: 'KernelError',
      code: 'KERNEL_ERROR',
      operation: expect.stringContaining('loading nohook.bpf.o') as string,
      errno: expect.stringMatching(/^E/) as string,
    });
  });

  it('that is missing, no ELF file or without the named parts is refused before anything is loaded', async () => {
    await expect(
      BpfObject.open({ name: 'gone', path: join(scratch, 'gone.bpf.o'), constants: {}, unneeded: [] }),
    ).rejects.toMatchObject({ code: 'KERNEL_ERROR', errno: 'ENOENT', operation: 'opening gone.bpf.o' });
    const text = join(scratch, 'text.bpf.o');
    await writeFile(text, 'this is no object');
    await expect(BpfObject.open({ name: 'text', path: text, constants: {}, unneeded: [] })).rejects.toMatchObject({
      code: 'KERNEL_ERROR',
      operation: 'opening text.bpf.o',
    });
    const path = await compileBpf(
      'parts',
      `${HEAD}SEC("tp/sched/sched_process_exec") int f(void *ctx) { return hit(); }`,
    );
    await expect(BpfObject.open({ name: 'parts', path, constants: { nope: 1 }, unneeded: [] })).rejects.toMatchObject({
      code: 'BAD_OBJECT',
      message: 'parts.bpf.o has no constant nope (const volatile)',
    });
    await expect(BpfObject.open({ name: 'parts', path, constants: {}, unneeded: ['nope'] })).rejects.toMatchObject({
      code: 'BAD_OBJECT',
      message: 'parts.bpf.o has no program nope',
    });
    const object = await BpfObject.open({ name: 'parts', path, constants: {}, unneeded: [] });
    expect(() => object.mapFd('nope')).toThrow('parts.bpf.o has no map nope');
    await object.close();
  });

  it('sets constants of all widths before the verifier runs', async () => {
    const object = await load(
      'consts',
      `
      const volatile bool flag = false; const volatile __u16 small = 0; const volatile __u32 middle = 1; const volatile __u64 large = 2;
      SEC("tp_btf/sched_process_exec") int BPF_PROG(f, struct task_struct *task) {
        if (flag && small == 65535 && middle == 4294967295U && large == 18446744073709551615ULL) hit();
        return 0;
      }`,
      {},
      { flag: true, small: 65535, middle: 4294967295, large: 18446744073709551615n },
    );
    await object.attach();
    await work('exit', 0);
    expect(hits(object)).toBeGreaterThanOrEqual(1);
  });

  it.skipIf(older(6, 2))(
    'counts the runs that the kernel skips, for an interrupt came upon the running program',
    async () => {
      // A slow program where this process frees memory; what was freed before is freed for good in interrupts, at the same tracepoint.
      const object = await load(
        'skipped',
        `
      const volatile __u32 pid = 0; __u64 runs = 0;
      static long step(__u32 index, void *context) { return 0; }
      SEC("tp_btf/kmem_cache_free") int BPF_PROG(f) {
        if (bpf_get_current_pid_tgid() >> 32 == pid && runs++ % 16 == 0) bpf_loop(1 << 20, step, NULL, 0);
        return 0;
      }`,
        {},
        { pid: process.pid },
      );
      expect(object.skippedRuns).toBe(0);
      await object.attach();
      await until('a run was skipped', async () => {
        const file = join(scratch, 'freed');
        await writeFile(file, 'x');
        await rm(file);
        return object.skippedRuns > 0;
      });
    },
  );

  it('leaves nothing in the kernel when it is closed, however often', async () => {
    const object = await load(
      'closed',
      'SEC("tp_btf/sched_process_exec") int BPF_PROG(f, struct task_struct *task) { return hit(); }',
    );
    await object.attach();
    const ids = heldIds();
    expect([ids.programs.size, ids.links.size]).toEqual([1, 1]);
    expect(ids.maps.size).toBeGreaterThan(0);
    await object.close();
    await object.close();
    await released(ids);
    expect(heldIds()).toEqual({ programs: new Set(), maps: new Set(), links: new Set() });
  });
});
