import {
  compileAggregate,
  type AggregateInput,
  type AggregateSpec,
  type AggregatorOptions,
} from '../../analysis/aggregate/index.js';
import { formatDuration } from '../../base/duration.js';
import { invalid } from '../../base/errors.js';
import { turns } from '../../base/turn.js';
import { filterOf, type EventFilter, type FilterFields } from '../../filter/index.js';
import { nanosOf, textOfNanos } from '../../record/nanos.js';
import { STEP_MS, STEPS } from '../../session/stats-history.js';
import { Thinning } from '../../session/stream/thinning.js';
import { inRange, spanInRange } from '../check.js';
import type { Parts } from '../parts.js';
import type { FollowRequest, PageRequest, SessionHandle, StatsHistoryRequest, SubscribeRequest } from './handle.js';

/** Checks of what is asked of a session, wherever it is. */

/** Events. */
export const MAX_PAGE = 100_000;
/** Points of a `statsHistory` at most: both its ends too. */
export const MAX_POINTS = STEPS + 2;
const DEFAULT_PAGE = 100;
const MAX_REPLAY = 1_000_000;
const MIN_EVERY_MS = 100;
const HOUR = 3_600_000;
const MAX_PER_SECOND = 1_000_000;

type Asked = Pick<SessionHandle, 'id' | 'trackers' | 'persistence' | 'createdAt'> & {
  /** As `SessionRecord.boot`; of a session in memory undefined. */
  readonly boot?: string | null;
};

/** The argument `where`, for events of a session; null when it takes them all. Throws BAD_USER_INPUT. */
export function filterFor(
  session: Asked,
  where: unknown,
  parts: Pick<Parts, 'fields' | 'manager'>,
): EventFilter | null {
  const filter = where == null ? null : filterOf(where, parts.fields, session.trackers);
  if (filter?.ready) requireKnown(session, 'where', parts);
  return filter;
}

/** What to aggregate of a session. Throws BAD_USER_INPUT. */
export function aggregateFor(
  session: Asked,
  input: AggregateInput,
  parts: Pick<Parts, 'catalog' | 'fields' | 'manager'>,
): AggregateSpec {
  const spec = compileAggregate(input, parts.catalog, session.trackers);
  if (spec.lineage) requireKnown(session, 'groupBy', parts);
  return spec;
}

/** The processes of a session in memory were seen by this server; one that only a store has may be older, and stored without them. */
function requireKnown(
  { id, createdAt, boot = null }: Asked,
  path: string,
  { fields, manager }: Pick<Parts, 'fields' | 'manager'>,
) {
  if (boot === null && !manager.get(id)) requireSince(nanosOf(createdAt), `the session "${id}"`, path, fields);
}

/**
 * Throws BAD_USER_INPUT where events from this time on, in ns since 1970, are older than the table of processes, for events without stored
 * processes: what is not known would look like what does not match.
 */
export function requireSince(
  fromNs: bigint,
  what: string,
  path: string,
  { lineage }: Pick<FilterFields, 'lineage'>,
): void {
  if (!lineage || fromNs >= lineage.sinceNs) return;
  throw invalid(
    path,
    `the executables, arguments and ancestors of processes were not stored with all of these events: ${what} is older than this ` +
      `server's table of processes, which began at ${textOfNanos(lineage.sinceNs)}, and was stored by an older version, without such a ` +
      'table, or in InfluxDB; ask for later events, or give such a condition to the session that is stored (`StartSessionInput.where`)',
  );
}

/**
 * As `filterFor`, in a turn: one takes some ten milliseconds to compile at most, and an operation may have as many as
 * it may have aliases.
 */
export async function filterInTurn(
  session: Asked,
  where: unknown,
  parts: Pick<Parts, 'fields' | 'manager'>,
): Promise<EventFilter | null> {
  if (where == null) return null;
  if (!turns.isOpen) await turns.next('REQUEST');
  return filterFor(session, where, parts);
}

/** For an aggregate of the events that a filter takes. */
export function acceptOf(filter: EventFilter | null): Pick<AggregatorOptions, 'accept' | 'ready'> {
  return filter ? { accept: filter.matches, ready: filter.ready } : {};
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
export function statsSpanOf({ last, every }: StatsHistoryRequest): {
  readonly lastMs: number;
  readonly everyMs: number;
} {
  const [lastMs, everyMs] = [last ?? HOUR, every ?? STEP_MS];
  spanInRange('last', lastMs, STEP_MS, HOUR);
  spanInRange('every', everyMs, STEP_MS, HOUR);
  if (everyMs % STEP_MS !== 0)
    throw invalid(
      'every',
      `"${formatDuration(everyMs)}" is no multiple of "10s", the interval at which counts are kept; give "10s", "30s" or "1m", for example`,
    );
  return { lastMs, everyMs };
}

/** Null when nothing is to be left out. Throws BAD_USER_INPUT. */
export function thinningOf({ sample = null, maxPerSecond = null }: SubscribeRequest): Thinning | null {
  if (sample !== null && !(sample > 0 && sample <= 1))
    throw invalid('sample', `must be above 0 and at most 1, for example 0.1 for a tenth of the events, not ${sample}`);
  if (maxPerSecond !== null) inRange('maxPerSecond', maxPerSecond, 1, MAX_PER_SECOND, 'events');
  return sample === null && maxPerSecond === null ? null : new Thinning({ sample, maxPerSecond });
}

/** Throws BAD_USER_INPUT. */
export function replayOf({ replay, after }: SubscribeRequest): number | undefined {
  if (replay === undefined) return undefined;
  if (after !== undefined) throw invalid('replay', 'cannot be joined with `after`; give one of them');
  return replay === 'ALL' ? Number.MAX_SAFE_INTEGER : inRange('replay', replay, 0, MAX_REPLAY, 'events');
}
