import { describe, expect, it } from 'vitest';
import { contractSchema } from '../../api/graphql/schema.js';
import { compileAggregate, demandOf, type AggregateInput } from './spec.js';
import { Catalog } from '../../catalog/catalog.js';
import { loadTrackers } from '../../catalog/load.js';

const catalog = new Catalog(contractSchema(), await loadTrackers(), () => false);
const compile = (input: Partial<AggregateInput>, trackers = ['tcp', 'exec']) =>
  compileAggregate({ groupBy: ['process.comm'], ...input }, catalog, trackers);

describe('an aggregate', () => {
  it('has defaults for all that is left out', () => {
    expect(compile({})).toEqual({
      groupBy: [{ path: 'process.comm', mixed: false }],
      measures: [],
      window: null,
      having: [],
      orderBy: [],
      limit: 1000,
      maxGroups: 10_000,
      kernelTotals: null,
      lineage: null,
    });
  });

  it('names its measures after what they do', () => {
    const measures = [
      { fn: 'COUNT' },
      { fn: 'RATE' },
      { fn: 'QUANTILE', field: 'durationNs', q: 0.999 },
      { fn: 'TOP_K', field: 'remoteAddress' },
      { fn: 'MAX', field: 'time' },
    ] as const;
    expect(compile({ measures }).measures.map(({ name }) => name)).toEqual([
      'count',
      'rate',
      'p99.9(durationNs)',
      'top(remoteAddress)',
      'max(time)',
    ]);
  });

  it('takes conditions and orders by measure, count and key', () => {
    const spec = compile({
      measures: [{ fn: 'AVG', field: 'sentBytes', name: 'sent' }],
      having: [
        { measure: 'sent', gt: 1, lte: 9 },
        { measure: 'count', ne: 0 },
      ],
      orderBy: [{ by: 'sent', direction: 'ASC' }, { by: 'process.comm' }],
    });
    expect(spec.having.map(({ of, comparison, value }) => [of.kind, comparison, value])).toEqual([
      ['MEASURE', 'gt', 1],
      ['MEASURE', 'lte', 9],
      ['COUNT', 'ne', 0],
    ]);
    expect(spec.orderBy).toEqual([
      { of: { kind: 'MEASURE', index: 0 }, descending: false },
      { of: { kind: 'KEY', index: 0 }, descending: true },
    ]);
  });

  it('reads the fields that it groups by and measures, of the trackers that have them', () => {
    const spec = compile({
      groupBy: ['process.comm', 'container.labels.tier', 'args'],
      measures: [{ fn: 'SUM', field: 'sentBytes' }],
    });
    expect(demandOf(spec, catalog, ['tcp', 'exec'])).toEqual(
      new Map([
        ['tcp', new Set(['process', 'container', 'sentBytes'])],
        ['exec', new Set(['process', 'container', 'args'])],
      ]),
    );
  });

  it.each<[string, Partial<AggregateInput>, RegExp]>([
    ['groupBy', { groupBy: [] }, /^groupBy: is empty; name one to eight fields/],
    ['groupBy', { groupBy: Array.from({ length: 9 }, (_, i) => `container.labels.l${i}`) }, /has 9 entries; at most 8/],
    ['groupBy[1]', { groupBy: ['errno', 'procss.comm'] }, /did you mean "process.comm"/],
    ['groupBy[1]', { groupBy: ['errno', 'errno'] }, /there already, in groupBy\[0\]/],
    ['groupBy[0]', { groupBy: ['bootNs'] }, /differs for every event.*`window: \{ size: "1m" \}`/],
    [
      'measures[0].field',
      { measures: [{ fn: 'SUM' }] },
      /SUM needs the field that it measures, for example "sentBytes"/,
    ],
    ['measures[0].field', { measures: [{ fn: 'SUM', field: 'sentByte' }] }, /did you mean "sentBytes"/],
    [
      'measures[1].field',
      { measures: [{ fn: 'COUNT' }, { fn: 'AVG', field: 'process.comm' }] },
      /"process.comm" is String, and AVG needs a number, for example/,
    ],
    ['measures[0].field', { measures: [{ fn: 'MIN', field: 'errno' }] }, /needs a number or a time/],
    ['measures[0].field', { measures: [{ fn: 'SUM', field: 'time' }] }, /is DateTime, and SUM needs a number/],
    ['measures[0].q', { measures: [{ fn: 'QUANTILE', field: 'durationNs' }] }, /0.5 is the median/],
    [
      'measures[0].q',
      { measures: [{ fn: 'QUANTILE', field: 'durationNs', q: 99 }] },
      /99 is out of range; give 0 to 1; did you mean 0.99\?/,
    ],
    ['measures[0].q', { measures: [{ fn: 'QUANTILE', field: 'durationNs', q: Number.NaN }] }, /out of range/],
    ['measures[0].q', { measures: [{ fn: 'SUM', field: 'durationNs', q: 0.5 }] }, /belongs to QUANTILE, not to SUM/],
    ['measures[0].k', { measures: [{ fn: 'TOP_K', field: 'errno', k: 0 }] }, /give 1 to 1000/],
    [
      'measures[0].buckets[1]',
      { measures: [{ fn: 'HISTOGRAM', field: 'durationNs', buckets: [5, 5] }] },
      /bounds ascend/,
    ],
    ['measures[0].buckets', { measures: [{ fn: 'HISTOGRAM', field: 'durationNs', buckets: [] }] }, /powers of two/],
    [
      'measures[1].name',
      { measures: [{ fn: 'COUNT' }, { fn: 'COUNT' }] },
      /"count" is the name of measures\[0\] already/,
    ],
    ['measures[0].name', { measures: [{ fn: 'RATE', name: 'count' }] }, /the number of events of the group/],
    [
      'measures',
      { measures: Array.from({ length: 17 }, (_, i) => ({ fn: 'COUNT', name: `c${i}` }) as const) },
      /at most 16/,
    ],
    ['window.slide', { window: { size: 1000, slide: 2000 } }, /"2s" is longer than the window of "1s"/],
    ['window.slide', { window: { size: 10_000, slide: 3000 } }, /does not divide.*"9s" or "12s"/],
    [
      'window.slide',
      { window: { size: 3_600_000, slide: 1000 } },
      /3600 windows; at most 1000 are allowed: give at least "3600ms"/,
    ],
    ['window.size', { window: { size: 0 } }, /out of range; give "1ms" to "720h"/],
    ['window.size', { window: { size: 1.5 } }, /whole number of milliseconds/],
    ['having[0].measure', { having: [{ measure: 'cuont', gt: 1 }] }, /did you mean "count"/],
    ['having[0]', { having: [{ measure: 'count' }] }, /compares nothing; give at least one of eq, ne, gt/],
    [
      'having[0].measure',
      { measures: [{ fn: 'TOP_K', field: 'errno' }], having: [{ measure: 'top(errno)', gt: 1 }] },
      /no one value to compare/,
    ],
    [
      'having[0].measure',
      { measures: [{ fn: 'MAX', field: 'time', name: 'last' }], having: [{ measure: 'last', gt: 1 }] },
      /is a time; conditions compare numbers/,
    ],
    ['orderBy[0].by', { orderBy: [{ by: 'errno' }] }, /there are "count", "process.comm"/],
    ['limit', { limit: 0 }, /0 is out of range; give 1 to 10,000 rows/],
    ['maxGroups', { maxGroups: 1e6 }, /give 1 to 100,000 groups/],
  ])('refuses a bad %s', (argument, input, message) => {
    expect(() => compile(input)).toThrow(message);
    expect(() => compile(input)).toThrow(
      expect.objectContaining({ code: 'BAD_USER_INPUT', details: expect.objectContaining({ argument }) }),
    );
  });
});
