export interface ChangingOptions<Value> {
  readonly read: () => Promise<Value>;
  /** Resolves when it does not change any more. */
  readonly ended: Promise<unknown>;
  /** Milliseconds between two results at least. */
  readonly everyMs: number;
}

/**
 * A value, such as a session's counts: at once, whenever it has changed but at most every so often, and once more when it changes no
 * more. It is read when a reader asks, so that one that is slow gets fewer.
 */
export class Changing<Value> implements AsyncIterableIterator<Value> {
  readonly #options: ChangingOptions<Value>;
  #told = '';
  #at = Number.NEGATIVE_INFINITY;
  #state: 'READING' | 'ENDED' | 'CLOSED' = 'READING';
  #wake: () => void = () => {};
  /** Calls of `next` are served one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ChangingOptions<Value>) {
    this.#options = options;
    const end = (): void => {
      if (this.#state === 'READING') this.#state = 'ENDED';
      this.#wake();
    };
    options.ended.then(end, end);
  }

  next(): Promise<IteratorResult<Value, undefined>> {
    const result = this.#turn.then(() => this.#next());
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async return(): Promise<IteratorResult<Value, undefined>> {
    this.#state = 'CLOSED';
    this.#wake();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #next(): Promise<IteratorResult<Value, undefined>> {
    for (;;) {
      if (this.#state === 'READING') await this.#pause(this.#at + this.#options.everyMs - Date.now());
      if (this.#state === 'CLOSED') return { done: true, value: undefined };
      const last = this.#state === 'ENDED';
      const value = await this.#options.read();
      this.#at = Date.now();
      if (last) this.#state = 'CLOSED';
      const text = JSON.stringify(value);
      if (text === this.#told) continue;
      this.#told = text;
      return { done: false, value };
    }
  }

  /** Until the time is up, the session has ended, or nobody reads any more. */
  #pause(ms: number): Promise<void> {
    if (!(ms > 0)) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
