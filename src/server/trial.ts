import { EunomiaError, KernelError, messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { blindSpotsWithout } from '../catalog/unloaded.js';
import { heldCapabilities } from '../kernel/environment.js';
import type { KernelThread } from '../kernel/thread.js';
import { capabilitiesFor, missingCapabilities } from '../linux/hook-capability.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { TrackerStatus } from '../service/parts.js';
import { warnOfRefused } from '../session/source/refused.js';
import { powerless } from './foretold.js';
import { unavailable } from './kernelless.js';

/** Objects loaded at a time. Each takes a thread of the pool, which sessions and the waiter on the rings need too. */
const LANES = 2;

/** After so long, what failed for a reason that may pass is tried again when somebody asks. */
const RETRY_MS = 30_000;
/** Descriptors, memory and places that are lacking now. What a kernel refuses otherwise, it goes on refusing. */
const PASSING: ReadonlySet<string | null> = new Set([
  'EAGAIN',
  'EBUSY',
  'EINTR',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'ENOSPC',
]);

/**
 * Whether this kernel can run each tracker. Loading its object says so, and costs as much as starting a session: it is done when somebody
 * first asks, and again only where it failed for a reason that may pass.
 */
export class TrackerTrials {
  readonly #kernel: Pick<KernelThread, 'tryLoad'>;
  readonly #log: Log;
  readonly #runtimes: ReadonlyMap<string, TrackerRuntime>;
  readonly #held: ReadonlySet<string>;
  readonly #trials = new Map<string, Promise<TrackerStatus>>();
  /** When those that failed for a reason that may pass are tried again. */
  readonly #retryAt = new Map<string, number>();
  /** By tracker, the reason that the log has. */
  readonly #told = new Map<string, string>();
  #closed = false;

  /** `held`: the capabilities of this process. */
  constructor(
    kernel: Pick<KernelThread, 'tryLoad'>,
    runtimes: readonly TrackerRuntime[],
    log: Log,
    held = heldCapabilities(),
  ) {
    this.#held = held;
    this.#kernel = kernel;
    this.#log = log;
    this.#runtimes = new Map(runtimes.map((runtime) => [runtime.definition.name, runtime]));
  }

  /** Never rejects. */
  status(name: string): Promise<TrackerStatus> {
    const runtime = this.#runtimes.get(name);
    if (!runtime) return Promise.resolve(unavailable('there is no such tracker'));
    const known = this.#trials.get(name);
    if (known && (this.#retryAt.get(name) ?? Number.POSITIVE_INFINITY) > performance.now()) return known;
    this.#retryAt.delete(name);
    this.#trials.delete(name); // the last ones tried are behind the others
    const trial = Promise.resolve([...this.#trials.values()].at(-LANES))
      .then(() => this.#try(runtime))
      .then((status) => {
        if (!status.available && status.reason !== null) this.tell(name, status.reason);
        return status;
      });
    this.#trials.set(name, trial);
    return trial;
  }

  /** Logs that a tracker is not available, once a reason: for people who run a server. Commands that list trackers show it themselves. */
  tell(tracker: string, reason: string): void {
    if (this.#closed || this.#told.get(tracker) === reason) return;
    this.#told.set(tracker, reason);
    this.#log.info({ tracker, reason }, 'a tracker is not available');
  }

  /** Whether it has failed for a reason that may pass. */
  isTriedAgain(tracker: string): boolean {
    return this.#retryAt.has(tracker);
  }

  /** What fails from now on fails because the server ends. */
  close(): void {
    this.#closed = true;
  }

  /**
   * Loads it and drops it: the kernel itself says whether it can. Which capability is lacking, it does not say, and that one is, of some
   * programs only when they are attached: the table of capabilities does.
   */
  async #try(tracker: TrackerRuntime): Promise<TrackerStatus> {
    const status = (hooks: readonly string[]) => {
      const missing = missingCapabilities(hooks, this.#held);
      return {
        available: missing.length === 0,
        reason: powerless(missing, hooks),
        hooks,
        capabilities: capabilitiesFor(hooks),
        missingCapabilities: missing,
      };
    };
    try {
      const unloaded = await this.#kernel.tryLoad(tracker.objectSpec({}), { remembered: true });
      for (const refused of unloaded.refused)
        warnOfRefused(this.#log, { tracker: tracker.definition.name, ...refused });
      return { ...status(tracker.hooksOf({}, unloaded)), blindSpots: blindSpotsWithout(tracker.definition, unloaded) };
    } catch (error) {
      if (mayPass(error)) this.#retryAt.set(tracker.definition.name, performance.now() + RETRY_MS);
      const lacking = status(hooksOrNone(tracker));
      return { ...lacking, available: false, reason: lacking.reason ?? messageOf(error), blindSpots: [] };
    }
  }
}

/** None where it is the object that cannot be read. */
function hooksOrNone(tracker: TrackerRuntime): readonly string[] {
  try {
    return tracker.hooksOf({});
  } catch {
    return [];
  }
}

function mayPass(error: unknown): boolean {
  if (error instanceof KernelError) return PASSING.has(error.errno);
  return error instanceof EunomiaError && error.code === 'NO_CGROUP_ROOT';
}
