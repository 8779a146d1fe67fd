import type { EventBatch } from './batch.js';

/** A part of a batch: the events from index `from` up to, not including, `to`. */
export interface Slice {
  readonly batch: EventBatch;
  readonly from: number;
  readonly to: number;
}

/** The events that a session holds, bounded in bytes: the oldest batches leave first, and are counted. */
export class BatchBuffer {
  readonly #budget: number;
  #batches: EventBatch[] = [];
  bytes = 0;
  evicted = 0;
  retained = 0;
  #nextSeq = 0;

  constructor(budget: number) {
    this.#budget = budget;
  }

  push(batch: EventBatch): void {
    this.#batches.push(batch);
    batch.lease?.hold();
    this.bytes += batch.byteLength;
    this.retained += batch.count;
    this.#nextSeq = batch.seq + batch.count;
    // The newest batch stays even when it alone is over the budget: a chunk is 1 MiB at most.
    this.#evict(this.#budget, this.#batches.length - 1);
  }

  /** Evicts the oldest batches until so many bytes are left; places stay what they are. */
  shrink(bytes: number): void {
    this.#evict(bytes, this.#batches.length);
  }

  #evict(budget: number, most: number): void {
    let out = 0;
    while (this.bytes > budget && out < most) {
      const oldest = this.#batches[out++];
      if (!oldest) break;
      this.bytes -= oldest.byteLength;
      this.retained -= oldest.count;
      this.evicted += oldest.count;
      oldest.lease?.release();
    }
    if (out) this.#batches = this.#batches.slice(out);
  }

  /** Place of the oldest event held; of the next one when none is. */
  get firstSeq(): number {
    return this.#batches[0]?.seq ?? this.#nextSeq;
  }

  /** Place of the event to come. */
  get nextSeq(): number {
    return this.#nextSeq;
  }

  /**
   * The events at places from `from` up to, not including, `to`, as far as they are held; they stay readable. A batch
   * that only tells of a loss comes with those behind it.
   */
  slices(from: number, to: number = Number.POSITIVE_INFINITY): Slice[] {
    let low = 0;
    let high = this.#batches.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const batch = this.#batches[middle];
      if (batch && batch.seq + batch.count <= from && (batch.count || batch.seq < from)) low = middle + 1;
      else high = middle;
    }
    const slices: Slice[] = [];
    for (let i = low; i < this.#batches.length; i++) {
      const batch = this.#batches[i];
      if (!batch || batch.seq >= to) break;
      batch.lease?.keep();
      slices.push({ batch, from: Math.max(0, from - batch.seq), to: Math.min(batch.count, to - batch.seq) });
    }
    return slices;
  }

  /** Evicts all. */
  clear(): void {
    this.#evict(-1, this.#batches.length);
  }
}
