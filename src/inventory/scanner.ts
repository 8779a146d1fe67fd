import type { CgroupMount } from '../linux/cgroup-mount.js';
import { walkCgroups } from './cgroup.js';
import type { CgroupId } from '../event/event.js';

// Unknown ids that come close together share one walk.
const GATHER_MS = 10;

/**
 * Walks the cgroup tree to map ids that nobody has announced. One walk runs at a time; who asks during one waits for the
 * next, since the running one may have passed the place already.
 */
export class CgroupScanner {
  readonly #mount: CgroupMount;
  readonly #learn: (id: CgroupId, path: string) => void;
  readonly #closing = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #next: { wanted: Set<CgroupId>; done: Promise<void> } | null = null;

  constructor(mount: CgroupMount, learn: (id: CgroupId, path: string) => void) {
    this.#mount = mount;
    this.#learn = learn;
  }

  /** Maps the whole tree. */
  async all(): Promise<void> {
    await this.#walk(null);
  }

  /** Walks until `id`, and whatever others asked for meanwhile, is found; or to the end. Never rejects. */
  async find(id: CgroupId): Promise<void> {
    const next = this.#next ?? this.#enqueue();
    next.wanted.add(id);
    await next.done;
  }

  close(): void {
    this.#closing.abort();
  }

  #enqueue(): { wanted: Set<CgroupId>; done: Promise<void> } {
    const wanted = new Set<CgroupId>();
    const previous = this.#running;
    const done = (async () => {
      await previous;
      await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
      this.#next = null;
      await this.#walk(wanted);
    })();
    this.#running = done;
    this.#next = { wanted, done };
    return this.#next;
  }

  async #walk(wanted: Set<CgroupId> | null): Promise<void> {
    await walkCgroups(this.#mount, {
      signal: this.#closing.signal,
      visit: (id, path) => {
        this.#learn(id, path);
        return wanted?.delete(id) === true && wanted.size === 0;
      },
    });
  }
}
