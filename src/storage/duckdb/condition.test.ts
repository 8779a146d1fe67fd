import * as fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { createContainer } from '../../inventory/container.js';
import { compileAggregate } from '../../analysis/aggregate/index.js';
import { Aggregator } from '../../analysis/aggregate/index.js';
import type { TraceEvent } from '../../event/event.js';
import { EventFilter, parseInput, type FilterField } from '../../filter/index.js';
import { RowBatch } from '../../record/row.js';
import {
  catalog,
  everything,
  fields,
  openStore,
  record,
  slicesOf,
  temporaryDirectory,
} from '../../../test/support/store.js';
import { eventWith } from '../../../test/support/event.js';

// Real DuckDB: what SQL says of an event is what the filter says of it.

const RUNS = 150;
const trackers = ['open', 'tcp', 'syscall'];
const texts = [
  '',
  'a',
  'nginx',
  '/etc',
  '/etc/passwd',
  'ä/ö',
  '😀',
  'a"b\\c\nd',
  "'; DROP TABLE sessions; --",
  '%',
  '_',
  'O_RDONLY',
];
const containers = [
  null,
  {
    ...createContainer('a'.repeat(64), 'docker'),
    name: 'web-1',
    image: 'nginx:1.27',
    state: 'RUNNING' as const,
    labels: { tier: 'front' },
  },
  { ...createContainer('b'.repeat(64), 'podman'), labels: { 'a/b~c': 'x' } },
];
const pick = <Value>(list: readonly Value[], random: number): Value | undefined => list[(random >>> 0) % list.length];

function eventAt(i: number): TraceEvent {
  const n = (i * 2_654_435_761) % 4_294_967_291; // scattered, and always the same
  const nullable = <Value>(value: Value, by: number): Value | null => (n % by === 0 ? null : value);
  const process = {
    pid: n % 9,
    tid: n % 5,
    ppid: 1,
    uid: [0, 1000, 2 ** 32 - 1][n % 3] ?? 0,
    gid: 0,
    comm: pick(texts, n >> 3) ?? '',
    startTime: '2026-01-31T08:15:30.000000001Z',
    mountNs: nullable('4026531841', 4),
  };
  const shared = {
    time: `2026-01-31T08:15:30.${String(i).padStart(9, '0')}Z`,
    bootNs: String(10n ** 18n + BigInt(i)),
    cgroupId: pick(['1', '18446744073709551615', '9007199254740993'], n) ?? '',
    process,
    container: pick(containers, n >> 5) ?? null,
  };
  const errno = nullable(pick(['ENOENT', 'EACCES', '524'], n >> 2), 2) ?? null;
  switch (i % 3) {
    case 0:
      return eventWith('open', {
        ...shared,
        errno,
        fd: nullable(n % 7, 3),
        path: nullable(pick(texts, n >> 4), 5),
        resolved: null,
        flags: ['O_RDONLY', ...(n % 2 ? ['O_CREAT'] : [])],
        mode: nullable(420, 2),
        deleted: nullable(n % 2 === 1, 3),
        directory: nullable('/srv', 4),
        stack: i % 5 ? null : ['main+0x1 (/bin/a+0x2)', '(/bin/a+0x3)'],
        resolve: null,
        resolvedState: nullable(pick(['ROOTED', 'DETACHED'], n), 3),
      });
    case 1:
      return eventWith('tcp', {
        ...shared,
        tcpOperation: pick(['CONNECT', 'CLOSE'], n),
        errno,
        ipVersion: 4,
        localAddress: pick(['10.0.0.1', '2001:db8::1'], n),
        localPort: n % 65536,
        remoteAddress: nullable('10.1.2.3', 3),
        remotePort: 443,
        sentBytes: nullable(pick(['0', '18446744073709551615'], n), 2),
        receivedBytes: null,
        durationNs: String(n),
      });
    default:
      return eventWith('syscall', {
        ...shared,
        name: pick(['openat', 'write'], n),
        nr: n % 400,
        abi: pick(['X86_64', 'I386', null], n),
        ret: pick(['-2', '0', '-9223372036854775808', '7'], n),
        errno,
        durationNs: nullable(String(n), 2),
        stack: null,
      });
  }
}

const events = Array.from({ length: 400 }, (_, i) => eventAt(i));
const { path, remove } = await temporaryDirectory();
const store = openStore(path);
const sink = await store.record(record('s', trackers));
await sink.write(
  slicesOf([new RowBatch(events, { clock: { seconds: 0, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 })]),
  null,
);
await sink.flush();
afterAll(async () => {
  await store.close();
  await remove();
});

const operands: Readonly<Record<string, readonly (string | number | boolean)[]>> = {
  string: texts,
  int: [-1, 0, 1, 4, 443, 420, 2 ** 31 - 1],
  uint32: [0, 1000, 2 ** 32 - 1],
  int64: ['-2', '0', '-9223372036854775808', '9223372036854775807'],
  uint64: ['0', '1', '9007199254740993', '18446744073709551615', '4026531841'],
  time: ['2026-01-31T08:15:30.000000200Z', '2026-01-31T08:15:30.000000001Z'],
  address: ['10.0.0.1', '2001:db8::1', '10.1.2.3'],
  errno: ['ENOENT', 'EACCES', '524'],
  boolean: [true, false],
};

interface Said {
  readonly tracker: string | null;
  readonly path: string;
  readonly json: object;
}

function valueOf(field: FilterField, op: string): fc.Arbitrary<unknown> {
  const pool = field.values ?? field.names?.all ?? operands[field.type] ?? [];
  if (op === 'isNull') return fc.boolean();
  if (op === 'in') return fc.array(fc.constantFrom(...(pool as readonly string[])), { minLength: 1, maxLength: 6 });
  if (op === 'glob') return fc.constantFrom('*', '/etc*', '[a-z]*');
  if (op === 'regex') return fc.constantFrom('^/etc', 'n.*x', '.');
  if (op === 'cidr') return fc.constantFrom(['10.0.0.0/8'], ['2001:db8::/32', '10.1.0.0/16']);
  if (op === 'has') return fc.constantFrom('O_CREAT', 'x');
  if (op === 'any') return fc.constant({ prefix: 'O_C' });
  if (op === 'length') return fc.constant({ gt: 1 });
  if (op === 'joined') return fc.constant({ prefix: 'O_RDONLY O_C' });
  if (op === 'prefix' || op === 'suffix' || op === 'contains')
    return fc.constantFrom(...texts.filter((text) => text !== ''), '/');
  return fc.constantFrom(...pool);
}

const own = trackers.flatMap((tracker) =>
  [...(fields.own(tracker)?.values() ?? [])].map((field) => ({ tracker, field })),
);
// No condition of a text is one of a list of ancestors, of which the events have none.
const shared = [...fields.shared.values()]
  .filter(({ type }) => type !== 'processes')
  .map((field) => ({ tracker: null, field }));
const leaf: fc.Arbitrary<Said> = fc.constantFrom(...own, ...shared).chain(({ tracker, field }) =>
  fc.constantFrom(...field.operators).chain((op) =>
    valueOf(field, op).map((value) => {
      const nested = field.path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), { [op]: value });
      return { tracker, path: field.path, json: (tracker === null ? nested : { [tracker]: nested }) as object };
    }),
  ),
);
const label: fc.Arbitrary<object> = fc
  .constantFrom({ name: 'tier', value: { eq: 'front' } }, { name: 'a/b~c' }, { name: 'tier', value: { ne: 'x' } })
  .map((one) => ({ container: { labels: [one] } }));
/** Two fields of one event; several are null, wide or of another tracker. */
const pair: fc.Arbitrary<object> = fc
  .tuple(
    fc.constantFrom(
      ['process.pid', 'process.tid'],
      ['process.comm', 'open.path'],
      ['open.path', 'open.directory'],
      ['process.comm', 'container.labels["tier"]'],
      ['tcp.localAddress', 'tcp.remoteAddress'],
      ['tcp.sentBytes', 'cgroupId'],
      ['process.mountNs', 'cgroupId'],
      ['open.errno', 'errno'],
      ['time', 'process.startTime'],
    ),
    fc.constantFrom('==', '!='),
  )
  .map(([[one, other], op]) => ({ expr: `${one} ${op} ${other}` }));
const { tree } = fc.letrec<{ tree: object }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    leaf.map(({ json }) => json),
    label,
    pair,
    fc.array(tie('tree'), { minLength: 1, maxLength: 3 }).map((and) => ({ and })),
    fc.array(tie('tree'), { minLength: 1, maxLength: 3 }).map((or) => ({ or })),
    tie('tree').map((not) => ({ not })),
  ),
}));

/** Null for what is refused: a range that holds no value. */
function filterOrNull(input: object): EventFilter | null {
  try {
    return new EventFilter(parseInput(input, fields, trackers), fields, trackers);
  } catch (error) {
    if (error instanceof Error && error.message.includes('no value is in the range')) return null;
    throw error;
  }
}

describe('a filter on stored events', () => {
  it('takes the events that the filter itself takes', async () => {
    await fc.assert(
      fc.asyncProperty(tree, async (input) => {
        const filter = filterOrNull(input);
        fc.pre(filter !== null);
        const wanted = events.flatMap((event, i) => (filter.matches(event) ? [i] : []));
        const page = await store.page({
          ...everything(trackers),
          session: 's',
          fromSeq: 0,
          toSeq: null,
          limit: 1000,
          backwards: false,
          filter,
        });
        expect(page.events.map(({ place }) => place.seq)).toEqual(wanted);
      }),
      { numRuns: RUNS },
    );
  });

  it('returns the events that it stored', async () => {
    const page = await store.page({
      ...everything(trackers),
      session: 's',
      fromSeq: 0,
      toSeq: null,
      limit: 1000,
      backwards: false,
    });
    expect(page.events.map(({ event }) => event)).toEqual(events);
  });
});

describe('an aggregate of stored events', () => {
  const measures = [
    { fn: 'COUNT' as const, field: 'errno' },
    { fn: 'SUM' as const, field: 'durationNs' },
    { fn: 'MAX' as const, field: 'process.pid' },
    { fn: 'MIN' as const, field: 'process.uid' },
    { fn: 'AVG' as const, field: 'process.pid' },
  ];

  it.each([
    [['process.comm']],
    [['tracker', 'errno']],
    [['container.name', 'process.pid']],
    [['container.labels.tier']],
    [['flags']],
    [['cgroupId', 'process.mountNs']],
    [[]],
  ])('by %j is what the aggregator makes of them', async (groupBy) => {
    const spec = compileAggregate({ groupBy, measures, limit: 1000 }, catalog, trackers);
    const aggregator = new Aggregator(spec);
    aggregator.add(events);
    const rows = await store.aggregate(everything(trackers), spec);
    expect(sorted(rows ?? [])).toEqual(sorted(aggregator.rows()));
  });

  it('has the same windows', async () => {
    const spec = compileAggregate({ groupBy: ['tracker'], measures: [], window: { size: 1 } }, catalog, trackers);
    const aggregator = new Aggregator(spec);
    aggregator.add(events);
    expect(sorted((await store.aggregate(everything(trackers), spec)) ?? [])).toEqual(sorted(aggregator.rows()));
  });

  it('leaves to the aggregator what DuckDB would compute otherwise', async () => {
    const spec = compileAggregate(
      { groupBy: ['tracker'], measures: [{ fn: 'QUANTILE', field: 'durationNs', q: 0.5 }] },
      catalog,
      trackers,
    );
    expect(await store.aggregate(everything(trackers), spec)).toBeNull();
    expect(await all(store.scan(everything(trackers)))).toHaveLength(events.length);
  });
});

function sorted(rows: readonly { readonly key: unknown }[]): unknown[] {
  return [...rows].sort((a, b) => (JSON.stringify(a.key) < JSON.stringify(b.key) ? -1 : 1));
}

async function all(parts: AsyncIterable<readonly TraceEvent[]>): Promise<TraceEvent[]> {
  const list: TraceEvent[] = [];
  for await (const part of parts) list.push(...part);
  return list;
}
