import { readIterator, type OpenIterator } from './attach.js';
import { bootNow, type ClockWatch } from './clock.js';
import type { KernelObject } from './kernel-object.js';
import type { ObjectSpec } from './object-spec.js';
import { loadOptional } from './optional.js';
import type { SnapshotRecords } from './protocol.js';

// struct eu_frame of bpf/include/snapshot.bpf.h.
const FRAME_BYTES = 8;
const ALIGNED = 8;
/** What one read(2) may give: the kernel buffers 8 pages. */
const READ_BYTES = 64 << 10;
const FIRST_BYTES = 256 << 10;
/** Of one snapshot: some 300,000 sockets. */
const MOST_BYTES = 64 << 20;

/** The objects whose iterators somebody has read: each is loaded once, by its path, and stays until `close`. */
export class Iterators {
  readonly #clock: ClockWatch;
  readonly #iterators = new Map<string, Promise<Iterator>>();

  constructor(clock: ClockWatch) {
    this.#clock = clock;
  }

  /** Rejects with a KernelError; an object that could not be loaded is tried again the next time. */
  async read(spec: ObjectSpec): Promise<SnapshotRecords> {
    const known = this.#iterators.get(spec.path) ?? Iterator.load(spec, this.#clock);
    this.#iterators.set(spec.path, known);
    let iterator: Iterator;
    try {
      iterator = await known;
    } catch (error) {
      if (this.#iterators.get(spec.path) === known) this.#iterators.delete(spec.path);
      throw error;
    }
    return iterator.read();
  }

  /** Leaves nothing in the kernel. Idempotent. */
  async close(): Promise<void> {
    const all = await Promise.allSettled(this.#iterators.values());
    this.#iterators.clear();
    for (const one of all) if (one.status === 'fulfilled') await one.value.close();
  }
}

/** A loaded object with one program, which is an iterator. */
class Iterator {
  readonly #object: KernelObject;
  readonly #program: string;
  readonly #clock: ClockWatch;
  /** One reading at a time: the program puts records together in one piece of memory. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(object: KernelObject, program: string, clock: ClockWatch) {
    this.#object = object;
    this.#program = program;
    this.#clock = clock;
  }

  static async load(spec: ObjectSpec, clock: ClockWatch): Promise<Iterator> {
    return new Iterator(await loadOptional(spec), `snap_${spec.name}`, clock);
  }

  read(): Promise<SnapshotRecords> {
    const reading = this.#last.then(() => this.#read());
    this.#last = reading.catch(() => undefined);
    return reading;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#object.close();
  }

  async #read(): Promise<SnapshotRecords> {
    const iterator = await this.#object.openIterator(this.#program);
    try {
      const from = bootNow();
      const { bytes, complete } = await readAll(iterator, this.#object.name);
      const to = bootNow();
      return { data: bytes, offsets: offsetsOf(bytes), clock: this.#clock.offset(), from, to, complete };
    } finally {
      await iterator.close();
    }
  }
}

/** Each read(2) runs the program some hundred times; rings are read meanwhile. */
async function readAll(
  iterator: OpenIterator,
  name: string,
): Promise<{ readonly bytes: Uint8Array; readonly complete: boolean }> {
  let bytes = new Uint8Array(FIRST_BYTES);
  let size = 0;
  for (;;) {
    if (bytes.length - size < READ_BYTES) {
      if (bytes.length >= MOST_BYTES) return { bytes: bytes.subarray(0, size), complete: false };
      const more = new Uint8Array(bytes.length * 2);
      more.set(bytes.subarray(0, size));
      bytes = more;
    }
    const room = bytes.subarray(size, size + READ_BYTES);
    const count = await readIterator(`reading the iterator of ${name}`, iterator, room);
    if (count === 0) return { bytes: bytes.subarray(0, size), complete: true };
    size += count;
  }
}

/** Where each record is, behind its frame. */
export function offsetsOf(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const offsets: number[] = [];
  for (let at = 0; at + FRAME_BYTES <= bytes.length;) {
    const length = view.getUint32(at, true);
    offsets.push(at + FRAME_BYTES);
    at += FRAME_BYTES + Math.ceil(length / ALIGNED) * ALIGNED;
  }
  return Uint32Array.from(offsets);
}
