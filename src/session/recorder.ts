import type { PersistMode, PersistSpec, StoreKind } from './spec.js';
import type { Session } from './session.js';
import type { Delivery } from '../record/delivery.js';

export interface RecorderStats {
  readonly store: StoreKind;
  readonly mode: PersistMode;
  readonly state: 'WRITING' | 'PAUSED' | 'DONE' | 'FAILED';
  /** Events that a crash can no longer take. */
  readonly written: number;
  readonly pending: number;
  readonly dropped: number;
  /** Of those written, the events that retention has deleted. */
  readonly removed: number;
  /** How long the oldest event that is not written waits; 0 when all are. */
  readonly lagMs: number;
  readonly error: string | null;
}

/** What a recorder reads a session through: a reader of its own that is no subscriber. */
export interface RecorderInput {
  next(): Promise<IteratorResult<Delivery, undefined>>;
  readonly stats: { readonly received: number; readonly queued: number; readonly dropped: number };
}

/** What records a session into a store, as the session knows it. */
export interface Recorder {
  readonly stats: RecorderStats;
  /** Resolves when the session's end is written, or never will be. */
  readonly ended: Promise<void>;
  /** The session was changed: the store remembers what is asked of it now, and what was before. */
  update(): void;
  /** The server ends before all is written: gives the store what is known of the rest. */
  giveUp(): Promise<void>;
  /** Gives up: the session never started. */
  discard(): Promise<void>;
}

/** Begins to record a session before it starts. Rejects when its store cannot. */
export type Record = (session: Session, persist: PersistSpec) => Promise<Recorder>;
