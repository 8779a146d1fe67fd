import type { EventBatch } from '../../record/batch.js';

/** What is left of a batch: `kept[i]` is the index in the batch before of the event at index i. */
export interface Thinned {
  readonly batch: EventBatch;
  readonly kept: Uint32Array;
}

const HASHES = 2 ** 32;
const SECOND_NS = 1e9;

/**
 * Leaves events out that one reader does not want to have: all but a share of them (`sample`), and those beyond a number in a second
 * (`maxPerSecond`). Events must come in their order.
 */
export class Thinning {
  /** Of the hashes, how many are kept. */
  readonly #below: number;
  readonly #most: number;
  #second = -1;
  #inSecond = 0;

  /** `sample`: above 0, up to 1. Null: no bound. */
  constructor({ sample, maxPerSecond }: { readonly sample: number | null; readonly maxPerSecond: number | null }) {
    this.#below = Math.ceil((sample ?? 1) * HASHES); // the smallest sample keeps one hash, and not none
    this.#most = maxPerSecond ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Whether the event at a place of its session is kept. A sample depends on the place alone: it is the same for all readers, in a replay
   * too, and one of 1 % is part of one of 10 %. Seconds are those of the kernel's clock, in which events of several CPUs may be a little
   * out of order: a second that is over does not begin again.
   */
  keeps(place: number, bootNs: number): boolean {
    if (hashOf(place) >= this.#below) return false;
    const second = Math.floor(bootNs / SECOND_NS);
    if (second > this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    if (this.#inSecond >= this.#most) return false;
    this.#inSecond += 1;
    return true;
  }

  /** Of the events from index `from` up to, not including, `to`. */
  of(batch: EventBatch, from = 0, to = batch.count): Thinned {
    const kept = new Uint32Array(to - from);
    let count = 0;
    for (let i = from; i < to; i++) if (this.keeps(batch.placeOf(i), batch.bootNsAt(i))) kept[count++] = i - from;
    const indexes = kept.slice(0, count);
    return { batch: batch.at(from === 0 ? indexes : indexes.map((index) => index + from), from === 0), kept: indexes };
  }
}

/** The finalizer of MurmurHash3 (Austin Appleby, public domain): neighbours fall anywhere. */
function hashOf(place: number): number {
  let hash = (Math.imul(Math.floor(place / HASHES), 0x85ebca6b) ^ (place + 0x9e3779b9)) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
