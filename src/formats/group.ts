import type { FieldValue } from '../event/event.js';
import type { SheetColumn, Sheet } from './sheet.js';

/** What of an aggregate's row is written. */
export interface GroupRow {
  readonly key: readonly { readonly value: string | null }[];
  readonly count: number;
  readonly values: readonly {
    readonly name: string;
    readonly number: number | null;
    readonly text: string | null;
    readonly buckets?: unknown;
    readonly top?: unknown;
  }[];
  readonly window: { readonly from: string; readonly to: string } | null;
  readonly other: boolean;
}

/** What the value of a measure is: JSON for those that are lists. */
export type MeasureKind = 'DOUBLE' | 'TIME' | 'JSON';

const COLUMN = { DOUBLE: 'double', TIME: 'time', JSON: 'text' } as const;

export interface GroupSheetOptions {
  readonly groupBy: readonly string[];
  readonly measures: readonly { readonly name: string; readonly kind: MeasureKind }[];
  readonly windows: boolean;
}

/**
 * Rows of an aggregate as a sheet: a column for each field of the key, the count, and each measure. Group values are
 * text, as in GraphQL.
 */
export function aggregateSheet({ groupBy, measures: all, windows }: GroupSheetOptions): Sheet<GroupRow> {
  // A measure of this name is the count that each row has anyway.
  const measures = all.map((measure, index) => ({ ...measure, index })).filter(({ name }) => name !== 'count');
  const columns: SheetColumn[] = [
    ...(windows
      ? ([
          { name: 'window.from', type: 'time' },
          { name: 'window.to', type: 'time' },
        ] as const)
      : []),
    ...groupBy.map((name) => ({ name, type: 'text' }) as const),
    { name: 'other', type: 'bool' },
    { name: 'count', type: 'uint64' },
    ...measures.map(({ name, kind }) => ({ name, type: COLUMN[kind] }) as const),
  ];
  const row = ({ key, count, values, window, other }: GroupRow): FieldValue[] => [
    ...(windows ? [window?.from ?? null, window?.to ?? null] : []),
    ...key.map(({ value }) => value),
    other,
    String(count),
    ...measures.map(({ kind, index }) => measured(values[index], kind)),
  ];
  const record = (item: GroupRow): object => ({
    ...Object.fromEntries(groupBy.map((name, i) => [name, item.key[i]?.value ?? null])),
    count: String(item.count),
    ...Object.fromEntries(measures.map(({ name, kind, index }) => [name, recorded(item.values[index], kind)])),
    ...(windows ? { window: item.window } : {}),
    other: item.other,
  });
  return { columns, record, row };
}

function recorded(value: GroupRow['values'][number] | undefined, kind: MeasureKind): unknown {
  if (!value) return null;
  return kind === 'JSON' ? (value.buckets ?? value.top ?? null) : (value.number ?? value.text);
}

function measured(value: GroupRow['values'][number] | undefined, kind: MeasureKind): FieldValue {
  if (!value) return null;
  if (kind === 'DOUBLE') return value.number;
  if (kind === 'TIME') return value.text;
  const list = value.buckets ?? value.top;
  return list === null || list === undefined ? null : JSON.stringify(list);
}
