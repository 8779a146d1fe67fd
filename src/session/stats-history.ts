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
  /** Milliseconds of a clock that nobody sets, and that stands while the machine sleeps. */
  readonly now?: () => number;
  /** Milliseconds since 1970. */
  readonly date?: () => number;
}

/** One moment on both clocks. */
interface Moment {
  readonly time: number;
  readonly atMs: number;
}

/**
 * What a session had counted at the end of each step of the last hour. It has no timer: who is about to count tells, and where a step has
 * ended since, what was counted until then is kept. In a step without events nothing was counted, and nothing is done.
 */
export class StatsHistory {
  readonly #read: () => Counted;
  readonly #now: () => number;
  readonly #date: () => number;
  readonly #begunAt: number;
  /** The beginning, or when it was noted that the last step ended that is forgotten. */
  #before: Moment;
  /**
   * Steps in which something was counted, but the last one, oldest first, with the counts at their ends, and when these were noted. Between
   * such moments, the machine may have slept or its clock may have been set.
   */
  readonly #steps: { readonly step: number; readonly counts: Counted; readonly noted: Moment }[] = [];
  #step = 0;
  #ended: Moment | null = null;

  constructor({ read, now = () => performance.now(), date = () => Date.now() }: StatsHistoryOptions) {
    this.#read = read;
    this.#now = now;
    this.#date = date;
    this.#before = this.#moment();
    this.#begunAt = this.#before.time;
  }

  /** To be called before anything is counted. */
  note(): void {
    const step = Math.floor((this.#now() - this.#begunAt) / STEP_MS);
    if (step <= this.#step) return;
    this.#steps.push({ step: this.#step, counts: this.#read(), noted: this.#moment() });
    this.#step = step;
    // The last one before the hour tells what there was at its beginning.
    while ((this.#steps[1]?.step ?? step) < step - STEPS) this.#before = this.#steps.shift()?.noted ?? this.#before;
  }

  /** Nothing is counted any more. */
  end(): void {
    this.#ended ??= this.#moment();
  }

  /**
   * The counts at the ends of spans of `everyMs`, a whole number of steps, of the last `lastMs` before now or the end, and the latest ones,
   * oldest first. Where it began in this time, the first ones are those of its beginning.
   */
  points({ lastMs, everyMs }: { readonly lastMs: number; readonly everyMs: number }, latest: Counted): CountedAt[] {
    const end = this.#ended ?? this.#moment();
    const atMs = this.#dates(end);
    const [per, last] = [everyMs / STEP_MS, (end.time - this.#begunAt) / STEP_MS];
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
    return [...points, { atMs: Math.round(end.atMs), ...latest }];
  }

  #moment(): Moment {
    return { time: this.#now(), atMs: this.#date() };
  }

  /** Tells the dates of times, which are asked for in order: those between two moments that are known are as far from both. */
  #dates(end: Moment): (time: number) => number {
    let [from, to] = [this.#before, this.#before];
    const later = [...this.#steps.map(({ noted }) => noted), end].values();
    return (time) => {
      while (to.time < time) {
        const { value, done } = later.next();
        if (done) break;
        [from, to] = [to, value];
      }
      const share = to.time > from.time ? (time - from.time) / (to.time - from.time) : 1;
      return Math.round(from.atMs + share * (to.atMs - from.atMs));
    };
  }

  /** The first step at whose beginning the counts are known. */
  get #oldest(): number {
    const [oldest] = this.#steps;
    return oldest && oldest.step > 0 ? oldest.step + 1 : 0;
  }
}
