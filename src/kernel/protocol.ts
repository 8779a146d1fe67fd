import type { ObjectSpec } from './object.js';

/** What the server's thread and the kernel thread say to each other. Everything here is cloned or transferred. */

export interface SourceObject extends ObjectSpec {
  /** The initial capture mask. */
  readonly capture: bigint;
}

/** What a session's programs may see; judged in the kernel. Null: that kind is not filtered by. */
export interface SourceFilter {
  /** Cgroup id → keep or skip. An id that is not in the list is kept and judged in the server. */
  readonly cgroups: readonly (readonly [id: number, keep: boolean])[] | null;
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

/** Wall clock minus CLOCK_BOOTTIME. */
export interface ClockOffset {
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
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

/** An error on its way between threads. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  /** Of a KernelError, what it was made from. */
  readonly kernel: {
    readonly operation: string;
    readonly errno: string | null;
    readonly hint: string;
    readonly verifierLog: string | null;
  } | null;
}

export interface FeatureProbe {
  readonly name: string;
  readonly available: boolean;
  readonly reason: string | null;
}

export type Request =
  | { readonly kind: 'load'; readonly id: number; readonly source: number; readonly spec: SourceSpec }
  | {
      readonly kind: 'capture';
      readonly id: number;
      readonly source: number;
      readonly object: number;
      readonly mask: bigint;
    }
  | {
      readonly kind: 'judge';
      readonly id: number;
      readonly source: number;
      readonly cgroups: readonly (readonly [number, boolean | null])[];
    }
  | { readonly kind: 'counters'; readonly id: number; readonly source: number }
  | { readonly kind: 'read'; readonly id: number; readonly source: number }
  | { readonly kind: 'close'; readonly id: number; readonly source: number }
  | { readonly kind: 'probe'; readonly id: number }
  | { readonly kind: 'try'; readonly id: number; readonly object: ObjectSpec }
  | { readonly kind: 'stop'; readonly id: number };

/** Bytes of chunks that the server has taken; beyond a bound not taken, the ring is not read, so that losses happen, and are counted, in the kernel. */
export interface Acknowledgement {
  readonly kind: 'taken';
  readonly bytes: number;
  /** Memory of chunks that nobody reads any more. */
  readonly spare: readonly ArrayBuffer[];
}

export type Response =
  | { readonly kind: 'done'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly failure: Failure }
  | { readonly kind: 'chunk'; readonly source: number; readonly chunk: Chunk };
