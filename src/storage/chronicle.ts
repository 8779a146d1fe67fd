import type { EventQuery, HistoryPlace, SessionGap, Store, StoredEvent } from './store.js';

/** Events of one page: one question for the embedded store, whose parts have so many and one more. */
const PAGE = 4095;
const FIRST_SPAN_NS = 60_000_000_000n;
const LEAST_SPAN_NS = 1_000_000n;

/** A part of what happened in a range, and what is missing up to its end, each in the order of times. */
export interface ChroniclePart {
  readonly events: readonly StoredEvent[];
  readonly gaps: readonly SessionGap[];
}

/** Which events: those of these sessions. */
export interface ChronicleQuery extends Omit<EventQuery, 'from' | 'to'> {
  readonly sessions: readonly string[];
}

/** Nanoseconds since 1970; `from` is in it, `to` is not. */
export interface TimeRange {
  readonly from: bigint;
  readonly to: bigint;
}

/**
 * Events of many sessions in the order of their times (then of their sessions and places), with the gaps that end in the range, and last
 * those that reach beyond it. `extent`: the part of the range that has events. It is read span by span, so that a page never looks at what
 * is far behind it; spans grow where little happened.
 */
export async function* chronicle(
  store: Pick<Store, 'history' | 'gaps'>,
  query: ChronicleQuery,
  range: TimeRange,
  extent: TimeRange,
): AsyncGenerator<ChroniclePart, void> {
  const { sessions, trackers } = query;
  if (!sessions.length || !trackers.length) return;
  let toldTo = range.from;
  /** Gaps that end before a time, and were not told yet. */
  const gapsTo = async (to: bigint): Promise<readonly SessionGap[]> => {
    if (to <= toldTo) return [];
    const from = toldTo;
    toldTo = to;
    return store.gaps({ sessions, from, to, beginBefore: null });
  };
  for (let { from } = extent, span = FIRST_SPAN_NS; from < extent.to;) {
    const to = from + span < extent.to ? from + span : extent.to;
    let count = 0;
    for (let after: HistoryPlace | null = null, more = true; more;) {
      const page = await store.history({ ...query, from, to }, { after, before: null, limit: PAGE, backwards: false });
      const last = page.events.at(-1);
      more = page.hasNext && last !== undefined;
      // A gap stands before what has the time of its end.
      const gaps = await gapsTo(more && last ? last.place.time + 1n : to);
      if (page.events.length || gaps.length) yield { events: page.events, gaps };
      count += page.events.length + gaps.length;
      after = last?.place ?? after;
    }
    from = to;
    if (count < PAGE / 4) span *= 4n;
    else if (count > PAGE * 2 && span > LEAST_SPAN_NS) span /= 2n;
  }
  // Of what is missing behind the last event, and what reaches beyond the range.
  const rest = await store.gaps({ sessions, from: toldTo, to: null, beginBefore: range.to });
  if (rest.length) yield { events: [], gaps: rest };
}
