import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventCounts, type CountedSession } from './events.js';
import { DeclaredMetrics, type PluginSeries } from './plugin.js';
import { StoreMetrics, type PersistedSession } from './store.js';
import { DURATION_BOUNDS_NS, type CountedTracker } from './reader.js';
import type { FieldKind, RecordField } from '../../btf/layout.js';
import { LabelValues, OTHER, type MetricFamily } from '../../event/metric.js';
import { RecordBatch } from '../../record/batch.js';
import type { RecorderStats } from '../../session/recorder.js';
import { metricsOf } from '../../../test/support/prometheus.js';

const RECORD = 112;
const field = (
  name: string,
  kind: FieldKind,
  offset: number,
  values: [number, string][] = [],
  size = 8,
): readonly [string, RecordField] => [name, { name, kind, offset, size, values: new Map(values) }];
const runtime: CountedTracker = {
  layout: {
    captures: new Map<string, number>(),
    fields: new Map([
      field('errno', 'eu_errno', 80),
      field(
        'operation',
        'enum',
        84,
        [
          [1, 'CONNECT'],
          [2, 'CLOSE'],
        ],
        1,
      ),
      field('sentBytes', 'u64', 88),
      field('durationNs', 'eu_duration_ns', 96),
      field('ports', 'u64', 104),
      field('limitBytes', 'eu_amount', 88), // one at a moment: adding it up says nothing
    ]),
  },
};

interface Made {
  readonly container: string | null;
  readonly errno: number;
  readonly operation: number;
  readonly bytes: bigint;
  readonly duration: bigint | null;
}

const session = (name: string | null, id = 'feed'): CountedSession => ({
  id,
  spec: { name, trackers: [{ name: 'tcp', options: {} }] },
});

function batchOf(events: readonly Made[]): RecordBatch {
  const view = new DataView(new ArrayBuffer(events.length * RECORD));
  const names: (string | null)[] = [];
  events.forEach(({ container, errno, operation, bytes, duration }, i) => {
    if (!names.includes(container)) names.push(container);
    const at = i * RECORD;
    // The last container has no cgroup of its own: its pid namespace shows it.
    const place = names.indexOf(container);
    if (place === names.length - 1) view.setUint32(at + 52, place, true);
    else view.setBigUint64(at + 8, BigInt(place), true);
    view.setInt32(at + 80, errno, true);
    view.setUint8(at + 84, operation);
    view.setUint8(at + 85, Number(bytes & 255n)); // another field, right behind it
    view.setBigUint64(at + 88, bytes, true);
    view.setBigUint64(at + 96, duration ?? 0xffffffffffffffffn, true);
  });
  const containers = names.map((name) => (name === null ? null : { id: name.repeat(12), name }));
  const context = {
    views: [],
    containerAt: (data: DataView, at: number) =>
      containers[data.getUint32(at + 52, true) || Number(data.getBigUint64(at + 8, true))] ?? null,
  };
  return new RecordBatch(
    view.buffer,
    Uint32Array.from(events, (_, i) => i * RECORD),
    context,
    { clock: { seconds: 0, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
  );
}

const counts = (maxContainers = 500, idleMs = 60_000) =>
  new EventCounts({ trackers: new Map([['tcp', runtime]]), maxContainers, maxSessions: 10, idleMs });
const family = (families: readonly MetricFamily[], name: string): MetricFamily =>
  families.find((one) => one.name === name) ?? { name, help: '', type: 'gauge', samples: [] };
const sum = (found: MetricFamily, pick: (labels: Readonly<Record<string, string>>) => boolean = () => true): number =>
  found.type === 'histogram'
    ? found.samples
        .filter(({ labels }) => pick(labels))
        .reduce((n, { counts: each }) => n + Array.from(each).reduce((a, b) => a + b, 0), 0)
    : found.samples.filter(({ labels }) => pick(labels)).reduce((n, { value }) => n + value, 0);

const made: fc.Arbitrary<Made> = fc.record({
  container: fc.constantFrom(null, 'a', 'b', 'c'),
  errno: fc.constantFrom(0, -2, -13, -111),
  operation: fc.constantFrom(0, 1, 2, 9), // 0 is null
  bytes: fc.bigInt(0n, 1n << 40n),
  duration: fc.option(fc.bigInt(0n, 100_000_000_000n)),
});

describe('counting events for /metrics', () => {
  it('agrees with counting them one by one, whatever their order and batches', () => {
    fc.assert(
      fc.property(fc.array(fc.array(made, { maxLength: 30 }), { maxLength: 5 }), (batches) => {
        const counter = counts();
        for (const batch of batches) counter.add(session('s'), batchOf(batch));
        const events = batches.flat();
        const families = counter.metrics();
        for (const name of [null, 'a', 'b', 'c']) {
          const its = events.filter(({ container }) => container === name);
          const of = ({ container }: Readonly<Record<string, string>>): boolean => container === (name ?? 'host');
          expect(sum(family(families, 'eunomia_events_total'), of)).toBe(its.length);
          expect(
            sum(family(families, 'eunomia_event_errors_total'), (labels) => of(labels) && labels['errno'] === 'EACCES'),
          ).toBe(its.filter(({ errno }) => errno === -13).length);
          expect(
            sum(family(families, 'eunomia_event_kinds_total'), (labels) => of(labels) && labels['value'] === 'CLOSE'),
          ).toBe(its.filter(({ operation }) => operation === 2).length);
          expect(
            sum(family(families, 'eunomia_event_kinds_total'), (labels) => of(labels) && labels['value'] === OTHER),
          ).toBe(its.filter(({ operation }) => operation === 9).length);
          expect(sum(family(families, 'eunomia_event_bytes_total'), of)).toBe(
            Number(its.reduce((n, { bytes }) => n + bytes, 0n)),
          );
          expect(sum(family(families, 'eunomia_event_duration_seconds'), of)).toBe(
            its.filter(({ duration }) => duration !== null).length,
          );
        }
      }),
    );
  });

  it('puts a duration into the bucket whose bound it does not exceed', () => {
    const counter = counts();
    const durations = DURATION_BOUNDS_NS.flatMap((bound) => [BigInt(bound), BigInt(bound) + 1n]);
    counter.add(
      session('s'),
      batchOf(durations.map((duration) => ({ container: null, errno: 0, operation: 0, bytes: 0n, duration }))),
    );
    const found = family(counter.metrics(), 'eunomia_event_duration_seconds');
    if (found.type !== 'histogram') throw new Error('no histogram');
    expect(Array.from(found.samples[0]?.counts ?? [])).toEqual([1, ...DURATION_BOUNDS_NS.slice(1).map(() => 2), 1]);
  });

  it('counts containers beyond the cap as other, each event once', () => {
    const counter = counts(3);
    const events = Array.from({ length: 200 }, (_, i) => ({
      container: `c${i % 50}`,
      errno: 0,
      operation: 0,
      bytes: 0n,
      duration: null,
    }));
    for (let i = 0; i < 5; i++) counter.add(session('s'), batchOf(events));
    const found = family(counter.metrics(), 'eunomia_events_total');
    expect(found.samples.map(({ labels }) => labels['container']).sort()).toEqual(['c0', 'c1', 'c2', OTHER]);
    expect(sum(found)).toBe(1000);
    expect(sum(found, ({ container }) => container === OTHER)).toBe(940);
  });

  it('gives the place of a container that is idle to the next one', () => {
    const counter = counts(1, 0);
    const of = (container: string) => batchOf([{ container, errno: 0, operation: 0, bytes: 0n, duration: null }]);
    counter.add(session('s'), of('a'));
    counter.add(session('s'), of('b'));
    counter.add(session('s'), of('b'));
    expect(family(counter.metrics(), 'eunomia_events_total').samples).toEqual([
      { labels: { tracker: 'tcp', container: 'b', session: 's' }, value: 2 },
    ]);
  });

  it('does not take a container that is called host or other for what these words mean', () => {
    const counter = counts();
    for (const container of ['host', 'other', null])
      counter.add(session('s'), batchOf([{ container, errno: 0, operation: 0, bytes: 0n, duration: null }]));
    expect(family(counter.metrics(), 'eunomia_events_total').samples.map(({ labels }) => labels['container'])).toEqual([
      'hosthosthost',
      'otherotherot',
      'host',
    ]);
  });
});

describe('metrics that plugins declare', () => {
  const series = (session: string, more: Partial<PluginSeries> = {}): PluginSeries => ({
    plugin: 'port-scan',
    session,
    metric: 'ports',
    type: 'counter',
    help: 'Ports.',
    labels: { kind: 'tcp' },
    value: 2,
    buckets: [],
    ...more,
  });

  it('have the plugin in their name, and are summed up over sessions of one name', () => {
    const declared = new DeclaredMetrics(
      () => [series('1'), series('2'), series('3')],
      (id) => (id === '3' ? 'c' : 'ab'),
    );
    expect(declared.metrics()).toEqual([
      {
        name: 'plugin_port_scan_ports_total',
        help: 'Ports.',
        type: 'counter',
        samples: [
          { labels: { kind: 'tcp', session: 'ab' }, value: 4 },
          { labels: { kind: 'tcp', session: 'c' }, value: 2 },
        ],
      },
    ]);
  });

  it('keep the buckets of a histogram', () => {
    const buckets = [
      { le: 1, count: 3 },
      { le: 5, count: 4 },
      { le: Number.POSITIVE_INFINITY, count: 9 },
    ];
    const declared = new DeclaredMetrics(
      () => [series('1', { type: 'histogram', buckets }), series('2', { type: 'histogram', buckets })],
      () => 's',
    );
    expect(declared.metrics()).toEqual([
      {
        name: 'plugin_port_scan_ports',
        help: 'Ports.',
        type: 'histogram',
        bounds: [1, 5],
        samples: [{ labels: { kind: 'tcp', session: 's' }, counts: [6, 2, 10], sum: 4 }],
      },
    ]);
  });
});

describe('the values of a label', () => {
  it('are at most as many as allowed, and a value that is told stays told', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20).map(String)), fc.integer({ min: 1, max: 8 }), (values, max) => {
        const labels = new LabelValues(max, Number.POSITIVE_INFINITY, () => undefined);
        const told = values.map((value) => labels.of(value, 0));
        const first = [...new Set(values)].slice(0, max);
        expect(told).toEqual(values.map((value) => (first.includes(value) ? value : OTHER)));
      }),
    );
  });
});

describe('the metrics that an expression of PromQL names', () => {
  it('are told from functions, labels and words', () => {
    expect(
      metricsOf(
        'sum by (a, b) (rate(x_total{l="y_total", m=~"a|b"}[5m])) / on (instance) group_left (v) (z:w > 0) or vector(0)',
      ),
    ).toEqual(['x_total', 'z:w']);
  });
});

describe('metrics of stores', () => {
  const recorded = (
    written: number,
    dropped: number,
    state: RecorderStats['state'] = 'WRITING',
    lagMs = 0,
  ): PersistedSession => ({
    recorder: {
      stats: {
        store: 'INFLUX',
        mode: 'EVENTS',
        state,
        written,
        dropped,
        omitted: 0,
        removed: 0,
        pending: 3,
        lagMs,
        error: null,
        processes: null,
      },
    },
  });
  const load = {
    up: true,
    bytes: null,
    spool: { points: 5, bytes: 700 },
    points: { written: 9, rejected: 1, dropped: 0 },
    lagMs: 0,
  };
  const valueOf = async (metrics: StoreMetrics, name: string): Promise<number | undefined> => {
    const found = family(await metrics.metrics(), name);
    return found.type === 'histogram' ? undefined : found.samples[0]?.value;
  };

  it('keep what sessions wrote that are gone, and never fall', async () => {
    const sessions = [recorded(10, 1), recorded(5, 0)];
    const metrics = new StoreMetrics(
      () => [{ kind: 'INFLUX', load: async () => load }],
      () => ({ list: () => sessions }),
    );
    expect(await valueOf(metrics, 'eunomia_store_written_events_total')).toBe(15);
    const [gone] = sessions.splice(0, 1);
    if (gone?.recorder) Object.assign(gone.recorder.stats, { written: 12 });
    if (gone) metrics.ended(gone);
    expect(await valueOf(metrics, 'eunomia_store_written_events_total')).toBe(17);
    expect(await valueOf(metrics, 'eunomia_store_dropped_events_total')).toBe(1);
    expect(await valueOf(metrics, 'eunomia_store_spool_bytes')).toBe(700);
  });

  it('tell the lag of the oldest event, of sessions that are being written and of the spool', async () => {
    const sessions = [recorded(0, 0, 'WRITING', 250), recorded(0, 0, 'FAILED', 90_000), recorded(0, 0, 'PAUSED', 4000)];
    const make = (lagMs: number) =>
      new StoreMetrics(
        () => [{ kind: 'INFLUX', load: async () => ({ ...load, lagMs }) }],
        () => ({ list: () => sessions }),
      );
    expect(await valueOf(make(0), 'eunomia_store_lag_seconds')).toBe(4);
    expect(await valueOf(make(60_000), 'eunomia_store_lag_seconds')).toBe(60);
  });
});
