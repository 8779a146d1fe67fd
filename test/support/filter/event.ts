import * as fc from 'fast-check';
import type { FilterField, FilterFields } from '../../../src/filter/index.js';
import { texts, bigs, times, addresses } from './pool.js';
import { valuesOf } from './tree.js';

/** An event as plain data. */
export type Plain = Readonly<Record<string, unknown>>;

const oneOf = <Item>(items: readonly Item[]): fc.Arbitrary<Item> => fc.constantFrom(...items);

function valueFor(field: FilterField): fc.Arbitrary<unknown> {
  const value: fc.Arbitrary<unknown> =
    field.type === 'strings'
      ? fc.array(oneOf<unknown>(valuesOf(field)), { maxLength: 4 })
      : field.path === 'container.cgroupId'
        ? oneOf([1, 10, 99, 4026531841])
        : field.type === 'address'
          ? oneOf(addresses)
          : oneOf(valuesOf(field));
  return field.nullable ? fc.option(value, { freq: 4 }) : value;
}

function record(found: readonly FilterField[], cut: number): fc.Arbitrary<Plain> {
  return fc.record(Object.fromEntries(found.map((field) => [field.path.slice(cut), valueFor(field)])));
}

const below = (fields: FilterFields, prefix: string): FilterField[] =>
  [...fields.shared.values()].filter(({ path }) => path.startsWith(prefix));
const labels = fc.dictionary(oneOf(['tier', 'a.b/c', '"x', 'other']), oneOf(texts), { maxKeys: 4 });
const container = (fields: FilterFields) =>
  fc
    .tuple(record(below(fields, 'container.'), 'container.'.length), labels)
    .map(([known, all]) => ({ ...known, labels: all }));
const event = (fields: FilterFields): fc.Arbitrary<Plain> =>
  fc.constantFrom(...fields.trackers).chain((tracker) =>
    fc
      .record({
        own: record([...(fields.own(tracker)?.values() ?? [])], 0),
        time: oneOf(times),
        bootNs: oneOf(bigs),
        cgroupId: oneOf(bigs),
        process: record(below(fields, 'process.'), 'process.'.length),
        container: fc.option(container(fields), { freq: 3 }),
      })
      .map(({ own, ...common }) => ({ tracker, ...common, ...own })),
  );

/** Four random events of any trackers, with nulls where fields can be null. */
export const someEvents = (fields: FilterFields): fc.Arbitrary<Plain[]> =>
  fc.array(event(fields), { minLength: 4, maxLength: 4 });
