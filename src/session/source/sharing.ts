import { thousandths } from '../../base/decimal.js';

/** How a session's filter is judged, and why. */
export interface Sharing {
  /** Whether its programs judge what the kernel can judge of the filter; else all of it is judged in user space. */
  readonly pushed: boolean;
  readonly reason: string;
}

/** A loaded source: how many events a second it has made lately; null when it is too young to tell. */
export interface LoadedSource {
  readonly eventsPerSecond: number | null;
}

/** Up to here it is cheaper to judge a shared source's events in user space (about 0.5 µs each) than to have each hook run once more. */
export const QUIET = 10_000;

/**
 * Whether a session with a filter gets programs that judge it, or shares those of sessions that have none. Decided once, at its start: a
 * session keeps its programs, for a change would lose events. docs/decisions/010-sharing-filters.md says why.
 */
export function decide(canPush: boolean, own: LoadedSource | null, plain: LoadedSource | null): Sharing {
  if (!canPush) return { pushed: false, reason: 'the kernel can judge nothing of the filter' };
  if (own) return { pushed: true, reason: 'a session runs already whose programs judge the same in the kernel' };
  if (!plain) return { pushed: true, reason: 'no session runs whose programs take these events unfiltered' };
  const rate = plain.eventsPerSecond;
  if (rate === null)
    return {
      pushed: true,
      reason: 'the programs of sessions without a filter have run for less than a second: their rate is not known',
    };
  const shown = `${Math.round(rate)} events/s`;
  if (rate > QUIET)
    return {
      pushed: true,
      reason: `the programs of sessions without a filter make ${shown}, more than ${QUIET}: the kernel judges cheaper`,
    };
  return {
    pushed: false,
    reason: `the programs of sessions without a filter make ${shown}, at most ${QUIET}: judging these costs less than programs of its own`,
  };
}

/** Events a second, over the last second or longer. */
export class Rate {
  readonly #now: () => number;
  #since: number;
  #count = 0;
  #last: number | null = null;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
  }

  add(count: number): void {
    this.#roll();
    this.#count += count;
  }

  /** Null in the first second. */
  get perSecond(): number | null {
    this.#roll();
    return this.#last;
  }

  #roll(): void {
    const passed = this.#now() - this.#since;
    if (passed < 1000) return;
    this.#last = thousandths((this.#count * 1000) / passed);
    this.#since += passed;
    this.#count = 0;
  }
}
