import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { packageFile } from '../base/paths.js';
import { fieldType, scalars } from '../event/scalar.js';
import { kindOfTypedef, kinds } from './kind.js';

const include = packageFile('bpf/include');
/** The typedefs of the headers, by name. vmlinux.h has the kernel's own. */
const typedefs = readdirSync(include)
  .filter((file) => file.endsWith('.bpf.h'))
  .flatMap((file) => [...readFileSync(`${include}/${file}`, 'utf8').matchAll(/^(?:typedef [^{;]*?|\} )(eu_\w+);/gm)])
  .map(([, name = '']) => name);

describe('the table of kinds', () => {
  it('has a row for each typedef of bpf/include, and no other of that name', () => {
    expect(typedefs.length).toBeGreaterThan(5);
    expect([...typedefs].sort()).toEqual(
      Object.keys(kinds)
        .filter((name) => name.startsWith('eu_'))
        .sort(),
    );
    for (const name of typedefs) expect(kindOfTypedef(name)).toBe(name);
  });

  it('does not take a type for a kind because of its name alone', () => {
    for (const name of ['u32', 'enum', 'eu_header', 'constructor', 'eu_']) expect(kindOfTypedef(name)).toBeNull();
  });

  it('shows each kind by scalars that the schema has', () => {
    const schema = contractSchema();
    for (const { scalars: names } of Object.values(kinds))
      for (const name of names) expect(schema.getType(name)).toBeDefined();
    for (const name of Object.keys(scalars)) expect(schema.getType(name)).toBeDefined();
  });
});

describe('a type of the schema', () => {
  it.each([
    ['[UInt64!]!', { column: 'list', list: true, wide: false }],
    ['UInt64!', { column: 'uint64', list: false, wide: true, measured: 'number', influx: 'integer' }],
    ['Errno', { column: 'text', influx: 'tag', compared: 'errno' }],
    ['SyscallAbi!', { column: 'text', influx: 'tag', compared: null }],
    ['constructor', { column: 'text', influx: 'tag' }],
  ])('%s is held by its scalar', (printed, row) => {
    expect(fieldType(printed)).toMatchObject(row);
  });
});
