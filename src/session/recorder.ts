import type { PersistMode, PersistSpec, StoreKind } from './spec.js';
import type { Session } from './session.js';
import type { Delivery } from '../record/delivery.js';

export interface RecorderStats {
  readonly store: StoreKind;
  readonly mode: PersistMode;
  readonly state: 'WRITING' | 'PAUSED' | 'OFF' | 'DONE' | 'FAILED';
  /** Events that a crash can no longer take. */
  readonly written: number;
  readonly pending: number;
  readonly dropped: number;
  /** Events of the session that were not handed over: they happened while it was off. In none of the other counts. */
  readonly omitted: number;
  /** Of those written, the events that retention has deleted. */
  readonly removed: number;
  /** How long the oldest event that is not written waits; 0 when all are. */
  readonly lagMs: number;
  readonly error: string | null;
  /** Processes that are stored with the events, and those that are not, for there were too many; null where none are. */
  readonly processes: { readonly stored: number; readonly dropped: number } | null;
}

/** What a recorder reads a session through: a reader of its own that is no subscriber. */
export interface RecorderInput {
  next(): Promise<IteratorResult<Delivery, undefined>>;
  readonly stats: { readonly received: number; readonly queued: number; readonly dropped: number };
  /** Whether it gets what comes from now on. */
  offer(isOffered: boolean): void;
  /** Ends it before the session does. */
  return(): Promise<unknown>;
}

/** What records a session into a store, as the session knows it. */
export interface Recorder {
  readonly stats: RecorderStats;
  /** Resolves when the session's end is written, or never will be. */
  readonly ended: Promise<void>;
  /** From the next event on, the session's events are stored, or not. Off at first. Takes effect before it returns. */
  switch(isOn: boolean): void;
  /** The session was changed: the store remembers what is asked of it now, and what was before. */
  update(): void;
  /** The server ends before all is written: gives the store what is known of the rest. */
  giveUp(): Promise<void>;
  /** Gives up, and forgets the session: it never started, or was not changed to be stored. */
  discard(): Promise<void>;
}

/** Makes what records a session, and is off at first. Rejects when its store cannot. */
export type Record = (session: Session, persist: PersistSpec) => Promise<Recorder>;
