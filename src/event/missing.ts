import type { Gap } from './event.js';

type Counts = Pick<Gap, 'lost' | 'dropped'>;

/** Whether nobody counted the events that are missing there: a server was killed, a session failed, a recording was cut. */
export function isUncounted({ lost, dropped }: Counts): boolean {
  return lost === 0 && dropped === 0;
}

/** Whether events that are missing may have happened in a span of time, of RFC 3339 with nanoseconds; null does not restrict. */
export function touches({ from, to, lost, dropped }: Gap, since: string | null, until: string | null): boolean {
  // Events that are dropped came before the one at its end, which is there.
  const isBefore = since !== null && (lost || !dropped ? to < since : to <= since);
  return !isBefore && (until === null || from < until);
}

/** What is missing of some events, by the gaps among them: the one definition of "complete" for reports and exports. */
export class Missing {
  lost = 0;
  dropped = 0;
  /** Whether some are missing that nobody counted. */
  uncounted = false;

  add(gap: Counts): this {
    this.lost += gap.lost;
    this.dropped += gap.dropped;
    this.uncounted ||= isUncounted(gap);
    return this;
  }

  join({ lost, dropped, uncounted }: Missing): this {
    this.lost += lost;
    this.dropped += dropped;
    this.uncounted ||= uncounted;
    return this;
  }

  /** Whether nothing is missing. */
  get complete(): boolean {
    return this.lost === 0 && this.dropped === 0 && !this.uncounted;
  }
}
