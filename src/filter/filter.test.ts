import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import type { TraceEvent } from '../event/event.js';
import {
  compileFilter,
  fieldsOf,
  FilterFields,
  optimise,
  parseCel,
  parseInput,
  print,
  type Filter,
  type FilterField,
} from './index.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { holdsFor } from '../../test/support/property.js';

const schema = contractSchema();
const fields = new FilterFields(
  schema,
  new Catalog(schema, await loadTrackers(), (_tracker, field) => field === 'args'),
);
const RUNS = Number(process.env['EUNOMIA_RANDOM_FILTERS'] ?? 2000);

// What a filter says, apart from how it is written

type Json = string | number | boolean | readonly (string | number)[];
type Tree =
  | { readonly kind: 'and' | 'or'; readonly trees: readonly Tree[] }
  | { readonly kind: 'not'; readonly tree: Tree }
  | {
      readonly kind: 'leaf';
      readonly tracker: string | null;
      readonly field: FilterField;
      readonly op: string;
      readonly value: Json;
      readonly style: number;
    };
type Leaf = Extract<Tree, { kind: 'leaf' }>;

const MAX64 = '18446744073709551615';
const texts = [
  '',
  'a',
  'nginx',
  'nginx-1',
  '/etc',
  '/etc/passwd',
  '/etc/ssl/a.pem',
  '/usr/lib/libc.so.6',
  'CAP',
  'ä/ö',
  '😀',
  'a"b\\c\nd',
  '[x]',
  'x*y',
  'O_CREAT',
  'open',
  'exec',
];
const parts = texts.filter((text) => text !== '');
const numbers = [-1, 0, 1, 2, 7, 80, 443, 1000, 2 ** 31 - 1, -(2 ** 31)];
const bigs = [
  '0',
  '1',
  '9',
  '10',
  '99',
  '100',
  '4026531841',
  '9007199254740991',
  '9007199254740992',
  '9007199254740993',
  '9223372036854775808',
  '18446744073709551614',
  MAX64,
];
const signed = ['-9223372036854775808', '-10', '-9', '-2', '-1', '0', '1', '9', '10', '9223372036854775807'];
const unsigned = [0, 1, 1000, 65534, 2 ** 32 - 1];
const times = [
  '2026-01-31T08:15:30.000000000Z',
  '2026-01-31T08:15:30.000000001Z',
  '2026-01-31T08:15:30.123456789Z',
  '2026-01-31T09:00:00.000000000Z',
  '1999-12-31T23:59:59.999999999Z',
];
const addresses = [
  '10.0.0.1',
  '10.1.2.3',
  '127.0.0.1',
  '192.168.1.255',
  '0.0.0.0',
  '255.255.255.255',
  '::',
  '::1',
  '2001:db8::1',
  '2001:db8:0:1::ffff',
  'fe80::1',
];
const networks = [
  '10.0.0.0/8',
  '10.0.0.0/15',
  '10.1.2.3/32',
  '0.0.0.0/0',
  '192.168.1.128/25',
  '::/0',
  '2001:db8::/32',
  '2001:db8::/63',
  '::1/128',
  'fe80::/10',
  '::ffff:10.0.0.0/104',
];
const errnos = ['EPERM', 'ENOENT', 'EACCES', '524'];
// The same in RE2 and in JavaScript.
const regexes = [
  '^/etc/',
  'ng+inx',
  '\\.so\\.[0-9]+$',
  '(?:a|b)+c?',
  '^$',
  '^nginx$',
  'passwd|shadow',
  '[^/]+/[^/]+$',
  '^/etc/passwd$',
  '\\[x\\]',
  'a.b',
  '\\/etc',
  '.*',
  '^(?:a+)+$',
  '\\d',
];
const globs = [
  '*',
  '/etc/*',
  '*.pem',
  '*etc*',
  'nginx',
  'ngin?',
  'nginx-[0-9]',
  'nginx-[!0-9]',
  '{/etc,/usr}/*',
  '*{a,b}*',
  '\\[x\\]',
  'x\\*y',
  '**/a.pem',
  '?',
  '/etc/*/*',
  '[]x[]*',
  'O_*',
];

const operands: Readonly<Record<string, readonly Json[]>> = {
  string: texts,
  int: numbers,
  uint32: unsigned,
  int64: signed,
  uint64: bigs,
  time: times,
  address: [...addresses, '::ffff:10.1.2.3', '2001:DB8::0:1'],
  errno: errnos,
  boolean: [true, false],
};

function valuesOf({ type, values }: FilterField): readonly Json[] {
  return values ?? operands[type] ?? [];
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
    case 'has':
      return fc.constantFrom(...parts, '/', 'x');
    case 'cidr':
      return fc.constantFrom(...networks);
    case 'length':
      return fc.integer({ min: 0, max: 4 });
    case 'any':
      return fc.constantFrom(...parts);
    default:
      return fc.constantFrom(...pool);
  }
}

const named: { tracker: string | null; field: FilterField }[] = [
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

const leaf: fc.Arbitrary<Tree> = fc.constantFrom(...named).chain(({ tracker, field }) =>
  fc.constantFrom(...field.operators).chain((op) =>
    fc.record({
      kind: fc.constant('leaf' as const),
      tracker: fc.constant(tracker),
      field: fc.constant(field),
      op: fc.constant(op),
      value: operand(field, op),
      style: fc.nat(3),
    }),
  ),
);
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    { weight: 3, arbitrary: leaf },
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

// As GraphQL

function toInput(tree: Tree): Record<string, unknown> {
  switch (tree.kind) {
    case 'and':
    case 'or':
      return { [tree.kind]: tree.trees.map(toInput) };
    case 'not':
      return { not: toInput(tree.tree) };
    case 'leaf': {
      const { tracker, field, op, value } = tree;
      const label = field.path.startsWith('container.labels.') ? field.path.slice('container.labels.'.length) : null;
      // The schema's form has a tracker's fields only in its section.
      if (tracker === null && !fields.shared.has(field.path) && label === null) return { expr: toCel(tree) };
      const operators =
        op === 'any' ? { any: { contains: value } } : op === 'length' ? { length: { gte: value } } : { [op]: value };
      if (label !== null) return { container: { labels: [{ name: label, value: operators }] } };
      if (tracker !== null) return { [tracker]: { [field.path]: operators } };
      return field.path
        .split('.')
        .reduceRight<Record<string, unknown>>((inner, name) => ({ [name]: inner }), operators);
    }
  }
}

// As CEL

const flipped: Readonly<Record<string, string>> = {
  '==': '==',
  '!=': '!=',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
};

function toCel(tree: Tree): string {
  switch (tree.kind) {
    case 'and':
    case 'or':
      return `(${tree.trees.map(toCel).join(tree.kind === 'and' ? ' && ' : '\n|| ')})`;
    case 'not':
      return `!(${toCel(tree.tree)})`;
    case 'leaf':
      return leafToCel(tree);
  }
}

function leafToCel({ tracker, field, op, value, style }: Leaf): string {
  const label = /^container\.labels\.(.*)$/s.exec(field.path)?.[1];
  const path =
    label === undefined
      ? `${tracker === null ? '' : `${tracker}.`}${field.path}`
      : `container.labels[${JSON.stringify(label)}]`;
  const constant = (item: Json): string => {
    if (field.type === 'int64') return style % 2 ? JSON.stringify(item) : String(item);
    if (field.type === 'uint64')
      return style % 2
        ? `${String(item)}u`
        : BigInt(String(item)) > 2n ** 63n - 1n
          ? JSON.stringify(item)
          : String(item);
    if (field.type === 'time' && style % 2) return `timestamp('${String(item)}')`;
    return JSON.stringify(item);
  };
  const infix: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', lte: '<=', gt: '>', gte: '>=' };
  const symbol = infix[op];
  if (symbol)
    return style < 2 ? `${path} ${symbol} ${constant(value)}` : `${constant(value)} ${flipped[symbol]} ${path}`;
  const methods: Readonly<Record<string, string>> = {
    prefix: 'startsWith',
    suffix: 'endsWith',
    contains: 'contains',
    glob: 'glob',
    regex: 'matches',
  };
  if (methods[op]) return `${path}.${methods[op]}(${JSON.stringify(value)})`;
  switch (op) {
    case 'isNull':
      return value
        ? `${path} == null`
        : style < 2
          ? `${path} != null`
          : style === 2
            ? `null != ${path}`
            : `has(${path})`;
    case 'in':
      return `${path} in [${(value as readonly (string | number)[]).map(constant).join(', ')}]`;
    case 'cidr':
      return `cidr(${JSON.stringify(value)}).containsIP(${path})`;
    case 'has':
      return style < 2 ? `${JSON.stringify(value)} in ${path}` : `${path}.exists(it, it == ${JSON.stringify(value)})`;
    case 'any':
      return `${path}.exists(it, it.contains(${JSON.stringify(value)}))`;
    default:
      return style < 2 ? `size(${path}) >= ${String(value)}` : `${String(value)} <= ${path}.size()`;
  }
}

// What it means, as simply as can be

type Plain = Readonly<Record<string, unknown>>;

function evaluate(tree: Tree, event: Plain): boolean {
  switch (tree.kind) {
    case 'and':
      return tree.trees.every((inner) => evaluate(inner, event));
    case 'or':
      return tree.trees.some((inner) => evaluate(inner, event));
    case 'not':
      return !evaluate(tree.tree, event);
    case 'leaf':
      return (
        (tree.tracker === null || event['tracker'] === tree.tracker) &&
        evaluateLeaf(tree, valueAt(event, tree.field.path))
      );
  }
}

function valueAt(event: Plain, path: string): unknown {
  const label = /^container\.labels\.(.*)$/s.exec(path)?.[1];
  let value: unknown = event;
  for (const name of label === undefined ? path.split('.') : ['container', 'labels', label])
    value = typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Plain)[name] : null;
  return value ?? null;
}

function evaluateLeaf({ field: { type }, op, value }: Leaf, actual: unknown): boolean {
  if (op === 'isNull') return (actual === null) === value;
  if (actual === null) return false;
  const text = String(value);
  const order = (left: unknown, right: unknown): number => {
    const [a, b] = [left, right].map((side) =>
      type === 'time' ? nanoseconds(String(side)) : type.includes('int') ? BigInt(String(side)) : 0n,
    );
    return Number((a ?? 0n) > (b ?? 0n)) - Number((a ?? 0n) < (b ?? 0n));
  };
  const same = (left: unknown): boolean =>
    type === 'address'
      ? bits(String(left)) === bits(String(actual))
      : type === 'uint64'
        ? BigInt(String(left)) === BigInt(String(actual))
        : left === actual;
  switch (op) {
    case 'eq':
      return same(value);
    case 'ne':
      return !same(value);
    case 'in':
      return (value as readonly unknown[]).some(same);
    case 'lt':
      return order(actual, value) < 0;
    case 'lte':
      return order(actual, value) <= 0;
    case 'gt':
      return order(actual, value) > 0;
    case 'gte':
      return order(actual, value) >= 0;
    case 'prefix':
      return String(actual).startsWith(text);
    case 'suffix':
      return String(actual).endsWith(text);
    case 'contains':
      return String(actual).includes(text);
    case 'regex':
      return new RegExp(text, 'u').test(String(actual));
    case 'glob':
      return matchesGlob([...text], [...String(actual)]);
    case 'cidr': {
      const [base = '', length] = text.split('/');
      const shift = (base.includes(':') ? 128n : 32n) - BigInt(length ?? 0);
      const [network, address] = [bits(base), bits(String(actual))];
      return network < 2n ** 128n === address < 2n ** 128n && network >> shift === address >> shift;
    }
    case 'has':
      return (actual as readonly string[]).includes(text);
    case 'any':
      return (actual as readonly string[]).some((item) => item.includes(text));
    default:
      return (actual as readonly string[]).length >= Number(value);
  }
}

function nanoseconds(text: string): bigint {
  return BigInt(Date.parse(`${text.slice(0, 19)}Z`)) * 1_000_000n + BigInt(text.slice(20, 29));
}

/** IPv4 below 2^32 beyond those of IPv6, so that no two are one. */
function bits(address: string): bigint {
  const four = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  if (four) return 2n ** 128n + four.slice(1).reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const [left = '', right] = address.split('::');
  const groups = (side: string | undefined): string[] => (side ? side.split(':') : []);
  const middle = right === undefined ? 0 : 8 - groups(left).length - groups(right).length;
  return [...groups(left), ...Array.from({ length: middle }, () => '0'), ...groups(right)].reduce(
    (sum, group) => sum * 65536n + BigInt(`0x${group}`),
    0n,
  );
}

function matchesGlob(glob: readonly string[], text: readonly string[]): boolean {
  const [first, ...rest] = glob;
  if (first === undefined) return text.length === 0;
  const one = (matches: boolean, after: readonly string[]): boolean =>
    matches && text.length > 0 && matchesGlob(after, text.slice(1));
  if (first === '*') return matchesGlob(rest, text) || one(true, glob);
  if (first === '?') return one(true, rest);
  if (first === '\\') return one(text[0] === rest[0], rest.slice(1));
  if (first === '{') {
    const end = rest.indexOf('}');
    return rest
      .slice(0, end)
      .join('')
      .split(',')
      .some((option) => matchesGlob([...option, ...rest.slice(end + 1)], text));
  }
  if (first !== '[') return one(text[0] === first, rest);
  const negated = rest[0] === '!';
  const end = rest.indexOf(']', negated ? 2 : 1);
  const inside = new RegExp(
    `[${rest
      .slice(negated ? 1 : 0, end)
      .join('')
      .replace(/[[\]]/g, '\\$&')}]`,
    'u',
  ).test(text[0] ?? '');
  return one(inside !== negated, rest.slice(end + 1));
}

// Events: the values that the filters name, and nulls

const oneOf = <Item>(items: readonly Item[]): fc.Arbitrary<Item> => fc.constantFrom(...items);

function valueFor(field: FilterField): fc.Arbitrary<unknown> {
  const value =
    field.type === 'strings'
      ? fc.array(oneOf(texts), { maxLength: 4 })
      : field.path === 'process.mountNs' || field.path === 'container.cgroupId'
        ? oneOf([1, 10, 99, 4026531841])
        : field.type === 'address'
          ? oneOf(addresses)
          : oneOf(valuesOf(field));
  return field.nullable ? fc.option(value, { freq: 4 }) : value;
}

function record(found: readonly FilterField[], cut: number): fc.Arbitrary<Plain> {
  return fc.record(Object.fromEntries(found.map((field) => [field.path.slice(cut), valueFor(field)])));
}

const below = (prefix: string): FilterField[] =>
  [...fields.shared.values()].filter(({ path }) => path.startsWith(prefix));
const labels = fc.dictionary(oneOf(['tier', 'a.b/c', '"x', 'other']), oneOf(texts), { maxKeys: 4 });
const container = fc
  .tuple(record(below('container.'), 'container.'.length), labels)
  .map(([known, all]) => ({ ...known, labels: all }));
const event: fc.Arbitrary<Plain> = fc.constantFrom(...fields.trackers).chain((tracker) =>
  fc
    .record({
      own: record([...(fields.own(tracker)?.values() ?? [])], 0),
      time: oneOf(times),
      bootNs: oneOf(bigs),
      cgroupId: oneOf(bigs),
      process: record(below('process.'), 'process.'.length),
      container: fc.option(container, { freq: 3 }),
    })
    .map(({ own, ...common }) => ({ tracker, ...common, ...own })),
);
const someEvents = fc.array(event, { minLength: 4, maxLength: 4 });

/** An event that fails the test when a field is read that the demand does not have. */
function onlyReadable(event: Plain, readable: ReadonlySet<string>): TraceEvent {
  const proxy: unknown = new Proxy(event, {
    get: (target, name) =>
      name === 'tracker' || readable.has(String(name)) ? target[String(name)] : expect.fail(`read ${String(name)}`),
  });
  return proxy as TraceEvent;
}

/** The filter in its schema's form; the run does not count when it asks for an empty range, which is an error. */
function filterOf(what: Tree): Filter {
  try {
    return parseInput(toInput(what), fields, fields.trackers);
  } catch (error) {
    expect(String(error)).toContain('no value is in the range');
    expect(() => parseCel(toCel(what), fields, fields.trackers)).toThrow('no value is in the range');
    fc.pre(false);
    throw error;
  }
}

describe(`${RUNS} random filters`, () => {
  it('are evaluated by the compiled predicate as by the reference, over random events, and read no field beyond their demand', async () => {
    let matched = 0;
    let evaluated = 0;
    await holdsFor(
      fc.property(tree, someEvents, (what, events) => {
        const filter = filterOf(what);
        const matches = compileFilter(filter, fields, fields.trackers);
        const demand = fieldsOf(filter, fields, fields.trackers);
        for (const plain of events) {
          const expected = evaluate(what, plain);
          const tracker = String(plain['tracker']);
          expect(matches(onlyReadable(plain, demand.get(tracker) ?? new Set()))).toBe(expected);
          if (!demand.has(tracker)) expect(expected).toBe(false);
          evaluated++;
          if (expected) matched++;
        }
      }),
      { numRuns: RUNS },
    );
    // Else the test would say little.
    expect(matched / evaluated).toBeGreaterThan(0.2);
    expect(matched / evaluated).toBeLessThan(0.8);
  });

  it('mean the same in the form of the schema and in CEL, and after printing and parsing', async () => {
    await holdsFor(
      fc.property(tree, fc.subarray([...fields.trackers], { minLength: 1 }), (what, trackers) => {
        const all = fields.trackers;
        const canonical = optimise(filterOf(what), fields, all);
        expect(optimise(parseCel(toCel(what), fields, all), fields, all)).toEqual(canonical);
        expect(optimise(parseCel(print(canonical), fields, all), fields, all)).toEqual(canonical);
        expect(print(optimise(canonical, fields, all))).toBe(print(canonical));
        // Also for fewer trackers, of which some parts cannot be.
        const fewer = optimise(canonical, fields, trackers);
        expect(optimise(parseCel(print(fewer), fields, trackers), fields, trackers)).toEqual(fewer);
      }),
      { numRuns: RUNS },
    );
  });

  it('keep their text when their parts change places', async () => {
    const turned = (what: Tree): Tree =>
      what.kind === 'not'
        ? { kind: 'not', tree: turned(what.tree) }
        : what.kind === 'leaf'
          ? what
          : { kind: what.kind, trees: what.trees.map(turned).reverse() };
    await holdsFor(
      fc.property(tree, (what) => {
        const [one, other] = [what, turned(what)].map((each) =>
          print(optimise(filterOf(each), fields, fields.trackers)),
        );
        expect(other).toBe(one);
      }),
      { numRuns: 1000 },
    );
  });

  it('are evaluated alike, optimised for all trackers or for the one of the event', async () => {
    await holdsFor(
      fc.property(tree, someEvents, (what, events) => {
        const filter = optimise(filterOf(what), fields, fields.trackers);
        for (const plain of events) {
          const tracker = String(plain['tracker']);
          const only = compileFilter(optimise(filter, fields, [tracker]), fields, [tracker]);
          const readable = fieldsOf(filter, fields, [tracker]).get(tracker) ?? new Set();
          expect(only(onlyReadable(plain, readable))).toBe(evaluate(what, plain));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
