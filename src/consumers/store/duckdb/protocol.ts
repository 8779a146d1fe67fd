import type { Container } from '../../../containers/container.js';
import type { Gap } from '../../../event.js';
import type { BatchMessage } from '../../../pipeline/wire.js';
import type { SessionEnd, SessionRecord } from '../store.js';
import type { EventTable } from './table.js';

/** Between the server's thread and the store's, which alone has DuckDB. */

export interface StoreThreadData {
  readonly file: string;
  readonly tables: readonly EventTable[];
  readonly memoryLimit: string;
  readonly retentionMs: number | null;
  readonly retentionBytes: number | null;
}

export type Value = string | number | bigint | boolean | null;
export type Row = readonly Value[];

/** Values are bound as texts: the query casts each `?` to what it is compared with. */
export type Bound = string | null;

export interface Asks {
  begin: { readonly ask: { readonly session: SessionRecord }; readonly answer: { readonly number: number } };
  /** `containers` of its events, as they are known at its end. */
  finish: {
    readonly ask: {
      readonly number: number;
      readonly end: SessionEnd;
      readonly nextSeq: number;
      readonly containers: readonly Container[];
    };
    readonly answer: null;
  };
  /** Answers when all events that were sent before are committed. */
  flush: { readonly ask: Record<never, never>; readonly answer: null };
  query: {
    readonly ask: { readonly sql: string; readonly values: readonly Bound[] };
    readonly answer: { readonly rows: readonly Row[] };
  };
  remove: { readonly ask: { readonly session: string }; readonly answer: null };
  status: { readonly ask: Record<never, never>; readonly answer: { readonly bytes: number } };
  /** Deletes what is beyond age and size now, and gives the room back. */
  retain: { readonly ask: Record<never, never>; readonly answer: null };
  close: { readonly ask: Record<never, never>; readonly answer: null };
}

export type AskKind = keyof Asks;
export type Ask = { [Kind in AskKind]: { readonly kind: Kind; readonly id: number } & Asks[Kind]['ask'] }[AskKind];
export type Answer =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Asks[AskKind]['answer'] }
  | { readonly kind: 'refusal'; readonly id: number; readonly code: string; readonly message: string };

/** Events of a session that runs; not answered, but told of by `progress`. */
export interface Packet {
  readonly kind: 'events';
  readonly number: number;
  readonly batches: readonly BatchMessage[];
  /** Missing before the first of them. */
  readonly gap: Gap | null;
  /** Place of the first event, and behind the last. */
  readonly seq: number;
  readonly nextSeq: number;
  readonly events: number;
  readonly bytes: number;
}

/** Packets are committed, in the order in which they came. */
export interface Progress {
  readonly kind: 'progress';
  readonly packets: readonly {
    readonly number: number;
    readonly events: number;
    readonly bytes: number;
    readonly nextSeq: number;
  }[];
}

/** Whether it can write; the first one tells that the file is open, or why it is not. */
export interface Condition {
  readonly kind: 'condition';
  readonly state: 'READY' | 'PAUSED' | 'FAILED';
  readonly problem: string | null;
}

export type ToThread = Ask | Packet;
export type FromThread = Answer | Progress | Condition;
