import { invalid } from '../../base/errors.js';
import { turns } from '../../base/turn.js';
import { filterOf, type EventFilter } from '../../filter/index.js';
import { inRange, spanInRange } from '../check.js';
import type { Parts } from '../parts.js';
import type { FollowRequest, PageRequest, SubscribeRequest } from './handle.js';

/** Checks of what is asked of a session, wherever it is. */

/** Events. */
export const MAX_PAGE = 100_000;
const DEFAULT_PAGE = 100;
const MAX_REPLAY = 1_000_000;
const MIN_EVERY_MS = 100;
const HOUR = 3_600_000;

/** The argument `where`, for events of these trackers; null when it takes them all. Throws BAD_USER_INPUT. */
export function filterFor(
  trackers: readonly string[],
  where: unknown,
  { fields }: Pick<Parts, 'fields'>,
): EventFilter | null {
  return where == null ? null : filterOf(where, fields, trackers);
}

/**
 * As `filterFor`, in a turn: one takes some ten milliseconds to compile at most, and an operation may have as many as
 * it may have aliases.
 */
export async function filterInTurn(
  trackers: readonly string[],
  where: unknown,
  parts: Pick<Parts, 'fields'>,
): Promise<EventFilter | null> {
  if (where == null) return null;
  if (!turns.isOpen) await turns.next('REQUEST');
  return filterFor(trackers, where, parts);
}

/** How many of what there is, counted from its oldest or, `backwards`, from its newest. */
export interface PageEnd {
  readonly limit: number;
  readonly backwards: boolean;
}

/** From the oldest on, unless `last` or a lone `before` says otherwise. Throws BAD_USER_INPUT. */
export function endOf({ first, last, before }: Omit<PageRequest, 'where'>, most: number): PageEnd {
  if (first !== undefined && last !== undefined)
    throw invalid('last', 'cannot be joined with `first`; give one of them');
  const backwards = last !== undefined || (first === undefined && before !== undefined);
  return { limit: inRange(backwards ? 'last' : 'first', last ?? first ?? DEFAULT_PAGE, 1, most), backwards };
}

/** Throws BAD_USER_INPUT. */
export function paceOf({ every, replay }: Pick<FollowRequest, 'every' | 'replay'>): {
  readonly everyMs: number;
  readonly replay: number | undefined;
} {
  return {
    everyMs: spanInRange('every', every ?? 1000, MIN_EVERY_MS, HOUR),
    replay: replay == null ? undefined : inRange('replay', replay, 0, MAX_REPLAY, 'events'),
  };
}

/** Throws BAD_USER_INPUT. */
export function replayOf({ replay, after }: SubscribeRequest): number | undefined {
  if (replay === undefined) return undefined;
  if (after !== undefined) throw invalid('replay', 'cannot be joined with `after`; give one of them');
  return replay === 'ALL' ? Number.MAX_SAFE_INTEGER : inRange('replay', replay, 0, MAX_REPLAY, 'events');
}
