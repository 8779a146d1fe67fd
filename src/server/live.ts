import { readFile } from 'node:fs/promises';
import { availableParallelism, machine, release } from 'node:os';
import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import { loadTrackers } from '../catalog/load.js';
import { ProcessGraph } from '../graph/graph.js';
import { readProcess } from '../inventory/process.js';
import { ContainerRegistry } from '../inventory/registry.js';
import { shareArenas } from '../kernel/arenas.js';
import { ClockWatch } from '../kernel/clock.js';
import { checkEnvironment } from '../kernel/environment.js';
import { Peers } from '../access/peers.js';
import { ownerOf } from '../kernel/socket-diag.js';
import { openKernelStore } from '../kernel/store.js';
import { KernelThread } from '../kernel/thread.js';
import { createRuntime } from '../record/runtime.js';
import { watchCgroups } from '../session/cgroups.js';
import { SnapshotReader } from '../snapshot/reader.js';
import { engineSources } from './engines.js';
import type { Ground } from './ground.js';
import { LackingTrackers } from './lacking.js';
import { TrackerTrials } from './trial.js';

/** How long after it listens a server begins to feed its table of processes. */
const PROCESSES_MS = 500;

/**
 * The kernel of this machine. Rejects with NO_LIBBPF, LIBBPF_TOO_OLD, NOT_PRIVILEGED or NO_BTF, with what would mend
 * it; nothing is left behind then. Its `start` rejects with a KernelError.
 */
export async function openKernel({ engines, processTableBytes }: Config, log: Log): Promise<Ground> {
  const libbpf = checkEnvironment();
  shareArenas();
  const kernel = new KernelThread();
  const registry = new ContainerRegistry({
    log,
    sources: await engineSources(engines, log),
  });
  let processes: ProcessGraph | null = null;
  const closing = new AbortController();
  const close = async (): Promise<void> => {
    closing.abort();
    await processes?.close();
    await kernel.close();
    await registry.close();
  };
  try {
    const runtimes = (await loadTrackers()).map(createRuntime);
    return {
      kernel,
      registry,
      trackers: new Map(runtimes.map((runtime) => [runtime.definition.name, runtime])),
      peers: new Peers(ownerOf),
      problem: null,
      engineless: 'the server was started with --engine none',
      async start() {
        await watchCgroups(kernel, registry); // before the registry looks at the tree, so that none falls in between
        const [features] = await Promise.all([kernel.probe(), registry.start()]);
        const trials = new TrackerTrials(kernel, runtimes, log);
        closing.signal.addEventListener('abort', () => trials.close());
        const clock = new ClockWatch();
        const graph = new ProcessGraph({
          kernel,
          registry,
          log,
          limitBytes: processTableBytes,
          clock: () => clock.offset(),
          boot: await bootId(),
        });
        processes = graph;
        return {
          facts: { release: release(), architecture: machine(), cpus: availableParallelism(), libbpf, features },
          trackerStatus: (name) => trials.status(name),
          snapshots: new SnapshotReader(kernel, registry),
          processes: graph,
          process: (pid) => readProcess(pid, clock),
          afterStart() {
            // Behind the first session, which somebody waits for. Who asks for processes before then has it begin at once.
            setTimeout(() => void graph.start(), PROCESSES_MS).unref();
            void new LackingTrackers({ runtimes, trials, store: openKernelStore() }).tell(closing.signal);
          },
        };
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The beginning of the id that the kernel gave to this boot. */
async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).slice(0, 8);
}
