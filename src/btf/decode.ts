import { ipv4Text, ipv6Text } from '../base/address.js';
import { textOfBytes } from '../base/bytes.js';
import { errnoName } from '../linux/linux.js';
import type { Bucket } from '../event/event.js';
import { decimal, signedDecimal, wallTime, type ClockOffset } from '../event/clock.js';

/** Caches texts of up to 64 bytes, because comms and addresses repeat. */
const interned: ({ readonly bytes: Uint8Array; readonly text: string } | undefined)[] = new Array(4096);

function intern(bytes: Uint8Array, start: number, end: number): string {
  let hash = end - start;
  for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (bytes[i] ?? 0)) | 0;
  const slot = hash & (interned.length - 1);
  const known = interned[slot];
  if (known && known.bytes.length === end - start) {
    let i = 0;
    while (i < known.bytes.length && known.bytes[i] === bytes[start + i]) i++;
    if (i === known.bytes.length) return known.text;
  }
  const text = textOfBytes(bytes, start, end);
  interned[slot] = { bytes: bytes.slice(start, end), text };
  return text;
}

/** Decodes the semantic types of eunomia.bpf.h. `record` is the offset of the record in `bytes`. */
export const decode = {
  decimal,
  signed: signedDecimal,
  time: wallTime,

  timeOrNull(clock: ClockOffset, high: number, low: number): string | null {
    return high === 0 && low === 0 ? null : wallTime(clock, high, low);
  },

  duration(high: number, low: number): string | null {
    return high === 0xffffffff && low === 0xffffffff ? null : decimal(high, low);
  },

  chars(bytes: Uint8Array, at: number, size: number): string {
    let end = at;
    while (end < at + size && bytes[end] !== 0) end++;
    return intern(bytes, at, end);
  },

  text(bytes: Uint8Array, record: number, word: number): string | null {
    if (word === 0) return null;
    const start = record + (word & 0xffff);
    const length = word >>> 16;
    return length <= 64 ? intern(bytes, start, start + length) : textOfBytes(bytes, start, start + length);
  },

  /** Splits NUL-terminated strings; an unterminated last one is included. */
  texts(bytes: Uint8Array, record: number, word: number): string[] | null {
    if (word === 0) return null;
    const end = record + (word & 0xffff) + (word >>> 16);
    const list: string[] = [];
    for (let start = record + (word & 0xffff); start < end;) {
      const nul = bytes.indexOf(0, start);
      const stop = nul < 0 || nul > end ? end : nul;
      list.push(stop - start <= 64 ? intern(bytes, start, stop) : textOfBytes(bytes, start, stop));
      start = stop + 1;
    }
    return list;
  },

  /** As `texts`; null for a stack that is still as it was captured, which begins with a NUL. */
  stack(bytes: Uint8Array, record: number, word: number): string[] | null {
    return bytes[record + (word & 0xffff)] === 0 ? null : decode.texts(bytes, record, word);
  },

  /**
   * Buckets by power of two, from the first to the last that is not empty; null if all are. The first slot also holds
   * 0, the last one everything above.
   */
  log2(view: DataView, at: number, slots: number): Bucket[] | null {
    const isEmpty = (slot: number): boolean =>
      view.getUint32(at + 8 * slot, true) === 0 && view.getUint32(at + 8 * slot + 4, true) === 0;
    let first = 0;
    let end = slots;
    while (first < end && isEmpty(first)) first++;
    while (end > first && isEmpty(end - 1)) end--;
    if (first === end) return null;
    return Array.from({ length: end - first }, (_, i) => {
      const slot = first + i;
      return {
        from: slot === 0 ? 0 : 2 ** slot,
        to: slot === slots - 1 ? null : 2 ** (slot + 1),
        count: decimal(view.getUint32(at + 8 * slot + 4, true), view.getUint32(at + 8 * slot, true)),
      };
    });
  },

  factOf(container: object | null, fact: 'id' | 'name'): string | null {
    return container && (Reflect.get(container, fact) as string | null);
  },

  errno(code: number): string | null {
    return errnoName(code);
  },

  /** Formats an address. IPv4 is stored as ::ffff:a.b.c.d and returned as a.b.c.d. */
  ip(bytes: Uint8Array, at: number): string {
    let mapped = bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
    for (let i = 0; mapped && i < 10; i++) mapped = bytes[at + i] === 0;
    return mapped ? ipv4Text(bytes, at + 12) : ipv6Text(bytes, at);
  },

  /** Bytes as a text of as many characters, U+0000 to U+00FF. */
  bytes(bytes: Uint8Array, record: number, word: number): string | null {
    if (word === 0) return null;
    const start = record + (word & 0xffff);
    const part = bytes.subarray(start, start + (word >>> 16));
    return Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString('latin1');
  },
};
