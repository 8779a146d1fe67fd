const MAX_BYTES = 16 << 20;

/** Work that waits for something to become known, one piece after another in their order. */
export class Waiting {
  readonly #onError: (error: unknown) => void;
  #last: Promise<void> | null = null;
  #bytes = 0;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Resolves when all that waits now is done; null when nothing waits. Never rejects. */
  get last(): Promise<void> | null {
    return this.#last;
  }

  /** Whether the work holds more than 16 MiB. */
  get isFull(): boolean {
    return this.#bytes > MAX_BYTES;
  }

  /** `work` has to end after `last`, and holds so many bytes until then; what it throws goes to `onError`. */
  add(work: Promise<unknown>, bytes: number): void {
    this.#bytes += bytes;
    const last: Promise<void> = work.catch(this.#onError).then(() => {
      this.#bytes -= bytes;
      if (this.#last === last) this.#last = null;
    });
    this.#last = last;
  }
}
