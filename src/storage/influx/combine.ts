import { compares } from '../../analysis/aggregate/rows.js';
import type { Operand } from '../../analysis/aggregate/spec.js';
import type { PartialRow } from './client.js';
import { slotOf } from './plan.js';
import type { AggregateShape, StoredRow as AggregateRow } from '../store.js';

type Measured = AggregateRow['values'][number];
type HistoryMeasure = AggregateShape['measures'][number];

type Slots = Map<string, number>;

interface Group {
  /** Null of the row for the rest. */
  readonly key: readonly (string | null)[] | null;
  readonly windowMs: number | null;
  readonly slots: Slots;
}

/** Adds what one measurement says to what another said. Quantiles and distinct counts are of one measurement, so they meet no other. */
function merge(into: Slots, slot: string, value: number): void {
  const before = into.get(slot);
  if (before === undefined) into.set(slot, value);
  else if (slot.startsWith('min')) into.set(slot, Math.min(before, value));
  else if (slot.startsWith('max')) into.set(slot, Math.max(before, value));
  else if (slot.startsWith('count') || slot.startsWith('sum')) into.set(slot, before + value);
  else into.set(slot, Number.NaN); // of the rest: cannot be told
}

/** Makes the rows of a result. `seconds` is the length of the range, what a rate is over where there are no windows. */
export function rowsOf(partials: readonly PartialRow[], shape: AggregateShape, seconds: number): AggregateRow[] {
  const groups = new Map<string, Group>();
  for (const { key, windowMs, slot, value } of partials) {
    const name = JSON.stringify([windowMs, key]);
    const group = groups.get(name) ?? { key, windowMs, slots: new Map<string, number>() };
    groups.set(name, group);
    merge(group.slots, slot, value);
  }
  const windows = new Map<number | null, AggregateRow[]>();
  const full = new Map([...groups.values()].map((group) => [rowOf(group, shape, seconds), group]));
  for (const [row, { windowMs }] of full) {
    // A window without events has rows of zeros in some responses.
    if (row.count > 0) windows.set(windowMs, [...(windows.get(windowMs) ?? []), row]);
  }
  return [...windows]
    .sort(([a], [b]) => (a ?? 0) - (b ?? 0))
    .flatMap(([windowMs, rows]) => {
      const chosen = rows
        .filter((row) =>
          shape.having.every(({ of, comparison, value }) => compares[comparison](numberOf(row, of), value)),
        )
        .sort((a, b) => order(a, b, shape));
      const rest = chosen.slice(shape.limit);
      if (!rest.length) return chosen;
      const other: Group = { key: null, windowMs, slots: new Map() };
      for (const row of rest) for (const [slot, value] of full.get(row)?.slots ?? []) merge(other.slots, slot, value);
      return [...chosen.slice(0, shape.limit), rowOf(other, shape, seconds)];
    });
}

function rowOf(
  { key, windowMs, slots }: Group,
  { groupBy, measures, window }: AggregateShape,
  rangeSeconds: number,
): AggregateRow {
  const seconds = window ? window.sizeMs / 1000 : rangeSeconds;
  const count = slots.get(slotOf('count', null)) ?? 0;
  return {
    key: groupBy.map(({ path }, index) => ({ field: path, value: key?.[index] ?? null })),
    count,
    values: measures.map((measure) => valueOf(measure, slots, count, seconds)),
    window: window && windowMs !== null ? { from: textOf(windowMs), to: textOf(windowMs + window.sizeMs) } : null,
    other: key === null,
  };
}

function valueOf({ name, unit, fn, field, q }: HistoryMeasure, slots: Slots, count: number, seconds: number): Measured {
  const at = (slot: Parameters<typeof slotOf>[0]): number | null => {
    const value = slots.get(slotOf(slot, field, slot === 'quantile' ? q : 0));
    return value === undefined || Number.isNaN(value) ? null : value;
  };
  const number = ((): number | null => {
    switch (fn) {
      case 'COUNT':
        return field === null ? count : (at('count') ?? 0);
      case 'RATE': {
        const sum = field === null ? count : at('sum');
        return sum === null ? null : sum / seconds;
      }
      case 'AVG': {
        const sum = at('sum');
        return sum === null ? null : sum / (at('count') ?? 1);
      }
      case 'SUM':
        return at('sum');
      case 'MIN':
        return at('min');
      case 'MAX':
        return at('max');
      case 'QUANTILE':
        return at('quantile');
      case 'DISTINCT':
        return at('distinct') ?? 0;
      default:
        return null;
    }
  })();
  return {
    name,
    unit,
    number,
    text: Number.isSafeInteger(number) ? String(number) : null,
    error: 0,
    buckets: null,
    top: null,
  };
}

function textOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 23)}000000Z`;
}

function numberOf(row: AggregateRow, of: Operand): number | null {
  if (of.kind === 'COUNT') return row.count;
  return of.kind === 'MEASURE' ? (row.values[of.index]?.number ?? null) : null;
}

/** Largest count first unless said otherwise; null last. */
function order(a: AggregateRow, b: AggregateRow, { orderBy }: AggregateShape): number {
  for (const { of, descending } of orderBy) {
    const [left, right] = [a, b].map((row) =>
      of.kind === 'KEY' ? (row.key[of.index]?.value ?? null) : numberOf(row, of),
    );
    if (left === right || left === undefined || right === undefined) continue;
    if (left === null || right === null) return left === null ? 1 : -1;
    return (left < right ? -1 : 1) * (descending ? -1 : 1);
  }
  return b.count - a.count;
}
