import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, getNamedType, isEnumType, isInputObjectType, isNonNullType, isObjectType } from 'graphql';
import { describe, expect, it } from 'vitest';
import { root } from '../base/paths.js';
import { kinds } from '../btf/kind.js';
import { RecordBatch } from '../record/batch.js';
import { compileView } from '../record/view.js';
import { objectFile, packed, recordOf } from '../../test/support/record.js';
import { snapshotKinds } from './reader.js';
import { compileLayout } from '../btf/layout.js';

const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
/** Not from the record's own members: the header, and what rows.ts makes. */
const others = ['process', 'container', 'cgroupId', 'owners'];

describe.each(Object.values(snapshotKinds).map(({ definition }) => [definition.name, definition] as const))(
  'the contract of snapshots of the kind %s',
  (name, definition) => {
    const file = objectFile(`snapshots/${name}`);
    const layout = compileLayout(file, name);
    const type = schema.getType(definition.type);
    if (!isObjectType(type)) throw new Error(`schema.graphql has no type ${definition.type}`);
    const fields = Object.values(type.getFields());
    const own = fields.filter((field) => !others.includes(field.name));
    const computed = definition.fields ?? {};

    it.each(own.map((field) => [field.name, field] as const))('has a source for its field %s', (fieldName, field) => {
      const made = computed[fieldName];
      if (made) {
        for (const from of made.from) expect([...layout.fields.keys()]).toContain(from);
        return;
      }
      const record = layout.fields.get(fieldName);
      if (!record) throw new Error(`${definition.type}.${fieldName} has no source`);
      const shown = getNamedType(field.type);
      if (record.kind === 'enum') {
        if (!isEnumType(shown)) throw new Error(`${fieldName} is an enum`);
        expect(
          shown
            .getValues()
            .map((value) => value.name)
            .sort(),
        ).toEqual([...record.values.values()].sort());
        return;
      }
      expect(kinds[record.kind].scalars).toContain(shown.name);
      if (kinds[record.kind].nullable) expect(isNonNullType(field.type)).toBe(false);
    });

    it('shows every member of its record, by itself or through another field', () => {
      const used = new Set([...own.map((field) => field.name), ...Object.values(computed).flatMap(({ from }) => from)]);
      const behind = name === 'socket' ? ['fd'] : []; // SocketOwner.fds
      expect([...layout.fields.keys()].filter((member) => !used.has(member))).toEqual(behind);
      expect(Object.keys(computed).filter((field) => !(field in type.getFields()))).toEqual([]);
    });

    it('has values for all that the schema calls non-null, also in an empty record', () => {
      const least = Object.fromEntries(
        [...layout.fields.values()]
          .filter((field) => field.kind === 'enum')
          .map((field) => [field.name, Math.min(...field.values.keys())]),
      );
      const { data, offsets } = packed([
        recordOf(layout, { ...least, ...(layout.fields.has('netNs') ? { netNs: 1 } : {}) }),
      ]);
      const batch = new RecordBatch(
        data,
        offsets,
        { views: [compileView({ ...definition, blindSpots: [] }, layout)], containerAt: () => null },
        { clock: { seconds: 0, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
      );
      const row = batch.event(0);
      for (const field of own)
        if (isNonNullType(field.type)) expect([field.name, Reflect.get(row, field.name) ?? null]).not.toContain(null);
    });

    it('filters by each of its values', () => {
      const filter = schema.getType(`${definition.type}Filter`);
      if (!isInputObjectType(filter)) throw new Error('no filter');
      const lists = ['owners'];
      expect(
        Object.keys(filter.getFields())
          .filter((one) => !['and', 'or', 'not', 'expr'].includes(one))
          .sort(),
      ).toEqual(
        fields
          .map((one) => one.name)
          .filter((one) => !lists.includes(one))
          .sort(),
      );
    });

    it('has a program on an iterator, whose name the kernel does not cut, and no map of sessions', () => {
      expect([...file.programs]).toEqual([[`snap_${name}`, expect.stringMatching(/^iter\/task(_file)?$/)]]);
      expect(`snap_${name}`.length).toBeLessThanOrEqual(15);
      expect([...file.variables.keys()].filter((one) => one.startsWith('eu_ring') || one === 'eu_control')).toEqual([]);
    });
  },
);
