import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Aggregator, type AggregateSpec } from './index.js';
import type { Measure } from './measures/index.js';
import { RecordBatch, type BatchContext } from '../../record/batch.js';
import { compileView } from '../../record/view.js';
import open from '../../trackers/open.js';
import syscall from '../../trackers/syscall.js';
import { layoutOf, packed, recordOf } from '../../../test/support/record.js';
import { holdsFor } from '../../../test/support/property.js';

const layouts = { syscall: layoutOf('syscall'), open: layoutOf('open') };
const NO_DURATION = 2n ** 64n - 1n;

interface Made {
  readonly tracker: 'syscall' | 'open';
  readonly ns: number;
  readonly pid: number;
  readonly comm: string;
  readonly cgroup: number;
  readonly nr: number;
  readonly durationNs: bigint;
  readonly path: string;
}

const made: fc.Arbitrary<Made> = fc.record({
  tracker: fc.constantFrom('syscall', 'open'),
  ns: fc.integer({ min: 0, max: 9_000 }).map((ms) => ms * 1e6),
  pid: fc.integer({ min: 1, max: 3 }),
  comm: fc.constantFrom('a', 'b', 'ab'),
  cgroup: fc.integer({ min: 0, max: 2 }),
  nr: fc.constantFrom(0, 1, 257, 9999),
  durationNs: fc.oneof(fc.bigInt(0n, 10_000n), fc.bigInt(2n ** 53n - 2n, 2n ** 53n + 2n), fc.constant(NO_DURATION)),
  path: fc.constantFrom('/a', '/b'),
});

const chars = (text: string) => new TextEncoder().encode(text.padEnd(16, '\0'));

/** `names` of the containers, as they are at the time of this batch. */
function batchOf(list: readonly Made[], names: readonly (string | null)[]): RecordBatch {
  const records = list.map(({ tracker, ns, pid, comm, cgroup, nr, durationNs, path }) => {
    // The last container has no cgroup of its own: its pid namespace shows it.
    const place = cgroup === 2 ? { cgroupId: 0, initPid: cgroup } : { cgroupId: cgroup, initPid: 0 };
    const header = { bootNs: ns, pid, comm: chars(comm), ...place, tracker: tracker === 'open' ? 1 : 0 };
    if (tracker === 'syscall') return recordOf(layouts.syscall, { ...header, nr, durationNs });
    const text = new TextEncoder().encode(path);
    return recordOf(layouts.open, { ...header, path: (text.length << 16) | layouts.open.size }, text);
  });
  const containers = names.map((name) => name && { name, labels: { tier: `${name}s` } });
  const context: BatchContext = {
    views: [compileView(syscall, layouts.syscall), compileView(open, layouts.open)],
    containerAt: (view, at) => containers[view.getUint32(at + 52, true) || view.getUint32(at + 8, true)] || null,
  };
  const { data, offsets } = packed(records);
  return new RecordBatch(data, offsets, context, {
    clock: { seconds: 1_000, nanoseconds: 0 },
    seq: 0,
    lost: 0,
    lostFrom: 0,
    lostTo: 0,
  });
}

const measure = (fn: Measure['fn'], field: string | null): Measure => ({
  name: `${fn} ${field}`,
  fn,
  field,
  unit: null,
  time: false,
  q: 0.5,
  k: 3,
  buckets: null,
});
const paths = [
  'process.comm',
  'process.pid',
  'process.startTime',
  'container.name',
  'container.labels.tier',
  'name',
  'nr',
  'path',
  'tracker',
  'durationNs',
];
const functions = ['COUNT', 'DISTINCT', 'SUM', 'MIN', 'MAX', 'AVG', 'QUANTILE', 'HISTOGRAM', 'TOP_K'] as const;

describe('an aggregate of records', () => {
  it('is that of the events that are made of them, whatever it groups by and measures', async () => {
    const groups = fc.uniqueArray(fc.constantFrom(...paths), { maxLength: 4 });
    const measured = fc.uniqueArray(fc.constantFrom(...functions), { minLength: 1, maxLength: 3 });
    const rounds = fc.array(
      fc.tuple(
        fc.array(made, { maxLength: 30 }),
        fc.array(fc.constantFrom('web', 'db', null), { minLength: 3, maxLength: 3 }),
      ),
      { minLength: 1, maxLength: 3 },
    );
    await holdsFor(
      fc.property(
        groups,
        measured,
        rounds,
        fc.boolean(),
        fc.integer({ min: 1, max: 40 }),
        (groupBy, fns, batches, windowed, maxGroups) => {
          const spec: AggregateSpec = {
            groupBy: groupBy.map((path) => ({ path, mixed: false })),
            measures: [measure('COUNT', null), ...fns.map((fn) => measure(fn, 'durationNs'))],
            window: windowed ? { sizeMs: 1000, slideMs: 1000 } : null,
            having: [],
            orderBy: [],
            limit: 1000,
            maxGroups,
            kernelTotals: null,
            lineage: null,
          };
          const ofRecords = new Aggregator(spec);
          const ofEvents = new Aggregator(spec, { accept: () => true }); // a filter wants events
          for (const [list, names] of batches) {
            ofRecords.addBatch(batchOf(list, names));
            ofEvents.addBatch(batchOf(list, names));
          }
          expect(ofRecords.rows()).toEqual(ofEvents.rows());
          expect([ofRecords.events, ofRecords.missed]).toEqual([ofEvents.events, ofEvents.missed]);
        },
      ),
      { numRuns: 400 },
    );
  });

  it('joins records whose keys are equal, whatever else differs', () => {
    const list: Made[] = ['a', 'a', 'b', 'a'].map((comm, i) => ({
      tracker: 'syscall',
      ns: i,
      pid: i,
      comm,
      cgroup: 0,
      nr: 0,
      durationNs: 5n,
      path: '',
    }));
    const spec: AggregateSpec = {
      groupBy: [{ path: 'process.comm', mixed: false }],
      measures: [measure('SUM', 'durationNs')],
      window: null,
      having: [],
      orderBy: [],
      limit: 9,
      maxGroups: 9,
      kernelTotals: null,
      lineage: null,
    };
    const aggregator = new Aggregator(spec);
    aggregator.addBatch(batchOf(list, [null]));
    expect(aggregator.rows().map(({ key, count, values }) => [key[0]?.value, count, values[0]?.text])).toEqual([
      ['a', 3, '15'],
      ['b', 1, '5'],
    ]);
  });
});
