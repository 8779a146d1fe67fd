import type { Demand, TraceEvent } from '../event.js';
import { ALWAYS, NEVER, type Filter } from './ast.js';
import { compileFilter, type Predicate } from './compile.js';
import type { FilterFields } from './field.js';
import { optimise } from './optimise.js';
import { print } from './print.js';
import { pushDown, restOf, type Pushdown, type PushTarget } from './push.js';
import { filterOf, type EventFilter } from './where.js';

/** What judges the events of a session in user space, and what it says of each tracker; null where nothing is to be judged. */
export interface Judgement {
  readonly matches: Predicate | null;
  textOf(tracker: string): string | null;
}

/** A session's filter, taken apart: what the kernel can judge of it, and what is left if it does. */
export class SessionFilter {
  readonly text: string;
  /** What it reads, by tracker. */
  readonly demand: Demand;
  /** By tracker of the session, in their order. */
  readonly pushdowns: readonly Pushdown[];
  /** In user space, when the kernel judges none of it. */
  readonly whole: Judgement;
  /** The same, of what the kernel lets through. */
  readonly rest: Judgement;

  constructor(where: EventFilter, trackers: readonly PushTarget[], fields: FilterFields) {
    const names = trackers.map(({ name }) => name);
    this.text = where.text;
    this.demand = where.demand;
    this.pushdowns = pushDown(where.filter, trackers, fields);
    this.whole = judgement(where.filter, where.matches, (tracker) => optimise(where.filter, fields, [tracker]));
    const rest = restOf(this.pushdowns, fields);
    const restFor = new Map(this.pushdowns.map((pushdown) => [pushdown.tracker, pushdown.rest]));
    this.rest = judgement(rest, compileFilter(rest, fields, names), (tracker) => restFor.get(tracker) ?? NEVER);
  }

  /** Whether the kernel can judge anything of it. */
  get isPushed(): boolean {
    return this.pushdowns.some(({ constants }) => Object.keys(constants).length > 0);
  }

  /** What the kernel judges of a tracker's events when it judges what it can; null for nothing. */
  inKernel(tracker: string): string | null {
    return textOf(this.pushdowns.find((pushdown) => pushdown.tracker === tracker)?.inKernel ?? ALWAYS);
  }
}

function judgement(
  filter: Filter,
  matches: (event: TraceEvent) => boolean,
  filterFor: (tracker: string) => Filter,
): Judgement {
  const isAll = filter.kind === 'always' && filter.value;
  return { matches: isAll ? null : matches, textOf: (tracker) => textOf(filterFor(tracker)) };
}

function textOf(filter: Filter): string | null {
  return filter.kind === 'always' && filter.value ? null : print(filter);
}

/** The filter of a session's argument `where`; null when it takes all. Throws BAD_USER_INPUT with the path of what is wrong. */
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
