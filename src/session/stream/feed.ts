import type { Session } from '../session.js';

/** Sessions as they change, for one reader. A session that changes again before it was read comes once, as it is by then. */
export class ChangeFeed implements AsyncIterableIterator<Session> {
  readonly #pending: Set<Session>;
  readonly #only: string | null;
  readonly #onClose: () => void;
  readonly #waiting: ((result: IteratorResult<Session, undefined>) => void)[] = [];
  #ended = false;

  constructor(first: readonly Session[], only: string | null, onClose: () => void) {
    this.#pending = new Set(first);
    this.#only = only;
    this.#onClose = onClose;
  }

  changed(session: Session): void {
    if (this.#ended || (this.#only !== null && session.id !== this.#only)) return;
    this.#pending.add(session);
    this.#serve();
  }

  removed(session: Session): void {
    if (session.id === this.#only) this.end();
  }

  /** Nothing more comes; changes that wait are still read. */
  end(): void {
    this.#ended = true;
    this.#serve();
  }

  next(): Promise<IteratorResult<Session, undefined>> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<Session, undefined>> {
    this.#ended = true;
    this.#pending.clear();
    this.#serve();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #serve(): void {
    while (this.#waiting.length) {
      const [session] = this.#pending;
      if (session) {
        this.#pending.delete(session);
        this.#waiting.shift()?.({ done: false, value: session });
      } else if (this.#ended) {
        this.#onClose();
        for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
      } else return;
    }
    if (this.#ended && this.#pending.size === 0) this.#onClose();
  }
}
