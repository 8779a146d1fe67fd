import { EunomiaError } from '../base/errors.js';
import { inTurns, sorted } from '../base/turn.js';
import { endOf } from './session/request.js';
import type { PageRequest } from './session/handle.js';

/** Where a row is among the others, whatever comes and goes between them: no two rows have the same. */
export type RowKey = readonly (string | number)[];

/** What a list is of: `name` keeps its cursors from being taken for those of another. */
export interface ListingOptions<Row> {
  readonly name: string;
  readonly keyOf: (row: Row) => RowKey;
  /** Rows of one page at most. */
  readonly most: number;
}

/** A page of rows. */
export interface Listing<Row> {
  readonly rows: readonly Row[];
  /** The place after the row at an index. */
  cursorAfter(index: number): string;
  readonly hasNext: boolean;
  readonly hasPrevious: boolean;
  /** How many rows there are for all pages together. */
  readonly total: number;
}

/**
 * A page of rows, which come in the order of their keys. A cursor is a key: it keeps its place when its row has gone, or others have come.
 * Throws BAD_USER_INPUT, and BAD_CURSOR for what is no cursor of such a list.
 */
export function listingOf<Row>(
  ordered: readonly Row[],
  { first, last, after, before }: Omit<PageRequest, 'where'>,
  { name, keyOf, most }: ListingOptions<Row>,
): Listing<Row> {
  const { limit, backwards } = endOf({ first, last, before }, most);
  const place = (cursor: string | undefined, argument: string, end: 'AHEAD' | 'BEHIND', otherwise: number): number =>
    cursor === undefined ? otherwise : placeOf(ordered, keyOf, parse(cursor, name, argument), end);
  const oldest = place(after, 'after', 'BEHIND', 0);
  const end = Math.max(oldest, place(before, 'before', 'AHEAD', ordered.length));
  const from = backwards ? Math.max(oldest, end - limit) : oldest;
  const to = backwards ? end : Math.min(end, from + limit);
  const rows = ordered.slice(from, to);
  return {
    rows,
    total: ordered.length,
    hasNext: to < ordered.length,
    hasPrevious: from > 0,
    cursorAfter: (index) => {
      const row = rows[index];
      return row === undefined ? '' : Buffer.from(JSON.stringify([name, ...keyOf(row)])).toString('base64url');
    },
  };
}

/** A copy that is sorted by these keys, in turns: there may be tens of thousands of rows. */
export async function byKey<Row>(rows: readonly Row[], keyOf: (row: Row) => RowKey): Promise<Row[]> {
  const keyed = rows.map((row) => ({ row, key: keyOf(row) }));
  const ordered = await inTurns(sorted(keyed, (a, b) => compareKeys(a.key, b.key)));
  return ordered.map(({ row }) => row);
}

/** The index of the first row at this key or behind it (`AHEAD`), or behind it only. */
function placeOf<Row>(
  ordered: readonly Row[],
  keyOf: (row: Row) => RowKey,
  key: RowKey,
  end: 'AHEAD' | 'BEHIND',
): number {
  let low = 0;
  for (let high = ordered.length; low < high;) {
    const middle = (low + high) >> 1;
    const order = compareKeys(keyOf(ordered[middle] as Row), key);
    if (order < 0 || (order === 0 && end === 'BEHIND')) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compareKeys(a: RowKey, b: RowKey): number {
  for (let i = 0; i < a.length; i++) {
    const [one = '', other = ''] = [a[i], b[i]];
    if (one !== other) return one < other ? -1 : 1;
  }
  return 0;
}

function parse(cursor: string, name: string, argument: string): RowKey {
  const bad = (why: string) =>
    new EunomiaError('BAD_CURSOR', `${argument}: ${why}; use a cursor that this list gave, or leave it out`, {
      details: { argument },
    });
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    parts = null;
  }
  if (
    !Array.isArray(parts) ||
    parts.length < 2 ||
    !parts.every((part) => typeof part === 'string' || typeof part === 'number')
  )
    throw bad(`"${cursor.slice(0, 64)}" is not a cursor of ${name}`);
  const [of, ...key] = parts as [string, ...RowKey];
  if (of !== name) throw bad(`the cursor is not one of ${name}`);
  return key;
}
