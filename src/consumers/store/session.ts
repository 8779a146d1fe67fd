import type { EventFilter } from '../../filter/index.js';
import { parseCursor } from '../../pipeline/cursor.js';
import type { FilterPlan } from '../../pipeline/plan.js';
import type { Page } from '../../pipeline/session.js';
import type { SessionOrigin, SessionState, SessionStats, StopReason } from '../../pipeline/spec.js';
import { storedPage, type PageArguments, type StoredSource } from './query.js';
import { ResumedStream } from './resume.js';
import type { Store, StoredRecord } from './store.js';

/** A session that is in no memory any more: it reads like one that has stopped. */
export class StoredSession implements StoredSource {
  readonly record: StoredRecord;
  readonly store: Store;

  constructor(record: StoredRecord, store: Store) {
    this.record = record;
    this.store = store;
  }

  get id(): string {
    return this.record.id;
  }

  get trackers(): readonly string[] {
    return this.record.trackers;
  }

  get origin(): SessionOrigin {
    return 'LIVE';
  }

  get state(): SessionState {
    return this.record.state;
  }

  get error(): string | null {
    return this.record.error;
  }

  get createdAt(): string {
    return this.record.createdAt;
  }

  get startedAt(): string | null {
    return this.record.startedAt;
  }

  get stoppedAt(): string | null {
    return this.record.stoppedAt;
  }

  get stopsAt(): null {
    return null;
  }

  get stopReason(): StopReason | null {
    return this.record.stopReason;
  }

  stats(): SessionStats {
    const { lost, events, missing, nextSeq, received, discarded, receivedBytes } = this.record;
    const read = received ?? nextSeq;
    return {
      produced: lost + read,
      lost,
      skippedRuns: null,
      received: read,
      discarded,
      delivered: read - discarded,
      queued: 0,
      dropped: 0,
      retained: events,
      evicted: missing,
      retainedBytes: 0,
      receivedBytes,
      ringPeakBytes: 0,
      subscribers: [],
    };
  }

  /** Nobody judges its events any more. */
  explain(): FilterPlan {
    const trackers = this.trackers.map((tracker) => ({
      tracker,
      inKernel: null,
      inServer: null,
      hooks: [],
      captured: [],
    }));
    return {
      where: null,
      trackers,
      sharing: { sessions: 0, eventsPerSecond: null, reason: 'the session has ended, and is in its store only' },
    };
  }

  page(page: PageArguments): Promise<Page> {
    return storedPage(this, page, this.record.nextSeq, this.record.events);
  }

  /** From a cursor on, or the last `replay`; ends with the last event that is stored. Throws BAD_CURSOR. */
  subscribe({
    replay,
    after,
    where,
  }: {
    readonly replay?: number;
    readonly after?: string;
    readonly where: EventFilter | null;
  }): ResumedStream {
    const { nextSeq } = this.record;
    const from = after ? parseCursor(after, this.id, nextSeq) : Math.max(0, nextSeq - (replay ?? 0));
    return new ResumedStream({ source: this, from, where, live: null, end: nextSeq });
  }
}
