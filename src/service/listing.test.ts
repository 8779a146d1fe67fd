import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byKey, listingOf, type ListingOptions } from './listing.js';

const options: ListingOptions<number> = { name: 'numbers', keyOf: (row) => [String(row % 10), row], most: 50 };
const sorted = (rows: readonly number[]): number[] => [...new Set(rows)].sort((a, b) => (a % 10) - (b % 10) || a - b);
const rowsOf = fc.array(fc.nat(200), { maxLength: 40 }).map(sorted);

describe('a list in pages', () => {
  it('is read whole, forwards and backwards, each row once', () => {
    fc.assert(
      fc.property(rowsOf, fc.integer({ min: 1, max: 7 }), (rows, size) => {
        const forwards: number[] = [];
        let after: string | undefined;
        for (;;) {
          const page = listingOf(rows, { first: size, after }, options);
          forwards.push(...page.rows);
          expect(page.total).toBe(rows.length);
          expect(page.hasPrevious).toBe(forwards.length > page.rows.length);
          if (!page.hasNext) break;
          after = page.cursorAfter(page.rows.length - 1);
        }
        const backwards: number[] = [];
        let before: string | undefined;
        for (;;) {
          const page = listingOf(rows, { last: size, before }, options);
          backwards.unshift(...page.rows);
          if (!page.hasPrevious) break;
          before = page.cursorAfter(0);
        }
        expect([forwards, backwards]).toEqual([rows, rows]);
      }),
    );
  });

  it('goes on at its place when the row of the cursor has gone, and others have come', () => {
    fc.assert(
      fc.property(rowsOf, rowsOf, fc.nat(39), (rows, later, at) => {
        const row = rows[at];
        if (row === undefined) return;
        const cursor = listingOf(rows, { first: 50 }, options).cursorAfter(at);
        const now = sorted(later.filter((one) => one !== row));
        const order = sorted([...now, row]).indexOf(row);
        expect(listingOf(now, { first: 50, after: cursor }, options).rows).toEqual(now.slice(order));
        expect(listingOf(now, { last: 50, before: cursor }, options).rows).toEqual(now.slice(0, order));
      }),
    );
  });

  it('has 100 rows from the first on, or those before a cursor', () => {
    const rows = Array.from({ length: 300 }, (_, i) => i);
    const plain = { name: 'plain', keyOf: (row: number) => [row], most: 1000 };
    expect(listingOf(rows, {}, plain).rows).toEqual(rows.slice(0, 100));
    const before = listingOf(rows, { first: 300 }, plain).cursorAfter(250);
    expect(listingOf(rows, { before }, plain).rows).toEqual(rows.slice(150, 250));
    const after = listingOf(rows, { first: 300 }, plain).cursorAfter(200);
    const between = listingOf(rows, { first: 1000, after, before }, plain);
    expect(between.rows).toEqual(rows.slice(201, 250));
    expect([between.hasPrevious, between.hasNext]).toEqual([true, true]);
    expect(listingOf(rows, { first: 10, after: before, before: after }, plain).rows).toEqual([]);
  });

  it.each([
    [{ first: 0 }, 'first'],
    [{ first: 51 }, 'first'],
    [{ last: 0 }, 'last'],
    [{ first: 1, last: 1 }, 'last'],
  ])('%j is refused', (range, argument) => {
    expect(() => listingOf([1], range, options)).toThrow(
      expect.objectContaining({ code: 'BAD_USER_INPUT', details: expect.objectContaining({ argument }) as unknown }),
    );
  });

  it.each(['', 'x', Buffer.from('[]').toString('base64url'), Buffer.from('["other",1]').toString('base64url')])(
    'the cursor "%s" is refused',
    (after) => {
      expect(() => listingOf([1], { first: 1, after }, options)).toThrow(
        expect.objectContaining({ code: 'BAD_CURSOR' }),
      );
    },
  );
});

it('tens of thousands of rows are sorted in turns, between which others have theirs', async () => {
  const rows = Array.from({ length: 30_000 }, (_, i) => ({
    at: String((i * 7_919) % 30_000).padStart(5, '0'),
    id: `${i}`,
  }));
  let turns = 0;
  let ended = false;
  const count = (): void => void (ended || (turns++, setImmediate(count)));
  count();
  const sorted = await byKey(rows, ({ at, id }) => [at, id]);
  ended = true;
  expect(turns).toBeGreaterThan(2);
  expect(sorted).toEqual([...rows].sort((a, b) => (a.at < b.at ? -1 : 1)));
});
