import type { StoredGap } from './store.js';

/** Whether a page that ends ahead of a place tells a gap: one at that place may be behind its last event. */
export function isToldUpTo({ seq, where, dropped }: StoredGap, end: number): boolean {
  // What was off is at the place of its first event: the next page begins with that.
  return where === 'OFF' && dropped ? seq < end : seq <= end;
}
