import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupMount } from '../linux/cgroup-mount.js';
import { cgroupDirectory, readCgroupId } from './cgroup.js';
import { formatTime, isAlive, type Container } from './container.js';
import type { ContainerDirectory } from './directory.js';
import { readFirstPid, readMountNs } from './process-cgroup.js';

export interface LivenessOptions {
  readonly directory: ContainerDirectory;
  readonly mount: CgroupMount | null;
  readonly hostMountNs: number | null;
  /** Whether a source tells by itself that this container ended. */
  readonly followed: (id: string) => boolean;
  /** The id of the container that a process is in; null for the host or a process that is gone. */
  readonly containerOf: (pid: number) => Promise<string | null>;
}

// From mkdir of its cgroup to its first process, a container takes some hundred milliseconds at most.
const PROBE_DELAYS_MS = [100, 1000];

/** Notices what no engine tells: which process is a container's first, and that its processes have gone. */
export class Liveness {
  readonly #options: LivenessOptions;
  /** A process of each container that is known by its processes only. */
  readonly #witnesses = new Map<string, number>();
  #sweeper: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: LivenessOptions) {
    this.#options = options;
  }

  /** `after` is called at the end of each sweep. */
  start(sweepMs: number, after: () => void): void {
    if (!this.#closed) this.#sweeper = setInterval(() => void this.#sweep().then(after), sweepMs).unref();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeper);
  }

  /** A process of a container that no engine tells of. */
  witness(id: string, pid: number): void {
    this.#witnesses.set(id, pid);
  }

  /** Finds the first process of a container that no engine tells of. */
  async probe(id: string): Promise<void> {
    const { directory, mount, hostMountNs } = this.#options;
    for (const delay of PROBE_DELAYS_MS) {
      const path = directory.cgroupPath(id);
      if (mount === null || path === null || this.#closed) return;
      const container = directory.byId(id);
      if (container === undefined || container.pid !== null || directory.isNamed(id)) return;
      const pid = await readFirstPid(cgroupDirectory(mount, path));
      if (pid === undefined) return;
      if (pid !== null) {
        const mountNs = await readMountNs(pid);
        directory.setProcess(id, pid, mountNs === hostMountNs ? null : mountNs);
        return;
      }
      await sleep(delay, undefined, { ref: false });
    }
  }

  async #sweep(): Promise<void> {
    const { directory, followed } = this.#options;
    for (const container of directory.list()) {
      const { id } = container;
      const named = directory.isNamed(id);
      if (!isAlive(container) || (named && followed(id)) || (await this.#isThere(container))) continue;
      // An engine may yet return and tell of a container that has a name; of the others nobody will.
      if (named) directory.apply({ id, state: 'EXITED', pid: null, finishedAt: formatTime(Date.now()) });
      else directory.remove(id);
    }
    for (const id of this.#witnesses.keys()) if (directory.byId(id) === undefined) this.#witnesses.delete(id);
  }

  /** Whether a container has a cgroup or a process, as far as can be seen. */
  async #isThere({ id, pid }: Container): Promise<boolean> {
    const { directory, mount, containerOf } = this.#options;
    const path = directory.cgroupPath(id);
    if (mount !== null && path !== null) return (await readCgroupId(cgroupDirectory(mount, path))) !== null;
    const witness = pid ?? this.#witnesses.get(id);
    return witness === undefined || (await containerOf(witness)) === id;
  }
}
