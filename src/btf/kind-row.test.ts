import { buildSchema } from 'graphql';
import { describe, expect, it, vi } from 'vitest';
import { RecordBatch } from '../record/batch.js';
import { JsonBytes } from '../record/json/bytes.js';
import { JsonWriter } from '../record/json/writer.js';
import { compileView } from '../record/view.js';
import { compileNumber, GroupMemo } from '../analysis/aggregate/record.js';
import { ColumnBuffer } from '../storage/duckdb/chunk.js';
import { encoderOf } from '../storage/duckdb/encode.js';
import { tableOf } from '../storage/duckdb/table.js';
import { columnsOf } from '../storage/influx/column.js';
import { Catalog } from '../catalog/catalog.js';
import { packed, recordOf } from '../../test/support/record.js';
import type { BpfFile, BtfType } from './btf.js';
import { compileLayout } from './layout.js';
import type { Kind } from './kind.js';

// What a contributor adds: a row for each of three typedefs, one of a form of each sort. Nothing else in this file is of the product.
vi.mock(import('./kind.js'), async (original) => {
  const module = await original();
  const added: Readonly<Record<string, Kind>> = {
    eu_mac: {
      form: 'made',
      make: (bytes, _view, _record, at) => Buffer.from(bytes.subarray(at, at + 6)).toString('hex'),
      bytes: 6,
      scalars: ['String'],
      nullable: false,
    },
    eu_suit: {
      form: 'code',
      signed: true,
      name: (id) => (id < 0 ? null : `suit ${id}`),
      bytes: 4,
      scalars: ['String'],
      nullable: true,
    },
    eu_pages: { form: 'wide', signed: false, none: true, bytes: 8, scalars: ['UInt64'], nullable: true },
  };
  const kinds = { ...module.kinds, ...added };
  const kindOfTypedef: typeof module.kindOfTypedef = (name) =>
    name in added ? (name as ReturnType<typeof module.kindOfTypedef>) : module.kindOfTypedef(name);
  return { ...module, kinds, kindOfTypedef };
});

const blank: BtfType = {
  kind: 'void',
  name: '',
  size: 0,
  type: 0,
  members: [],
  values: [],
  elements: 0,
  signed: false,
  bool: false,
};
const u64 = ['boot_ns', 'cgroup_id', 'start_boot_ns'].map((name, i) => ({ name, type: 1, bitOffset: 64 * i }));
const u32 = ['pid', 'tid', 'ppid', 'uid', 'gid', 'mount_ns'].map((name, i) => ({
  name,
  type: 2,
  bitOffset: 192 + 32 * i,
}));
const header = [
  ...u64,
  ...u32,
  { name: 'tracker', type: 3, bitOffset: 384 },
  { name: 'comm', type: 5, bitOffset: 448 },
];
const file: BpfFile = {
  types: [
    blank,
    { ...blank, kind: 'int', size: 8 },
    { ...blank, kind: 'int', size: 4 },
    { ...blank, kind: 'int', size: 2 },
    { ...blank, kind: 'int', size: 1 },
    { ...blank, kind: 'array', type: 4, elements: 16 },
    { ...blank, kind: 'struct', name: 'eu_header', size: 72, members: header },
    { ...blank, kind: 'array', type: 4, elements: 6 },
    { ...blank, kind: 'typedef', name: 'eu_mac', type: 7 },
    { ...blank, kind: 'int', size: 4, signed: true },
    { ...blank, kind: 'typedef', name: 'eu_suit', type: 9 },
    { ...blank, kind: 'typedef', name: 'eu_pages', type: 1 },
    {
      ...blank,
      kind: 'struct',
      name: 'card_event',
      size: 96,
      members: [
        { name: 'header', type: 6, bitOffset: 0 },
        { name: 'pages', type: 11, bitOffset: 72 * 8 },
        { name: 'suit', type: 10, bitOffset: 80 * 8 },
        { name: 'mac', type: 8, bitOffset: 84 * 8 },
      ],
    },
  ],
  programs: new Map(),
  variables: new Map(),
};

const schema = buildSchema(`
  scalar UInt64
  type Query { a: Int }
  input Options { a: Int }
  input TrackerInput { card: Options }
  type CardEvent { mac: String! suit: String pages: UInt64 }
`);
const definition = { name: 'card', minimumKernel: '5.8', blindSpots: [] };
const layout = compileLayout(file, 'card');
const view = compileView(definition, layout);
const mac = Uint8Array.from([1, 2, 3, 4, 5, 0xfe]);
const none = 2n ** 64n - 1n;

/** Two events: one with all its values, one with the kinds' nulls. */
const { data, offsets } = packed([
  recordOf(layout, { pages: 2n ** 40n, suit: 7, mac }),
  recordOf(layout, { pages: none, suit: -1, mac }),
]);
const batch = new RecordBatch(
  data,
  offsets,
  { views: [view], containerAt: () => null },
  { clock: { seconds: 0, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
);
const [tracker] = new Catalog(schema, [definition], () => false).trackers;
const values = [
  { mac: '0102030405fe', suit: 'suit 7', pages: String(2n ** 40n) },
  { mac: '0102030405fe', suit: null, pages: null },
];

describe('a kind that is a row of the table and a typedef', () => {
  it('is decoded', () => {
    expect([...layout.fields.values()].map(({ name, kind, size }) => [name, kind, size])).toEqual([
      ['pages', 'eu_pages', 8],
      ['suit', 'eu_suit', 4],
      ['mac', 'eu_mac', 6],
    ]);
    values.forEach((expected, i) => expect(batch.event(i)).toMatchObject(expected));
  });

  it('is refused where the object has it in another size', () => {
    const types = file.types.map((type, i) => (i === 7 ? { ...type, elements: 8 } : type));
    expect(() => compileLayout({ ...file, types }, 'card')).toThrow(/card_event\.mac: a eu_mac has 8 bytes here and 6/);
  });

  it('is written as JSON from the record', () => {
    const entries = (['mac', 'suit', 'pages'] as const).map((field) => ({
      kind: 'leaf' as const,
      key: field,
      field,
      scalar: field === 'pages' ? 'UInt64' : 'String',
      nullable: field !== 'mac',
      json: (value: unknown) => JSON.stringify(value),
    }));
    const out = new JsonBytes(1024);
    new JsonWriter(new Map([['card', entries]])).write({ batch, from: 0, to: 2 }, out);
    expect(JSON.parse(`[${Buffer.from(out.bytes.subarray(0, out.at)).toString()}]`)).toEqual(values);
  });

  it('is read by aggregates: as a number where it is one, and as a group', () => {
    const source = { definition, layout };
    const number = compileNumber(source, 'pages');
    expect([...offsets].map((at) => number?.(batch.view, at))).toEqual([2 ** 40, Number.NaN]);
    expect(compileNumber(source, 'mac')).toBeNull();
    expect(GroupMemo.create(source, ['mac', 'suit', 'pages'])).not.toBeNull();
  });

  it('has a column in both stores', () => {
    if (!tracker) throw new Error('the catalog has no tracker');
    const { own } = tableOf(tracker);
    expect(own).toEqual([
      { name: 'mac', kind: 'text' },
      { name: 'suit', kind: 'text' },
      { name: 'pages', kind: 'uint64' },
    ]);
    expect(columnsOf(tracker).map(({ path, kind, wide }) => [path, kind, wide])).toEqual([
      ['mac', 'text', false],
      ['suit', 'text', false],
      ['pages', 'integer', true],
    ]);
    const pages = new ColumnBuffer('uint64');
    const encode = encoderOf({ name: 'pages', kind: 'uint64' }, { definition, layout });
    encode(batch, offsets[0] ?? 0, batch.event(0), pages, 0);
    expect([...pages.words.subarray(0, 2)]).toEqual([0, 256]);
  });
});
