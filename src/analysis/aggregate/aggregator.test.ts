import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Aggregator, type AggregateRow, type AggregateSpec, type AggregatorOptions } from './index.js';
import type { Measure } from './measures/index.js';
import type { TraceEvent } from '../../event/event.js';
import { RecordBatch, type BatchContext } from '../../record/batch.js';
import { wallTime } from '../../event/clock.js';
import { inTurns } from '../../base/turn.js';
import { PlainEvent } from '../../../test/support/event.js';
import { holdsFor } from '../../../test/support/property.js';

/** Milliseconds since the epoch, and some fields. */
interface Fact {
  readonly ms: number;
  readonly comm: string | null;
  readonly name?: string;
  readonly bytes?: string | number | null;
  readonly args?: readonly string[];
}

const CLOCK = { seconds: 1_000, nanoseconds: 999_999_999 };
const CLOCK_NS = 1_000_999_999_999;

/** A batch whose events are these facts, with their time in the record's header as the kernel writes it. */
function batchOf(facts: readonly Fact[]): RecordBatch {
  const data = new ArrayBuffer(facts.length * 64);
  const view = new DataView(data);
  facts.forEach(({ ms }, i) => view.setBigUint64(i * 64, BigInt(Math.round(ms * 1e6)) - BigInt(CLOCK_NS), true));
  class View extends PlainEvent {
    constructor(batch: RecordBatch, at: number) {
      const { comm = null, name, bytes, args } = facts[at / 64] ?? {};
      super('exec', {
        process: { comm },
        container: name === undefined ? null : { name, labels: { tier: `${name}-tier` } },
        bytes,
        args,
        time: wallTime(batch.clock, view.getUint32(at + 4, true), view.getUint32(at, true)),
      });
    }
  }
  const context: BatchContext = { views: [View], containerAt: () => null };
  return new RecordBatch(
    data,
    Uint32Array.from(facts, (_, i) => i * 64),
    context,
    { clock: CLOCK, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
  );
}

const measure = (fn: Measure['fn'], field: string | null, more: Partial<Measure> = {}): Measure => ({
  name: fn,
  fn,
  field,
  unit: null,
  time: false,
  q: 0.5,
  k: 3,
  buckets: null,
  ...more,
});
const specOf = (spec: Partial<AggregateSpec> = {}): AggregateSpec => ({
  groupBy: [{ path: 'process.comm', mixed: false }],
  measures: [],
  window: null,
  having: [],
  orderBy: [],
  limit: 1000,
  maxGroups: 1000,
  kernelTotals: null,
  lineage: null,
  ...spec,
});

function aggregate(facts: readonly Fact[], spec: Partial<AggregateSpec>, options?: AggregatorOptions): Aggregator {
  const aggregator = new Aggregator(specOf(spec), options);
  aggregator.addBatch(batchOf(facts));
  return aggregator;
}

const short = (rows: readonly AggregateRow[]): unknown[] =>
  rows.map(({ key, count, other }) => [other ? 'other' : (key[0]?.value ?? null), count]);
const total = (rows: readonly AggregateRow[]): number => rows.reduce((sum, { count }) => sum + count, 0);
const startOf = ({ window }: AggregateRow): number => Date.parse(window?.from ?? '');

const T = 2_000_000;
const fact = fc.record<Fact>({
  ms: fc.integer({ min: 0, max: 40_000 }).map((n) => T + n / 4),
  comm: fc.constantFrom('a', 'b', 'c', 'd', 'e', null),
  name: fc.option(fc.constantFrom('web', 'db'), { nil: undefined }),
  bytes: fc.option(
    fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String)),
    { nil: null },
  ),
});
const facts = fc.array(fact, { maxLength: 120 });

describe('groups', () => {
  it('are as a naive model has them, and sum up to the number of events', async () => {
    await holdsFor(
      fc.property(facts, fc.integer({ min: 1, max: 14 }), fc.integer({ min: 1, max: 14 }), (list, limit, maxGroups) => {
        const groupBy = ['process.comm', 'container.labels.tier'].map((path) => ({ path, mixed: false }));
        const rows = aggregate(list, {
          groupBy,
          limit,
          maxGroups,
          measures: [measure('SUM', 'bytes'), measure('DISTINCT', 'bytes')],
        }).rows();
        expect(total(rows)).toBe(list.length);
        expect(rows.filter(({ other }) => !other).length).toBeLessThanOrEqual(Math.min(limit, maxGroups));
        expect(rows.findIndex(({ other }) => other)).toBeOneOf([-1, rows.length - 1]);
        const all = list.filter(({ bytes }) => bytes != null);
        const sums = rows.map(({ values }) => BigInt(values[0]?.text ?? 0)).reduce((a, b) => a + b, 0n);
        expect(sums).toBe(all.reduce((sum, { bytes }) => sum + BigInt(bytes ?? 0), 0n));
        for (const row of rows.filter(({ other }) => !other)) {
          const mine = list.filter(
            (f) =>
              f.comm === row.key[0]?.value && (f.name === undefined ? null : `${f.name}-tier`) === row.key[1]?.value,
          );
          expect(row.count).toBe(mine.length);
          expect(row.values[1]?.number).toBe(
            new Set(mine.flatMap(({ bytes }) => (bytes == null ? [] : String(bytes)))).size,
          );
        }
      }),
    );
  });

  it('tell null, text, numbers and lists apart', () => {
    const groupBy = [
      { path: 'args', mixed: false },
      { path: 'bytes', mixed: false },
    ];
    const rows = aggregate(
      [
        { ms: T, comm: 'a', args: ['x', 'y'], bytes: 5 },
        { ms: T, comm: 'a', args: ['x', 'y'], bytes: 5 },
        { ms: T, comm: 'a' },
      ],
      { groupBy },
    ).rows();
    expect(rows.map(({ key, count }) => [...key.map(({ value }) => value), count])).toEqual([
      ['["x","y"]', '5', 2],
      [null, null, 1],
    ]);
  });

  it('join what trackers hold in different types when the field is mixed', () => {
    const list = [
      { ms: T, comm: 'a', bytes: 5 },
      { ms: T, comm: 'a', bytes: '5' },
    ];
    expect(aggregate(list, { groupBy: [{ path: 'bytes', mixed: true }] }).rows()).toMatchObject([{ count: 2 }]);
  });

  it('are one for all events without a field to group by', () => {
    expect(
      aggregate(
        [
          { ms: T, comm: 'a', bytes: 1 },
          { ms: T, comm: 'b', bytes: 3 },
        ],
        { groupBy: [], measures: [measure('AVG', 'bytes')] },
      ).rows(),
    ).toMatchObject([{ key: [], count: 2, values: [{ name: 'AVG', number: 2 }], window: null, other: false }]);
  });

  it('leave out what fails a condition, in the order asked for', () => {
    const list = 'aaabbbbc'.split('').map((comm, i) => ({ ms: T, comm, bytes: i }));
    const having = [{ of: { kind: 'COUNT' }, comparison: 'gt', value: 1 }] as const;
    expect(short(aggregate(list, { having }).rows())).toEqual([
      ['b', 4],
      ['a', 3],
    ]);
    expect(
      short(aggregate(list, { having, orderBy: [{ of: { kind: 'KEY', index: 0 }, descending: false }] }).rows()),
    ).toEqual([
      ['a', 3],
      ['b', 4],
    ]);
    const measures = [measure('MIN', 'bytes')];
    expect(
      short(aggregate(list, { measures, orderBy: [{ of: { kind: 'MEASURE', index: 0 }, descending: true }] }).rows()),
    ).toEqual([
      ['c', 1],
      ['b', 4],
      ['a', 3],
    ]);
  });

  it('are not told apart any more once the memory is used up', () => {
    const aggregator = new Aggregator(specOf({ maxGroups: 100_000, limit: 100_000 }), { maxBytes: 100_000 });
    for (let i = 0; i < 4; i++)
      aggregator.addBatch(batchOf(Array.from({ length: 40_000 }, (_, n) => ({ ms: T, comm: `c${i * 40_000 + n}` }))));
    const rows = aggregator.rows();
    expect(total(rows)).toBe(160_000);
    expect(rows.length).toBe(80_001);
    expect(rows.at(-1)).toMatchObject({ other: true, count: 80_000 });
  });

  it('count only what the filter takes, and as often as an event says', () => {
    const list = [
      { ms: T, comm: 'a', bytes: 5 },
      { ms: T, comm: 'b', bytes: 7 },
      { ms: T, comm: 'a', bytes: 2 },
    ];
    const commOf = (event: TraceEvent) => event.process.comm;
    const weightOf = (event: TraceEvent) => Number(Reflect.get(event, 'bytes'));
    const aggregator = aggregate(list, {}, { accept: (event) => commOf(event) === 'a', weightOf });
    expect(short(aggregator.rows())).toEqual([['a', 7]]);
    expect(aggregator).toMatchObject({ events: 7, discarded: 1, missed: 0 });
  });

  it('are the same from events as from batches', async () => {
    await holdsFor(
      fc.property(
        facts,
        fc.constantFrom(null, { sizeMs: 1000, slideMs: 1000 }, { sizeMs: 3000, slideMs: 500 }),
        (list, window) => {
          const spec = specOf({ window, measures: [measure('SUM', 'bytes')] });
          const batch = batchOf(list);
          const aggregator = new Aggregator(spec);
          aggregator.add(list.map((_, i) => batch.event(i)));
          expect(aggregator.rows()).toEqual(aggregate(list, { window, measures: spec.measures }).rows());
        },
      ),
    );
  });
});

describe('windows', () => {
  it('hold the events of their time, tumbling and sliding, as a naive model has them', async () => {
    const window = fc
      .tuple(fc.constantFrom(50, 300, 1000), fc.integer({ min: 1, max: 33 }))
      .map(([slideMs, panes]) => ({ slideMs, sizeMs: slideMs * panes }));
    await holdsFor(
      fc.property(facts, window, (list, w) => {
        const rows = aggregate(list, { window: w, measures: [measure('SUM', 'bytes')] }).rows();
        for (const row of rows) {
          const from = startOf(row);
          const mine = list.filter(({ ms, comm }) => ms >= from && ms < from + w.sizeMs && comm === row.key[0]?.value);
          expect([row.count, row.values[0]?.text ?? null]).toEqual([mine.length, sumText(mine)]);
        }
        // Each event is in all windows that end before or with the pane of the last event.
        const last = Math.max(...list.map(({ ms }) => Math.floor(ms / w.slideMs)));
        const expected = list.reduce(
          (sum, { ms }) => sum + Math.min(w.sizeMs / w.slideMs, last - Math.floor(ms / w.slideMs) + 1),
          0,
        );
        expect(total(rows)).toBe(list.length ? expected : 0);
        const starts = rows.map(startOf);
        expect(starts).toEqual([...starts].sort((a, b) => a - b));
      }),
      { numRuns: 200 },
    );
  });

  it('begin at whole multiples of their length, to the nanosecond', () => {
    const window = { sizeMs: 1000, slideMs: 1000 };
    const rows = aggregate(
      [
        { ms: T + 999.999999, comm: 'a' },
        { ms: T + 1000, comm: 'a' },
      ],
      { window },
    ).rows();
    expect(rows.map((row) => [row.window?.from, row.window?.to, row.count])).toEqual([
      ['1970-01-01T00:33:20.000000000Z', '1970-01-01T00:33:21.000000000Z', 1],
      ['1970-01-01T00:33:21.000000000Z', '1970-01-01T00:33:22.000000000Z', 1],
    ]);
  });

  it('have a limit and an `other` of their own', () => {
    const list = 'aaabbc'.split('').flatMap((comm) => [
      { ms: T, comm },
      { ms: T + 1000, comm },
    ]);
    expect(short(aggregate(list, { window: { sizeMs: 1000, slideMs: 1000 }, limit: 1 }).rows())).toEqual([
      ['a', 3],
      ['other', 3],
      ['a', 3],
      ['other', 3],
    ]);
  });

  it('have rates over the part that has passed', () => {
    const list = [0, 100, 1100, 1500].map((ms) => ({ ms: T + ms, comm: 'a' }));
    const rates = (window: AggregateSpec['window']) =>
      aggregate(list, { window, measures: [measure('RATE', null)] })
        .rows()
        .map(({ values }) => values[0]?.number);
    expect(rates({ sizeMs: 1000, slideMs: 1000 })).toEqual([2, 4]);
    expect(rates(null)[0]).toBeCloseTo(4 / 1.5, 6);
  });

  it('that are too many are an error', () => {
    const list = Array.from({ length: 10_001 }, (_, i) => ({ ms: T + i, comm: 'a' }));
    expect(() => aggregate(list, { window: { sizeMs: 1, slideMs: 1 } })).toThrow(
      'window.size: the events lie in more than 10,000 windows; take a longer window',
    );
  });
});

describe('changes', () => {
  it('are the rows that changed since the last ones', () => {
    const aggregator = aggregate(
      [
        { ms: T, comm: 'a' },
        { ms: T, comm: 'b' },
      ],
      {},
      { live: true },
    );
    expect(short(aggregator.takeChanges(null).rows)).toEqual([
      ['a', 1],
      ['b', 1],
    ]);
    expect(aggregator.takeChanges(null).rows).toEqual([]);
    aggregator.addBatch(batchOf([{ ms: T, comm: 'b' }]));
    expect(short(aggregator.takeChanges(null).rows)).toEqual([['b', 2]]);
  });

  it('close windows by the events, or by the time when there are none, and count what comes too late', () => {
    const aggregator = new Aggregator(specOf({ window: { sizeMs: 1000, slideMs: 1000 } }), {
      live: true,
      graceMs: 100,
    });
    const add = (...ms: number[]) => aggregator.addBatch(batchOf(ms.map((at) => ({ ms: T + at, comm: 'a' }))));
    const take = (now: number | null) => {
      const { rows, closed } = aggregator.takeChanges(now === null ? null : T + now);
      return [rows.map((row) => [startOf(row) - T, row.count]), closed.map(({ from }) => Date.parse(from) - T)];
    };
    add(0, 999, 1050);
    expect(take(null)).toEqual([
      [
        [0, 2],
        [1000, 1],
      ],
      [],
    ]);
    add(990);
    expect(take(1100)).toEqual([[[0, 3]], [0]]);
    add(995, 1200);
    expect(aggregator).toMatchObject({ missed: 1, events: 5 });
    expect(take(1300)).toEqual([[[1000, 2]], []]);
    expect(take(9000)).toEqual([[], [1000]]);
    add(9500);
    expect(take(Number.POSITIVE_INFINITY)).toEqual([[[9000, 1]], [9000]]);
    expect(aggregator.hasOpenWindows).toBe(false);
  });

  it('of sliding windows are all rows of each one that closes, the same as asked for at the end', async () => {
    await holdsFor(
      fc.property(
        fc.array(fact, { minLength: 1, maxLength: 100 }),
        fc.integer({ min: 2, max: 9 }),
        fc.integer({ min: 1, max: 20 }),
        (list, panes, chunk) => {
          const sorted = [...list].sort((a, b) => a.ms - b.ms);
          const window = { sizeMs: 250 * panes, slideMs: 250 };
          const aggregator = new Aggregator(specOf({ window }), { live: true, graceMs: 0 });
          const seen: AggregateRow[] = [];
          for (let i = 0; i < sorted.length; i += chunk) {
            aggregator.addBatch(batchOf(sorted.slice(i, i + chunk)));
            seen.push(...aggregator.takeChanges(null).rows);
          }
          seen.push(...aggregator.takeChanges(Number.POSITIVE_INFINITY).rows);
          const key = (rows: readonly AggregateRow[]) =>
            rows.map((row) => `${row.window?.from} ${row.key[0]?.value} ${row.count}`).sort();
          expect(aggregator.missed).toBe(0);
          expect(key(seen)).toEqual(key(aggregate(sorted, { window }).rows()));
        },
      ),
    );
  });

  it('that nobody takes are forgotten, the oldest windows first, and counted', () => {
    const aggregator = new Aggregator(specOf({ window: { sizeMs: 10, slideMs: 10 } }), { live: true });
    for (let i = 0; i < 3000; i++) aggregator.addBatch(batchOf([{ ms: T + i * 10, comm: 'a' }]));
    const { rows } = aggregator.takeChanges(Number.POSITIVE_INFINITY);
    expect(total(rows) + aggregator.missed).toBe(3000);
    expect(rows.length).toBe(1001);
  });
});

function sumText(list: readonly Fact[]): string | null {
  const given = list.flatMap(({ bytes }) => (bytes == null ? [] : [BigInt(bytes)]));
  return given.length ? String(given.reduce((a, b) => a + b, 0n)) : null;
}

describe('rows of many groups', () => {
  it('are made in turns: others come in between, and they are those that are made at once', async () => {
    const groups = 20_000;
    const spec = {
      maxGroups: groups,
      limit: 1000,
      measures: [measure('QUANTILE', 'bytes'), measure('DISTINCT', 'bytes')],
      orderBy: [{ of: { kind: 'MEASURE' as const, index: 0 }, descending: true }],
    };
    const aggregator = aggregate(
      Array.from({ length: groups }, (_, i) => ({ ms: T, comm: `c${i}`, bytes: i % 977 })),
      spec,
      { maxBytes: 1 << 30 },
    );
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    const rows = await inTurns(aggregator.collecting());
    clearInterval(timer);
    expect(rows).toHaveLength(1001);
    expect(rows).toEqual(aggregator.rows());
    expect(ticks).toBeGreaterThan(1);
  });
});

describe('changes of many groups', () => {
  const manyFacts = Array.from({ length: 5000 }, (_, i) => ({ ms: T + (i % 2) * 1000, comm: `c${i}` }));

  it.each([
    ['without windows', null],
    ['in windows', { sizeMs: 1000, slideMs: 1000 }],
  ])('come some thousand at a time %s, each once, and a window closes with the last of its own', (_name, window) => {
    const aggregator = new Aggregator(specOf({ window, maxGroups: 10_000 }), { live: true });
    aggregator.addBatch(batchOf(manyFacts));
    const seen = new Set<string>();
    const closed: string[] = [];
    for (let calls = 1; ; calls++) {
      const changes = aggregator.takeChanges(Number.POSITIVE_INFINITY);
      expect(changes.rows.length).toBeLessThanOrEqual(2000);
      for (const { key, window: span } of changes.rows) {
        seen.add(`${key[0]?.value}`);
        if (span) expect(closed).not.toContain(span.from);
      }
      closed.push(...changes.closed.map(({ from }) => from));
      if (!changes.more && !aggregator.hasOpenWindows) {
        expect(calls).toBeGreaterThan(2);
        break;
      }
    }
    expect(seen.size).toBe(5000);
    expect(closed).toHaveLength(window ? 2 : 0);
  });
});
