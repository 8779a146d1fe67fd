/** Smaller memory is cheaper to make than to keep. A page's multiple, so that sizes meet again. */
const UNIT_BYTES = 64 << 10;
/** Of all that is kept: what is under way at the highest rates. */
const KEPT_BYTES = 16 << 20;

/**
 * Memory of chunks that the server's thread has given back, for the chunks to come. Fresh memory has to be cleared, is
 * mapped page by page, and is the reason for most of the collections of garbage on both threads.
 */
export class SpareMemory {
  readonly #spare: ArrayBuffer[] = [];
  #bytes = 0;

  /** Memory for so many bytes, with what was there before in it. Small memory is exactly as large as asked for. */
  take(bytes: number): ArrayBuffer {
    if (bytes < UNIT_BYTES) return new ArrayBuffer(bytes);
    // Not much larger than needed: a session's history counts what it keeps from others.
    const place = this.#spare.findIndex(({ byteLength }) => byteLength >= bytes && byteLength <= 2 * bytes);
    const [found] = place < 0 ? [] : this.#spare.splice(place, 1);
    this.#bytes -= found?.byteLength ?? 0;
    return found ?? new ArrayBuffer(Math.ceil(bytes / UNIT_BYTES) * UNIT_BYTES);
  }

  give(memory: ArrayBuffer): void {
    if (memory.byteLength < UNIT_BYTES) return;
    this.#spare.push(memory);
    this.#bytes += memory.byteLength;
    // The oldest leave: sizes follow the load.
    while (this.#bytes > KEPT_BYTES) this.#bytes -= this.#spare.shift()?.byteLength ?? 0;
  }
}
