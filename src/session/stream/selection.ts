import type { Work } from '../../base/turn.js';
import type { TraceEvent } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import type { EventBatch } from '../../record/batch.js';

/** A filter of a reader's own; equal filters have the same text. */
export interface StreamFilter {
  readonly text: string;
  readonly matches: (event: TraceEvent) => boolean;
  /** As that of an `EventFilter`. */
  readonly ready?: (() => Promise<void> | null) | null;
}

/** Evaluates a filter on a part of a batch, piece by piece. Readers with equal filters share one, and whoever has a turn carries it on. */
export class Selection {
  readonly #work: Work<EventBatch>;
  /** What passed the filter; null until all is evaluated. */
  result: EventBatch | null = null;
  /** While what the filter reads is not known: resolves when it is. */
  blocked: Promise<void> | null;

  constructor({ batch, from, to }: Slice, { matches, ready }: StreamFilter) {
    this.#work = batch.selecting(matches, from, to);
    this.blocked = ready?.()?.then(() => void (this.blocked = null)) ?? null;
  }

  advance(): EventBatch | null {
    if (this.result) return this.result;
    const { done, value } = this.#work.next();
    if (done) this.result = value;
    return this.result;
  }
}
