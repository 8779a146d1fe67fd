import type { TraceEvent } from '../event/event.js';
import { lineagePath } from '../event/lineage.js';

/**
 * How the values of a field are compared. `length` is the length of the list at the path, `joined` its texts with a
 * space between them. `age` is the time from the process's start, at the path, to the event, in ns. `object` is a field
 * that contains others and supports only `isNull`.
 */
export type OperandType =
  | 'string'
  | 'int'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'boolean'
  | 'time'
  | 'address'
  | 'errno'
  | 'enum'
  | 'strings'
  | 'processes'
  | 'length'
  | 'joined'
  | 'age'
  | 'object';

export type Operator =
  | 'eq'
  | 'ne'
  | 'in'
  | 'lt'
  | 'lte'
  | 'gt'
  | 'gte'
  | 'glob'
  | 'regex'
  | 'prefix'
  | 'suffix'
  | 'contains'
  | 'cidr'
  | 'isNull';

export type Scalar = string | number | boolean;

/**
 * A comparison of a field with a constant. False if the field is null, except for `isNull`. It can be represented in
 * JSON: a 64-bit integer is a decimal text, a time is RFC 3339 in UTC with nanoseconds, an address is as the decoder
 * formats it.
 */
export interface Comparison {
  readonly kind: 'comparison';
  /**
   * The path as in the schema's `EventField`: "process.pid", "container.labels.NAME", "path". In an `any`, "" is an
   * element of its list, and ".comm" a field of the element.
   */
  readonly path: string;
  readonly type: OperandType;
  readonly op: Operator;
  readonly value: Scalar | readonly Scalar[];
}

/**
 * Two fields of one event are equal (`eq`), or are not (`ne`); false where one of them is null. Both are of the type, the
 * smaller path is on the left, and paths are as in a comparison.
 */
export interface Pair {
  readonly kind: 'pair';
  readonly left: string;
  readonly right: string;
  readonly type: OperandType;
  readonly op: 'eq' | 'ne';
}

/**
 * True if at least one element of a list, a text or an ancestor of the process, matches the filter, whose comparisons
 * have the path "" or that of a field of the element. False if the list is null.
 */
export interface Any {
  readonly kind: 'any';
  readonly path: string;
  readonly filter: Filter;
}

/** Plain negation: also true where the filter is false because a field is null. */
export interface Not {
  readonly kind: 'not';
  readonly filter: Filter;
}

export interface Junction {
  readonly kind: 'and' | 'or';
  readonly filters: readonly Filter[];
}

export interface Always {
  readonly kind: 'always';
  readonly value: boolean;
}

/**
 * A filter. A field that the event's tracker does not have is null. A comparison of a tracker's own field comes with
 * `tracker == "open"` in the same `and`.
 */
export type Filter = Always | Not | Junction | Comparison | Pair | Any;

export const ALWAYS: Always = { kind: 'always', value: true };
export const NEVER: Always = { kind: 'always', value: false };

/** All of them match. Flat: contains no other `and`. */
export function and(filters: readonly Filter[]): Filter {
  return junction('and', filters) ?? ALWAYS;
}

/** At least one of them matches. Flat: contains no other `or`. */
export function or(filters: readonly Filter[]): Filter {
  return junction('or', filters) ?? NEVER;
}

function junction(kind: Junction['kind'], filters: readonly Filter[]): Filter | undefined {
  const flat = filters.flatMap((filter) => (filter.kind === kind ? filter.filters : [filter]));
  return flat.length > 1 ? { kind, filters: flat } : flat[0];
}

export function compare(path: string, type: OperandType, op: Operator, value: Comparison['value']): Comparison {
  return { kind: 'comparison', path, type, op, value };
}

/** The order of two fields means nothing: equal filters have one form. */
export function pair(one: string, other: string, type: OperandType, op: Pair['op']): Pair {
  const [left = one, right = other] = [one, other].sort();
  return { kind: 'pair', left, right, type, op };
}

/** Matches events of this tracker. */
export function isTracker(name: string): Comparison {
  return compare('tracker', 'string', 'eq', name);
}

export const LABELS = 'container.labels.';
/** When the event's process started. */
export const START = 'process.startTime';
/** The list of the ancestors of the event's process. */
export const ANCESTORS = 'process.ancestors';
/** The parent: null where there are no ancestors. */
export const PARENT = 'process.parent';

// The compiler checks that these are the interface's.
const shared: Readonly<Record<Exclude<keyof TraceEvent, '__typename'>, true>> = {
  tracker: true,
  time: true,
  bootNs: true,
  cgroupId: true,
  process: true,
  container: true,
};

/** Returns whether events of all trackers have the field. */
export function isShared(path: string): boolean {
  return isOfElement(path) || Object.hasOwn(shared, firstOf(path));
}

/** Returns whether the path is an element of a list, or a field of it. */
export function isOfElement(path: string): boolean {
  return path === '' || path.startsWith('.');
}

/** Returns whether the filter reads something that only the table of processes has. */
export function readsLineage(filter: Filter): boolean {
  switch (filter.kind) {
    case 'always':
      return false;
    case 'not':
      return readsLineage(filter.filter);
    case 'and':
    case 'or':
      return filter.filters.some(readsLineage);
    case 'pair':
      return lineagePath(filter.left) !== null || lineagePath(filter.right) !== null;
    default:
      return lineagePath(filter.path) !== null;
  }
}

/** Returns the event's field that is read: "process" for "process.pid". */
export function firstOf(path: string): string {
  const dot = path.indexOf('.');
  return dot < 0 ? path : path.slice(0, dot);
}
