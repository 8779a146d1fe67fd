import type { Container } from '../../inventory/container.js';
import type { Collected } from '../../graph/collector.js';
import type { Gap } from '../../event/event.js';
import type { BatchMessage } from '../../record/wire.js';
import type { LastKnown, SessionEnd, SessionRecord } from '../store.js';
import type { PackedRows } from './packed.js';
import type { EventTable } from './table.js';

/** Between the server's thread and the store's, which alone has DuckDB. */

export interface StoreThreadData {
  readonly file: string;
  readonly tables: readonly EventTable[];
  readonly memoryBytes: number;
  readonly retentionMs: number | null;
  readonly retentionBytes: number | null;
}

export type SqlValue = string | number | bigint | boolean | null;
export type SqlRow = readonly SqlValue[];

/** Values are bound as texts: the query casts each `?` to what it is compared with. */
export type Bound = string | null;

/**
 * `SHORT`: reads next to nothing, and is never behind what takes long. `LONG`: events by the thousand, or all that there are; one at a
 * time.
 */
export type QueryLane = 'SHORT' | 'LONG';

/** A type, as a channel's protocol has to be. */
export type Asks = {
  begin: { readonly ask: { readonly session: SessionRecord }; readonly reply: { readonly number: number } };
  /** What is known of a session has changed. */
  update: { readonly ask: { readonly number: number; readonly session: SessionRecord }; readonly reply: null };
  /**
   * `containers` of its events, as they are known at its end. Returns when the end is written, which waits while
   * nothing can be. `cut` is given when events before `nextSeq` were not sent: what is not in the file then
   * becomes a gap. A second one replaces the first.
   */
  finish: {
    readonly ask: {
      readonly number: number;
      readonly end: SessionEnd;
      readonly nextSeq: number;
      readonly containers: readonly Container[];
      readonly cut: LastKnown | null;
    };
    readonly reply: null;
  };
  /** Returns when all events that were sent before are committed. */
  flush: { readonly ask: Record<never, never>; readonly reply: null };
  query: {
    readonly ask: { readonly sql: string; readonly values: readonly Bound[]; readonly lane: QueryLane };
    readonly reply: { readonly parts: readonly PackedRows[] };
  };
  /** Copies all that was sent before into a file. One at a time. */
  copy: { readonly ask: { readonly to: string }; readonly reply: null };
  remove: { readonly ask: { readonly session: string }; readonly reply: null };
  status: { readonly ask: Record<never, never>; readonly reply: { readonly bytes: number } };
  /** Deletes what is beyond age and size now, and gives the room back. */
  retain: { readonly ask: Record<never, never>; readonly reply: null };
  close: { readonly ask: Record<never, never>; readonly reply: null };
};

/** Events of a running session; without a reply, but reported by `progress`. */
export interface Packet {
  readonly number: number;
  readonly batches: readonly BatchMessage[];
  /** Missing before the first of them. */
  readonly gap: Gap | null;
  /** Place of the first event, and behind the last. */
  readonly seq: number;
  readonly nextSeq: number;
  readonly events: number;
  readonly bytes: number;
  /** What is known of the processes of events before these. */
  readonly processes?: readonly Collected[];
}

/** Processes of a session's events that its events before did not have; some are told again. */
export interface SeenProcesses {
  readonly number: number;
  readonly processes: readonly (readonly [pid: number, startNs: number])[];
}

/** Packets are committed, in the order in which they came. */
export interface Progress {
  readonly packets: readonly {
    readonly number: number;
    readonly events: number;
    readonly bytes: number;
    readonly nextSeq: number;
  }[];
}

/** Retention has deleted events of these sessions, and processes that had ended. */
export interface Removed {
  readonly sessions: readonly { readonly number: number; readonly events: number; readonly processes: number }[];
}

/** Whether it can write; the first one tells that the file is open, or why it is not. */
export interface StoreCondition {
  readonly state: 'READY' | 'PAUSED' | 'FAILED';
  readonly problem: string | null;
}

export type StoreProtocol = {
  readonly asks: Asks;
  readonly posts: {
    readonly events: Packet;
    /** The copy that is being made is not wanted any more. */
    readonly stopCopy: null;
  };
  readonly notes: {
    readonly seen: SeenProcesses;
    readonly progress: Progress;
    readonly removed: Removed;
    readonly condition: StoreCondition;
  };
};
