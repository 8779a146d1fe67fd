/** How slow a reader may be. */
export interface PaceLimits {
  /** Milliseconds in which something must be taken. */
  readonly stallMs: number;
  /** Milliseconds in which `spanBytes` must be taken. */
  readonly spanMs: number;
  readonly spanBytes: number;
}

/** Watches how fast a reader takes what it is given; `done` ends it. */
export class Pace {
  readonly #timers: readonly NodeJS.Timeout[];
  #taken = 0;

  /** `tooSlow` is called once at most, with what the reader did. */
  constructor({ stallMs, spanMs, spanBytes }: PaceLimits, tooSlow: (why: string) => void) {
    const give = (why: string): void => {
      this.done();
      tooSlow(why);
    };
    const stalled = setTimeout(() => give(`took nothing for ${stallMs / 1000} s`), stallMs);
    const span = setInterval(() => {
      if (this.#taken < spanBytes)
        give(`took ${this.#taken} bytes in ${spanMs / 1000} s; at least ${spanBytes} are needed`);
      this.#taken = 0;
    }, spanMs);
    this.#timers = [stalled.unref(), span.unref()];
  }

  /** So many bytes were taken. */
  took(bytes: number): void {
    this.#taken += bytes;
    this.#timers[0]?.refresh();
  }

  done(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
