import type { SessionStats } from './spec.js';

/** Counts over the whole life of a session, which never fall. */
export type Counted = Pick<SessionStats, 'received' | 'discarded' | 'delivered' | 'lost' | 'dropped' | 'receivedBytes'>;

/** As they were at a moment, in milliseconds since 1970. */
export interface CountedAt extends Counted {
  readonly atMs: number;
}

/** Counts are known at the ends of steps, which begin with the session. */
export const STEP_MS = 10_000;
/** How many steps are remembered: an hour. */
export const STEPS = 360;
const ZERO: Counted = { received: 0, discarded: 0, delivered: 0, lost: 0, dropped: 0, receivedBytes: 0 };

export interface StatsHistoryOptions {
  readonly read: () => Counted;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
}

/**
 * What a session had counted at the end of each step of the last hour. It has no timer: who is about to count tells, and where a step has
 * ended since, what was counted until then is kept. In a step without events nothing was counted, and nothing is done.
 */
export class StatsHistory {
  readonly #read: () => Counted;
  readonly #now: () => number;
  readonly #begunAt: number;
  /** Steps in which something was counted, but the last one, oldest first, with the counts at their ends. */
  readonly #steps: { readonly step: number; readonly counts: Counted }[] = [];
  #step = 0;
  #endedAt: number | null = null;

  constructor({ read, now = () => performance.now() }: StatsHistoryOptions) {
    this.#read = read;
    this.#now = now;
    this.#begunAt = now();
  }

  /** To be called before anything is counted. */
  note(): void {
    const step = Math.floor((this.#now() - this.#begunAt) / STEP_MS);
    if (step <= this.#step) return;
    this.#steps.push({ step: this.#step, counts: this.#read() });
    this.#step = step;
    // The last one before the hour tells what there was at its beginning.
    while ((this.#steps[1]?.step ?? step) < step - STEPS) this.#steps.shift();
  }

  /** Nothing is counted any more. */
  end(): void {
    this.#endedAt ??= this.#now();
  }

  /**
   * The counts at the ends of spans of `everyMs`, a whole number of steps, of the last `lastMs` before now or the end, and the latest ones,
   * oldest first. Where it began in this time, the first ones are those of its beginning.
   */
  points({ lastMs, everyMs }: { readonly lastMs: number; readonly everyMs: number }, latest: Counted): CountedAt[] {
    const end = this.#endedAt ?? this.#now();
    const atMs = (time: number): number => Math.round(Date.now() - this.#now() + time);
    const [per, last] = [everyMs / STEP_MS, (end - this.#begunAt) / STEP_MS];
    const first = Math.max(0, Math.ceil((last - lastMs / STEP_MS) / per), Math.ceil(this.#oldest / per));
    const points: CountedAt[] = [];
    const steps = this.#steps;
    let at = 0;
    let counts = ZERO;
    for (let nth = first; nth === 0 || nth * per < last; nth++) {
      for (let next = steps[at]; next && next.step < nth * per; next = steps[++at]) counts = next.counts;
      const time = this.#begunAt + nth * per * STEP_MS;
      points.push({ atMs: atMs(time), ...(nth * per > this.#step ? latest : counts) });
    }
    return [...points, { atMs: atMs(end), ...latest }];
  }

  /** The first step at whose beginning the counts are known. */
  get #oldest(): number {
    const [oldest] = this.#steps;
    return oldest && oldest.step > 0 ? oldest.step + 1 : 0;
  }
}
