import { thousandths } from '../../base/decimal.js';

/** Where a session's filter is evaluated, and why. */
export interface Sharing {
  /** Whether its programs evaluate the part of the filter that the kernel can evaluate. Otherwise user space evaluates all of it. */
  readonly pushed: boolean;
  readonly reason: string;
}

/** A loaded source: how many events a second it has made lately; null when it is too young to tell. */
export interface LoadedSource {
  readonly eventsPerSecond: number | null;
}

/** Up to this rate it costs less to filter a shared source's events in user space (about 0.5 µs each) than to run each hook once more. */
export const QUIET = 10_000;

/**
 * Whether a session with a filter gets programs that evaluate it, or shares those of sessions without a filter. Decided when it starts, and
 * when its filter or target is changed. See docs/decisions/010-sharing-filters.md.
 */
export function decide(canPush: boolean, own: LoadedSource | null, plain: LoadedSource | null): Sharing {
  if (!canPush) return { pushed: false, reason: 'the kernel cannot evaluate any part of the filter' };
  if (own) return { pushed: true, reason: 'a running session has programs that evaluate the same in the kernel' };
  if (!plain) return { pushed: true, reason: 'no running session has programs that produce these events unfiltered' };
  const rate = plain.eventsPerSecond;
  if (rate === null)
    return {
      pushed: true,
      reason:
        'the programs of sessions without a filter have run for less than a second, so that their rate is not known',
    };
  const shown = `${Math.round(rate)} events/s`;
  if (rate > QUIET)
    return {
      pushed: true,
      reason: `the programs of sessions without a filter produce ${shown}, more than ${QUIET}: filtering in the kernel costs less`,
    };
  return {
    pushed: false,
    reason:
      `the programs of sessions without a filter produce ${shown}, at most ${QUIET}: ` +
      'filtering these in the server costs less than programs of its own',
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
