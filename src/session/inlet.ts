import { intake } from '../base/turn.js';
import type { Chunk } from '../kernel/protocol.js';
import { headerOffsets } from '../record/batch.js';
import type { Lease } from '../record/lease.js';
import type { ChunkTaker } from './source/pool.js';

const TWO_32 = 4_294_967_296;
/** A record is in the ring this long after the time that it bears, at most: programs that write one are not interrupted for longer. */
export const WRITTEN_NS = 5_000_000;

/** A part of time, in ns since boot; `until` is not in it. */
export interface BootSpan {
  readonly from?: number;
  readonly until?: number;
}

/**
 * A source's way into a session. What its chunks bring can be held back, and cut at a time: so that of two sources that see the same
 * happenings the one tells of those before a moment, and the other of those after it.
 */
export class Inlet {
  #taker: ChunkTaker;
  #held: { readonly chunk: Chunk; readonly lease: Lease }[] | null = null;
  #busy: Promise<void> | null = null;
  #from = Number.NEGATIVE_INFINITY;
  #until = Number.POSITIVE_INFINITY;
  readonly #excluded = { events: 0, lost: 0 };

  constructor(taker: ChunkTaker) {
    this.#taker = taker;
  }

  readonly take: ChunkTaker = (chunk, lease) => {
    if (!this.#held) return this.#pass(chunk, lease);
    lease.hold();
    this.#held.push({ chunk, lease });
    return null;
  };

  /** Events, and losses, that lay outside of its span: another source told of them. */
  get excluded(): { readonly events: number; readonly lost: number } {
    return { ...this.#excluded };
  }

  /** Holds back what comes from now on. Resolves when what came before was taken. */
  async hold(): Promise<void> {
    this.#held ??= [];
    await this.#busy;
  }

  /** When the events that it holds back happened, as far as that is within the span; in order. */
  times({ from = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY }: BootSpan): Float64Array {
    const times: number[] = [];
    for (const { chunk } of this.#held ?? []) {
      const view = viewOf(chunk);
      for (const at of chunk.offsets) {
        const time = timeAt(view, at);
        if (time >= from && time < until) times.push(time);
      }
    }
    return Float64Array.from(times).sort();
  }

  /** The thread of an event that it holds back and that happened at this time; null if there is none. */
  threadAt(time: number): number | null {
    for (const { chunk } of this.#held ?? []) {
      const view = viewOf(chunk);
      for (const at of chunk.offsets)
        if (timeAt(view, at) === time) return view.getUint32(at + headerOffsets.tid, true);
    }
    return null;
  }

  /** Lets what it holds back, and what comes from now on, in, of this span alone. Resolves when what it held is taken. */
  async release(
    { from = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY }: BootSpan,
    taker = this.#taker,
  ): Promise<void> {
    this.#from = from;
    this.#until = until;
    this.#taker = taker;
    for (let next = this.#held?.shift(); next; next = this.#held?.shift()) {
      try {
        await this.#pass(next.chunk, next.lease);
      } finally {
        next.lease.release();
      }
      if (!intake.isOpen) await intake.next();
    }
    this.#held = null;
  }

  /** Lets go of what it holds back, and takes nothing more. */
  close(): void {
    for (const { lease } of this.#held?.splice(0) ?? []) lease.release();
    this.#held = null;
    this.#taker = () => null;
  }

  #pass(chunk: Chunk, lease: Lease): Promise<void> | null | void {
    const part = this.#cut(chunk);
    const work = part && this.#taker(part, lease);
    if (!work) return null;
    const busy = work.finally(() => {
      if (this.#busy === busy) this.#busy = null;
    });
    return (this.#busy = busy);
  }

  #cut(chunk: Chunk): Chunk | null {
    // Nothing older can come any more: a ring is read in order. When it is read does not tell alone: it may be read late, and part by part.
    const [first] = chunk.offsets;
    if (
      first !== undefined &&
      chunk.readBefore > this.#from + WRITTEN_NS * 100 &&
      timeAt(viewOf(chunk), first) >= this.#from + WRITTEN_NS
    )
      this.#from = Number.NEGATIVE_INFINITY;
    const [from, until] = [this.#from, this.#until];
    if (from === Number.NEGATIVE_INFINITY && until === Number.POSITIVE_INFINITY) return chunk;
    const view = viewOf(chunk);
    const offsets = chunk.offsets.filter((at) => {
      const time = timeAt(view, at);
      return time >= from && time < until;
    });
    // Nobody knows when within the time between two readings a loss was: it belongs to where that begins.
    const lost = chunk.readBefore >= from && chunk.readBefore < until ? chunk.lost : 0;
    this.#excluded.events += chunk.offsets.length - offsets.length;
    this.#excluded.lost += chunk.lost - lost;
    return offsets.length || lost ? { ...chunk, offsets, lost } : null;
  }
}

function viewOf({ data }: Chunk): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

/** As `RecordBatch.bootNsAt`: exact for the first 104 days of uptime. */
function timeAt(view: DataView, at: number): number {
  return view.getUint32(at + headerOffsets.bootNs + 4, true) * TWO_32 + view.getUint32(at + headerOffsets.bootNs, true);
}

/** Two programs see one happening a moment after each other: there no boundary may be. Looked for among so many of the widest pauses. */
const PAUSES = 16;

/**
 * A moment at which nothing happens, of a span in which two sources both see what happens: in the widest pause of what they have told.
 * The two programs of one happening run a microsecond after each other, and the moment is not between them: what the one tells of before
 * it, the other does not tell of after it.
 */
export function pauseBetween(old: Inlet, next: Inlet, from: number, until: number): number {
  const [before, after] = [old.times({ from, until }), next.times({ from, until })];
  const all = new Float64Array(before.length + after.length);
  all.set(before);
  all.set(after, before.length);
  all.sort();
  let widest: { readonly at: number; readonly end: number }[] = [];
  const offer = (at: number, end: number): void => {
    const last = widest.at(-1);
    if (widest.length === PAUSES && last && end - at <= last.end - last.at) return;
    widest = [...widest, { at, end }].sort((a, b) => b.end - b.at - (a.end - a.at)).slice(0, PAUSES);
  };
  let at = from;
  for (const time of all) {
    offer(at, time);
    at = time;
  }
  offer(at, until);
  const isWithinOne = ({ at: earlier, end: later }: { readonly at: number; readonly end: number }): boolean => {
    const thread = old.threadAt(earlier);
    return thread !== null && thread === next.threadAt(later);
  };
  const pause = widest.find((one) => !isWithinOne(one)) ?? widest[0] ?? { at: from, end: until };
  return Math.ceil((pause.at + pause.end) / 2);
}
