import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countBy, type FieldReader } from '../../src/consumers/aggregate.js';
import type { FieldValue, TraceEvent } from '../../src/event.js';

const eventOf = (fields: Readonly<Record<string, FieldValue | undefined>>) => fields as unknown as TraceEvent;
const field = (path: string): { path: string; read: FieldReader } => ({ path, read: (event) => Reflect.get(event, path) as FieldValue | undefined });

describe('counting by fields', () => {
  it('groups by the values, largest first, equal ones as they came', () => {
    const events = ['b', 'a', 'c', 'a', 'c', 'd'].map((comm) => eventOf({ comm }));
    expect(countBy(events, [field('comm')], 10).map((row) => [row.key[0]?.value, row.count, row.other])).toEqual([['a', 2, false], ['c', 2, false], ['b', 1, false], ['d', 1, false]]);
  });

  it('shows values as JSON has them, without quotes, and tells null from "null" and [] from ""', () => {
    const values: (FieldValue | undefined)[] = [null, 'null', undefined, '', [], ['a', 'b'], 'a,b', 0, '0', true, -1.5];
    const rows = countBy(values.map((v) => eventOf({ v })), [field('v')], 100);
    expect(rows.map((row) => [row.key[0]?.value, row.count])).toEqual([[null, 2], ['0', 2], ['null', 1], ['', 1], ['[]', 1], ['["a","b"]', 1], ['a,b', 1], ['true', 1], ['-1.5', 1]]);
  });

  it('keeps the order of the fields in each key', () => {
    const [row] = countBy([eventOf({ a: 1, b: 'x' })], [field('b'), field('a'), field('none')], 5);
    expect(row).toEqual({ key: [{ field: 'b', value: 'x' }, { field: 'a', value: '1' }, { field: 'none', value: null }], count: 1, other: false });
  });

  it('has counts that sum up to the number of events, whatever the limit', () => {
    const value = fc.oneof(fc.constantFrom('a', 'b', 'c', 'd', 'e', null), fc.integer({ min: 0, max: 3 }), fc.array(fc.constantFrom('x', 'y'), { maxLength: 2 }));
    fc.assert(
      fc.property(fc.array(fc.record({ a: value, b: value }), { maxLength: 80 }), fc.integer({ min: 1, max: 12 }), (list, limit) => {
        const fields = [field('a'), field('b')];
        const rows = countBy(list.map(eventOf), fields, limit);
        expect(rows.reduce((sum, row) => sum + row.count, 0)).toBe(list.length);
        expect(rows.filter((row) => !row.other).length).toBeLessThanOrEqual(limit);
        expect(rows.filter((row) => row.other).length).toBeLessThanOrEqual(1);
        const named = rows.filter((row) => !row.other);
        expect(new Set(named.map((row) => JSON.stringify(row.key))).size).toBe(named.length);
        expect(named.map((row) => row.count)).toEqual(named.map((row) => row.count).sort((x, y) => y - x));
        for (const row of rows.filter((r) => r.other)) {
          expect(named).toHaveLength(limit);
          expect(row.key).toEqual([{ field: 'a', value: null }, { field: 'b', value: null }]);
        }
      }),
    );
  });

  it('of nothing is nothing', () => {
    expect(countBy([], [field('a')], 5)).toEqual([]);
  });
});
