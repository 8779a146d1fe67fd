import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { blindSpotsWithout } from '../catalog/unloaded.js';
import type { KernelThread } from '../kernel/thread.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { TrackerStatus } from '../service/parts.js';
import { warnOfRefused } from '../session/source/refused.js';

/** Objects loaded at a time. Each takes a thread of the pool, which sessions and the waiter on the rings need too. */
const LANES = 2;

const NO_TRACKER: TrackerStatus = { available: false, reason: 'there is no such tracker', hooks: [], blindSpots: [] };

/**
 * Whether this kernel can run each tracker. Loading its object says so, and costs as much as starting a session: it is done once, when
 * somebody first asks.
 */
export class TrackerTrials {
  readonly #kernel: Pick<KernelThread, 'tryLoad'>;
  readonly #log: Log;
  readonly #runtimes: ReadonlyMap<string, TrackerRuntime>;
  readonly #trials = new Map<string, Promise<TrackerStatus>>();

  constructor(kernel: Pick<KernelThread, 'tryLoad'>, runtimes: readonly TrackerRuntime[], log: Log) {
    this.#kernel = kernel;
    this.#log = log;
    this.#runtimes = new Map(runtimes.map((runtime) => [runtime.definition.name, runtime]));
  }

  /** Never rejects. */
  status(name: string): Promise<TrackerStatus> {
    const runtime = this.#runtimes.get(name);
    if (!runtime) return Promise.resolve(NO_TRACKER);
    const known = this.#trials.get(name);
    if (known) return known;
    const trial = Promise.resolve([...this.#trials.values()].at(-LANES)).then(() => this.#try(runtime));
    this.#trials.set(name, trial);
    return trial;
  }

  /** Loads it and drops it: the kernel itself says whether it can. */
  async #try({ definition, hooksOf, objectSpec }: TrackerRuntime): Promise<TrackerStatus> {
    try {
      const unloaded = await this.#kernel.tryLoad(objectSpec({}));
      for (const refused of unloaded.refused) warnOfRefused(this.#log, { tracker: definition.name, ...refused });
      const blindSpots = blindSpotsWithout(definition, unloaded);
      return { available: true, reason: null, hooks: hooksOf({}, unloaded), blindSpots };
    } catch (error) {
      return { available: false, reason: messageOf(error), hooks: hooksOf({}), blindSpots: [] };
    }
  }
}
