import type { Demand } from '../event.js';
import type { Filter } from './ast.js';
import { compileFilter, fieldsOf, type Predicate } from './compile.js';
import type { FilterFields } from './field.js';
import { parseInput } from './input.js';
import { optimise } from './optimise.js';
import { print } from './print.js';

/** A filter that is ready to judge events of the trackers it was made for. */
export class EventFilter {
  /** Canonical. */
  readonly filter: Filter;
  /** As a CEL expression; equal filters have the same. */
  readonly text: string;
  readonly matches: Predicate;
  /** What it reads, by tracker; a tracker of which no event matches is not there. */
  readonly demand: Demand;

  constructor(filter: Filter, fields: FilterFields, trackers: readonly string[]) {
    this.filter = optimise(filter, fields, trackers);
    this.text = print(this.filter);
    this.matches = compileFilter(this.filter, fields, trackers);
    this.demand = fieldsOf(this.filter, fields, trackers);
  }

  /** What a reader with this selection needs captured: what it selects of events that can match, and what the filter reads. */
  with(selection: Demand): Demand {
    return new Map(
      [...this.demand].map(([tracker, read]) => [tracker, new Set([...read, ...(selection.get(tracker) ?? [])])]),
    );
  }
}

/**
 * The filter of an argument `where: EventFilter`, for events of these trackers; null when it takes them all. Throws BAD_USER_INPUT with
 * the path of what is wrong.
 */
export function filterOf(
  input: unknown,
  fields: FilterFields,
  trackers: readonly string[],
  where = 'where',
): EventFilter | null {
  if (input === null || input === undefined) return null;
  const made = new EventFilter(parseInput(input, fields, trackers, where), fields, trackers);
  return made.filter.kind === 'always' && made.filter.value ? null : made;
}
