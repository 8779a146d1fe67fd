import { readFile } from 'node:fs/promises';
import type { ContainerRegistry } from '../inventory/registry.js';
import { cgroupIdOf } from '../event/cgroup-id.js';
import { parseBpfFile } from '../btf/btf.js';
import { compileLayout } from '../btf/layout.js';
import { objectPath } from '../base/paths.js';
import type { KernelSource, KernelThread } from '../kernel/thread.js';
import { RecordBatch } from '../record/batch.js';
import { compileView } from '../record/view.js';

const RING_BYTES = 1 << 18;

/**
 * Tells the registry of each v2 cgroup as it is made, so that a container's cgroup is known before its first exec: a
 * container that lives 50 ms leaves no directory to look at later. Started before all sessions, for the
 * kernel thread reads rings in the order of their start.
 */
export async function watchCgroups(kernel: KernelThread, registry: ContainerRegistry): Promise<KernelSource> {
  const path = objectPath('cgroup');
  const layout = compileLayout(parseBpfFile(await readFile(path), path), 'cgroup');
  const view = compileView({ name: 'cgroup', minimumKernel: '5.12', blindSpots: [] }, layout);
  const context = { views: [view], containerAt: () => null };
  const filter = { cgroups: null, pids: null, descendants: false, uids: null, comms: null };
  const object = { name: 'cgroup', path, constants: {}, unneeded: [], capture: 0n };
  return kernel.load({ ringBytes: RING_BYTES, delayMs: 0, filter, objects: [object] }, (chunk) => {
    const batch = new RecordBatch(chunk.data, chunk.offsets, context, {
      clock: chunk.clock,
      seq: 0,
      lost: chunk.lost,
      lostFrom: 0,
      lostTo: 0,
    });
    for (let i = 0; i < batch.count; i++) {
      const event = batch.event(i);
      const [id, made]: unknown[] = [Reflect.get(event, 'id'), Reflect.get(event, 'path')];
      const cgroup = typeof id === 'string' ? cgroupIdOf(id) : null;
      if (cgroup !== null && typeof made === 'string') registry.learnCgroup(cgroup, made);
    }
  });
}
