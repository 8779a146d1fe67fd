/** Block type of a packet (draft-ietf-opsawg-pcapng, Enhanced Packet Block). */
const PACKET = 6;

/** Counts the packets of a pcapng file in network byte order, whose pieces may begin and end anywhere in it. */
export class PacketCounter {
  packets = 0;
  readonly #head = Buffer.alloc(8);
  #known = 0;
  /** Bytes up to the next block. */
  #left = 0;

  add(piece: Uint8Array): void {
    for (let at = 0; at < piece.length;) {
      const from = at;
      at += Math.min(this.#left || this.#head.length - this.#known, piece.length - at);
      if (this.#left > 0) {
        this.#left -= at - from;
        continue;
      }
      this.#head.set(piece.subarray(from, at), this.#known);
      this.#known += at - from;
      if (this.#known < this.#head.length) return;
      this.#known = 0;
      if (this.#head.readUInt32BE(0) === PACKET) this.packets++;
      this.#left = Math.max(0, this.#head.readUInt32BE(4) - this.#head.length);
    }
  }
}
