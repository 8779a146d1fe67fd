import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { parse, type OperationDefinitionNode } from 'graphql';
import { expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { planText } from '../api/text/text-plan.js';
import { cellOf } from '../cli/format.js';
import { selectionOf } from '../cli/field.js';
import { unitOf } from '../event/scalar.js';
import { createEncoder, eventSheet, EventRecorder } from '../formats/index.js';
import { Reviver } from '../formats/revive.js';
import { RecordBatch } from '../record/batch.js';
import { JsonBytes } from '../record/json/bytes.js';
import { JsonWriter } from '../record/json/writer.js';
import { compileView } from '../record/view.js';
import { PointWriter } from '../storage/influx/point.js';
import { Rebuilder } from '../storage/influx/rebuild.js';
import syscount from '../trackers/syscount.js';
import { layoutOf, packed, recordOf } from '../../test/support/record.js';
import { catalog, end, everything, openStore, record, slicesOf, temporaryDirectory } from '../../test/support/store.js';

/** A histogram of the kernel, in all that reads or writes events. */

const schema = contractSchema();
const words = new BigUint64Array(48);
words[2] = 1n;
words[4] = 2n ** 53n + 1n;
const layout = layoutOf('syscount');
const common = { nr: 3, abi: process.arch === 'arm64' ? 4 : 1, count: 7n, durationNs: 9n };
const { data, offsets } = packed([
  recordOf(layout, { ...common, durationHistogramNs: new Uint8Array(words.buffer) }),
  recordOf(layout, common),
]);
const batch = new RecordBatch(
  data,
  offsets,
  { views: [compileView(syscount, layout)], containerAt: () => null },
  { clock: { seconds: 0, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
);
const [event, without] = [batch.event(0), batch.event(1)];
const buckets = [
  { from: 4, to: 8, count: '1' },
  { from: 8, to: 16, count: '0' },
  { from: 16, to: 32, count: '9007199254740993' },
];
const path = 'durationHistogramNs';

it('is written as JSON from the record, as it was selected', () => {
  const document = parse(
    `subscription { events(session: "s") { events { ... on SyscountEvent { h: ${path} { to n: count __typename } } } } }`,
  );
  const operation = document.definitions[0] as OperationDefinitionNode;
  const [events] = planText({ schema, document, operation, variables: {} })?.entries ?? [];
  if (events?.kind !== 'events') throw new Error('no plan: it would be made by an executor of GraphQL');
  const out = new JsonBytes(1024);
  new JsonWriter(events.shape).write({ batch, from: 0, to: 2 }, out);
  expect(JSON.parse(`[${Buffer.from(out.bytes.subarray(0, out.at)).toString()}]`)).toEqual([
    { h: buckets.map(({ to, count }) => ({ to, n: count, __typename: 'HistogramBucket' })) },
    { h: null },
  ]);
});

it('is in a recording as it is in an event, and is checked when it is read again', () => {
  const recorder = new EventRecorder(schema, ['syscount'], null);
  const line = JSON.parse(JSON.stringify(recorder.record(event))) as Record<string, unknown>;
  expect(line[path]).toEqual(buckets);
  const reviver = new Reviver(schema, [{ name: 'syscount' }]);
  expect(Reflect.get(reviver.event(line), path)).toEqual(buckets);
  expect(() => reviver.event({ ...line, [path]: [{ from: 1, to: null, count: 2 }] })).toThrow(
    `"${path}[0].count" is 2, not decimal digits in a string`,
  );
});

it('is JSON in a cell of CSV, and a list of structs in Parquet', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-histogram-'));
  try {
    const sheet = eventSheet(schema, ['syscount'], ['count', path]);
    expect(createEncoder('csv', sheet, {}).items([event, without], null)).toBe(
      `7,"${JSON.stringify(buckets).replaceAll('"', '""')}"\r\n7,\r\n`,
    );
    const encoder = createEncoder('parquet', sheet, {});
    const parts = [
      encoder.head(),
      encoder.items([event, without], null),
      encoder.end({ items: 2, lost: 0, dropped: 0, complete: true, state: 'STOPPED' }),
    ];
    const file = join(folder, 'events.parquet');
    await writeFile(file, Buffer.concat(parts.map((part) => Buffer.from(part))));
    const database = await DuckDBInstance.create();
    const connection = await database.connect();
    const rows = await connection.runAndReadAll(
      `SELECT h."from" AS low, h."to" AS high, h.count AS n FROM (SELECT unnest(${path}) AS h FROM '${file}')`,
    );
    expect(rows.getRows()).toEqual([
      [4, 8, 1n],
      [8, 16, 0n],
      [16, 32, 2n ** 53n + 1n],
    ]);
    connection.closeSync();
    database.closeSync();
  } finally {
    await rm(folder, { recursive: true });
  }
});

it('comes back from the embedded store, and from points of InfluxDB', async () => {
  const directory = await temporaryDirectory();
  const store = openStore(directory.path);
  const sink = await store.record(record('a', ['syscount']));
  await sink.write(slicesOf([batch]), null);
  await sink.finish(end);
  const place = { session: 'a', fromSeq: 0, toSeq: null, limit: 10, backwards: false };
  const page = await store.page({ ...everything(['syscount']), ...place });
  expect(page.events.map((stored) => Reflect.get(stored.event, path) as unknown)).toEqual([buckets, null]);
  await store.close();
  await directory.remove();

  const tracker = catalog.need('syscount');
  const line = new PointWriter({ host: 'h', session: 'a', trackers: [tracker] }).lineOf(event, 0);
  const [, escaped = ''] = /,durationHistogramNs="((?:[^"\\]|\\.)*)"/.exec(line) ?? [];
  const columns = { [path]: escaped.replaceAll(/\\(.)/g, '$1') };
  const rebuilt = new Rebuilder(tracker).read({ time: '1970-01-01T00:00:00Z', columns });
  expect(Reflect.get(rebuilt.event, path)).toEqual(buckets);
});

it('is selected with its bounds by the command line, and readable in a table', () => {
  const field = { path, type: { name: '[HistogramBucket!]' }, description: '', onDemand: false };
  const tracker = {
    name: 'syscount',
    eventType: 'SyscountEvent',
    details: '',
    columns: [],
    options: [],
    fields: [field],
  };
  const selection = selectionOf(tracker, [{ path, keys: [path] }], [tracker]);
  expect(selection.fragment).toBe(`... on SyscountEvent { ${path} { from to count } }`);
  expect(selection.read({ [path]: buckets })).toEqual({ [path]: buckets });
  expect(cellOf([...buckets, { from: 2 ** 47, to: null, count: '2' }])).toBe(
    '4..8:1 8..16:0 16..32:9007199254740993 140737488355328..:2',
  );
});

it('has the unit that its name ends in, as other fields have', () => {
  expect(['durationHistogramNs', 'durationNs', 'sizeHistogramBytes', 'bytes', 'sentBytes'].map(unitOf)).toEqual([
    'NANOSECONDS',
    'NANOSECONDS',
    'BYTES',
    'BYTES',
    'BYTES',
  ]);
  // Those end in the name of what is no unit, or have none.
  expect(['process.mountNs', 'netNs', 'pidNs', 'count', 'sector', 'Ns'].map(unitOf)).toEqual(Array(6).fill(null));
});
