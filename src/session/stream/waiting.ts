import type { EventBatch } from '../../record/batch.js';
import type { Slice } from '../../record/batch-buffer.js';

/** What waits to be handed out, and what its reader's thinning left out of it. */
export interface WaitingSlice extends Slice {
  readonly skips?: {
    /** Left out ahead of the first event, also of batches of which nothing is left. */
    readonly before: number;
    /** Of each event, its index before others were left out. */
    readonly kept: Uint32Array;
  };
}

/** What a batch without events weighs, which tells of a loss only: its objects. */
const EMPTY_BYTES = 1024;

/** Events that were left out ahead of index `to`, and that are in no delivery before. */
export function skippedIn({ from, skips }: WaitingSlice, to: number): number {
  if (!skips) return 0;
  const { before, kept } = skips;
  const ahead = (index: number): number => (index === 0 ? 0 : (kept[index - 1] ?? 0) + 1 - index);
  return ahead(to) - ahead(from) + (from === 0 ? before : 0);
}

/** What a batch takes of the room that a queue has. */
export function weightOf({ count, byteLength }: EventBatch): number {
  return count ? byteLength : EMPTY_BYTES;
}
