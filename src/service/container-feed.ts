import { isAlive, type Container } from '../inventory/container.js';
import type { ContainerRegistry } from '../inventory/registry.js';

export type ContainerChangeKind = 'LISTED' | 'STARTED' | 'STOPPED' | 'CHANGED';

/** As the schema's `ContainerChange`. */
export interface ContainerChange {
  readonly kind: ContainerChangeKind;
  /** What it was when this reader was told of it last; null if it was not. */
  readonly before: Container['state'] | null;
  readonly container: Container;
}

type Result = IteratorResult<ContainerChange, undefined>;

/**
 * Containers for one reader: those that there are, and then each that comes, changes or goes. One that changes again before it was read
 * comes once, as it is by then, so that a reader that is slow costs no more than a list of containers.
 */
export class ContainerFeed implements AsyncIterableIterator<ContainerChange> {
  readonly #registry: Pick<ContainerRegistry, 'on' | 'off'>;
  readonly #matches: (container: Container) => boolean;
  readonly #onClose: (feed: ContainerFeed) => void;
  readonly #pending: Set<Container>;
  /** Those that were there when it began, as long as the reader was not told of them. */
  readonly #listed: Set<Container>;
  /** The states that the reader knows, by id. */
  readonly #told = new Map<string, Container['state']>();
  readonly #waiting: ((result: Result) => void)[] = [];
  #ended = false;

  constructor(
    registry: Pick<ContainerRegistry, 'on' | 'off'>,
    first: readonly Container[],
    matches: (container: Container) => boolean,
    onClose: (feed: ContainerFeed) => void,
  ) {
    this.#registry = registry;
    this.#matches = matches;
    this.#onClose = onClose;
    this.#pending = new Set(first);
    this.#listed = new Set(first);
    registry.on('change', this.#onChange);
  }

  next(): Promise<Result> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#serve();
    });
  }

  async return(): Promise<Result> {
    this.#pending.clear();
    this.end();
    return { done: true, value: undefined };
  }

  /** Nothing more comes; what waits is still read. */
  end(): void {
    if (!this.#ended) {
      this.#ended = true;
      this.#registry.off('change', this.#onChange);
      this.#onClose(this);
    }
    this.#serve();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  readonly #onChange = (container: Container): void => {
    this.#pending.add(container);
    // What is told of it now, in one piece, is part of the change.
    queueMicrotask(() => this.#serve());
  };

  #serve(): void {
    while (this.#waiting.length) {
      const change = this.#take();
      if (change) this.#waiting.shift()?.({ done: false, value: change });
      else if (this.#ended) for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
      else return;
    }
  }

  #take(): ContainerChange | null {
    for (const container of this.#pending) {
      this.#pending.delete(container);
      const before = this.#told.get(container.id) ?? null;
      const isListed = this.#listed.delete(container);
      // One that does not match any more is told of once: its reader has it on a list.
      if (!this.#matches(container) && before === null) continue;
      if (container.state === 'REMOVED' || !this.#matches(container)) this.#told.delete(container.id);
      else this.#told.set(container.id, container.state);
      return { kind: isListed ? 'LISTED' : kindOf(before, container), before, container };
    }
    return null;
  }
}

function kindOf(before: Container['state'] | null, container: Container): ContainerChangeKind {
  const [was, is] = [before !== null && isAlive({ state: before }), isAlive(container)];
  if (is && !was) return 'STARTED';
  // One that was there so shortly that nobody was told of it has stopped, too.
  if (!is && (was || (before === null && container.state !== 'CREATED'))) return 'STOPPED';
  return 'CHANGED';
}
