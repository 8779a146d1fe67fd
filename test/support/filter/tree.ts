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
  | { readonly kind: 'ancestor'; readonly leaf: Leaf | Pair }
  /** Two fields of one event, or of one ancestor. */
  | { readonly kind: 'pair'; readonly left: Named; readonly right: Named; readonly op: 'eq' | 'ne' }
  | {
      readonly kind: 'leaf';
      readonly tracker: string | null;
      readonly field: FilterField;
      readonly op: string;
      readonly value: Json;
      readonly style: number;
    };
export type Leaf = Extract<Tree, { kind: 'leaf' }>;
export type Pair = Extract<Tree, { kind: 'pair' }>;

/** A field, with its tracker where that is written. */
export interface Named {
  readonly tracker: string | null;
  readonly field: FilterField;
}

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

const named = (fields: FilterFields): Named[] => [
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

const PAIRED = ['string', 'int', 'uint32', 'int64', 'uint64', 'boolean', 'time', 'address', 'errno', 'enum'];

/** Fields of one type. Types that few fields have are as frequent as others. */
function pair(among: readonly Named[]): fc.Arbitrary<Pair> {
  const kindOf = ({ field: { type, filterType } }: Named): string => (type === 'enum' ? filterType : type);
  const all = among.filter(({ field }) => PAIRED.includes(field.type));
  return fc.constantFrom(...new Set(all.map(kindOf))).chain((kind) => {
    const group = all.filter((each) => kindOf(each) === kind);
    return fc.constantFrom(...group).chain((left) =>
      fc.record({
        kind: fc.constant('pair' as const),
        left: fc.constant(left),
        right: fc.constantFrom(
          ...group.filter(({ tracker }) => tracker === null || left.tracker === null || tracker === left.tracker),
        ),
        op: fc.constantFrom('eq' as const, 'ne' as const),
      }),
    );
  });
}

const pairs = (fields: FilterFields): fc.Arbitrary<Tree> => {
  const inside = [...fields.elementFields({ type: 'processes' }).values()];
  return fc.oneof(
    { weight: 9, arbitrary: pair(named(fields)) },
    {
      weight: 1,
      arbitrary: pair(inside.map((field) => ({ tracker: null, field }))).map((one): Tree => ({
        kind: 'ancestor',
        leaf: one,
      })),
    },
  );
};

/** The trackers that a tree names: most events of any others match it, or do not, by that alone. */
export function trackersOf(tree: Tree): string[] {
  switch (tree.kind) {
    case 'and':
    case 'or':
      return tree.trees.flatMap(trackersOf);
    case 'not':
      return trackersOf(tree.tree);
    case 'pair':
      return [tree.left, tree.right].flatMap(({ tracker }) => tracker ?? []);
    case 'leaf':
      return tree.tracker === null ? [] : [tree.tracker];
    case 'ancestor':
      return [];
  }
}

/** Random trees over all fields. */
export function randomTree(fields: FilterFields): fc.Arbitrary<Tree> {
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      { weight: 3, arbitrary: leaf(fields) },
      { weight: 1, arbitrary: pairs(fields) },
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
