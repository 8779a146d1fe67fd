/** The types of events that all layers share: plain types without behaviour. */

/** Id of a cgroup v2: the inode number of its directory. A double represents it exactly (see `cgroupIdOf`). */
export type CgroupId = number;

/** A bucket of a histogram: how many values were at least `from` and less than `to`. */
export interface Bucket {
  readonly from: number;
  /** Null for a bucket without an upper bound. */
  readonly to: number | null;
  /** A 64-bit integer in decimal. */
  readonly count: string;
}

/** A value of a record as GraphQL, plugins and stores receive it. 64-bit integers are decimal strings. */
export type FieldValue = string | number | boolean | null | readonly string[] | readonly Bucket[];

/** A process, and the thread of it that acted. */
export interface ProcessView {
  readonly pid: number;
  readonly tid: number;
  readonly ppid: number;
  readonly uid: number;
  readonly gid: number;
  readonly comm: string;
  /** RFC 3339 with nanoseconds. */
  readonly startTime: string;
  /** Inode number of the mount namespace; null if the process no longer had one. */
  readonly mountNs: string | null;
}

/**
 * A decoded event: lazy accessors over the record's bytes. The tracker's fields are additional properties, named as in
 * the schema. It keeps its batch in memory: copy values to keep them longer.
 */
export interface TraceEvent {
  readonly __typename: string;
  readonly tracker: string;
  /** Wall-clock time: RFC 3339 with nanoseconds. */
  readonly time: string;
  /** Nanoseconds since boot (CLOCK_BOOTTIME), in decimal. */
  readonly bootNs: string;
  readonly cgroupId: string;
  readonly process: ProcessView;
  /** The container's facts (containers/registry), null for the host. */
  readonly container: object | null;
}

export type GapWhere = 'KERNEL' | 'QUEUE' | 'STORE' | 'OFF' | 'CLIENT';

/** Events that are missing at a position in a stream. */
export interface Gap {
  /** RFC 3339 with nanoseconds. */
  readonly from: string;
  readonly to: string;
  /** Number of events lost in the kernel. */
  readonly lost: number;
  /** Number of events dropped for this subscriber. */
  readonly dropped: number;
  readonly where: GapWhere;
}

export type CaptureMode = 'DEFAULT' | 'DEMANDED' | 'ALL';

/** The fields that a subscriber reads, by tracker name. Trackers that are not in the map are not read at all. */
export type Demand = ReadonlyMap<string, ReadonlySet<string>>;
