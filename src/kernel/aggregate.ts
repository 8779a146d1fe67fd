import { readFileSync } from 'node:fs';
import { parseBpfFile } from '../btf/btf.js';
import { bootNow } from './clock.js';
import { failure, later, loadLibbpf } from './libbpf.js';
import { kinds } from '../btf/kind.js';
import { compileLayout } from '../btf/layout.js';
import type { KernelObject } from './kernel-object.js';
import type { RingChunk } from './ring.js';

// aggregate.bpf.h: two maps, of which one is added to; a key begins with the CPU.
const SIDES = ['eu_aggregates_0', 'eu_aggregates_1'] as const;
const CPU_BYTES = 2;
/** Records of one chunk at most, so that the server's thread is never busy for long with one. */
const CHUNK_BYTES = 1 << 20;
/**
 * Entries of one call: of a reading's first, some more than the one before had, since memory for many, which the kernel has to clear, takes
 * longer than the rest where there are few. A call never splits a bucket of the map, and a bucket is a few entries.
 */
const BATCH = { least: 64, most: 2048 } as const;
const ENOENT = -2;
const ENOSPC = -28;
const TWO_32 = 4294967296;

export function aggregatesInMaps(object: KernelObject): boolean {
  return object.mapNames.includes(SIDES[0]);
}

/** Where in a record is what, in bytes. */
export interface MapRecordShape {
  readonly bootNsAt: number;
  /** The 64-bit words that are added up over CPUs. */
  readonly totals: readonly number[];
  /** The 64-bit times of which the latest of all CPUs counts. */
  readonly latest: readonly number[];
  /** The fields, without the header, that are those of one CPU's record. */
  readonly others: readonly { readonly offset: number; readonly size: number }[];
  /** The byte that is 0 where a file's path is not known; null in records without. */
  readonly pathStateAt: number | null;
}

/** One record of two CPUs' for the same key, in the memory of either: of what was seen first, but for a path that only the other knows. */
export function mergeRecords(one: DataView, other: DataView, shape: MapRecordShape): DataView {
  const { bootNsAt, totals, latest, others, pathStateAt } = shape;
  const [first, second] = bootNs(other, bootNsAt) < bootNs(one, bootNsAt) ? [other, one] : [one, other];
  for (const at of totals) addWord(first, second, at);
  for (const at of latest)
    if (second.getBigUint64(at, true) > first.getBigUint64(at, true))
      first.setBigUint64(at, second.getBigUint64(at, true), true);
  if (pathStateAt !== null && !first.getUint8(pathStateAt) && second.getUint8(pathStateAt))
    for (const { offset, size } of others) bytesOf(first, offset, size).set(bytesOf(second, offset, size));
  return first;
}

/** To a few ns after 104 days. */
const bootNs = (record: DataView, at: number): number =>
  record.getUint32(at + 4, true) * TWO_32 + record.getUint32(at, true);

const bytesOf = (record: DataView, offset: number, size: number): Uint8Array =>
  new Uint8Array(record.buffer, record.byteOffset + offset, size);

/**
 * Takes what an object has aggregated out of its maps, as records: one for each key, CPUs added up. Exact: `turn` makes the programs
 * add to the other map, and resolves when none is in this one any more.
 */
export class AggregateMaps {
  readonly everyMs: number;
  /** Records made so far. */
  made = 0;
  readonly #object: KernelObject;
  readonly #turn: (side: number) => Promise<void>;
  readonly #keyBytes: number;
  readonly #recordBytes: number;
  readonly #shape: MapRecordShape;
  #side = 0;
  /** Entries of the reading before. */
  #before = 0;
  /** What an earlier reading did not get is still in the other map. */
  #isLeft = false;
  #under: Promise<void> = Promise.resolve();
  /** A reading that has not begun: who asks now is served by it. */
  #next: Promise<void> | null = null;

  /** `path` is the object's file. Throws BAD_OBJECT when its BTF has no such record. */
  constructor(object: KernelObject, path: string, everyMs: number, turn: (side: number) => Promise<void>) {
    const { header, fields } = compileLayout(parseBpfFile(readFileSync(path), path), object.name);
    const sizes = object.mapSizes(SIDES[0]);
    this.everyMs = everyMs;
    this.#object = object;
    this.#turn = turn;
    this.#keyBytes = sizes.key;
    this.#recordBytes = sizes.value;
    type Field = { readonly kind: keyof typeof kinds };
    const isTotal = ({ kind }: Field) => kinds[kind].isTotal === true;
    const isLatest = ({ kind }: Field) => kinds[kind].isLatest === true;
    this.#shape = {
      bootNsAt: header.get('bootNs')?.offset ?? 0,
      totals: [...fields.values()]
        .filter(isTotal)
        .flatMap(({ offset, size }) => Array.from({ length: size / 8 }, (_, i) => offset + 8 * i)),
      latest: [...fields.values()].filter(isLatest).map(({ offset }) => offset),
      others: [...fields.values()].filter((field) => !isTotal(field) && !isLatest(field)),
      pathStateAt: fields.get('pathState')?.offset ?? null,
    };
  }

  /**
   * Hands all that was aggregated before this call, and since the reading before, to `emit`, in chunks. Rejects with a KernelError; what
   * was not read stays for a later reading.
   */
  read(emit: (chunk: RingChunk) => void): Promise<void> {
    if (this.#next) return this.#next;
    const next = this.#under.then(() => {
      this.#next = null;
      return this.#read(emit);
    });
    this.#next = next;
    this.#under = next.catch(() => undefined);
    return next;
  }

  async #read(emit: (chunk: RingChunk) => void): Promise<void> {
    const full = this.#side;
    // Most maps of a quiet container: to turn them costs more than to look.
    if (!this.#isLeft && this.#isEmpty(SIDES[full] ?? SIDES[0])) return;
    this.#side = 1 - full;
    this.#isLeft = true;
    await this.#turn(this.#side);
    const now = bootNow();
    const records = await this.#empty(SIDES[full] ?? SIDES[0]);
    this.#isLeft = false;
    for (const record of records) {
      record.setUint32(this.#shape.bootNsAt, now % TWO_32, true);
      record.setUint32(this.#shape.bootNsAt + 4, Math.floor(now / TWO_32), true);
    }
    const each = Math.max(1, Math.floor(CHUNK_BYTES / this.#recordBytes));
    for (let i = 0; i < records.length; i += each) {
      const chunk = packed(records.slice(i, i + each), this.#recordBytes);
      this.made += chunk.offsets.length;
      emit(chunk);
    }
  }

  #isEmpty(map: string): boolean {
    return loadLibbpf().map_next_key(this.#object.mapFd(map), null, new Uint8Array(this.#keyBytes)) === ENOENT;
  }

  async #empty(map: string): Promise<DataView[]> {
    const fd = this.#object.mapFd(map);
    const merged = new Map<string, DataView>();
    let room = Math.min(BATCH.most, Math.max(BATCH.least, 2 * this.#before));
    let from: Uint8Array | null = null;
    let found = 0;
    for (;;) {
      // ArrayBuffers: the memory of a small typed array could move while the call runs on another thread.
      const keys = new Uint8Array(new ArrayBuffer(room * this.#keyBytes));
      const values = new Uint8Array(new ArrayBuffer(room * this.#recordBytes));
      const count = new Uint32Array(new ArrayBuffer(4)).fill(room);
      const next = new Uint8Array(new ArrayBuffer(8));
      const result: number = await later(loadLibbpf().map_take_batch, fd, from, next, keys, values, count, null);
      if (result === ENOSPC) {
        room *= 2; // a bucket with more entries than that
        continue;
      }
      if (result < 0 && result !== ENOENT) throw failure(`reading the aggregates of ${this.#object.name}`, result);
      this.#merge(merged, keys, values, count[0] ?? 0);
      found += count[0] ?? 0;
      if (result === ENOENT) {
        this.#before = found;
        return [...merged.values()];
      }
      from = next;
      room = Math.max(room, BATCH.most);
    }
  }

  #merge(merged: Map<string, DataView>, keys: Uint8Array, values: Uint8Array, count: number): void {
    const names = Buffer.from(keys.buffer);
    for (let i = 0; i < count; i++) {
      const name = names.toString('latin1', i * this.#keyBytes + CPU_BYTES, (i + 1) * this.#keyBytes);
      const value = new DataView(values.buffer, i * this.#recordBytes, this.#recordBytes);
      const known = merged.get(name);
      merged.set(name, known ? mergeRecords(known, value, this.#shape) : value);
    }
  }
}

function addWord(to: DataView, from: DataView, at: number): void {
  const low = to.getUint32(at, true) + from.getUint32(at, true);
  const high = to.getUint32(at + 4, true) + from.getUint32(at + 4, true) + (low >= TWO_32 ? 1 : 0);
  to.setUint32(at, low % TWO_32, true);
  to.setUint32(at + 4, high, true);
}

function packed(records: readonly DataView[], size: number): RingChunk {
  const bytes = new Uint8Array(records.length * size);
  records.forEach((record, i) => bytes.set(new Uint8Array(record.buffer, record.byteOffset, size), i * size));
  return { data: bytes, offsets: Uint32Array.from(records, (_, i) => i * size) };
}
