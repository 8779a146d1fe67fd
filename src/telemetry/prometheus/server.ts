import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { ContainerRegistry } from '../../inventory/registry.js';
import type { MetricFamily, MetricsSource } from '../../event/metric.js';
import { containerLabel } from './label.js';

/** What is told of the table of processes. */
export interface ProcessTableFacts {
  readonly processes: number;
  readonly ended: number;
  readonly bytes: number;
  readonly evicted: number;
  readonly refused: number;
  readonly lost: number;
}

export interface ServerMetricsOptions {
  readonly version: string;
  readonly kernelRelease: string;
  readonly registry: ContainerRegistry;
  /** Whether the kernel thread lives. */
  readonly healthy: () => boolean;
  readonly engineConnected: () => boolean | Promise<boolean>;
  readonly trackers: readonly string[];
  /** Whether a tracker can run here; a call may take a while where that has to be tried, and costs little otherwise. */
  readonly isAvailable: (tracker: string) => Promise<boolean>;
  /** Of the table of processes; null where there is none. */
  readonly processTable: () => ProcessTableFacts | null;
  /** Containers that are described one by one. */
  readonly maxContainers: number;
}

/** How long a scrape waits for trackers to be tried: half of what Metrics gives each source. Those that are not yet known are left out. */
const TRIAL_MS = 1_000;

/** What the server says of itself and of the containers that it knows. */
export class ServerMetrics implements MetricsSource {
  readonly #options: ServerMetricsOptions;
  /** By tracker: whether it can run here, as far as that is known. */
  readonly #available = new Map<string, boolean>();
  /** Those that are being asked for. */
  readonly #asked = new Map<string, Promise<unknown>>();

  constructor(options: ServerMetricsOptions) {
    this.#options = options;
  }

  async metrics(): Promise<MetricFamily[]> {
    const { version, kernelRelease, healthy, engineConnected } = this.#options;
    const flag = (on: boolean): number => (on ? 1 : 0);
    return [
      {
        name: 'eunomia_build_info',
        type: 'gauge',
        help: 'Always 1; its labels say what runs.',
        samples: [{ labels: { version, kernel: kernelRelease }, value: 1 }],
      },
      {
        name: 'eunomia_kernel_thread_up',
        type: 'gauge',
        help: '1 while the thread that loads programs and reads rings lives.',
        samples: [{ labels: {}, value: flag(healthy()) }],
      },
      {
        name: 'eunomia_engine_up',
        type: 'gauge',
        help: '1 while every container engine responds: without one its containers have ids and no names.',
        samples: [{ labels: {}, value: flag(await engineConnected()) }],
      },
      {
        name: 'eunomia_tracker_available',
        type: 'gauge',
        help: '1 where the tracker can run on this kernel.',
        samples: [...(await this.#tried())].map(([tracker, on]) => ({ labels: { tracker }, value: flag(on) })),
      },
      ...this.#containers(),
      ...processTable(this.#options.processTable()),
    ];
  }

  async #tried(): Promise<ReadonlyMap<string, boolean>> {
    const { trackers } = this.#options;
    for (const tracker of trackers) if (!this.#asked.has(tracker)) this.#asked.set(tracker, this.#ask(tracker));
    const late = new AbortController();
    const enough =
      this.#available.size < trackers.length ? sleep(TRIAL_MS, undefined, { signal: late.signal }) : setImmediate();
    await Promise.race([Promise.all(this.#asked.values()), enough.catch(() => undefined)]);
    late.abort();
    return this.#available;
  }

  async #ask(tracker: string): Promise<void> {
    this.#available.set(tracker, await this.#options.isAvailable(tracker));
    this.#asked.delete(tracker);
  }

  #containers(): MetricFamily[] {
    const known = this.#options.registry.list().filter(({ state }) => state !== 'REMOVED');
    const byState = new Map<string, number>();
    for (const { state } of known) byState.set(state, (byState.get(state) ?? 0) + 1);
    // Two containers without a name may not stand as one series.
    const described = new Map(
      known.slice(0, this.#options.maxContainers).map((container) => [containerLabel(container), container]),
    );
    return [
      {
        name: 'eunomia_containers',
        type: 'gauge',
        help: 'Containers that the server knows, by state.',
        samples: [...byState].map(([state, value]) => ({ labels: { state }, value })),
      },
      {
        name: 'eunomia_container_info',
        type: 'gauge',
        help: 'Always 1; joins the label `container` of other metrics with the image and the compose project.',
        samples: [...described].map(([container, { id, image, runtime, composeProject }]) => ({
          labels: { container, id: id.slice(0, 12), image: image ?? '', runtime, project: composeProject ?? '' },
          value: 1,
        })),
      },
    ];
  }
}

function processTable(facts: ProcessTableFacts | null): MetricFamily[] {
  if (!facts) return [];
  const { processes, ended, bytes, evicted, refused, lost } = facts;
  const counter = (name: string, help: string, value: number): MetricFamily => ({
    name: `eunomia_process_table_${name}_total`,
    type: 'counter',
    help,
    samples: [{ labels: {}, value }],
  });
  return [
    {
      name: 'eunomia_process_table_processes',
      type: 'gauge',
      help: 'Processes in the table of processes: those that run, and those that have ended and are remembered.',
      samples: [
        { labels: { state: 'running' }, value: processes - ended },
        { labels: { state: 'ended' }, value: ended },
      ],
    },
    {
      name: 'eunomia_process_table_bytes',
      type: 'gauge',
      help: 'Memory of the table of processes, about (--process-table is its limit).',
      samples: [{ labels: {}, value: bytes }],
    },
    counter('evictions', 'Processes that the table has forgotten to make room.', evicted),
    counter('refusals', 'Processes that the table has not taken because it was full of running ones.', refused),
    counter('losses', 'Forks, execs and exits that the table has missed; it lists all processes anew then.', lost),
  ];
}
