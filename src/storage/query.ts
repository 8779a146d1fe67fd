import type { Gap, TraceEvent } from '../event/event.js';
import type { EventFilter } from '../filter/index.js';
import { cursorOf, type Bounds } from '../session/cursor.js';
import { placeAt } from '../record/place.js';
import { RowBatch } from '../record/row.js';
import type { Page } from '../session/session.js';
import type { EventQuery, Store, StoredEvent, StoredPage } from './store.js';

/** What is common to all who read one session from a store. `Reads`: what they ask the store for. */
export interface StoredSource<Reads extends keyof Store = keyof Store> {
  readonly id: string;
  readonly store: Pick<Store, Reads>;
  readonly trackers: readonly string[];
  /** As `EventQuery.processes`. */
  readonly processes?: boolean;
}

/** Which page of a session's events: so many of them from one end of its bounds. */
export interface PageArguments extends Bounds {
  readonly limit: number;
  /** The newest ones, still oldest first. */
  readonly backwards: boolean;
  readonly where: EventFilter | null;
}

export function queryOf(
  { id, trackers, processes = false }: Pick<StoredSource, 'id' | 'trackers' | 'processes'>,
  filter: EventFilter | null,
): EventQuery {
  return { sessions: [id], trackers, from: null, to: null, containers: null, filter, processes };
}

/** A page as a session in memory would return it, of the events ahead of the place `end`. `total`: how many the session has. */
export async function storedPage(
  source: StoredSource<'page'>,
  { from, to, limit, backwards, where }: PageArguments,
  end: number,
  total: number,
): Promise<Page> {
  const isCut = to !== null && to < end;
  const { events, ...page } = await source.store.page({
    ...queryOf(source, where),
    session: source.id,
    fromSeq: from ?? 0,
    toSeq: isCut ? to : end,
    limit,
    backwards,
  });
  return {
    ...page,
    events: events.map(placed),
    cursorAfter: (index) => cursorOf(source.id, (events[index]?.place.seq ?? (from ?? 0) - 1) + 1),
    hasNext: page.hasNext || isCut,
    total: where ? null : total,
  };
}

/** Stored events as a batch, for whoever reads batches. */
export function batchOf(events: readonly StoredEvent[], seq: number): RowBatch {
  const [first] = events;
  const ahead = first ? first.place.time - BigInt(first.event.bootNs) : 0n;
  const clock = { seconds: Number(ahead / 1_000_000_000n), nanoseconds: Number(ahead % 1_000_000_000n) };
  return new RowBatch(
    events.map(placed),
    { clock, seq, lost: 0, lostFrom: 0, lostTo: 0 },
    Uint32Array.from(events, ({ place }) => place.seq - seq),
  );
}

/** An event for whoever may ask which one it is; aggregates read millions, and never do. */
export function placed({ event, place }: StoredEvent): TraceEvent {
  return placeAt(event, place);
}

/** One gap for all that is missing among these events; `absent` of them are not stored. */
export function gapOf({ gaps, events }: Pick<StoredPage, 'gaps' | 'events'>, absent: number): Gap | null {
  const [first] = gaps;
  const lost = gaps.reduce((sum, gap) => sum + gap.lost, 0);
  const dropped = Math.max(
    absent,
    gaps.reduce((sum, gap) => sum + gap.dropped, 0),
  );
  const time = timeOf(events[0]?.event);
  if (!first) return dropped && time !== null ? { from: time, to: time, lost: 0, dropped, where: 'STORE' } : null;
  return { from: first.from, to: gaps.at(-1)?.to ?? first.to, lost, dropped, where: first.where };
}

function timeOf(event: TraceEvent | undefined): string | null {
  return event?.time ?? null;
}
