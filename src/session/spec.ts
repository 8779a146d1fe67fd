import type { ContainerSelector } from '../inventory/selector.js';
import type { CaptureMode, CgroupId } from '../event/event.js';
import type { SessionFilter } from '../filter/index.js';
import type { TrackerOptions } from '../tracker/define.js';
import type { Asked } from './asked.js';
import type { SubscriberStats } from './stream/stream.js';

/**
 * Whom a session watches. Kinds are joined by AND (containers and cgroups are one kind), values of a kind by OR; an
 * empty list does not filter.
 */
export interface TargetSpec {
  readonly containers: readonly ContainerSelector[];
  /** Accept selectors that no container matches yet. */
  readonly waitForContainers: boolean;
  readonly cgroups: readonly CgroupId[];
  readonly pids: readonly number[];
  readonly descendants: boolean;
  readonly uids: readonly number[];
  readonly comms: readonly string[];
}

/** What a session is to do. Checked against the schema's bounds before it comes here. */
export interface SessionSpec {
  readonly trackers: readonly { readonly name: string; readonly options: TrackerOptions }[];
  readonly target: TargetSpec | null;
  /** Which events it takes at all; all of its target's when null. */
  readonly where: SessionFilter | null;
  readonly capture: CaptureMode;
  /** Captured all the time besides what readers demand; field names as in the schema. */
  readonly fields: readonly string[];
  readonly forMs: number | null;
  readonly name: string | null;
  readonly labels: readonly { readonly name: string; readonly value: string }[];
  readonly ttlMs: number | null;
  readonly bufferBytes: number;
  readonly ringBytes: number;
  /** Stop once so many events are held. */
  readonly limit: number | null;
  /** Write its events to a store; null keeps them in memory only. */
  readonly persist: PersistSpec | null;
  /** What the client asked for, to be told and kept. Of a replay: what was asked of the session that was recorded; null if not known. */
  readonly asked: Asked | null;
  /** Of a replay: the recording has only events that match all of these, as CEL expressions; its export had them. */
  readonly exported?: readonly string[];
}

/** The store: in this server's data directory, or an InfluxDB. */
export type StoreKind = 'EMBEDDED' | 'INFLUX';
/** Each event, or rollups: aggregates in windows of time. */
export type PersistMode = 'EVENTS' | 'ROLLUP';

export interface PersistSpec {
  readonly store: StoreKind;
  readonly mode: PersistMode;
}

export type SessionState = 'STARTING' | 'RUNNING' | 'STOPPING' | 'STOPPED' | 'FAILED';
/** Where a session's events come from. */
export type SessionOrigin = 'LIVE' | 'REPLAY';
export type StopReason =
  'REQUESTED' | 'DURATION' | 'LIMIT' | 'UNUSED' | 'ABANDONED' | 'SHUTDOWN' | 'REPLAYED' | 'INTERRUPTED' | 'ERROR';

/** `produced = lost + received` once the ring is read; `received = discarded + delivered + queued` always. */
export interface SessionStats {
  readonly produced: number;
  readonly lost: number;
  /**
   * Runs of its programs that the kernel skipped, each of which may have been an event; not part of the others. Null
   * where it is not known.
   */
  readonly skippedRuns: number | null;
  readonly received: number;
  readonly discarded: number;
  readonly delivered: number;
  readonly queued: number;
  /** Over all subscribers that the session had. */
  readonly dropped: number;
  readonly retained: number;
  readonly evicted: number;
  readonly retainedBytes: number;
  readonly receivedBytes: number;
  /** The most that lay in the ring at once within the last minute, about; sharers of a ring tell the same. */
  readonly ringPeakBytes: number;
  readonly subscribers: readonly SubscriberStats[];
}
