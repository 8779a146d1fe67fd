import type { FieldValue } from '../event.js';

/** A tracker's options, checked against its GraphQL input type before they come here. */
export type TrackerOptions = Readonly<Record<string, unknown>>;

/** A constant of the BPF object (`const volatile`), set before the verifier runs. */
export type Constant = boolean | number | bigint;

/** A field of the event that is more than the record's field of the same name. */
export interface FieldDefinition {
  /** The record's fields that it is made from, in camelCase. Captured when all of them are. */
  readonly from: readonly string[];
  /** Makes the value; called with the decoded fields in the order of `from`, only for readers that select it. Must not throw. */
  readonly read: (...values: never[]) => FieldValue;
}

/** Of a tracker that sums in the kernel (sum.bpf.h): each of its events stands for many happenings. */
export interface SumDefinition {
  /** How often the sums are read, in milliseconds, besides when someone asks and at the end. */
  readonly everyMs: (options: TrackerOptions) => number;
  /** The field that tells how many an event stands for. Aggregates count by it. */
  readonly count: string;
  /** Fields that are totals of all that an event stands for → the field with the log2 histogram of the single values, or null. */
  readonly totals: Readonly<Record<string, string | null>>;
}

/**
 * What a tracker is: pure data and pure functions. Its records are described by the BTF of its object
 * (`struct NAME_event`), its GraphQL types by its section of schema.graphql; here is just what
 * neither can say.
 */
export interface TrackerDefinition {
  /** The stem of all its files, and its field in `TrackerInput`. */
  readonly name: string;
  readonly summary: string;
  /** "major.minor" of the oldest Linux with all that the object uses. */
  readonly minimumKernel: string;
  /** Fields whose value is formatted or computed. A record field not named here reaches the schema as it is. */
  readonly fields?: Readonly<Record<string, FieldDefinition>>;
  /** Throws BAD_USER_INPUT for options that no type of the schema can rule out. `where` is the path of the options, for the message. */
  readonly check?: (options: TrackerOptions, where: string) => void;
  /**
   * Constants for these options. Default: each option is the constant of its name in snake_case,
   * a boolean or a number.
   */
  readonly constants?: (options: TrackerOptions) => Readonly<Record<string, Constant>>;
  /** Programs of the object that these options do not need; they are not loaded. Default: none. */
  readonly unneeded?: (options: TrackerOptions) => readonly string[];
  /** Program of the object → the field that it alone serves: it is attached only while that field is captured. Default: none. */
  readonly demanded?: Readonly<Record<string, string>>;
  /** For a tracker that sums in the kernel. Default: its events are what happened. */
  readonly sums?: SumDefinition;
}

export function defineTracker(definition: TrackerDefinition): TrackerDefinition {
  return definition;
}

export { camelCase, eventTypeName, snakeCase } from '../names.js';
