import type { NodeFacts } from '../../event/node.js';
import type { AggregateChange, AggregateInput, AggregateRow } from '../../analysis/aggregate/index.js';
import type { CaptureMode, Demand, Gap } from '../../event/event.js';
import type { BehaviourReport } from '../../event/report.js';
import type { Container } from '../../inventory/container.js';
import type { Asked } from '../../session/asked.js';
import type { FilterPlan } from '../../session/source/plan.js';
import type { RecorderStats } from '../../session/recorder.js';
import type { Page } from '../../session/session.js';
import type { CountedAt } from '../../session/stats-history.js';
import type { SessionOrigin, SessionState, SessionStats, StopReason } from '../../session/spec.js';
import type { Delivery } from '../../record/delivery.js';
import type { ChangeView, SpecView } from './asked.js';
import type { Origin } from './origin.js';

/**
 * One session, wherever its events are: in memory, in a store, or in both. A reader cannot tell which, but for what a session that
 * has ended no longer knows. Filters (`where`) are taken as clients write them, and rejected with BAD_USER_INPUT before anything is read.
 */
export interface SessionHandle {
  readonly id: string;
  readonly origin: SessionOrigin;
  /** The server whose kernel its events come from; null where that is not known. */
  readonly node: NodeFacts | null;
  readonly state: SessionState;
  readonly error: string | null;
  /** Behind its newest event. */
  readonly cursor: string;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly stoppedAt: string | null;
  readonly stopsAt: string | null;
  readonly stopReason: StopReason | null;
  readonly name: string | null;
  readonly labels: readonly { readonly name: string; readonly value: string }[];
  /** Names of its trackers, and their options by these names. */
  readonly trackers: readonly string[];
  readonly options: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly capture: CaptureMode;
  /** Paths of the costly fields that are captured now; empty for a session that is in its store only. */
  readonly captured: readonly string[];
  /** What was asked of it; null for one that an older version stored or recorded. */
  readonly asked: Asked | null;
  /** The same, as the schema has it. */
  readonly spec: SpecView | null;
  /** What it was asked for before, oldest first. */
  readonly changes: readonly ChangeView[];
  /** Filters (CEL) of the exports that a recording came from; empty for what is no replay. */
  readonly exported: readonly string[];
  readonly containers: readonly Container[];
  /** Where it is written to; null when it is in memory only. */
  readonly persistence: RecorderStats | null;

  /** These tell of events, so each reads the ring first: in one answer they agree with its events and its counts. */
  explain(): Promise<FilterPlan>;
  notices(): Promise<readonly string[]>;
  /** Decimal; null where it is not known any more. */
  undecided(): Promise<string | null>;
  stats(): Promise<SessionStats>;
  /** The same as it changes, until the session has ended; `every` is in milliseconds, 1000 by default. Throws BAD_USER_INPUT. */
  followStats(every: number | null): AsyncIterableIterator<SessionStats>;
  /** Counts at times of the last hour; null for a session that is in its store only. Throws BAD_USER_INPUT. */
  statsHistory(request: StatsHistoryRequest): Promise<readonly CountedAt[] | null>;
  /** Rejects with BAD_CURSOR for a cursor that is not of this session. */
  page(request: PageRequest): Promise<Page>;
  /** Events from a place on, and those to come until the session ends. Throws BAD_CURSOR. */
  subscribe(request: SubscribeRequest): DeliveryStream;
  /** Rejects with STORE_UNAVAILABLE when the store cannot tell all of the events at the moment. */
  aggregate(input: AggregateInput, where: unknown): Promise<readonly AggregateRow[]>;
  /**
   * An aggregate that is kept up to date, and ends with the session: of one that is in its store only, with the events that it
   * begins with.
   */
  follow(request: FollowRequest): AsyncIterableIterator<AggregateChange>;
  /** Rejects with BAD_USER_INPUT, UNKNOWN_CONTAINER, AMBIGUOUS_CONTAINER, or what its store says. */
  report(request: ReportRequest): Promise<BehaviourReport>;
  /** What is missing that no delivery tells, once a subscriber has read to the end; `last` is the time of the last event that it got. */
  uncounted(last: string | null): readonly Gap[];
  /** Where all of its events are that there are. Rejects as `report` does. */
  events(): Promise<Origin>;
}

export type { CountedAt } from '../../session/stats-history.js';

/** In milliseconds; by default the last hour, every ten seconds. */
export interface StatsHistoryRequest {
  readonly last?: number | null | undefined;
  readonly every?: number | null | undefined;
}

export interface PageRequest {
  /** The oldest events; 100 by default. */
  readonly first?: number | undefined;
  /** The newest events instead. */
  readonly last?: number | undefined;
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly where: unknown;
}

export interface SubscribeRequest {
  /** How many of its events come first, or all that it holds; 0 by default. */
  readonly replay?: number | 'ALL' | undefined;
  readonly after?: string | undefined;
  /** The fields that the reader selects; those of its filter are added. */
  readonly demand: Demand;
  readonly where: unknown;
  /** The share of events that is kept, above 0 and up to 1; and how many in a second at most. All by default. */
  readonly sample?: number | null | undefined;
  readonly maxPerSecond?: number | null | undefined;
  /** How long an event may wait for others, in milliseconds; 50 by default. */
  readonly maxDelay?: number | null | undefined;
}

/** Deliveries in order; `return` ends it at once, also while a `next` waits. */
export interface DeliveryStream extends AsyncIterableIterator<Delivery> {
  /** Where it begins: a reader that comes back with it gets all that this one got. */
  readonly startCursor: string;
  return(): Promise<IteratorResult<Delivery, undefined>>;
}

export interface FollowRequest extends AggregateInput {
  /** Milliseconds between two changes at least; 1000 by default. */
  readonly every?: number | null | undefined;
  /** Events that are counted first. */
  readonly replay?: number | null | undefined;
  readonly where?: unknown;
}

/** What a report is about: all events, those of a container, or those of none. */
export interface ReportRequest {
  readonly container?: string | null | undefined;
  readonly host?: boolean | null | undefined;
  /** Entries of a section at most; 100 by default. */
  readonly top?: number | null | undefined;
  readonly from?: string | null | undefined;
  readonly to?: string | null | undefined;
}
