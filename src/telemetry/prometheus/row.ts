import type { RecordBatch } from '../../record/batch.js';
import { DURATION_BOUNDS_NS, type CountedFields } from './reader.js';

const TWO_32 = 4_294_967_296;
const NONE = 0xffffffff;

/** The newest observation of a bucket. */
export interface NewestObservation {
  readonly ns: number;
  readonly session: string;
  /** Of the event in its session. */
  readonly place: number;
  readonly atMs: number;
}

export interface Durations {
  readonly counts: Float64Array;
  readonly newest: (NewestObservation | null)[];
  sumNs: number;
}

/** What was counted of one tracker in one container for one session label. Read from the bytes of the record: no event is made. */
export class CountRow {
  events = 0;
  /** By field, as in `CountedFields`; then errno → events. */
  readonly errors: readonly Map<number, number>[];
  readonly bytes: Float64Array;
  readonly sums: Float64Array;
  readonly durations: readonly Durations[];
  readonly kinds: readonly Map<number, number>[];
  readonly #fields: CountedFields;

  constructor(fields: CountedFields) {
    this.#fields = fields;
    this.errors = fields.errors.map(() => new Map());
    this.bytes = new Float64Array(fields.bytes.length);
    this.sums = new Float64Array(fields.sums.length);
    this.kinds = fields.kinds.map(() => new Map());
    this.durations = fields.durations.map(() => ({
      counts: new Float64Array(DURATION_BOUNDS_NS.length + 1),
      newest: new Array<NewestObservation | null>(DURATION_BOUNDS_NS.length + 1).fill(null),
      sumNs: 0,
    }));
  }

  /**
   * Counts the records of a batch from one index up to, not including, another. Field by field: what follows each other
   * is mostly equal, and is counted at once.
   */
  add(batch: RecordBatch, from: number, to: number, session: string, atMs: number): void {
    const { errors, bytes, sums, durations, kinds } = this.#fields;
    const records = { view: batch.view, offsets: batch.offsets, from, to };
    this.events += to - from;
    errors.forEach(({ offset }, i) => countErrors(this.errors[i], records, offset));
    kinds.forEach(({ offset, size }, i) => countKinds(this.kinds[i], records, offset, size));
    bytes.forEach(({ offset }, i) => (this.bytes[i] = (this.bytes[i] ?? 0) + totalOf(records, offset)));
    sums.forEach(({ offset }, i) => (this.sums[i] = (this.sums[i] ?? 0) + totalOf(records, offset)));
    durations.forEach(({ offset }, i) =>
      countDurations(this.durations[i], records, offset, (index, ns) => ({
        ns,
        session,
        place: batch.placeOf(index),
        atMs,
      })),
    );
  }
}

interface Records {
  readonly view: DataView;
  readonly offsets: Uint32Array;
  readonly from: number;
  readonly to: number;
}

function countErrors(
  counts: Map<number, number> | undefined,
  { view, offsets, from, to }: Records,
  offset: number,
): void {
  let since = from;
  let last = 0;
  for (let i = from; i < to; i++) {
    const errno = view.getInt32((offsets[i] ?? 0) + offset, true);
    if (errno === last) continue;
    if (last !== 0) increment(counts, Math.abs(last), i - since);
    last = errno;
    since = i;
  }
  if (last !== 0) increment(counts, Math.abs(last), to - since);
}

/** An enum has 1, 2 or 4 bytes; what is behind it is another field. */
function countKinds(
  counts: Map<number, number> | undefined,
  { view, offsets, from, to }: Records,
  offset: number,
  size: number,
): void {
  const read = (at: number): number =>
    size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
  let since = from;
  let last = -1;
  for (let i = from; i < to; i++) {
    const kind = read((offsets[i] ?? 0) + offset);
    if (kind === last) continue;
    if (last >= 0) increment(counts, last, i - since);
    last = kind;
    since = i;
  }
  if (last >= 0) increment(counts, last, to - since);
}

function totalOf({ view, offsets, from, to }: Records, offset: number): number {
  let total = 0;
  for (let i = from; i < to; i++) {
    const at = (offsets[i] ?? 0) + offset;
    total += view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
  }
  return total;
}

function countDurations(
  into: Durations | undefined,
  { view, offsets, from, to }: Records,
  offset: number,
  observe: (index: number, ns: number) => NewestObservation,
): void {
  if (!into) return;
  /** Buckets that have an example of these records: one is enough. */
  let observed = 0;
  let sumNs = 0;
  for (let i = from; i < to; i++) {
    const at = (offsets[i] ?? 0) + offset;
    const low = view.getUint32(at, true);
    const high = view.getUint32(at + 4, true);
    if (low === NONE && high === NONE) continue; // not captured, or this event has none
    const ns = high * TWO_32 + low;
    let bucket = 0;
    while (bucket < DURATION_BOUNDS_NS.length && ns > (DURATION_BOUNDS_NS[bucket] ?? 0)) bucket++;
    into.counts[bucket] = (into.counts[bucket] ?? 0) + 1;
    sumNs += ns;
    if (observed & (1 << bucket)) continue;
    observed |= 1 << bucket;
    into.newest[bucket] = observe(i, ns);
  }
  into.sumNs += sumNs;
}

function increment(counts: Map<number, number> | undefined, key: number, by: number): void {
  counts?.set(key, (counts.get(key) ?? 0) + by);
}
