import * as fc from 'fast-check';
import type { FilterField, FilterFields } from '../../../src/filter/index.js';
import {
  texts,
  parts,
  numbers,
  bigs,
  signed,
  unsigned,
  times,
  addresses,
  networks,
  errnos,
  regexes,
  globs,
} from './pool.js';

export type Json = string | number | boolean | readonly (string | number)[];

/** What a filter says, apart from how it is written. `style` chooses among the ways to write it. */
export type Tree =
  | { readonly kind: 'and' | 'or'; readonly trees: readonly Tree[] }
  | { readonly kind: 'not'; readonly tree: Tree }
  /** Some ancestor of the process. The leaf's path is ".comm". */
  | { readonly kind: 'ancestor'; readonly leaf: Leaf }
  | {
      readonly kind: 'leaf';
      readonly tracker: string | null;
      readonly field: FilterField;
      readonly op: string;
      readonly value: Json;
      readonly style: number;
    };
export type Leaf = Extract<Tree, { kind: 'leaf' }>;

const operands: Readonly<Record<string, readonly Json[]>> = {
  string: texts,
  strings: texts,
  int: numbers,
  uint32: unsigned,
  int64: signed,
  uint64: bigs,
  time: times,
  address: [...addresses, '::ffff:10.1.2.3', '2001:DB8::0:1'],
  errno: errnos,
  boolean: [true, false],
};

/** A few of those that a field of names takes: so few that filters and events meet. */
const NAMES = 6;

/** Values of a field's type; of a list, those of its elements. */
export function valuesOf({ type, values, names }: FilterField): readonly Json[] {
  return values ?? names?.all.slice(0, NAMES) ?? operands[type] ?? [];
}

function operand(field: FilterField, op: string): fc.Arbitrary<Json> {
  const pool = valuesOf(field);
  switch (op) {
    case 'isNull':
      return fc.boolean();
    case 'in':
      return fc.array(fc.constantFrom(...(pool as readonly (string | number)[])), { minLength: 1, maxLength: 7 });
    case 'glob':
      return fc.constantFrom(...globs);
    case 'regex':
      return fc.constantFrom(...regexes);
    case 'prefix':
    case 'suffix':
    case 'contains':
      return fc.constantFrom(...parts, '/', 'x');
    case 'has':
      return fc.constantFrom(...(field.names ? pool : [...parts, '/', 'x']));
    case 'cidr':
      return fc.constantFrom(...networks);
    case 'length':
      return fc.integer({ min: 0, max: 4 });
    case 'any':
    case 'joined':
      return fc.constantFrom(...parts, 'a nginx');
    default:
      return fc.constantFrom(...pool);
  }
}

const named = (fields: FilterFields): { tracker: string | null; field: FilterField }[] => [
  ...[...fields.shared.values()].map((field) => ({ tracker: null, field })),
  ...['tier', 'a.b/c', 'constructor', '"x']
    .flatMap((name) => fields.label(name) ?? [])
    .map((field) => ({ tracker: null, field })),
  ...fields.trackers.flatMap((tracker) =>
    [...(fields.own(tracker)?.values() ?? [])].flatMap((field) => [
      { tracker, field },
      ...(fields.among(fields.trackers, field.path)?.mixed ? [] : [{ tracker: null, field }]),
    ]),
  ),
];

const leafOf = (tracker: string | null, field: FilterField, op: string): fc.Arbitrary<Leaf> =>
  fc.record({
    kind: fc.constant('leaf' as const),
    tracker: fc.constant(tracker),
    field: fc.constant(field),
    op: fc.constant(op),
    value: operand(field, op),
    style: fc.nat(3),
  });

const leaf = (fields: FilterFields): fc.Arbitrary<Tree> =>
  fc.constantFrom(...named(fields)).chain(({ tracker, field }) =>
    fc.constantFrom(...field.operators).chain((op): fc.Arbitrary<Tree> => {
      if (field.type !== 'processes' || op !== 'any') return leafOf(tracker, field, op);
      return fc
        .constantFrom(...fields.elementFields(field).values())
        .chain((inside) => fc.constantFrom(...inside.operators).chain((inner) => leafOf(null, inside, inner)))
        .map((one) => ({ kind: 'ancestor', leaf: one }));
    }),
  );

/** Random trees over all fields. */
export function randomTree(fields: FilterFields): fc.Arbitrary<Tree> {
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      { weight: 3, arbitrary: leaf(fields) },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constantFrom('and' as const, 'or' as const),
          trees: fc.array(tie('tree'), { minLength: 1, maxLength: 4 }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('not' as const), tree: tie('tree') }) },
    ),
  }));
  return tree;
}
