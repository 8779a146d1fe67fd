/** Between two lines about the same session. */
const INTERVAL_MS = 60_000;

/** Where it is told: a `Log` is one. */
export interface LossTold {
  warn(facts: object, message: string): void;
}

/** Tells the log what a session loses: at once, then at most once a minute, and the rest at its end. */
export class LossLog {
  readonly #session: string;
  readonly #log: LossTold;
  readonly #now: () => number;
  #told = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  /** `now`: milliseconds of a clock that nobody sets. */
  constructor(session: string, log: LossTold, now: () => number = () => performance.now()) {
    this.#session = session;
    this.#log = log;
    this.#now = now;
  }

  /** `lost`: all that it has lost until now. Cheap where nothing is new. */
  look(lost: number): void {
    if (lost > this.#told && this.#now() - this.#toldAt >= INTERVAL_MS) this.#tell(lost);
  }

  end(lost: number): void {
    if (lost > this.#told) this.#tell(lost);
  }

  #tell(lost: number): void {
    this.#log.warn(
      { session: this.#session, lost: lost - this.#told, lostInAll: lost },
      'the kernel made events faster than they were read, and lost some: a filter, a target or a larger ring (ringBytes) helps',
    );
    [this.#told, this.#toldAt] = [lost, this.#now()];
  }
}
