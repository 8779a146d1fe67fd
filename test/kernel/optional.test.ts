import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { parseBpfFile } from '../../src/btf/btf.js';
import type { ObjectSpec } from '../../src/kernel/object-spec.js';
import { KernelThread } from '../../src/kernel/thread.js';
import { parseTracepoints } from '../../src/kernel/tracepoints.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { createRuntime } from '../../src/record/runtime.js';
import { heldPrograms } from '../support/bpf.js';
import { compileBpf } from '../support/workload.js';

const kernel = new KernelThread();
afterAll(() => kernel.close());

const runtimes = (await loadTrackers()).map(createRuntime);
const tracepoints = parseTracepoints(readFileSync('/sys/kernel/btf/vmlinux'));

/** What the kernel evaluates of a session's filter, of every field that the object knows: a range of numbers, or a set. */
function everyRule(path: string): Record<string, number | boolean> {
  const rules: Record<string, number | boolean> = { eu_where: true };
  for (const [name] of parseBpfFile(readFileSync(path), path).variables) {
    const [, stem] = /^eu_where_(\w+)$/.exec(name) ?? [];
    if (stem !== undefined && stem !== 'none') rules[name] = stem === 'flags' ? 5 : 3;
  }
  return rules;
}

describe.each(runtimes.map((runtime) => [runtime.definition.name, runtime] as const))(
  'the optional programs of %s',
  (_name, tracker) => {
    const spec = tracker.objectSpec({});
    const { programs } = parseBpfFile(readFileSync(spec.path), spec.path);
    const hookless = Object.entries(spec.optional ?? {})
      .filter(([program, known]) => {
        const [, tracepoint = ''] = /^tp_btf\/(\w+)$/.exec(programs.get(program) ?? '') ?? [];
        return !known.includes(tracepoints.get(tracepoint) ?? -1);
      })
      .map(([program]) => program);

    it.each([
      ['without a filter', {}],
      ['with a filter of all fields that the kernel evaluates', everyRule(spec.path)],
      ['without the casts of newer kernels', { ...everyRule(spec.path), eu_has_bpf_rdonly_cast: false }],
    ])('are loaded where this kernel has their hooks: %s', async (_how, rules) => {
      const { missing, refused } = await kernel.tryLoad({ ...spec, constants: { ...spec.constants, ...rules } });
      expect(refused).toEqual([]);
      expect([...missing].sort()).toEqual([...hookless].sort());
    });
  },
);

describe('an object with optional programs', () => {
  const HEAD = `
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    #include <bpf/bpf_tracing.h>
    char LICENSE[] SEC("license") = "Dual BSD/GPL";
    SEC("tp_btf/sched_process_exec") int BPF_PROG(needed, struct task_struct *task) { return 0; }
    SEC("tp_btf/sched_process_fork") int BPF_PROG(good, struct task_struct *parent) { return 0; }`;
  const WILD = (name: string) =>
    `SEC("tp_btf/sched_process_exec") int BPF_PROG(${name}, struct task_struct *task) { return *(volatile int *)(long)task->pid; }`;
  const make = async (
    name: string,
    source: string,
    optional: NonNullable<ObjectSpec['optional']>,
  ): Promise<ObjectSpec> => ({
    name,
    path: await compileBpf(name, HEAD + source),
    constants: {},
    unneeded: [],
    optional,
  });

  it('is loaded without those that the verifier refuses, and tells them from those without a hook', async () => {
    const spec = await make(
      't_refused',
      `${WILD('wild')} ${WILD('wilder')}
      SEC("tp_btf/no_such_tracepoint") int BPF_PROG(hookless, void *x) { return 0; }`,
      { good: [2], wild: [3], wilder: [3], hookless: [1] },
    );
    const refusal = {
      errno: expect.stringMatching(/^E(ACCES|INVAL)$/) as string,
      log: expect.stringContaining('invalid mem access') as string,
    };
    const { missing, refused } = await kernel.tryLoad(spec);
    expect(missing).toEqual(['hookless']);
    expect([...refused].sort((a, b) => (a.program < b.program ? -1 : 1))).toEqual([
      { program: 'wild', ...refusal },
      { program: 'wilder', ...refusal },
    ]);
    expect(heldPrograms()).toEqual([]);
  });

  it('is loaded without those whose type this kernel does not let anybody load', async () => {
    // Kernels without BPF trampolines, and those that lock them down, refuse fentry before the verifier reads a program.
    const spec = await make('t_fentry', 'SEC("fentry/vfs_open") int BPF_PROG(on_open) { return 0; }', {
      good: [2],
      on_open: [],
    });
    const { missing, refused } = await kernel.tryLoad(spec);
    expect(refused).toEqual([]);
    expect(['', 'on_open']).toContain(missing.join());
    expect(heldPrograms()).toEqual([]);
  });

  it('is refused where a program that it needs is', async () => {
    const spec = await make('t_needed', WILD('wild'), { good: [2] });
    await expect(kernel.tryLoad(spec)).rejects.toMatchObject({
      code: 'KERNEL_ERROR',
      operation: 'loading t_needed.bpf.o, program wild',
      verifierLog: expect.stringContaining('invalid mem access') as string,
    });
    expect(heldPrograms()).toEqual([]);
  });
});
