/** Items for one reader, the newest `limit` of those it has not read: `push` never waits for it. */
export class Feed<Item> implements AsyncIterableIterator<{
  readonly items: readonly Item[];
  readonly dropped: number;
}> {
  readonly #limit: number;
  readonly #onClose: (feed: Feed<Item>) => void;
  readonly #waiting: ((result: IteratorResult<{ items: readonly Item[]; dropped: number }, undefined>) => void)[] = [];
  #items: Item[];
  #dropped = 0;
  #ended = false;

  constructor(first: readonly Item[], limit: number, onClose: (feed: Feed<Item>) => void) {
    this.#items = [...first];
    this.#limit = limit;
    this.#onClose = onClose;
  }

  push(items: readonly Item[]): void {
    if (this.#ended) return;
    for (const item of items) this.#items.push(item);
    const over = this.#items.length - this.#limit;
    if (over > 0) {
      this.#items.splice(0, over);
      this.#dropped += over;
    }
    this.#serve();
  }

  /** Nothing more comes; what is there is still read. */
  end(): void {
    this.#ended = true;
    this.#serve();
  }

  next(): Promise<IteratorResult<{ items: readonly Item[]; dropped: number }, undefined>> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<{ items: readonly Item[]; dropped: number }, undefined>> {
    this.#items = [];
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #serve(): void {
    if (this.#waiting.length && this.#items.length) {
      const value = { items: this.#items, dropped: this.#dropped };
      this.#items = [];
      this.#dropped = 0;
      this.#waiting.shift()?.({ done: false, value });
    }
    if (!this.#ended || this.#items.length) return;
    this.#onClose(this);
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }
}
