/** How long to wait before the next try: twice as long after each failure, less up to a half by chance. */
export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  #nextMs: number;

  constructor(firstMs: number, longestMs: number) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.#nextMs = firstMs;
  }

  /** After a failure, in milliseconds. Many who wait for one server are not to come back all at once. */
  next(): number {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(ms * 2, this.#longestMs);
    return ms * (0.5 + Math.random() / 2);
  }

  /** After a success. */
  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}
