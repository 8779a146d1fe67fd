import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { serialize } from 'node:v8';
import { snakeCase } from '../base/names.js';
import { objectPath } from '../base/paths.js';
import { cgroupRoot } from '../kernel/attach.js';
import type { KernelStore } from '../kernel/store.js';
import { surroundings } from '../kernel/trial.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { TrackerTrials } from './trial.js';

/** How long after it listens a server begins to try trackers of which nothing is known: behind what its first clients ask for. */
const TRIALS_MS = 10_000;
/** What is kept is under this name. */
const KEPT = 'lacking';

export interface LackingOptions {
  readonly runtimes: readonly TrackerRuntime[];
  readonly trials: TrackerTrials;
  /** Keeps what was found for later processes; null: each finds it anew. */
  readonly store: Pick<KernelStore, 'read' | 'write' | 'written'> | null;
  readonly delayMs?: number;
}

interface Lacking {
  readonly tracker: string;
  readonly reason: string;
}

/** What people who start a server want to read in its log: which trackers this kernel cannot run for it, and why. */
export class LackingTrackers {
  readonly #options: LackingOptions;

  constructor(options: LackingOptions) {
    this.#options = options;
  }

  /**
   * Logs each tracker that is not available: at once where an earlier server has tried them all under the same conditions, else as each
   * is tried, one after another. Resolves then, or when `signal` aborts; never rejects.
   */
  async tell(signal: AbortSignal): Promise<void> {
    const { trials, store, runtimes, delayMs = TRIALS_MS } = this.#options;
    const conditions = await this.#conditions();
    const known = store?.read(KEPT, conditions) as readonly Lacking[] | null | undefined;
    if (known) {
      for (const { tracker, reason } of known) trials.tell(tracker, reason);
      return;
    }
    await sleep(delayMs, undefined, { signal, ref: false }).catch(() => undefined);
    const lacking: Lacking[] = [];
    let lasting = true;
    for (const { definition } of runtimes) {
      const tracker = definition.name;
      if (signal.aborted) return;
      const { available, reason } = await trials.status(tracker);
      if (!available && reason !== null) lacking.push({ tracker, reason });
      lasting &&= !trials.isTriedAgain(tracker);
    }
    if (!lasting || signal.aborted) return;
    store?.write(KEPT, conditions, lacking);
    await store?.written;
  }

  /** What may be otherwise in a later process: the objects, by their times, and all around them. */
  async #conditions(): Promise<Buffer> {
    const files = this.#options.runtimes.map(async ({ definition: { name } }) => {
      const path = objectPath(`trackers/${snakeCase(name)}`);
      const { size, mtimeMs } = (await stat(path).catch(() => null)) ?? { size: 0, mtimeMs: 0 };
      return [path, size, mtimeMs] as const;
    });
    return serialize([await Promise.all(files), surroundings(), hasCgroupRoot()]);
  }
}

/** Some programs attach there. It may be mounted and unmounted at any time. */
function hasCgroupRoot(): boolean {
  try {
    return cgroupRoot() !== '';
  } catch {
    return false;
  }
}
