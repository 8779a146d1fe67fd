import { readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadTrackers } from '../../src/catalog/load.js';
import { imageOf, type ObjectImage } from '../../src/kernel/image.js';
import { ImageObject } from '../../src/kernel/image-object.js';
import type { KernelObject } from '../../src/kernel/kernel-object.js';
import { loadLibbpf } from '../../src/kernel/libbpf.js';
import { BpfObject } from '../../src/kernel/object.js';
import type { ObjectSpec } from '../../src/kernel/object-spec.js';
import { loadOptional } from '../../src/kernel/optional.js';
import { createRuntime } from '../../src/record/runtime.js';
import { heldIds, heldPrograms, released } from '../support/bpf.js';
import { compileBpf, ended, scratch, start } from '../support/workload.js';

/** What comes of an image is what comes of libbpf: the same programs, seen from the kernel. */

const open: KernelObject[] = [];
afterEach(async () => {
  const ids = heldIds();
  for (const object of open.splice(0)) await object.close();
  await released(ids);
});

async function load(spec: ObjectSpec, prepare?: (object: KernelObject) => void): Promise<KernelObject> {
  const object = await loadOptional(spec, prepare);
  open.push(object);
  return object;
}

async function drop(object: KernelObject): Promise<void> {
  open.splice(open.indexOf(object), 1);
  await object.close();
}

// struct bpf_prog_info of include/uapi/linux/bpf.h
const INFO_BYTES = 232;
const NAME_AT = 64;
const infoWords = { jited: 16, xlated: 20, functions: 144, verified: 216, attachTo: 224 };

/** What the kernel says of the programs that this process holds, by name: their sizes, and where they attach. */
function programs(): Record<string, Record<keyof typeof infoWords, number>> {
  const held: Record<string, Record<keyof typeof infoWords, number>> = {};
  for (const fd of heldDescriptors()) {
    const info = new DataView(new ArrayBuffer(INFO_BYTES));
    loadLibbpf().info(fd, new Uint8Array(info.buffer), Uint32Array.of(INFO_BYTES));
    const name = Buffer.from(info.buffer, NAME_AT, 16).toString('latin1').replace(/\0.*/s, '');
    held[name] = Object.fromEntries(
      Object.entries(infoWords).map(([word, at]) => [word, info.getUint32(at, true)]),
    ) as Record<keyof typeof infoWords, number>;
  }
  return held;
}

function heldDescriptors(): number[] {
  return readdirSync('/proc/self/fdinfo')
    .map(Number)
    .filter((fd) => {
      try {
        return (
          /^prog_id:/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) &&
          !/^link_id:/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))
        );
      } catch {
        return false; // closed meanwhile
      }
    });
}

const runtimes = (await loadTrackers()).map(createRuntime);

it.each(runtimes.map((runtime) => [runtime.definition.name, runtime] as const))(
  '%s is loaded from its image as it is from its file',
  async (_name, tracker) => {
    const spec = tracker.objectSpec({});
    const filtered = { ...spec, constants: { ...spec.constants, eu_by_pid: true } };
    const first = await load(filtered);
    expect(first).toBeInstanceOf(BpfObject);
    const byFile = programs();
    await drop(first);
    const second = await load(filtered);
    expect(second).toBeInstanceOf(ImageObject);
    expect(programs()).toEqual(byFile);
    expect(second.unloaded).toEqual(first.unloaded);
    await second.attach((program) => !program.startsWith('follow_'));
    await second.detach();
  },
);

const HEAD = `
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
const volatile __u64 add = 1;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } hits SEC(".maps");
`;
const ON_EXEC = `
__attribute__((noinline)) int count(__u64 n)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&hits, &zero);

	if (value)
		__sync_fetch_and_add(value, n);
	return 0;
}
SEC("tp_btf/sched_process_exec") int BPF_PROG(on_exec, struct task_struct *task) { return count(add); }`;

function hits(object: KernelObject): number {
  const value = new Uint8Array(8);
  loadLibbpf().map_lookup(object.mapFd('hits'), new Uint8Array(4), value);
  return Number(new BigUint64Array(value.buffer)[0]);
}

async function spec(name: string, source: string, more: Partial<ObjectSpec> = {}): Promise<ObjectSpec> {
  return { name, path: await compileBpf(name, HEAD + source), constants: {}, unneeded: [], ...more };
}

/** Loads from the file, so that there is an image. */
async function prepared(of: ObjectSpec): Promise<void> {
  const object = await load(of);
  await drop(object);
}

describe('an object that is loaded from its image', () => {
  it('has its own constants, maps and counts, and the code of the file', async () => {
    const object = await spec('t_image', ON_EXEC);
    await prepared(object);
    const one = await load(object);
    const other = await load({ ...object, constants: { add: 1000n } });
    expect([one, other].every((loaded) => loaded instanceof ImageObject)).toBe(true);
    await one.attach();
    await other.attach();
    await ended(start('/bin/true'));
    expect(hits(one)).toBeGreaterThanOrEqual(1);
    expect(hits(other)).toBeGreaterThanOrEqual(1000);
    expect(hits(other) % 1000).toBe(0);
    await one.detach();
    const before = hits(one);
    await ended(start('/bin/true'));
    expect(hits(one)).toBe(before);
  });

  it('uses maps of another object, and sizes of its own', async () => {
    const object = await spec('t_shared', ON_EXEC);
    const sized = await load(object, (opened) => opened.setMaxEntries('hits', 7));
    await drop(sized);
    const one = await load(object, (opened) => opened.setMaxEntries('hits', 3));
    expect(one).toBeInstanceOf(ImageObject);
    expect(entriesOf(one.mapFd('hits'))).toBe(3);
    const other = await load(object, (opened) => opened.reuseMap('hits', one.mapFd('hits')));
    expect(other).toBeInstanceOf(ImageObject);
    await other.attach();
    await ended(start('/bin/true'));
    expect(hits(one)).toBeGreaterThanOrEqual(1);
    await drop(other);
    expect(hits(one)).toBeGreaterThanOrEqual(1); // the map is its owner's
  });

  it('is the one of the file as it is now', async () => {
    const object = await spec('t_changed', ON_EXEC);
    await prepared(object);
    await spec('t_changed', ON_EXEC.replaceAll('on_exec', 'on_exec_2'));
    expect(await load(object)).toBeInstanceOf(BpfObject);
    expect(heldPrograms()).toEqual(['on_exec_2']);
  });

  it('has the programs that were loaded before; others bring it to its file once more', async () => {
    const object = await spec(
      't_more',
      `${ON_EXEC}
      SEC("tp_btf/sched_process_fork") int BPF_PROG(on_fork, struct task_struct *parent) { return count(add); }`,
    );
    await prepared({ ...object, unneeded: ['on_fork'] });
    const fork = await load({ ...object, unneeded: ['on_exec'] });
    expect(fork).toBeInstanceOf(BpfObject);
    await drop(fork);
    expect(await load(object)).toBeInstanceOf(ImageObject);
    expect(heldPrograms()).toEqual(['on_exec', 'on_fork']);
  });

  it('says what libbpf says where the verifier refuses it', async () => {
    const object = await spec(
      't_wild',
      `const volatile bool wild = false;
      SEC("tp_btf/sched_process_exec") int BPF_PROG(on_exec, struct task_struct *task)
      { return wild ? *(volatile int *)(long)task->pid : 0; }`,
    );
    const refused = { ...object, constants: { wild: true } };
    const say = (error: { operation?: string; errno?: string | null; verifierLog?: string | null }) => ({
      operation: error.operation,
      errno: error.errno,
      log: error.verifierLog?.replaceAll(/0xffff[0-9a-f]{12}/g, 'an address'),
    });
    const byFile = await loadOptional(refused).then(() => null, say);
    expect(byFile).toMatchObject({
      operation: 'loading t_wild.bpf.o, program on_exec',
      log: expect.stringContaining('invalid mem access') as string,
    });
    await prepared(object);
    expect(imageOf(object.path)).not.toBeNull();
    expect(await loadOptional(refused).then(() => null, say)).toEqual(byFile);
    expect(heldPrograms()).toEqual([]);
    // Optional programs are left out as before.
    const optional = { ...refused, optional: { on_exec: [3] } };
    expect((await load(optional)).unloaded.refused).toMatchObject([{ program: 'on_exec' }]);
  });

  it.each([
    [
      'constants of the kernel',
      `extern int LINUX_KERNEL_VERSION __kconfig;
      SEC("tp_btf/sched_process_exec") int BPF_PROG(on_exec, struct task_struct *task)
      { return LINUX_KERNEL_VERSION ? count(1) : 0; }`,
    ],
    [
      'jumps that the file names',
      `SEC("raw_tp/sched_process_exec") int on_jump(void *ctx) { return count(1); }
      struct { __uint(type, 3); __uint(max_entries, 1); __uint(key_size, 4); __array(values, int(void *)); } jumps
      SEC(".maps") = { .values = { (void *)&on_jump } };
      SEC("raw_tp/sched_process_fork") int on_fork(void *ctx) { bpf_tail_call(ctx, &jumps, 0); return 0; }`,
    ],
    ['a hook by its name', 'SEC("raw_tp/sched_process_exec") int on_exec(void *ctx) { return count(1); }'],
  ])('is loaded from its file each time where it has %s', async (what, programsOfIt) => {
    const [count] = ON_EXEC.split('SEC("tp_btf');
    const object = await spec(`t_file${what.length}`, `${count}${programsOfIt}`);
    for (const _ of [1, 2]) {
      const loaded = await load(object);
      await loaded.attach((program) => program !== 'on_jump');
      await ended(start('/bin/true'));
      expect(hits(loaded)).toBeGreaterThanOrEqual(1);
      await drop(loaded);
    }
  });

  it('is loaded many times at once, also while there is no image yet', async () => {
    const object = await spec('t_many', ON_EXEC);
    const round = () => Promise.all(Array.from({ length: 8 }, () => load(object)));
    expect(await round()).toHaveLength(8);
    expect((await round()).every((loaded) => loaded instanceof ImageObject)).toBe(true);
    expect(heldPrograms()).toHaveLength(16);
  });

  it('leaves nothing in the kernel where what prepares it fails', async () => {
    const object = await spec('t_fails', ON_EXEC);
    await prepared(object);
    await expect(load(object, (opened) => opened.setMaxEntries('none', 1))).rejects.toMatchObject({
      code: 'BAD_OBJECT',
    });
    await expect(load({ ...object, constants: { none: 1 } })).rejects.toMatchObject({ code: 'BAD_OBJECT' });
    await expect(load({ ...object, unneeded: ['none'] })).rejects.toMatchObject({ code: 'BAD_OBJECT' });
    await expect(load(object, (opened) => opened.setMaxEntries('hits', 0))).rejects.toMatchObject({
      code: 'KERNEL_ERROR',
    });
    expect(heldPrograms()).toEqual([]);
  });
});

function entriesOf(fd: number): number {
  const info = new DataView(new ArrayBuffer(80));
  loadLibbpf().info(fd, new Uint8Array(info.buffer), Uint32Array.of(80));
  return info.getUint32(16, true);
}

describe('an image that is kept for later processes', () => {
  const spec = { ...(runtimes.find(({ definition }) => definition.name === 'exit') ?? runtimes[0])?.objectSpec({}) };

  /** The modules as a process has them that begins: with no image in memory. */
  async function inNewProcess(kernel = 'this one') {
    vi.resetModules();
    const { KernelStore, useKernelStore } = await import('../../src/kernel/store.js');
    const store = new KernelStore(kept, kernel);
    useKernelStore(store);
    const { loadOptional: loadThere } = await import('../../src/kernel/optional.js');
    const object = await loadThere(spec as ObjectSpec);
    open.push(object);
    await store.written;
    return { from: object.constructor.name, programs: programs(), object };
  }

  const kept = join(scratch, 'kernel');
  beforeEach(() => rm(kept, { recursive: true, force: true }));

  it('is loaded by the next process, and is the same', async () => {
    const first = await inNewProcess();
    expect(first.from).toBe('BpfObject');
    await drop(first.object);
    const second = await inNewProcess();
    expect(second.from).toBe('ImageObject');
    expect(second.programs).toEqual(first.programs);
    await second.object.attach();
  });

  it('is of one kernel: under another one libbpf makes another', async () => {
    await drop((await inNewProcess()).object);
    const other = await inNewProcess('another kernel');
    expect(other.from).toBe('BpfObject');
    await drop(other.object);
    expect((await inNewProcess('another kernel')).from).toBe('ImageObject');
  });

  it('is made anew where it is damaged', async () => {
    await drop((await inNewProcess()).object);
    const file = join(kept, 'trackers-exit');
    await truncate(file, 1_000);
    const second = await inNewProcess();
    expect(second.from).toBe('BpfObject');
    await drop(second.object);
    expect((await inNewProcess()).from).toBe('ImageObject');
  });

  it('is made anew where it depends on modules, and others are loaded now', async () => {
    await drop((await inNewProcess()).object);
    const { KernelStore } = await import('../../src/kernel/store.js');
    const store = new KernelStore(kept, 'this one');
    const object = await readFile(spec.path ?? '');
    const image = store.read('trackers-exit', object) as ObjectImage;
    store.write('trackers-exit', object, { ...image, modules: 'vmlinux,no_such_module' });
    await store.written;
    const second = await inNewProcess();
    expect(second.from).toBe('BpfObject');
    await drop(second.object);
    expect((await inNewProcess()).from).toBe('ImageObject');
  });

  it('is made anew where this kernel refuses it', async () => {
    const first = await inNewProcess();
    await drop(first.object);
    const { KernelStore } = await import('../../src/kernel/store.js');
    const store = new KernelStore(kept, 'this one');
    const object = await readFile(spec.path ?? '');
    const image = store.read('trackers-exit', object) as ObjectImage;
    for (const { instructions } of image.programs.values()) instructions.fill(0xff);
    store.write('trackers-exit', object, image);
    await store.written;
    const second = await inNewProcess();
    expect(second.from).toBe('BpfObject');
    expect(second.programs).toEqual(first.programs);
    await drop(second.object);
    const third = await inNewProcess();
    expect(third.from).toBe('ImageObject');
    expect(third.programs).toEqual(first.programs);
  });
});
