import type { Demand, Gap, TraceEvent } from '../../event/event.js';
import type { StreamFilter } from './stream.js';

/** How a session's events are asked for: live, and in pages. */

export interface SubscribeOptions {
  readonly replay?: number | null;
  readonly after?: string | null;
  readonly demand: Demand;
  readonly where?: StreamFilter | null;
  /** As in `StreamOptions`. */
  readonly lends?: boolean;
}

export interface Page {
  readonly events: readonly TraceEvent[];
  /** The place after the event at an index. */
  cursorAfter(index: number): string;
  readonly hasNext: boolean;
  readonly hasPrevious: boolean;
  readonly total: number;
  readonly gaps: readonly Gap[];
}
