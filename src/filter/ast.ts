import type { TraceEvent } from '../event.js';

/**
 * How a field's values are compared. `length` is the length of the list at the path; `object` is a field that holds others,
 * of which one may only ask whether it is null.
 */
export type ValueType =
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
  | 'length'
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
 * A field against a constant. False when the field is null, but for `isNull`. JSON can hold it: a 64-bit integer is a decimal text, a time
 * RFC 3339 in UTC with nine digits of a second, an address as the decoder writes it.
 */
export interface Comparison {
  readonly kind: 'comparison';
  /** As in the schema's `EventField`: "process.pid", "container.labels.NAME", "path"; "" is an element of the list of an `any`. */
  readonly path: string;
  readonly type: ValueType;
  readonly op: Operator;
  readonly value: Scalar | readonly Scalar[];
}

/** One of the texts of a list fulfils the filter, whose comparisons have the path "". False when the list is null. */
export interface Any {
  readonly kind: 'any';
  readonly path: string;
  readonly filter: Filter;
}

/** Plain negation: true also where the filter is false because of a null. */
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
 * What an event must be. A field that the event's tracker does not have is null. A field of one tracker is asked for with
 * `tracker == "open"` beside it, in the same `and`.
 */
export type Filter = Always | Not | Junction | Comparison | Any;

export const ALWAYS: Always = { kind: 'always', value: true };
export const NEVER: Always = { kind: 'always', value: false };

/** All of them; flat. */
export function and(filters: readonly Filter[]): Filter {
  return junction('and', filters) ?? ALWAYS;
}

/** At least one of them; flat. */
export function or(filters: readonly Filter[]): Filter {
  return junction('or', filters) ?? NEVER;
}

function junction(kind: Junction['kind'], filters: readonly Filter[]): Filter | undefined {
  const flat = filters.flatMap((filter) => (filter.kind === kind ? filter.filters : [filter]));
  return flat.length > 1 ? { kind, filters: flat } : flat[0];
}

export function compare(path: string, type: ValueType, op: Operator, value: Comparison['value']): Comparison {
  return { kind: 'comparison', path, type, op, value };
}

/** An event of this tracker. */
export function isTracker(name: string): Comparison {
  return compare('tracker', 'string', 'eq', name);
}

export const LABELS = 'container.labels.';

// The compiler checks that these are the interface's.
const shared: Readonly<Record<Exclude<keyof TraceEvent, '__typename'>, true>> = {
  tracker: true,
  time: true,
  bootNs: true,
  cgroupId: true,
  process: true,
  container: true,
};

/** Whether events of all trackers have the field. */
export function isShared(path: string): boolean {
  return path === '' || Object.hasOwn(shared, firstOf(path));
}

/** "process.pid" → "process": the field of the event that is read. */
export function firstOf(path: string): string {
  const dot = path.indexOf('.');
  return dot < 0 ? path : path.slice(0, dot);
}
