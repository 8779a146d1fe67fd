import type { ClockOffset } from '../base/clock.js';
import type { ObjectSpec, Unloaded } from './object-spec.js';

/** What the server's thread and the kernel thread say to each other. Everything here is cloned or transferred. */

export interface SourceObject extends ObjectSpec {
  /** The initial capture mask. */
  readonly capture: bigint;
}

/** What becomes of a cgroup's events. SKIP_HOST: they are kept of tasks in a pid namespace of their own alone (`enum eu_verdict`). */
export type CgroupVerdict = 'SKIP' | 'KEEP' | 'SKIP_HOST';

/** What a session's programs may see; evaluated in the kernel. Null: that kind is not filtered by. */
export interface SourceFilter {
  /** By cgroup id. One that is not in the list is kept, and decided on in the server. */
  readonly cgroups: readonly (readonly [id: number, verdict: CgroupVerdict])[] | null;
  readonly pids: readonly number[] | null;
  /** Descendants of `pids` too. */
  readonly descendants: boolean;
  readonly uids: readonly number[] | null;
  readonly comms: readonly string[] | null;
}

/** What the rules of the objects' constants look into (bpf/include/where.bpf.h). */
export interface SourceSets {
  readonly numbers: readonly (readonly [set: number, value: bigint])[];
  /** The first `bits` of the bytes count. */
  readonly prefixes: readonly { readonly set: number; readonly bits: number; readonly bytes: Uint8Array }[];
}

/** One ring, and the objects that write into it with one filter. */
export interface SourceSpec {
  readonly ringBytes: number;
  /** How long an event may wait for others before it is handed over, in milliseconds; 0 is not at all. */
  readonly delayMs: number;
  readonly filter: SourceFilter;
  /** None when missing. */
  readonly sets?: SourceSets;
  /** Their index here is `tracker` in the records' header. */
  readonly objects: readonly SourceObject[];
}

export interface SourceCounters {
  /** Events that passed the filter in the kernel, by object. */
  readonly produced: readonly number[];
  /** Of these, those that the ring had no room for, by object. */
  readonly lost: readonly number[];
  /** Runs of all programs that the kernel skipped (BpfObject.skippedRuns). */
  readonly skippedRuns: number;
  /** The most that waited in the ring at once, of what was seen in the last 30 to 60 s. */
  readonly ringPeakBytes: number;
}

export interface Chunk {
  /** Records behind the ring's 8-byte headers; may be a part of a larger ArrayBuffer. Empty when the chunk only tells of a loss. */
  readonly data: Uint8Array;
  readonly offsets: Uint32Array;
  /** Lost since the chunk before, all objects. */
  readonly lost: number;
  readonly clock: ClockOffset;
  /** When the ring was read, and when it was read before, in ns of CLOCK_BOOTTIME. */
  readonly readAt: number;
  readonly readBefore: number;
}

export interface FeatureProbe {
  readonly name: string;
  readonly available: boolean;
  readonly reason: string | null;
}

/** What an iterator's program wrote while it was read once. */
export interface SnapshotRecords {
  /** Records behind 8 bytes each, as in a chunk. */
  readonly data: Uint8Array;
  readonly offsets: Uint32Array;
  readonly clock: ClockOffset;
  /** When the reading began and when it ended, in ns of CLOCK_BOOTTIME. */
  readonly from: number;
  readonly to: number;
  /** False where there was more than memory is given for. */
  readonly complete: boolean;
}

/** A type, as a channel's protocol has to be. A `source` is a number that the server chose when it loaded it. */
export type KernelProtocol = {
  readonly asks: {
    /** Returns what each of its objects is without. */
    readonly load: {
      readonly ask: { readonly source: number; readonly spec: SourceSpec };
      readonly reply: readonly Unloaded[];
    };
    readonly capture: {
      readonly ask: { readonly source: number; readonly object: number; readonly mask: bigint };
      readonly reply: void;
    };
    readonly setVerdicts: {
      readonly ask: { readonly source: number; readonly cgroups: readonly (readonly [number, CgroupVerdict | null])[] };
      readonly reply: void;
    };
    readonly counters: { readonly ask: { readonly source: number }; readonly reply: SourceCounters };
    readonly read: { readonly ask: { readonly source: number }; readonly reply: void };
    readonly close: { readonly ask: { readonly source: number }; readonly reply: SourceCounters };
    readonly probe: { readonly ask: null; readonly reply: readonly FeatureProbe[] };
    readonly try: {
      readonly ask: { readonly object: ObjectSpec; readonly remembered: boolean };
      readonly reply: Unloaded;
    };
    /** Reads the iterator of an object, which is loaded when it is read first and stays until the thread stops. */
    readonly snapshot: { readonly ask: ObjectSpec; readonly reply: SnapshotRecords };
    readonly stop: { readonly ask: null; readonly reply: void };
  };
  readonly posts: {
    readonly taken: Acknowledgement;
    /** How long an event of the source may wait for others, from now on. */
    readonly delay: { readonly source: number; readonly ms: number };
    /** What waits in the source's ring, or else its next event, is handed over at once. */
    readonly hurry: { readonly source: number };
  };
  readonly notes: { readonly chunk: { readonly source: number; readonly chunk: Chunk } };
};

/**
 * Bytes of chunks that the server has taken; beyond a bound not taken, the ring is not read, so that losses happen, and
 * are counted, in the kernel.
 */
export interface Acknowledgement {
  readonly bytes: number;
  /** Memory of chunks that nobody reads any more. */
  readonly spare: readonly ArrayBuffer[];
}
