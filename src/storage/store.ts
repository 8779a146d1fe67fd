import type { Lane } from '../base/turn.js';
import type { Alike, AlikeField } from '../event/alike.js';
import type { Unit } from '../event/scalar.js';
import type { NodeFacts } from '../event/node.js';
import type { ComparisonName, Operand } from '../analysis/aggregate/spec.js';
import type { Container } from '../inventory/container.js';
import type { ContainerSelector } from '../inventory/selector.js';
import type { CaptureMode, Gap, TraceEvent } from '../event/event.js';
import type { EventFilter } from '../filter/index.js';
import type { CollectorStats, ProcessCollector } from '../graph/collector.js';
import type { PastProcesses } from '../graph/past.js';
import type { Slice } from '../record/batch-buffer.js';
import type { Asked } from '../session/asked.js';
import type { PersistMode, SessionState, StopReason, StoreKind } from '../session/spec.js';

/** What a store keeps of a session besides its events. Times are RFC 3339 with nanoseconds. */
export interface SessionRecord {
  readonly id: string;
  readonly name: string | null;
  readonly labels: readonly { readonly name: string; readonly value: string }[];
  readonly trackers: readonly string[];
  /** Of the trackers, by name; empty for a session that was stored before options were. */
  readonly options: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly capture: CaptureMode;
  readonly mode: PersistMode;
  readonly createdAt: string;
  readonly startedAt: string | null;
  /** What was asked of it; null for a session that was stored before this was. */
  readonly asked: Asked | null;
  /**
   * Which boot the processes are of that are stored with its events; null where none are: it was stored before they were, or without a
   * table of processes.
   */
  readonly boot: string | null;
}

/** How a session ended. */
export interface SessionEnd {
  /** Its programs were attached after its record was begun. */
  readonly startedAt: string | null;
  readonly state: SessionState;
  readonly stoppedAt: string;
  readonly stopReason: StopReason;
  readonly error: string | null;
  /** Over its whole life, as in SessionStats. */
  readonly lost: number;
  readonly received: number;
  readonly discarded: number;
  readonly receivedBytes: number;
  /** Of the processes of its events; null where none are stored. */
  readonly processes?: CollectorStats | null;
}

/** A session as the store remembers it. */
export interface StoredRecord extends SessionRecord {
  /** Where servers share the store: whose session it was; null where the store does not tell. */
  readonly node?: NodeFacts | null;
  readonly state: SessionState;
  readonly stoppedAt: string | null;
  readonly stopReason: StopReason | null;
  readonly error: string | null;
  readonly lost: number;
  /** Null when nobody was there to count them at its end. */
  readonly received: number | null;
  readonly discarded: number;
  readonly receivedBytes: number;
  /** As they were counted at its end. */
  readonly processes?: CollectorStats | null;
  /** Events that are stored. */
  readonly events: number;
  /** Events that are not stored: the store was too slow, too full, or off, or retention took them. */
  readonly missing: number;
  /** Of these, those that retention took, at the session's beginning: no gap tells of them. */
  readonly removed: number;
  /** Of those missing, those that were not to be stored: they happened while the session was in memory only. */
  readonly omitted: number;
  /** Place of the event that would come next. */
  readonly nextSeq: number;
  /** Times of the first and last event that is stored; null when there is none. */
  readonly oldest: string | null;
  readonly newest: string | null;
}

/** How far a sink is. */
export interface SinkProgress {
  /** Events that a crash can no longer take. */
  readonly written: number;
  /** Events taken over and not written yet. */
  readonly pending: number;
  /** Events that the sink itself had to give up. */
  readonly dropped: number;
  /** Of those written, the events that retention has deleted. */
  readonly removed: number;
  /** The place behind the last event that was written. */
  readonly nextSeq: number;
  /** Why it does not write at the moment, or never will again; null while all is well. */
  readonly error: string | null;
}

/** Where the events of one session go. Calls come one after the other, in order. */
export interface SessionSink {
  /**
   * Takes events over, and tells what is missing before them. Resolves when there is room for more, which is not yet when they are
   * written; the reader's bounded queue holds what comes meanwhile. Rejects when nothing can be written any more.
   */
  write(slices: readonly Slice[], gap: Gap | null): Promise<void>;
  /** The session goes on at a place: what is missing before it was not to be stored. */
  skip(gap: Gap, nextSeq: number): Promise<void>;
  readonly progress: SinkProgress;
  /** The session was changed. Resolves when that is written. */
  update(session: SessionRecord): Promise<void>;
  /** Resolves when all that was taken over is written. */
  flush(): Promise<void>;
  /** Writes the rest, and how the session ended. No call follows. */
  finish(end: SessionEnd): Promise<void>;
  /**
   * The server ends before the rest could be written: tells how the session ended and the place behind its last event,
   * so that what is missing is stored as a gap with its counts. Written by the store's `close` at the latest.
   */
  giveUp(end: SessionEnd, nextSeq: number, known: LastKnown): void;
}

/** What is known of a session at the end of the server, told before or not. */
export interface LastKnown {
  readonly session: SessionRecord;
  readonly offs: readonly Off[];
}

/** Places whose events were not to be stored; `to` is the one behind them. */
export interface Off {
  readonly gap: Gap;
  readonly from: number;
  readonly to: number;
}

/** Which stored events. All that is given must hold; null does not restrict. */
export interface EventQuery {
  readonly sessions: readonly string[] | null;
  /** Never empty: those whose events may be in the result. */
  readonly trackers: readonly string[];
  /** Nanoseconds since 1970; `from` is in it, `to` is not. */
  readonly from: bigint | null;
  readonly to: bigint | null;
  /** Any of these. */
  readonly containers: readonly ContainerSelector[] | null;
  /** For events of these trackers. */
  readonly filter: EventFilter | null;
  /** Whether the reader wants to know of the events' processes what is stored of them; a filter that does has it anyway. */
  readonly processes?: boolean;
  /** In whose turns rows become events and are filtered; those of requests by default. */
  readonly turn?: Lane | undefined;
}

/** A part of a session's events, in the order of their places. */
export interface PageQuery extends EventQuery {
  readonly session: string;
  readonly fromSeq: number;
  /** Not in it; null is the end. */
  readonly toSeq: number | null;
  readonly limit: number;
  /** The last ones of the part instead of the first; still oldest first. */
  readonly backwards: boolean;
}

/** A place among the events of one session: behind so many of them. */
export interface SessionPlace {
  readonly session: string;
  readonly seq: number;
}

/** A place among the events of all sessions, which stand in the order of their times: behind this event. */
export interface HistoryPlace extends SessionPlace {
  readonly time: bigint;
}

/** A part of the events of all sessions: behind the one place and ahead of the other, where they are given. */
export interface HistoryRange {
  readonly after: HistoryPlace | null;
  readonly before: HistoryPlace | null;
  readonly limit: number;
  /** The last ones of the part instead of the first; still oldest first. */
  readonly backwards: boolean;
}

export interface StoredEvent {
  readonly event: TraceEvent;
  /** Its own place, not the one behind it. */
  readonly place: HistoryPlace;
}

export interface StoredPage {
  /** Oldest first. */
  readonly events: readonly StoredEvent[];
  readonly hasNext: boolean;
  readonly hasPrevious: boolean;
  /** What is missing among what was looked at. */
  readonly gaps: readonly StoredGap[];
}

/** Events that are missing before the one of this place. Counts of 0 are of a server that was killed: nobody counted. */
export interface StoredGap extends Gap {
  readonly seq: number;
}

export interface SessionGap extends StoredGap {
  readonly session: string;
}

/** Which gaps of these sessions: those that end in a span of time, in nanoseconds since 1970; `from` is in it, `to` is not. */
export interface GapQuery {
  readonly sessions: readonly string[];
  readonly from: bigint;
  /** Null does not restrict. */
  readonly to: bigint | null;
  /** Only those that begin before it; null does not restrict. */
  readonly beginBefore: bigint | null;
}

/** All that there is of one session, or what of it matches. */
export type WholeQuery = Omit<PageQuery, 'fromSeq' | 'toSeq' | 'limit' | 'backwards'>;

/** What of the events of each tracker is told apart. Of a tracker that is not there, no field is. */
export type AlikeFields = ReadonlyMap<string, readonly AlikeField[]>;

/** A container as reports name it. */
export type StoredContainer = Pick<Container, 'id' | 'name' | 'image'>;

/** What an aggregate computes, checked: as the aggregate's own specification. */
export interface AggregateShape {
  readonly groupBy: readonly { readonly path: string }[];
  readonly measures: readonly {
    readonly name: string;
    readonly fn: string;
    readonly field: string | null;
    readonly unit: Unit | null;
    readonly time: boolean;
    readonly q: number;
  }[];
  readonly window: { readonly sizeMs: number; readonly slideMs: number } | null;
  readonly having: readonly {
    readonly of: Operand;
    readonly comparison: ComparisonName;
    readonly value: number;
  }[];
  readonly orderBy: readonly { readonly of: Operand; readonly descending: boolean }[];
  readonly limit: number;
  readonly maxGroups: number;
}

/** A row as the aggregate returns it. */
export interface StoredRow {
  readonly key: readonly { readonly field: string; readonly value: string | null }[];
  readonly count: number;
  readonly values: readonly {
    readonly name: string;
    readonly unit: Unit | null;
    readonly number: number | null;
    readonly text: string | null;
    readonly error: number;
    readonly buckets: null;
    readonly top: null;
  }[];
  readonly window: { readonly from: string; readonly to: string } | null;
  readonly other: boolean;
}

export interface StoreStatus {
  readonly kind: StoreKind;
  readonly state: 'READY' | 'PAUSED' | 'FAILED';
  /** Why it is not READY, and what would mend it; null while it is. */
  readonly problem: string | null;
  /** The file, or the URL without secrets. */
  readonly location: string;
  /** On disk; null where the store cannot tell. */
  readonly bytes: number | null;
  readonly sessions: number;
  readonly oldest: string | null;
  readonly newest: string | null;
  /** What it keeps at most; null does not restrict. */
  readonly retentionMs: number | null;
  readonly retentionBytes: number | null;
}

/** What a store's metrics are made of: quickly told, also while it does not work. */
export interface StoreLoad {
  readonly up: boolean;
  /** On disk; null where the store cannot tell. */
  readonly bytes: number | null;
  /** What waits on disk for a database that is away; null where there is no such thing. */
  readonly spool: { readonly points: number; readonly bytes: number } | null;
  /** Since the server's start, for a store that writes points. */
  readonly points: { readonly written: number; readonly rejected: number; readonly dropped: number } | null;
  /** How long the oldest of what sinks have handed on has waited, on disk or in memory. */
  readonly lagMs: number;
}

/**
 * A consumer that can be queried. No method blocks the event loop; all reject with an EunomiaError that says what would be right:
 * STORE_UNAVAILABLE when nothing can be read or written, BAD_USER_INPUT for what it cannot evaluate.
 */
export interface Store {
  readonly kind: StoreKind;
  /**
   * Begins to record a session, with what `collector` knows of its processes where the store keeps that. Rejects when the store cannot
   * take it.
   */
  record(session: SessionRecord, collector?: ProcessCollector | null): Promise<SessionSink>;
  /**
   * The processes of a session's events and their ancestors, as they were known while it was recorded. Null while it is, for a session that
   * the store has not, and where they are not stored.
   */
  processes(session: string): Promise<PastProcesses | null>;
  /** All sessions that it remembers, oldest first, those that run now included. */
  sessions(): Promise<readonly StoredRecord[]>;
  session(id: string): Promise<StoredRecord | null>;
  /** Events of one session in the order of their places, from place `from` on (or the last ones before `to`). */
  page(query: PageQuery): Promise<StoredPage>;
  /** Events of many sessions in the order of their times. */
  history(query: EventQuery, range: HistoryRange): Promise<StoredPage>;
  /** What is missing of many sessions, in the order of its ends. */
  gaps(query: GapQuery): Promise<readonly SessionGap[]>;
  /** All events of one session in the order of their places, part by part, with what is missing among them; in bounded memory. */
  read(query: WholeQuery): AsyncIterable<Pick<StoredPage, 'events' | 'gaps'>>;
  /** Containers that these events are of, perhaps also some whose events are gone; as they were known last. */
  containers(query: EventQuery): Promise<readonly StoredContainer[]>;
  /** All events that it is for, part by part; their order is the store's: for what `aggregate` does not do. */
  scan(query: EventQuery): AsyncIterable<readonly TraceEvent[]>;
  /**
   * What an aggregate over these events returns, computed where they are stored; null when the store cannot do just
   * that: then they are `scan`ned.
   */
  aggregate(query: EventQuery, shape: AggregateShape): Promise<readonly StoredRow[] | null>;
  /**
   * Events that do not differ in these fields, nor in their tracker, container, comm, uid and gid, as one each; in no order. Null when the
   * store cannot do that, or when they are too many: then they are `read`.
   */
  alike(query: EventQuery, fields: AlikeFields): Promise<readonly Alike[] | null>;
  /**
   * Copies all that is stored by now into a file of its own, which the caller deletes, and resolves to its path. Nobody who records waits
   * for it. Rejects with STORE_UNAVAILABLE, also where there is no room, and with CANCELLED once the signal aborts; no file is left then.
   * Absent for a store that has no file.
   */
  copy?(signal: AbortSignal): Promise<string>;
  /** Forgets a session and its events. */
  remove(session: string): Promise<void>;
  status(): Promise<StoreStatus>;
  /** Writes what is pending and lets go of files and connections. Idempotent. */
  load(): Promise<StoreLoad>;
  close(): Promise<void>;
}
