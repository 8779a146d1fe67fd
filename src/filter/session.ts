import type { Demand } from '../event/event.js';
import { ALWAYS, NEVER, type Filter } from './ast.js';
import { compileFilter, type Predicate } from './compile.js';
import type { FilterFields } from './field.js';
import { optimise } from './optimise.js';
import { print } from './print.js';
import { pushDown, restOf, type Pushdown, type PushTarget } from './push.js';
import { filterOf, readyOf, type EventFilter } from './where.js';

/**
 * The predicate that evaluates a session's events in user space, and its text per tracker; null if there is nothing to
 * evaluate.
 */
export interface Evaluation {
  readonly matches: Predicate | null;
  /** As that of an `EventFilter`. */
  readonly ready: EventFilter['ready'];
  textOf(tracker: string): string | null;
}

/** A session's filter, split into the part that the kernel can evaluate and the part that then remains. */
export class SessionFilter {
  readonly text: string;
  /** The fields that it reads, by tracker. */
  readonly demand: Demand;
  /** One entry per tracker of the session, in their order. */
  readonly pushdowns: readonly Pushdown[];
  /** The user-space predicate if the kernel evaluates none of it. */
  readonly whole: Evaluation;
  /** The user-space predicate for events that the kernel lets through. */
  readonly rest: Evaluation;

  /** `inKernelOnly`: what the kernel lets through is not evaluated again; whoever reads the events does. */
  constructor(
    where: EventFilter,
    trackers: readonly PushTarget[],
    fields: FilterFields,
    { inKernelOnly = false }: { readonly inKernelOnly?: boolean } = {},
  ) {
    const names = trackers.map(({ name }) => name);
    this.text = where.text;
    this.demand = where.demand;
    this.pushdowns = pushDown(where.filter, trackers, fields);
    if (inKernelOnly) {
      this.whole = this.rest = { matches: null, ready: null, textOf: () => null };
      return;
    }
    this.whole = evaluation(where, (tracker) => optimise(where.filter, fields, [tracker]));
    const rest = restOf(this.pushdowns, fields);
    const restFor = new Map(this.pushdowns.map((pushdown) => [pushdown.tracker, pushdown.rest]));
    const evaluated = { filter: rest, matches: compileFilter(rest, fields, names), ready: readyOf(rest, fields) };
    this.rest = evaluation(evaluated, (tracker) => restFor.get(tracker) ?? NEVER);
  }

  /** Whether the kernel can evaluate any part of it. */
  get isPushed(): boolean {
    return this.pushdowns.some(({ constants }) => Object.keys(constants).length > 0);
  }

  /** Returns the filter that the kernel evaluates for a tracker's events, as a CEL expression; null if none. */
  inKernel(tracker: string): string | null {
    return textOf(this.pushdowns.find((pushdown) => pushdown.tracker === tracker)?.inKernel ?? ALWAYS);
  }
}

function evaluation(
  { filter, matches, ready }: Pick<EventFilter, 'filter' | 'matches' | 'ready'>,
  filterFor: (tracker: string) => Filter,
): Evaluation {
  const isAll = filter.kind === 'always' && filter.value;
  return { matches: isAll ? null : matches, ready, textOf: (tracker) => textOf(filterFor(tracker)) };
}

function textOf(filter: Filter): string | null {
  return filter.kind === 'always' && filter.value ? null : print(filter);
}

/**
 * Creates the filter of a session from its argument `where`; null if it matches everything. Throws BAD_USER_INPUT with
 * the path of the error.
 */
export function sessionFilterOf(
  input: unknown,
  fields: FilterFields,
  trackers: readonly PushTarget[],
  where: string,
): SessionFilter | null {
  const filter = filterOf(
    input,
    fields,
    trackers.map(({ name }) => name),
    where,
  );
  return filter && new SessionFilter(filter, trackers, fields);
}
