import type { FilterFields } from '../../../src/filter/index.js';
import type { Json, Leaf, Named, Pair, Tree } from './tree.js';

/** As the schema's input. */
export function toInput(tree: Tree, fields: FilterFields): Record<string, unknown> {
  switch (tree.kind) {
    case 'and':
    case 'or':
      return { [tree.kind]: tree.trees.map((inner) => toInput(inner, fields)) };
    case 'not':
      return { not: toInput(tree.tree, fields) };
    case 'pair':
      return { expr: toCel(tree) };
    case 'ancestor': {
      if (tree.leaf.kind === 'pair') return { expr: toCel(tree) };
      const { field, op, value } = tree.leaf;
      return { process: { ancestors: { any: { [field.path.slice(1)]: operatorsOf(op, value) } } } };
    }
    case 'leaf': {
      const { tracker, field, op, value } = tree;
      const label = field.path.startsWith('container.labels.') ? field.path.slice('container.labels.'.length) : null;
      // The schema's form has a tracker's fields only in its section.
      if (tracker === null && !fields.shared.has(field.path) && label === null) return { expr: toCel(tree) };
      const operators = operatorsOf(op, value);
      if (label !== null) return { container: { labels: [{ name: label, value: operators }] } };
      if (tracker !== null) return { [tracker]: { [field.path]: operators } };
      return field.path
        .split('.')
        .reduceRight<Record<string, unknown>>((inner, name) => ({ [name]: inner }), operators);
    }
  }
}

function operatorsOf(op: string, value: Json): Record<string, unknown> {
  if (op === 'any') return { any: { contains: value } };
  if (op === 'joined') return { joined: { prefix: value } };
  return op === 'length' ? { length: { gte: value } } : { [op]: value };
}

const flipped: Readonly<Record<string, string>> = {
  '==': '==',
  '!=': '!=',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
};

/** As CEL. */
export function toCel(tree: Tree): string {
  switch (tree.kind) {
    case 'and':
    case 'or':
      return `(${tree.trees.map(toCel).join(tree.kind === 'and' ? ' && ' : '\n|| ')})`;
    case 'not':
      return `!(${toCel(tree.tree)})`;
    case 'ancestor':
      return `process.ancestors.exists(p, ${tree.leaf.kind === 'pair' ? pairToCel(tree.leaf, 'p') : leafToCel(tree.leaf, 'p')})`;
    case 'pair':
      return pairToCel(tree);
    case 'leaf':
      return leafToCel(tree);
  }
}

function pairToCel({ left, right, op }: Pair, of = ''): string {
  return `${pathToCel(left, of)} ${op === 'eq' ? '==' : '!='} ${pathToCel(right, of)}`;
}

/** `of`: of a field of an element, the element. */
function pathToCel({ tracker, field }: Named, of: string): string {
  const label = /^container\.labels\.(.*)$/s.exec(field.path)?.[1];
  return label === undefined
    ? `${tracker === null ? of : `${tracker}.`}${field.path}`
    : `container.labels[${JSON.stringify(label)}]`;
}

function leafToCel({ tracker, field, op, value, style }: Leaf, of = ''): string {
  const path = pathToCel({ tracker, field }, of);
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
    case 'joined':
      return `${path}.join(" ").startsWith(${JSON.stringify(value)})`;
    default:
      return style < 2 ? `size(${path}) >= ${String(value)}` : `${String(value)} <= ${path}.size()`;
  }
}
