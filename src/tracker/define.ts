import type { FieldValue } from '../event/event.js';
import type { AnyReportFeed } from '../event/report-feed.js';
import { errnoName } from '../linux/linux.js';

/** A tracker's options, checked against its GraphQL input type before they come here. */
export type TrackerOptions = Readonly<Record<string, unknown>>;

/** A constant of the BPF object (`const volatile`), set before the verifier runs: a scalar, or an array of 16-bit numbers. */
export type Constant = boolean | number | bigint | Uint16Array;

/** A field of the event that is more than the record's field of the same name. */
export interface FieldDefinition {
  /** The record's fields that it is made from, in camelCase. Captured when all of them are. */
  readonly from: readonly string[];
  /** Makes the value; called with the decoded fields in the order of `from`, only for readers that select it. Must not throw. */
  readonly read: (...values: never[]) => FieldValue;
}

/** By program of the object: names of system calls; null for those of the tracker's `watchedCalls`; each call. */
export type CallPrograms = Readonly<Record<string, readonly string[] | null | 'each'>>;

/** Of a tracker that aggregates in the kernel (aggregate.bpf.h): each of its events stands for many happenings. */
export interface KernelAggregate {
  /** How often the maps are read, in milliseconds, besides when someone asks and at the end. */
  readonly everyMs: (options: TrackerOptions) => number;
  /** The field that tells how many an event stands for. Aggregates count by it. */
  readonly count: string;
  /** Fields that are totals of all that an event stands for → the field with the log2 histogram of the single values, or null. */
  readonly totals: Readonly<Record<string, string | null>>;
  /**
   * Totals without a histogram that not all that an event stands for add to → the field that tells how many do. AVG divides by it, and
   * COUNT counts it: by `count` where it is left out.
   */
  readonly values?: Readonly<Record<string, string>>;
}

/**
 * How the kernel evaluates a field of a filter: the object declares `EU_WHERE_…(stem)` and calls `eu_passes…(stem,
 * value)`. A field that is not pushed is evaluated in user space.
 */
export type PushedField =
  /**
   * A number, as the event has it. `null` is the object's value for a null, where there is one; int64 at most. No
   * other value is below `min`.
   */
  | { readonly kind: 'number'; readonly stem: string; readonly null?: number; readonly min?: number }
  /**
   * A number in the object and something else in the event: `read` makes the one of the other, as the event does. Where some codes
   * are above `max`, `codeOf` finds that of a name, null for one that no code has: with it names are evaluated exactly; by a
   * pattern, what is above `max` passes, and is evaluated in user space.
   */
  | {
      readonly kind: 'code';
      readonly stem: string;
      readonly max: number;
      readonly codeOf?: (name: string) => number | null;
      readonly read: (code: number) => FieldValue;
    }
  /**
   * Names of bits: an event has the name only where `bits & mask` is `value`, and, if `exact`, always there; null for
   * a name that the kernel cannot evaluate.
   */
  | {
      readonly kind: 'bits';
      readonly stem: string;
      readonly bitsOf: (
        name: string,
      ) => { readonly mask: number; readonly value: number; readonly exact: boolean } | null;
    }
  /** A text, evaluated by its first bytes: all of a comm, 64 of an `eu_str`. */
  | { readonly kind: 'text'; readonly stem: string; readonly bytes: 16 | 64 }
  | { readonly kind: 'address'; readonly stem: string };

/** The names that a text can be, where these are known. */
export interface NameSet {
  /** What they name, in an error: "capability". */
  readonly of: string;
  readonly has: (name: string) => boolean;
  /** Those that an error can suggest. */
  readonly all: readonly string[];
}

/** "WHAT: LACKING." is one of the blind spots of a tracker on a kernel that has none of these programs' hooks. */
export interface BlindWithout {
  readonly programs: readonly string[];
  /** What is not seen, as the beginning of a sentence. */
  readonly what: string;
  /** What such a kernel lacks, as the rest of it. */
  readonly lacking: string;
}

/**
 * What a tracker is: pure data and pure functions. Its records are described by the BTF of its object
 * (`struct NAME_event`), its GraphQL types by src/trackers/NAME.graphql; here is just what
 * neither can say.
 */
export interface TrackerDefinition {
  /**
   * Its field in `TrackerInput`, in camelCase. The stem of its files and of its C names is the same in snake_case:
   * "netFlow" is net_flow.bpf.c.
   */
  readonly name: string;
  /** "major.minor" of the oldest Linux with all that the object uses. */
  readonly minimumKernel: string;
  /**
   * What it watches and what of it its events tell, for the table of README.md: a phrase without a full stop. The kernel and the rights
   * that it needs are added. Default: the description of its options.
   */
  readonly watches?: string;
  /** Fields whose value is formatted or computed. A record field not named here reaches the schema as it is. */
  readonly fields?: Readonly<Record<string, FieldDefinition>>;
  /**
   * Fields, by their name now, that had another one in an earlier version: what was stored or recorded then is read under it. Such a name
   * is never given to another field. Default: none.
   */
  readonly formerNames?: Readonly<Record<string, string>>;
  /**
   * Fields of a filter that the object evaluates, by their path, besides those of the header (filter/push.ts); null
   * takes one of these out, for a tracker whose header says something else of the process than the current task does.
   * Never may the object refuse what the filter takes.
   */
  readonly pushed?: Readonly<Record<string, PushedField | null>>;
  /**
   * Fields, by their path, whose text, or the texts of whose list, are names of a known set: a filter that compares one with another
   * name is refused, for it would match nothing. Default: none.
   */
  readonly names?: Readonly<Record<string, NameSet>>;
  /** Throws BAD_USER_INPUT for options that no type of the schema can rule out. `path` is that of the options, for the message. */
  readonly check?: (options: TrackerOptions, path: string) => void;
  /**
   * Constants for these options. Default: each option is the constant of its name in snake_case,
   * a boolean or a number.
   */
  readonly constants?: (options: TrackerOptions) => Readonly<Record<string, Constant>>;
  /**
   * Fields that are null unless an option is set → that option, for readers who choose no options: rules that read the field. Default:
   * none.
   */
  readonly optionFor?: Readonly<Record<string, TrackerOptions>>;
  /** Programs of the object that these options do not need; they are not loaded. Default: none. */
  readonly unneeded?: (options: TrackerOptions) => readonly string[];
  /** Program of the object → the field that it alone serves: it is attached only while that field is captured. Default: none. */
  readonly demanded?: Readonly<Record<string, string>>;
  /**
   * Programs of the object at the end of system calls → the calls that they look at: beside other trackers they run for these alone. Those
   * of each call are defined with EU_EACH_CALL (each_call.bpf.h): beside others, the first alone is attached. Default: none.
   */
  readonly atCallExit?: CallPrograms;
  /** The same at the beginning of system calls. */
  readonly atCallEntry?: CallPrograms;
  /**
   * Programs of the object that a kernel may be without → how many arguments their tracepoint has in the kernels that
   * they know; empty for a program on another hook than a BTF tracepoint. Where it is otherwise they are not loaded,
   * and `blindWithout` says what is not seen then. Default: none.
   */
  readonly optional?: Readonly<Record<string, readonly number[]>>;
  /** What is not seen where none of these optional programs is loaded. */
  readonly blindWithout?: readonly BlindWithout[];
  /** What of its kind the tracker does not see on any kernel, or not exactly: a sentence each. Empty for none that is known. */
  readonly blindSpots: readonly string[];
  /** What of an event one line tells, besides when, where and who: see DetailsTemplate (src/event/details.ts). Default: its columns. */
  readonly details?: string;
  /**
   * Fields on demand that cost so much that a session captures them only where somebody selects them or it captures ALL: its DEFAULT is
   * without them. Default: none.
   */
  readonly costly?: readonly string[];
  /**
   * Paths of the fields that a table shows where nobody chose, besides when, where and who. Default: its own fields
   * but flags, namespaces and costly ones.
   */
  readonly columns?: readonly string[];
  /**
   * Fields of its own with few different values, by which a store may keep an index in memory. Those of enums and
   * `Errno` are anyhow. Default: none.
   */
  readonly indexed?: readonly string[];
  /** Its options in an example, as a GraphQL literal. Default: `{}`. */
  readonly example?: string;
  /** A shell command with which something happens that the example shows, for documentation; a test runs it. */
  readonly trigger?: string;
  /** For a tracker that aggregates in the kernel. Default: its events are what happened. */
  readonly kernelAggregate?: KernelAggregate;
  /** What its events contribute to behaviour reports; made with `defineReport`. Default: they are in no section. */
  readonly report?: AnyReportFeed;
}

/** An `eu_errno`, which the object gives as a positive number. */
export const pushedErrno: PushedField = { kind: 'code', stem: 'errno', max: 4095, read: errnoName };

/**
 * The inode number of a namespace, which a record has in 32 bits and the schema as UInt64; 0 is one that was not
 * captured, or is not known.
 */
export const namespaceInode = (inode: number): string | null => (inode === 0 ? null : String(inode));

/** What is known of a path, null where there is none: of its state and the value. */
export const ifPath = (state: string | null, value: boolean): boolean | null => (state === null ? null : value);

/**
 * The fields of an event's second process, which lies in its record as `struct eu_header NAME` (src/btf/layout.ts). All are null where
 * the process is not known: where its pid is 0.
 */
export function secondProcess(name: string): Readonly<Record<string, FieldDefinition>> {
  const pid = `${name}Pid`;
  const ifKnown = (as: string): [string, FieldDefinition] => [
    `${name}${as}`,
    { from: [pid, `${name}${as}`], read: (known: number, value: FieldValue) => (known ? value : null) },
  ];
  return Object.fromEntries([
    [pid, { from: [pid], read: (known: number) => known || null }],
    ...['Tid', 'Uid', 'Comm', 'StartTime', 'CgroupId', 'ContainerId', 'ContainerName'].map(ifKnown),
  ]);
}

export function defineTracker(definition: TrackerDefinition): TrackerDefinition {
  return definition;
}
