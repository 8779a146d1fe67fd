import { DURATION_BOUNDS_NS, type CountedFields } from './reader.js';

const TWO_32 = 4_294_967_296;
const NONE = 0xffffffff;

/** The newest observation of a bucket. */
export interface Observation {
  readonly ns: number;
  readonly session: string;
  /** Of the event in its session. */
  readonly place: number;
  readonly atMs: number;
}

export interface Durations {
  readonly counts: Float64Array;
  readonly newest: (Observation | null)[];
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
      newest: new Array<Observation | null>(DURATION_BOUNDS_NS.length + 1).fill(null),
      sumNs: 0,
    }));
  }

  /** Counts the record at a place of a batch. */
  add(view: DataView, at: number, session: string, place: number, atMs: number): void {
    const { errors, bytes, sums, durations, kinds } = this.#fields;
    this.events++;
    for (let i = 0; i < errors.length; i++) {
      const errno = view.getInt32(at + (errors[i]?.offset ?? 0), true);
      if (errno !== 0) increment(this.errors[i], Math.abs(errno));
    }
    for (let i = 0; i < kinds.length; i++) increment(this.kinds[i], view.getUint32(at + (kinds[i]?.offset ?? 0), true));
    for (let i = 0; i < bytes.length; i++) this.bytes[i] = (this.bytes[i] ?? 0) + u64(view, at + (bytes[i]?.offset ?? 0));
    for (let i = 0; i < sums.length; i++) this.sums[i] = (this.sums[i] ?? 0) + u64(view, at + (sums[i]?.offset ?? 0));
    for (let i = 0; i < durations.length; i++) {
      const from = at + (durations[i]?.offset ?? 0);
      const low = view.getUint32(from, true);
      const high = view.getUint32(from + 4, true);
      if (low === NONE && high === NONE) continue; // not captured, or this event has none
      const ns = high * TWO_32 + low;
      const into = this.durations[i];
      if (!into) continue;
      let bucket = 0;
      while (bucket < DURATION_BOUNDS_NS.length && ns > (DURATION_BOUNDS_NS[bucket] ?? 0)) bucket++;
      into.counts[bucket] = (into.counts[bucket] ?? 0) + 1;
      into.sumNs += ns;
      // One a bucket and batch is enough for a link to an example.
      if (into.newest[bucket]?.atMs !== atMs) into.newest[bucket] = { ns, session, place, atMs };
    }
  }
}

function u64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}

function increment(counts: Map<number, number> | undefined, key: number): void {
  counts?.set(key, (counts.get(key) ?? 0) + 1);
}
