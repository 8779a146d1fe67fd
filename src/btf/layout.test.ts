import { describe, expect, it } from 'vitest';
import type { BpfFile, BtfMember, BtfType } from './btf.js';
import { compileLayout } from './layout.js';
import { headerOffsets } from '../record/batch.js';
import { layoutOf, objectFile } from '../../test/support/record.js';

const trackers = ['exec', 'exit', 'open', 'signal', 'tcp', 'cgroup'];
const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

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
const member = (name: string, type: number, byte: number, bits = 0): BtfMember => ({
  name,
  type,
  bitOffset: byte * 8 + bits,
});

/** An object with `struct x_event { struct eu_header header; FIELDS }`; types from 10 on are the test's own. */
function fileOf(fields: readonly BtfMember[], own: readonly Partial<BtfType>[] = []): BpfFile {
  const types: BtfType[] = [
    blank,
    { ...blank, kind: 'int', name: 'unsigned int', size: 4 },
    { ...blank, kind: 'int', name: 'int', size: 4, signed: true },
    { ...blank, kind: 'int', name: 'char', size: 1, signed: true },
    {
      ...blank,
      kind: 'struct',
      name: 'eu_header',
      size: 8,
      members: [member('boot_ns', 5, 0), member('reserved', 1, 4)],
    },
    { ...blank, kind: 'int', name: 'unsigned long long', size: 8 },
    { ...blank, kind: 'typedef', name: '__u32', type: 1 },
    { ...blank, kind: 'typedef', name: 'eu_str', type: 6 },
    { ...blank, kind: 'ptr', type: 3 },
    { ...blank, kind: 'struct', name: 'x_event', size: 64, members: [member('header', 4, 0), ...fields] },
  ];
  return {
    types: [...types, ...own.map((type) => ({ ...blank, ...type }))],
    programs: new Map(),
    variables: new Map(),
  };
}

describe('a record layout', () => {
  it.each(trackers)('of %s has each member of the C struct where BTF says, and no other', (name) => {
    const layout = layoutOf(name);
    const { types } = objectFile(name);
    const record = types.find((t) => t.kind === 'struct' && t.name === `${name}_event`);
    const header = types.find((t) => t.kind === 'struct' && t.name === 'eu_header');
    expect(layout.size).toBe(record?.size);
    const ofSecond = (offset: number) =>
      layout.second !== null && offset >= layout.second && offset < layout.second + (header?.size ?? 0);
    const own = [...layout.fields.values()].filter((f) => !ofSecond(f.offset));
    expect(own.map((f) => [f.name, f.offset])).toEqual(
      record?.members
        .slice(1)
        .filter((m) => m.name !== 'reserved' && types[m.type] !== header)
        .map((m) => [camel(m.name), m.bitOffset / 8]),
    );
    expect([...layout.header.values()].map((f) => [f.name, f.offset])).toEqual(
      header?.members
        .filter((m) => m.name !== 'reserved')
        .map((m) => [m.name === 'boot_ns' ? 'bootNs' : camel(m.name), m.bitOffset / 8]),
    );
    for (const field of layout.fields.values()) expect(field.offset + field.size).toBeLessThanOrEqual(layout.size);
    for (const [field, offset] of Object.entries(headerOffsets)) expect(layout.header.get(field)?.offset).toBe(offset);
  });

  it('knows the semantic types by their names', () => {
    const kinds = (name: string) =>
      Object.fromEntries([...layoutOf(name).fields.values()].map((f) => [f.name, f.kind]));
    expect(kinds('exec')).toMatchObject({
      errno: 'eu_errno',
      filename: 'eu_str',
      args: 'eu_strs',
      pidNs: 'u32',
      parentComm: 'eu_str',
      argsTruncated: 'bool',
    });
    expect(kinds('exit')).toMatchObject({
      exitCode: 's32',
      signal: 'u32',
      coreDumped: 'bool',
      lifetimeNs: 'eu_duration_ns',
    });
    expect(kinds('tcp')).toMatchObject({
      tcpOperation: 'enum',
      family: 'u16',
      localAddress: 'eu_ip',
      sentBytes: 'u64',
    });
    expect(layoutOf('tcp').fields.get('localAddress')?.size).toBe(16);
    expect([...(layoutOf('tcp').fields.get('tcpOperation')?.values ?? [])]).toEqual([
      [1, 'CONNECT'],
      [2, 'ACCEPT'],
      [3, 'CLOSE'],
      [4, 'CONNECT_FAILED'],
    ]);
  });

  it('has the capture bits of the enum', () => {
    expect(layoutOf('exec').captures).toEqual(
      new Map([
        ['filename', 0],
        ['executable', 1],
        ['args', 2],
        ['cwd', 3],
        ['parentComm', 4],
        ['pidNs', 5],
        ['netNs', 6],
        ['executableState', 7],
        ['cwdState', 8],
        ['directory', 9],
        ['stdin', 10],
      ]),
    );
    expect(layoutOf('open').captures).toEqual(
      new Map([
        ['path', 0],
        ['resolved', 1],
        ['resolvedState', 2],
        ['directory', 3],
        ['stack', 4],
      ]),
    );
    expect(layoutOf('exit').captures).toEqual(new Map());
    for (const name of trackers)
      for (const field of layoutOf(name).captures.keys()) expect(layoutOf(name).fields.has(field)).toBe(true);
  });

  it('looks through qualifiers and typedefs of typedefs', () => {
    const file = fileOf(
      [member('my_text', 12, 8), member('count', 10, 12)],
      [
        { kind: 'const', type: 6 },
        { kind: 'typedef', name: 'eu_label', type: 7 },
        { kind: 'volatile', type: 11 },
      ],
    );
    const { fields } = compileLayout(file, 'x');
    expect(fields.get('myText')).toMatchObject({ kind: 'eu_str', offset: 8, size: 4 });
    expect(fields.get('count')).toMatchObject({ kind: 'u32', offset: 12, size: 4 });
  });

  it('has the second process of an event, by the name of its header', () => {
    const layout = layoutOf('signal');
    const header = (name: string) => layout.header.get(name)?.offset ?? Number.NaN;
    const { second } = layout;
    if (second === null) throw new Error('the record of signal has no second header');
    expect(second % 8).toBe(0);
    const field = (name: string) => layout.fields.get(name);
    expect(field('targetPid')).toMatchObject({ kind: 'u32', offset: second + header('pid') });
    expect(field('targetComm')).toMatchObject({ kind: 'chars', offset: second + header('comm'), size: 16 });
    expect(field('targetCgroupId')).toMatchObject({ kind: 'u64', offset: second + header('cgroupId') });
    expect(field('targetStartTime')).toMatchObject({ kind: 'eu_boot_ns', offset: second + header('startBootNs') });
    expect(field('targetContainerName')).toMatchObject({ kind: 'container_name', offset: second });
    expect(layoutOf('exit').second).toBeNull();
  });

  it('refuses what it cannot decode, and says which member', () => {
    const refused = (fields: BtfMember[], own: Partial<BtfType>[], message: string) =>
      expect(() => compileLayout(fileOf(fields, own), 'x')).toThrow(
        expect.objectContaining({ code: 'BAD_OBJECT', message }) as Error,
      );
    refused([member('bits', 1, 8, 3)], [], 'x_event.bits: bit fields are not decoded');
    refused([member('text', 8, 8)], [], 'x_event.text: a ptr is not decoded');
    refused(
      [member('list', 10, 8)],
      [{ kind: 'array', type: 1, elements: 4 }],
      'x_event.list: arrays of another type than char are not decoded',
    );
    refused(
      [member('inner', 10, 8)],
      [{ kind: 'struct', name: 'inner', size: 4 }],
      'x_event.inner: a struct is not decoded',
    );
    refused([member('lost', 99, 8)], [], 'BTF refers to the type 99, which it does not have');
  });

  it('refuses an object without the struct, or one that begins otherwise', () => {
    expect(() => compileLayout(fileOf([]), 'y')).toThrow(
      'the object of y has no struct y_event in its BTF (is EU_EVENT(y) missing?)',
    );
    const file = fileOf([]);
    const types = file.types.map((t) => (t.name === 'x_event' ? { ...t, members: [member('pid', 1, 0)] } : t));
    expect(() => compileLayout({ ...file, types }, 'x')).toThrow('struct x_event must begin with struct eu_header');
  });
});
