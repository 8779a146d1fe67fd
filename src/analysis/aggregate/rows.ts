import { sorted, type Work } from '../../base/turn.js';
import type { Unit } from '../../event/scalar.js';
import { textOfMs } from '../../event/clock.js';
import type { Result } from './measures/state.js';
import type { Group, GroupFactory, Pane } from './pane.js';
import type { AggregateSpec, ComparisonName, Operand } from './spec.js';
import { textOf } from '../../event/value-text.js';

/** Groups whose results are made in one piece. */
const PIECE = 32;

export interface MeasureValue extends Result {
  readonly name: string;
  readonly unit: Unit | null;
}

/** RFC 3339; `from` is in it, `to` is not. */
export interface WindowSpan {
  readonly from: string;
  readonly to: string;
}

export interface AggregateRow {
  readonly key: readonly { readonly field: string; readonly value: string | null }[];
  readonly count: number;
  readonly values: readonly MeasureValue[];
  readonly window: WindowSpan | null;
  /** The row that sums up the groups that are not told apart. */
  readonly other: boolean;
}

export function spanOf(fromMs: number, toMs: number): WindowSpan {
  return { from: textOfMs(fromMs), to: textOfMs(toMs) };
}

export function rowOf(
  spec: AggregateSpec,
  factory: GroupFactory,
  group: Group,
  window: WindowSpan | null,
  seconds: number | null,
): AggregateRow {
  return {
    key: spec.groupBy.map(({ path }, i) => ({ field: path, value: textOf(group.key?.[i] ?? null) })),
    count: group.count,
    values: spec.measures.map(({ name, unit }, i) => ({ name, unit, ...factory.resultOf(group, i, seconds) })),
    window,
    other: group.key === null,
  };
}

/**
 * The rows of a pane: those that meet all conditions, in order, and at most `limit`; what is beyond the limit, or was never
 * told apart, is one last row.
 */
export function* rowsOf(
  spec: AggregateSpec,
  factory: GroupFactory,
  pane: Pane,
  window: WindowSpan | null,
  seconds: number | null,
): Work<AggregateRow[]> {
  const meets = (group: Group): boolean =>
    spec.having.every(({ of, comparison, value }) =>
      compares[comparison](numberOf(factory, group, of, seconds), value),
    );
  const met: Group[] = [];
  for (const [i, group] of pane.groups.entries()) {
    if (i % PIECE === PIECE - 1) yield;
    if (meets(group)) met.push(group);
  }
  const chosen = yield* inOrder(met, spec, factory, seconds);
  const rows: AggregateRow[] = [];
  const other = chosen.length > spec.limit || pane.other ? factory.make(null) : null;
  for (const [i, group] of chosen.entries()) {
    if (i % PIECE === PIECE - 1) yield;
    if (i < spec.limit) rows.push(rowOf(spec, factory, group, window, seconds));
    else other?.merge(group);
  }
  if (other) {
    if (pane.other) other.merge(pane.other);
    rows.push(rowOf(spec, factory, other, window, seconds));
  }
  return rows;
}

/** Of `having`: null fulfils no order. */
export const compares: Readonly<Record<ComparisonName, (actual: number | null, wanted: number) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  gt: (a, b) => a !== null && a > b,
  gte: (a, b) => a !== null && a >= b,
  lt: (a, b) => a !== null && a < b,
  lte: (a, b) => a !== null && a <= b,
};

function numberOf(factory: GroupFactory, group: Group, of: Operand, seconds: number | null): number | null {
  if (of.kind === 'COUNT') return group.count;
  return of.kind === 'MEASURE' ? factory.resultOf(group, of.index, seconds).number : null;
}

type Sortable = string | number | boolean | null;

function sortable(factory: GroupFactory, group: Group, of: Operand, seconds: number | null): Sortable {
  if (of.kind === 'KEY') return group.key?.[of.index] ?? null;
  if (of.kind === 'COUNT') return group.count;
  const { number, text } = factory.resultOf(group, of.index, seconds);
  return number ?? text;
}

/** Largest first unless the specification says otherwise; equal ones stay in order of appearance. */
function* inOrder(
  groups: readonly Group[],
  { orderBy }: AggregateSpec,
  factory: GroupFactory,
  seconds: number | null,
): Work<Group[]> {
  if (!orderBy.length) return yield* sorted(groups, (a, b) => b.count - a.count);
  // A result may cost a walk over a sketch: once a group, not once a comparison.
  const values = new Map<Group, readonly Sortable[]>();
  for (const group of groups) {
    if (values.size % PIECE === PIECE - 1) yield;
    values.set(
      group,
      orderBy.map(({ of }) => sortable(factory, group, of, seconds)),
    );
  }
  return yield* sorted(groups, (a, b) => {
    for (const [i, { descending }] of orderBy.entries()) {
      const order = compare(values.get(a)?.[i] ?? null, values.get(b)?.[i] ?? null, descending);
      if (order) return order;
    }
    return b.count - a.count;
  });
}

/** Null comes last in both directions. */
function compare(a: Sortable, b: Sortable, descending: boolean): number {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  const order = typeof a === typeof b ? (a < b ? -1 : 1) : String(a) < String(b) ? -1 : 1;
  return descending ? -order : order;
}
