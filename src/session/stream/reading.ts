import type { Demand, Gap, TraceEvent } from '../../event/event.js';
import type { StreamFilter } from './selection.js';
import type { Thinning } from './thinning.js';

/** How a session's events are asked for: live, and in pages. */

export interface SubscribeOptions {
  readonly replay?: number | null;
  readonly after?: string | null;
  readonly demand: Demand;
  readonly where?: StreamFilter | null;
  /** What is left out of what matches. */
  readonly thinning?: Thinning | null;
  /** How long an event may wait for others before it is delivered. */
  readonly maxDelayMs?: number;
  /** As in `StreamOptions`. */
  readonly lends?: boolean;
}

export interface RetainedPageRequest {
  /** So many from the oldest on. Default 100. */
  readonly first?: number;
  /** The newest so many, instead. */
  readonly last?: number | null;
  /** Only what is behind the event of this cursor. */
  readonly after?: string | null;
  /** Only what is ahead of the event of this cursor. */
  readonly before?: string | null;
}

export interface FilteredPageRequest extends RetainedPageRequest {
  readonly where: StreamFilter;
}

export interface Page {
  readonly events: readonly TraceEvent[];
  /** The place after the event at an index. */
  cursorAfter(index: number): string;
  readonly hasNext: boolean;
  readonly hasPrevious: boolean;
  /** How many events there are for all pages together; null where they would have to be read to be counted. */
  readonly total: number | null;
  readonly gaps: readonly Gap[];
}

/** Events that a reader asked for and the session no longer retains. */
export interface MissingEvents {
  readonly count: number;
  readonly from: string;
  readonly to: string;
}

export function missingGap({ count, from, to }: MissingEvents): Gap {
  return { from, to, lost: 0, dropped: count, where: 'CLIENT' };
}
