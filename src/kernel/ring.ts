import { loadLibc } from './libbpf.js';
import { mapShared, type Mapping } from './mapping.js';
import type { SpareMemory } from './spare.js';

// include/uapi/linux/bpf.h
const BUSY = 1 << 31;
const DISCARD = 1 << 30;
const HEADER_BYTES = 8;
const PEAK_MS = 30_000;

/** Records copied out of the ring, each behind the ring's own 8-byte header. */
export interface RingChunk {
  /** May be a part of a larger ArrayBuffer. */
  readonly data: Uint8Array;
  /** Where each record starts in `data`. */
  readonly offsets: Uint32Array;
}

/**
 * The consumer's side of a BPF ring buffer, read in place through its two memory maps
 * (kernel/bpf/ringbuf.c: consumer page; then producer page and the data twice, so that no record wraps).
 * Records leave in one copy; nothing refers to ring memory after `take` returns.
 */
export class Ring {
  readonly fd: number;
  readonly bytes: number;
  readonly #mappings: readonly Mapping[];
  readonly #consumer: BigInt64Array;
  readonly #producer: BigInt64Array;
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  #position: number;
  #offsets = new Uint32Array(4096);
  readonly #peaks = { now: 0, before: 0, since: 0 };

  constructor(fd: number, bytes: number) {
    this.fd = fd;
    this.bytes = bytes;
    const page = loadLibc().getpagesize();
    const consumer = mapShared(fd, page, 0, true, 'mapping the ring buffer');
    try {
      const all = mapShared(fd, page + 2 * bytes, page, false, 'mapping the ring buffer');
      this.#mappings = [consumer, all];
      this.#consumer = new BigInt64Array(consumer.memory, 0, 1);
      this.#producer = new BigInt64Array(all.memory, 0, 1);
      this.#words = new Int32Array(all.memory, page);
      this.#data = new Uint8Array(all.memory, page);
    } catch (error) {
      consumer.close();
      throw error;
    }
    this.#position = Number(Atomics.load(this.#consumer, 0)); // bytes ever read; exact up to 2^53
  }

  /** Bytes that wait to be read. */
  get waiting(): number {
    return Number(Atomics.load(this.#producer, 0)) - this.#position;
  }

  /** The most that waited at once when it was read, in the last one to two periods. */
  get peak(): number {
    this.#notePeak(this.waiting);
    return Math.max(this.#peaks.now, this.#peaks.before);
  }

  /**
   * Copies out up to about `limit` bytes of finished records, in order, and frees their room in the ring.
   * Stops at a record that is still being written. Null when there is none. `memory` is where they are copied to.
   */
  take(limit: number, memory: SpareMemory): RingChunk | null {
    const words = this.#words;
    const start = this.#position % this.bytes;
    const { waiting } = this;
    if (waiting > this.#peaks.now) this.#notePeak(waiting);
    const available = Math.min(waiting, limit);
    let count = 0;
    let used = 0;
    while (used < available) {
      const header = Atomics.load(words, (start + used) >> 2);
      if (header & BUSY) break;
      if (!(header & DISCARD)) {
        if (count === this.#offsets.length) this.#grow();
        this.#offsets[count++] = used + HEADER_BYTES;
      }
      used += ((header & ~DISCARD) + HEADER_BYTES + 7) & ~7;
    }
    if (used === 0) return null;
    const data = new Uint8Array(memory.take(used), 0, used);
    data.set(this.#data.subarray(start, start + used));
    this.#position += used;
    Atomics.store(this.#consumer, 0, BigInt(this.#position));
    return count ? { data, offsets: this.#offsets.slice(0, count) } : null;
  }

  close(): void {
    for (const mapping of this.#mappings) mapping.close();
  }

  #notePeak(waiting: number): void {
    const peaks = this.#peaks;
    const now = performance.now();
    const isOver = now - peaks.since >= PEAK_MS;
    if (isOver) {
      peaks.before = peaks.now;
      peaks.now = 0;
      peaks.since = now;
    }
    peaks.now = Math.max(peaks.now, waiting);
  }

  #grow(): void {
    const larger = new Uint32Array(this.#offsets.length * 2);
    larger.set(this.#offsets);
    this.#offsets = larger;
  }
}
