import type { Gap } from './event.js';

type Counts = Pick<Gap, 'lost' | 'dropped'>;

/** Whether nobody counted the events that are missing there: a server was killed, a session failed, a recording was cut. */
export function isUncounted({ lost, dropped }: Counts): boolean {
  return lost === 0 && dropped === 0;
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

  /** Whether nothing is missing. */
  get complete(): boolean {
    return this.lost === 0 && this.dropped === 0 && !this.uncounted;
  }
}
