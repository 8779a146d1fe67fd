import { appendFileSync, copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadTrackers } from '../../src/catalog/load.js';
import type { ObjectSpec } from '../../src/kernel/object-spec.js';
import * as optional from '../../src/kernel/optional.js';
import { KernelStore, useKernelStore } from '../../src/kernel/store.js';
import { rememberedTrial } from '../../src/kernel/trial.js';
import { createRuntime } from '../../src/record/runtime.js';
import { compileBpf, scratch } from '../support/workload.js';

const loads = vi.spyOn(optional, 'loadOptional');
let folder = '';
let stores = 0;
beforeEach(() => {
  folder = join(scratch, `store-${stores++}`);
});
afterEach(() => {
  useKernelStore(null);
  loads.mockClear();
});

/** As a process of its own would: nothing of an earlier one but what was kept. */
async function tried(spec: ObjectSpec, kernel = 'this kernel') {
  const store = new KernelStore(folder, kernel);
  useKernelStore(store);
  loads.mockClear();
  const outcome = await rememberedTrial(spec).catch((error: unknown) => error);
  await store.written;
  return { outcome, loaded: loads.mock.calls.length > 0 };
}

async function objectOf(tracker: string): Promise<ObjectSpec> {
  const definition = (await loadTrackers()).find(({ name }) => name === tracker);
  if (!definition) throw new Error(`no tracker ${tracker}`);
  return createRuntime(definition).objectSpec({});
}

describe('whether an object loads', () => {
  it('is tried once, and known to later processes', async () => {
    const spec = await objectOf('exec');
    const first = await tried(spec);
    expect(first).toEqual({ outcome: { missing: [], refused: [] }, loaded: true });
    expect(await tried(spec)).toEqual({ ...first, loaded: false });
  });

  it('is tried anew for another object, other constants and another kernel', async () => {
    const spec = await objectOf('exec');
    await tried(spec);
    const path = join(scratch, 'other.bpf.o');
    copyFileSync(spec.path, path);
    appendFileSync(path, '\0');
    expect(await tried({ ...spec, path })).toMatchObject({ loaded: true });
    expect(await tried({ ...spec, constants: { ...spec.constants, eu_by_pid: true } })).toMatchObject({ loaded: true });
    expect(await tried(spec, 'another kernel')).toMatchObject({ loaded: true });
  });

  it('is the same whichever process its programs leave out', async () => {
    const spec = await objectOf('privilege');
    const but = (eu_self: number) => ({ ...spec, constants: { ...spec.constants, eu_self } });
    await tried(but(1));
    expect(await tried(but(2))).toMatchObject({ loaded: false });
    expect(await tried(but(0))).toMatchObject({ loaded: true });
  });

  it('is not remembered where it does not', async () => {
    const path = await compileBpf(
      'refused',
      `#include "vmlinux.h"
       #include <bpf/bpf_helpers.h>
       char LICENSE[] SEC("license") = "Dual BSD/GPL";
       SEC("tp_btf/sched_process_exec") int wild(void *ctx) { return *(volatile int *)8; }`,
    );
    const spec = { name: 'refused', path, constants: {}, unneeded: [] };
    for (let i = 0; i < 2; i++) {
      const { outcome, loaded } = await tried(spec);
      expect([loaded, outcome]).toEqual([true, expect.objectContaining({ code: 'KERNEL_ERROR' })]);
    }
    expect(existsSync(join(folder, 'tried-refused'))).toBe(false);
  });
});
