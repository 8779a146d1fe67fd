import * as fc from 'fast-check';
import type { FilterField, FilterFields } from '../../../src/filter/index.js';
import type { Lineage, ProcessAt } from '../../../src/event/lineage.js';
import { lineagePath } from '../../../src/event/lineage.js';
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
/** A process of the table, with up to three ancestors. */
const ancestry = (fields: FilterFields): fc.Arbitrary<Plain | null> => {
  const found = [...(fields.elementFields({ type: 'processes' }).values() ?? [])];
  return fc
    .array(record(found, 1), { maxLength: 3 })
    .map((all) => all.reduceRight<Plain | null>((parent, one) => ({ ...one, parent }), null));
};
const process = (fields: FilterFields): fc.Arbitrary<Plain> => {
  const all = below(fields, 'process.');
  const ofTable = all.filter(({ path }) => lineagePath(path) !== null);
  return fc
    .record({
      own: record(
        all.filter((field) => !ofTable.includes(field)),
        'process.'.length,
      ),
      known: fc.option(
        fc.record({
          program: record(
            ofTable.filter(({ path }) => !/^process\.(parent|ancestors)/.test(path)),
            'process.'.length,
          ),
          parent: ancestry(fields),
        }),
        { freq: 4 },
      ),
    })
    .map(({ own, known }) => ({ ...own, ...known?.program, parent: known?.parent ?? null, ancestors: known && [] }));
};
/** What the table of processes has of such an event. */
export const plainLineage: Lineage = {
  of: ({ process: found }) => (Reflect.get(found, 'ancestors') ? (found as unknown as ProcessAt) : null),
  ready: () => null,
  problem: null,
  sinceNs: 0n,
};
const event = (fields: FilterFields, trackers: readonly string[]): fc.Arbitrary<Plain> =>
  fc.constantFrom(...trackers).chain((tracker) =>
    fc
      .record({
        own: record([...(fields.own(tracker)?.values() ?? [])], 0),
        time: oneOf(times),
        bootNs: oneOf(bigs),
        cgroupId: oneOf(bigs),
        process: process(fields),
        container: fc.option(container(fields), { freq: 3 }),
      })
      .map(({ own, ...common }) => ({ tracker, ...common, ...own })),
  );

/** Random events of any trackers, or of these, with nulls where fields can be null. */
export const someEvents = (
  fields: FilterFields,
  count: number,
  trackers: readonly string[] = fields.trackers,
): fc.Arbitrary<Plain[]> => fc.array(event(fields, trackers), { minLength: count, maxLength: count });
