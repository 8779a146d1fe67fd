import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerRegistry } from '../containers/registry.js';
import { parseBpfFile } from '../kernel/btf.js';
import { compileLayout } from '../kernel/layout.js';
import { root } from '../kernel/paths.js';
import type { KernelSource, KernelThread } from '../kernel/thread.js';
import { RecordBatch } from './batch.js';
import { compileView } from './view.js';

const RING_BYTES = 1 << 18;

/**
 * Tells the registry of each v2 cgroup as it is made, so that a container's cgroup is known before its first exec: a
 * container that lives 50 ms leaves no directory to look at later. Started before all sessions, for the
 * kernel thread reads rings in the order of their start.
 */
export async function watchCgroups(kernel: KernelThread, registry: ContainerRegistry): Promise<KernelSource> {
  const path = join(root, 'dist/bpf/cgroup.bpf.o');
  const layout = compileLayout(parseBpfFile(await readFile(path), path), 'cgroup');
  const view = compileView({ name: 'cgroup', summary: 'v2 cgroups that are made', minimumKernel: '5.12' }, layout);
  const context = { views: [view], containerAt: () => null };
  const filter = { cgroups: null, pids: null, descendants: false, uids: null, comms: null };
  const object = { name: 'cgroup', path, constants: {}, unneeded: [], capture: 0n };
  return kernel.load({ ringBytes: RING_BYTES, filter, objects: [object] }, (chunk) => {
    const batch = new RecordBatch(chunk.data, chunk.offsets, context, {
      clock: chunk.clock,
      seq: 0,
      lost: chunk.lost,
      lostFrom: 0,
      lostTo: 0,
    });
    for (let i = 0; i < batch.count; i++) {
      const { id, path: made } = batch.event(i) as unknown as { readonly id: string; readonly path: string };
      registry.learnCgroup(Number(id), made);
    }
  });
}
