import type { Demand } from '../event/event.js';
import { readsLineage, type Filter } from './ast.js';
import { compileFilter, fieldsOf, type Predicate } from './compile.js';
import type { FilterFields } from './field.js';
import { parseInput } from './input.js';
import { optimise } from './optimise.js';
import { print } from './print.js';

/** A compiled filter for events of the trackers that it was created for. */
export class EventFilter {
  /** The canonical filter. */
  readonly filter: Filter;
  /** The filter as a CEL expression. Equal filters have the same text. */
  readonly text: string;
  readonly matches: Predicate;
  /** The fields that it reads, by tracker. Trackers of which no event can match are omitted. */
  readonly demand: Demand;
  /**
   * Of a filter that reads what the table of processes has: to be called before `matches` is, when the events have
   * happened. Returns null when what had happened before is known, else a promise that resolves when it is and never
   * rejects. Null where the events are enough.
   */
  readonly ready: (() => Promise<void> | null) | null;

  constructor(filter: Filter, fields: FilterFields, trackers: readonly string[]) {
    this.filter = optimise(filter, fields, trackers);
    this.text = print(this.filter);
    this.matches = compileFilter(this.filter, fields, trackers);
    this.demand = fieldsOf(this.filter, fields, trackers);
    this.ready = readyOf(this.filter, fields);
  }

  /**
   * Returns the demand of a subscriber with this selection: what it selects of events that can match, and what the
   * filter reads.
   */
  with(selection: Demand): Demand {
    return new Map(
      [...this.demand].map(([tracker, read]) => [tracker, new Set([...read, ...(selection.get(tracker) ?? [])])]),
    );
  }
}

/** As `EventFilter.ready`. */
export function readyOf(filter: Filter, { lineage }: FilterFields): EventFilter['ready'] {
  return lineage && readsLineage(filter) ? () => lineage.ready() : null;
}

/**
 * Creates the filter of an argument `where: EventFilter` for events of these trackers; null if it matches all of them.
 * Throws BAD_USER_INPUT with the path of the error.
 */
export function filterOf(
  input: unknown,
  fields: FilterFields,
  trackers: readonly string[],
  path = 'where',
): EventFilter | null {
  if (input === null || input === undefined) return null;
  const made = new EventFilter(parseInput(input, fields, trackers, path), fields, trackers);
  return made.filter.kind === 'always' && made.filter.value ? null : made;
}
