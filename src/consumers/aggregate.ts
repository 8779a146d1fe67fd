import type { FieldValue, TraceEvent } from '../event.js';

export interface AggregateRow {
  readonly key: readonly { readonly field: string; readonly value: string | null }[];
  readonly count: number;
  /** The row that sums up all groups beyond the limit. */
  readonly other: boolean;
}

export type FieldReader = (event: TraceEvent) => FieldValue | undefined;

/**
 * Counts events by the values of fields, largest group first, equal ones in order of appearance. Beyond `limit`
 * rows the rest is one row with `other` set, so that the counts always sum up to the number of events.
 */
export function countBy(events: Iterable<TraceEvent>, fields: readonly { readonly path: string; readonly read: FieldReader }[], limit: number): AggregateRow[] {
  const groups = new Map<string, { values: (string | null)[]; count: number }>();
  for (const event of events) {
    const values = fields.map(({ read }) => textOf(read(event)));
    const key = JSON.stringify(values);
    const group = groups.get(key);
    if (group) group.count++;
    else groups.set(key, { values, count: 1 });
  }
  const sorted = [...groups.values()].sort((a, b) => b.count - a.count);
  const rows: AggregateRow[] = sorted.slice(0, limit).map(({ values, count }) => ({
    key: fields.map(({ path }, i) => ({ field: path, value: values[i] ?? null })),
    count,
    other: false,
  }));
  const rest = sorted.slice(limit).reduce((sum, { count }) => sum + count, 0);
  if (rest) rows.push({ key: fields.map(({ path }) => ({ field: path, value: null })), count: rest, other: true });
  return rows;
}

/** As it would stand in JSON, without quotes; a list as JSON. */
function textOf(value: FieldValue | undefined): string | null {
  if (value === null || value === undefined) return null;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
