/** The vocabulary of events that all layers share: plain types, no behaviour. */

/** Id of a v2 cgroup: the inode of its directory. Fits a double exactly (the kernel counts inodes from 1). */
export type CgroupId = number;

/** A record's value as GraphQL, plugins and stores see it. 64-bit integers are decimal strings. */
export type FieldValue = string | number | boolean | null | readonly string[];

/** The process, or the thread of it, that acted. */
export interface ProcessView {
  readonly pid: number;
  readonly tid: number;
  readonly ppid: number;
  readonly uid: number;
  readonly gid: number;
  readonly comm: string;
  /** RFC 3339 with nanoseconds. */
  readonly startTime: string;
  /** Inode of the mount namespace; null when the process had none any more. */
  readonly mountNs: number | null;
}

/**
 * One decoded event: lazy accessors over the record's bytes. Tracker fields are further properties,
 * named as in the schema. Holds its batch alive; copy values out to keep them.
 */
export interface TraceEvent {
  readonly __typename: string;
  readonly tracker: string;
  /** RFC 3339 with nanoseconds, wall clock. */
  readonly time: string;
  /** Nanoseconds on CLOCK_BOOTTIME, decimal. */
  readonly bootNs: string;
  readonly cgroupId: string;
  readonly process: ProcessView;
  /** The container's facts (containers/registry), null for the host. */
  readonly container: object | null;
}

export type GapWhere = 'KERNEL' | 'QUEUE' | 'STORE' | 'CLIENT';

/** Events that are missing at a place of a stream. */
export interface Gap {
  /** RFC 3339 with nanoseconds. */
  readonly from: string;
  readonly to: string;
  /** Lost in the kernel. */
  readonly lost: number;
  /** Dropped for this reader. */
  readonly dropped: number;
  readonly where: GapWhere;
}

export type CaptureMode = 'DEFAULT' | 'DEMANDED' | 'ALL';

/** Which fields a reader selects, by tracker name. A tracker that is missing is not read at all. */
export type Demand = ReadonlyMap<string, ReadonlySet<string>>;
