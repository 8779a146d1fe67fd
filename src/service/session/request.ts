import { invalid } from '../../base/errors.js';
import { turns } from '../../base/turn.js';
import { filterOf, type EventFilter } from '../../filter/index.js';
import { inRange } from '../check.js';
import type { Parts } from '../parts.js';
import type { PageRequest, SubscribeRequest } from './handle.js';

/** Checks of what is asked of a session, wherever it is. */

const MAX_PAGE = 100_000;
export const MAX_REPLAY = 1_000_000;

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

/** Throws BAD_USER_INPUT. */
export function rangeOf({ first, last, after, before }: PageRequest): Omit<PageRequest, 'where'> {
  const { first: oldest, last: newest } = oneEnd(first, last, before, MAX_PAGE);
  return { first: oldest, last: newest, after, before };
}

/** From which end a page is read, and how much: from the oldest event on, unless `last` or a lone `before` says otherwise. */
export function oneEnd(
  first: number | undefined,
  last: number | undefined,
  before: string | undefined,
  most: number,
): { readonly first: number | undefined; readonly last: number | undefined } {
  if (first !== undefined && last !== undefined)
    throw invalid('last', 'cannot be joined with `first`; give one of them');
  const newest = last ?? (first === undefined && before !== undefined ? 100 : undefined);
  return newest === undefined
    ? { first: inRange('first', first ?? 100, 1, most), last: undefined }
    : { first: undefined, last: inRange('last', newest, 1, most) };
}

/** Throws BAD_USER_INPUT. */
export function replayOf({ replay, after }: SubscribeRequest): number | undefined {
  if (replay === undefined) return undefined;
  if (after !== undefined) throw invalid('replay', 'cannot be joined with `after`; give one of them');
  return replay === 'ALL' ? Number.MAX_SAFE_INTEGER : inRange('replay', replay, 0, MAX_REPLAY, 'events');
}
