import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeState, type Measure, type MeasureFunction } from './index.js';
import { EXACT, STANDARD_ERROR } from './distinct.js';
import type { Result, Totals } from './state.js';
import { Cell } from '../value.js';
import type { FieldValue } from '../../../event/event.js';

type Options = Partial<Omit<Measure, 'fn'>>;

/** Shares the values out among several states, as panes would, and merges these. */
function measured(
  fn: MeasureFunction,
  values: readonly FieldValue[],
  options: Options = {},
  parts = 1,
  totals: Totals = { count: values.length, seconds: 2 },
): Result {
  const measure: Measure = {
    name: 'm',
    fn,
    field: 'f',
    unit: null,
    time: false,
    q: 0.5,
    k: 10,
    buckets: null,
    ...options,
  };
  const states = Array.from({ length: parts }, () => makeState(measure));
  const cell = new Cell(() => null);
  values.forEach((value, i) => {
    cell.set(value);
    states[i % parts]?.add(cell, 1);
  });
  const whole = makeState(measure);
  for (const state of states) whole.merge(state);
  return whole.result(totals, measure);
}

const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const whole = fc.oneof(fc.integer({ min: -1000, max: 1000 }), uint64.map(String), fc.maxSafeInteger());
const parts = fc.integer({ min: 1, max: 5 });
const big = (value: FieldValue): bigint => BigInt(value as string | number);

describe('measures, split among states and merged', () => {
  it('sum whole numbers of any size exactly', () => {
    fc.assert(
      fc.property(fc.array(whole, { minLength: 1, maxLength: 60 }), parts, (values, n) => {
        const sum = values.reduce((a, v) => a + big(v), 0n);
        expect(measured('SUM', values, {}, n)).toMatchObject({ text: String(sum), number: Number(sum), error: 0 });
        expect(measured('AVG', values, {}, n).number).toBeCloseTo(Number(sum) / values.length, -3);
        expect(measured('RATE', values, {}, n).number).toBe(Number(sum) / 2);
      }),
    );
  });

  it('sum fractions without losing small ones', () => {
    expect(measured('SUM', [1e16, 0.5, 0.25, -1e16, 0.25]).number).toBe(1);
    expect(measured('SUM', [0.1, 0.2, 3, '4'], {}, 2).number).toBeCloseTo(7.3, 12);
  });

  it('find the smallest and the largest number exactly', () => {
    fc.assert(
      fc.property(fc.array(whole, { minLength: 1, maxLength: 40 }), parts, (values, n) => {
        const sorted = values.map(big).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
        expect(measured('MIN', values, {}, n).text).toBe(String(sorted[0]));
        expect(measured('MAX', values, {}, n).text).toBe(String(sorted.at(-1)));
      }),
    );
  });

  it('find the first and the last time', () => {
    const times = [
      '2026-01-31T08:15:30.123456789Z',
      '2026-01-31T08:15:30.123456788Z',
      '2026-02-01T00:00:00.000000000Z',
    ];
    expect(measured('MIN', times, { time: true }, 2)).toMatchObject({ text: times[1], number: null });
    expect(measured('MAX', times, { time: true }, 2).text).toBe(times[2]);
  });

  it('find quantiles within one percent', () => {
    const value = fc.oneof(
      fc.integer({ min: 0, max: 100 }),
      uint64.map(String),
      fc.double({ min: 1e-8, max: 1e12, noNaN: true }),
      fc.integer({ min: -5000, max: -1 }),
    );
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 80 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        parts,
        (values, q, n) => {
          const sorted = values.map(Number).sort((a, b) => a - b);
          const exact = sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN;
          const { number, error } = measured('QUANTILE', values, { q }, n);
          expect(error).toBe(0.01);
          expect(Math.abs((number ?? Number.NaN) - exact)).toBeLessThanOrEqual(Math.abs(exact) * error * 1.000001);
        },
      ),
    );
  });

  it('keep a quantile of many weighted values in a bucket beyond 2^32', () => {
    const measure: Measure = {
      name: 'm',
      fn: 'QUANTILE',
      field: 'f',
      unit: null,
      time: false,
      q: 0.5,
      k: 1,
      buckets: null,
    };
    const state = makeState(measure);
    const cell = new Cell(() => null);
    for (const [value, weight] of [
      [10, 3e9],
      [10, 3e9],
      [1000, 5e9],
    ] as const) {
      cell.set(value);
      state.add(cell, weight);
    }
    expect(state.result({ count: 1, seconds: null }, measure).number).toBeCloseTo(10, 0);
  });

  it('count distinct values exactly while they are few', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string(), fc.integer(), fc.constant(null)), { maxLength: 300 }),
        parts,
        (values, n) => {
          const different = new Set(values.filter((v) => v !== null).map(String)).size;
          expect(measured('DISTINCT', values, {}, n)).toMatchObject({ number: different, error: 0 });
        },
      ),
    );
    expect(
      measured(
        'DISTINCT',
        Array.from({ length: EXACT }, (_, i) => i),
        {},
        3,
      ),
    ).toMatchObject({ number: EXACT, error: 0 });
  });

  it.each([1001, 5000, 40_000, 300_000])('estimate %d distinct values within the stated error', (count) => {
    // Merged of overlapping parts too: what two parts saw counts once.
    const values = Array.from({ length: count }, (_, i) => `/proc/${i}/status`);
    const errors = [values, [...values, ...values.slice(0, 500)]].map((list) => {
      const { number, error } = measured('DISTINCT', list, {}, 3);
      expect(error).toBe(STANDARD_ERROR);
      return Math.abs((number ?? 0) / count - 1);
    });
    for (const error of errors) expect(error).toBeLessThan(3 * STANDARD_ERROR);
  });

  it('put every number into the bucket that holds it', () => {
    fc.assert(
      fc.property(
        fc.array(whole, { maxLength: 50 }),
        fc.option(fc.uniqueArray(fc.integer(), { minLength: 1, maxLength: 6 }), { nil: null }),
        parts,
        (values, bounds, n) => {
          const buckets = bounds && [...bounds].sort((a, b) => a - b);
          const result = measured('HISTOGRAM', values, { buckets }, n).buckets ?? [];
          expect(result.reduce((sum, { count }) => sum + count, 0)).toBe(values.length);
          for (const { from, to, count } of result) {
            const inside = values.filter(
              (v) => (from === null || big(v) >= BigInt(from)) && (to === null || big(v) < BigInt(to)),
            );
            expect(count).toBe(inside.length);
          }
        },
      ),
    );
  });

  it('tell a histogram of powers of two from the first bucket to the last that is used', () => {
    expect(measured('HISTOGRAM', [0, 5, 6, 17]).buckets).toEqual([
      { from: 0, to: 1, count: 1 },
      { from: 1, to: 2, count: 0 },
      { from: 2, to: 4, count: 0 },
      { from: 4, to: 8, count: 2 },
      { from: 8, to: 16, count: 0 },
      { from: 16, to: 32, count: 1 },
    ]);
    expect(measured('HISTOGRAM', []).buckets).toEqual([]);
  });

  it('bound how often the top values were there', () => {
    const value = fc.oneof(
      { weight: 3, arbitrary: fc.integer({ min: 0, max: 3 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 2000 }) },
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 1500, size: 'max' }), parts, (values, n) => {
        const exact = new Map<string, number>();
        for (const v of values) exact.set(String(v), (exact.get(String(v)) ?? 0) + 1);
        const top = measured('TOP_K', values, { k: 5 }, n).top ?? [];
        for (const { value: v, count, error } of top) {
          const real = exact.get(v) ?? 0;
          expect(count).toBeGreaterThanOrEqual(real);
          expect(count - error).toBeLessThanOrEqual(real);
        }
        // More than one in so many events as there are counters, 64: never missed, unless five others are more frequent.
        const frequent = [...exact].filter(([, count]) => count > (values.length * 2) / 64).map(([v]) => v);
        const least = Math.min(...top.map(({ count }) => count));
        for (const v of frequent) expect(top.some((t) => t.value === v) || (exact.get(v) ?? 0) <= least).toBe(true);
        if (exact.size <= 64)
          expect(top.map(({ count }) => count)).toEqual([...exact.values()].sort((a, b) => b - a).slice(0, 5));
      }),
      { numRuns: 60 },
    );
  });

  it('count the events that have a value', () => {
    expect(measured('COUNT', ['a', null, 0, false, ''], {}, 2)).toMatchObject({ number: 4, text: '4' });
    expect(measured('COUNT', ['a', null], { field: null }).number).toBe(2);
    expect(measured('RATE', ['a', null, 'b'], { field: null })).toMatchObject({ number: 1.5, text: null });
    expect(measured('RATE', ['a'], { field: null }, 1, { count: 1, seconds: null }).number).toBeNull();
  });

  it.each(['SUM', 'AVG', 'MIN', 'MAX', 'QUANTILE'] as const)('have no %s of no numbers', (fn) => {
    expect(measured(fn, [null, '', 'text', ['a']], {}, 2)).toMatchObject({ number: null, text: null });
  });

  it('refuse to merge with another measure', () => {
    const of = (fn: MeasureFunction) =>
      makeState({ name: 'm', fn, field: 'f', unit: null, time: false, q: 0.5, k: 10, buckets: null });
    expect(() => of('SUM').merge(of('DISTINCT'))).toThrow('only states of the same measure');
  });
});
