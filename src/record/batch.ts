import type { TraceEvent } from '../event/event.js';
import { finish, type Work } from '../base/turn.js';
import type { ClockOffset } from '../event/clock.js';
import type { Lease } from './lease.js';
import type { EventPlace } from './place.js';
import type { EventView } from './view.js';

/** What a batch needs to make events of its records. One a session. */
export interface BatchContext {
  /** The session that the records are of; left out where none is concerned. */
  readonly session?: string;
  /** By `tracker` of the record's header. */
  readonly views: readonly EventView[];
  /** The container of the process whose header is at a place, where a record begins or its second process is; null for the host. */
  containerAt(view: DataView, at: number): object | null;
}

// struct eu_header of eunomia.bpf.h, checked against each object's BTF by `checkHeader`.
export const headerOffsets = {
  bootNs: 0,
  cgroupId: 8,
  startBootNs: 16,
  pid: 24,
  tid: 28,
  ppid: 32,
  mountNs: 44,
  tracker: 48,
  initStart: 50,
  initPid: 52,
} as const;

/** Events that a filter evaluates in one piece: a regular expression on 32 KiB of arguments may take a millisecond. */
const PIECE = 16;

/** Where a batch lies in its session, and what is missing before it. */
export interface BatchPlace {
  readonly clock: ClockOffset;
  /** Place in the session of the first event; the session's first event is 0. */
  readonly seq: number;
  /** Events lost in the kernel just before the first one, and between which times (ns since boot). */
  readonly lost: number;
  readonly lostFrom: number;
  readonly lostTo: number;
}

/** Events in their order: the only thing that flows to consumers. Immutable once made. */
export abstract class EventBatch implements BatchPlace {
  readonly clock: ClockOffset;
  readonly seq: number;
  readonly lost: number;
  readonly lostFrom: number;
  readonly lostTo: number;
  /** Of a batch of which a filter left events out: how far behind `seq` each of the others is. */
  readonly places: Uint32Array | null;
  /**
   * Of the memory of its records, which is read only while it is held, or after it was kept; null where that is as long
   * as anyone likes.
   */
  readonly lease: Lease | null;

  constructor(
    { clock, seq, lost, lostFrom, lostTo }: BatchPlace,
    places: Uint32Array | null = null,
    lease: Lease | null = null,
  ) {
    this.clock = clock;
    this.seq = seq;
    this.lost = lost;
    this.lostFrom = lostFrom;
    this.lostTo = lostTo;
    this.places = places;
    this.lease = lease;
  }

  abstract get count(): number;
  /** What the batch weighs in memory. */
  abstract get byteLength(): number;
  /** The event at an index below `count`. */
  abstract event(index: number): TraceEvent;
  /** Nanoseconds since boot of the event at an index. */
  abstract bootNsAt(index: number): number;
  /** A batch of the events at these indexes. */
  protected abstract pick(indexes: Uint32Array, place: BatchPlace, places: Uint32Array | null): EventBatch;

  /** Place in the session of the event at an index. */
  placeOf(index: number): number {
    return this.seq + (this.places ? (this.places[index] ?? 0) : index);
  }

  /**
   * The events from index `from` up to, not including, `to` that match, with their places; this batch itself when all of it does. The
   * loss before the batch is told with its first event.
   */
  only(matches: (event: TraceEvent) => boolean, from = 0, to = this.count): EventBatch {
    return finish(this.selecting(matches, from, to));
  }

  /** As `only`, in pieces. */
  *selecting(matches: (event: TraceEvent) => boolean, from = 0, to = this.count): Work<EventBatch> {
    return this.at(yield* this.#matching(matches, from, to), from === 0);
  }

  /** The events at these indexes, with their places; this batch itself when they are all. `first`: the loss before the batch is told. */
  at(indexes: Uint32Array, first = true): EventBatch {
    if (indexes.length === this.count) return this;
    const { clock, seq, lostFrom, lostTo } = this;
    return this.pick(
      indexes,
      { clock, seq, lost: first ? this.lost : 0, lostFrom, lostTo },
      indexes.map((index) => this.placeOf(index) - seq),
    );
  }

  /** The events that match, at places without gaps: what a session takes of what it is offered. In pieces. */
  *taking(matches: (event: TraceEvent) => boolean): Work<EventBatch> {
    const picked = yield* this.#matching(matches, 0, this.count);
    return picked.length === this.count ? this : this.pick(picked, this, null);
  }

  *#matching(matches: (event: TraceEvent) => boolean, from: number, to: number): Work<Uint32Array> {
    const indexes = new Uint32Array(to - from);
    let count = 0;
    for (let i = from; i < to; i++) {
      if ((i - from) % PIECE === PIECE - 1) yield;
      if (matches(this.event(i))) indexes[count++] = i;
    }
    return indexes.slice(0, count);
  }
}

/** Records as they left the ring, packed in one buffer, with the place of each. Events are views into it, made when someone looks. */
export class RecordBatch extends EventBatch {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;
  readonly context: BatchContext;

  /** `lease`: of the memory of `data`, where it is lent. */
  constructor(
    data: ArrayBuffer | Uint8Array,
    offsets: Uint32Array,
    context: BatchContext,
    place: BatchPlace,
    places: Uint32Array | null = null,
    lease: Lease | null = null,
  ) {
    super(place, places, lease);
    this.bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.offsets = offsets;
    this.context = context;
  }

  get count(): number {
    return this.offsets.length;
  }

  get byteLength(): number {
    return this.bytes.buffer.byteLength + this.offsets.byteLength;
  }

  event(index: number): TraceEvent {
    const at = this.offsets[index] ?? 0;
    const View = this.context.views[this.view.getUint16(at + headerOffsets.tracker, true)];
    if (!View) throw new RangeError(`record ${index} of the batch is of no tracker of its session`);
    return new View(this, at);
  }

  containerAt(at: number): object | null {
    return this.context.containerAt(this.view, at);
  }

  /** Of the event whose record is at a place. Searched for when somebody asks: events need not know their index. */
  placeAt(at: number): EventPlace | null {
    const { session } = this.context;
    if (session === undefined) return null;
    let low = 0;
    for (let high = this.offsets.length - 1; low < high;) {
      const middle = (low + high) >> 1;
      if ((this.offsets[middle] ?? 0) < at) low = middle + 1;
      else high = middle;
    }
    return { session, seq: this.placeOf(low) };
  }

  /** Where the header of the second process of the record at a place is; null when it has none, or that process is not known. */
  secondAt(at: number): number | null {
    const second = this.context.views[this.view.getUint16(at + headerOffsets.tracker, true)]?.source?.layout.second;
    return typeof second === 'number' && this.view.getUint32(at + second + headerOffsets.pid, true) !== 0
      ? at + second
      : null;
  }

  bootNsAt(index: number): number {
    const at = (this.offsets[index] ?? 0) + headerOffsets.bootNs;
    return this.view.getUint32(at + 4, true) * 4294967296 + this.view.getUint32(at, true);
  }

  /** Few records are copied, so that a reader who is slow does not hold the memory of all the others. */
  protected pick(indexes: Uint32Array, place: BatchPlace, places: Uint32Array | null): RecordBatch {
    const few = indexes.length * 4 < this.count;
    if (few) {
      const { data, offsets } = this.#copy(indexes);
      return new RecordBatch(data, offsets, this.context, place, places);
    }
    return new RecordBatch(
      this.bytes,
      indexes.map((index) => this.offsets[index] ?? 0),
      this.context,
      place,
      places,
      this.lease,
    );
  }

  /** A record ends before the next one, of the ring or of this batch. */
  #copy(indexes: Uint32Array): { data: ArrayBuffer; offsets: Uint32Array } {
    const endOf = (index: number): number => this.offsets[index + 1] ?? this.bytes.length;
    const startOf = (index: number): number => this.offsets[index] ?? 0;
    const bytes = new Uint8Array(indexes.reduce((sum, index) => sum + endOf(index) - startOf(index), 0));
    let end = 0;
    const offsets = indexes.map((index) => {
      const at = end;
      bytes.set(this.bytes.subarray(startOf(index), endOf(index)), at);
      end += endOf(index) - startOf(index);
      return at;
    });
    return { data: bytes.buffer, offsets };
  }
}

/** NaN, which is the id of no cgroup, for one that a double cannot hold (see `cgroupIdOf`). */
export function cgroupIdAt(view: DataView, at: number): number {
  const high = view.getUint32(at + headerOffsets.cgroupId + 4, true);
  return high < 0x200000 ? high * 4294967296 + view.getUint32(at + headerOffsets.cgroupId, true) : Number.NaN;
}

/** The outermost pid namespace of a record's process, by its first process: pid × 2^16 + start. 0 for the initial namespace. */
export function initAt(view: DataView, at: number): number {
  const pid = view.getUint32(at + headerOffsets.initPid, true);
  return pid === 0 ? 0 : pid * 65536 + view.getUint16(at + headerOffsets.initStart, true);
}
