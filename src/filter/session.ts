import type { Work } from '../base/turn.js';
import type { Demand } from '../event/event.js';
import { ALWAYS, and, isTracker, NEVER, or, type Filter } from './ast.js';
import { compileFilter, type Predicate } from './compile.js';
import type { FilterFields } from './field.js';
import { optimise } from './optimise.js';
import { print } from './print.js';
import { numbers, pushDown, restOf, type Pushdown, type PushTarget } from './push.js';
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

  constructor(where: EventFilter, trackers: readonly PushTarget[], fields: FilterFields) {
    const names = trackers.map(({ name }) => name);
    this.text = where.text;
    this.demand = where.demand;
    this.pushdowns = pushDown(where.filter, trackers, fields);
    this.whole = evaluation(where, (tracker) => optimise(where.filter, fields, [tracker]));
    const rest = restOf(this.pushdowns, fields);
    const restFor = new Map(this.pushdowns.map((pushdown) => [pushdown.tracker, pushdown.rest]));
    const evaluated = { filter: rest, matches: compileFilter(rest, fields, names), ready: readyOf(rest, fields) };
    this.rest = evaluation(evaluated, (tracker) => restFor.get(tracker) ?? NEVER);
  }

  /** Whether the kernel can evaluate any part of it. */
  get isPushed(): boolean {
    return isPushed(this.pushdowns);
  }

  /** Returns the filter that the kernel evaluates for a tracker's events, as a CEL expression; null if none. */
  inKernel(tracker: string): string | null {
    return inKernel(this.pushdowns, tracker);
  }
}

/** One of many filters whose events somebody evaluates who reads them. */
export interface FilterPart {
  readonly filter: Filter;
  /** Whose events it is for. */
  readonly trackers: readonly string[];
}

/**
 * A session's filter of which the kernel evaluates what it can, and nobody else the rest: for a reader that has many filters of its own
 * and finds those that an event can match. Made in pieces: there may be hundreds.
 */
export class KernelFilter implements SessionFilter {
  readonly text: string;
  readonly demand: Demand;
  readonly pushdowns: readonly Pushdown[];
  readonly whole = nothing;
  readonly rest = nothing;

  private constructor(text: string, demand: Demand, pushdowns: readonly Pushdown[]) {
    this.text = text;
    this.demand = demand;
    this.pushdowns = pushdowns;
  }

  static *of(parts: readonly FilterPart[], trackers: readonly PushTarget[], fields: FilterFields): Work<KernelFilter> {
    const nextSet = numbers();
    const pushdowns: Pushdown[] = [];
    /** As of one filter that joins them with "||". */
    const texts: string[] = [];
    for (const tracker of trackers) {
      const own: Filter[] = [];
      for (const part of parts) {
        if (!part.trackers.includes(tracker.name)) continue;
        own.push(optimise(part.filter, fields, [tracker.name]));
        yield;
      }
      const filter = or(own);
      const wanted = and([isTracker(tracker.name), filter]);
      texts.push(print(wanted));
      yield;
      const [pushdown] = pushDown(filter, [tracker], fields, nextSet);
      if (pushdown) pushdowns.push({ ...pushdown, rest: ALWAYS });
      yield;
    }
    // What is read of events in user space, their reader demands.
    return new KernelFilter(texts.join(' || ') || print(NEVER), new Map(), pushdowns);
  }

  get isPushed(): boolean {
    return isPushed(this.pushdowns);
  }

  inKernel(tracker: string): string | null {
    return inKernel(this.pushdowns, tracker);
  }
}

const nothing: Evaluation = { matches: null, ready: null, textOf: () => null };

function isPushed(pushdowns: readonly Pushdown[]): boolean {
  return pushdowns.some(({ constants }) => Object.keys(constants).length > 0);
}

function inKernel(pushdowns: readonly Pushdown[], tracker: string): string | null {
  return textOf(pushdowns.find((pushdown) => pushdown.tracker === tracker)?.inKernel ?? ALWAYS);
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
  path: string,
): SessionFilter | null {
  const filter = filterOf(
    input,
    fields,
    trackers.map(({ name }) => name),
    path,
  );
  return filter && new SessionFilter(filter, trackers, fields);
}
