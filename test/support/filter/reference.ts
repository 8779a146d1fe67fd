import type { Plain } from './event.js';
import type { Json, Leaf, Pair, Tree } from './tree.js';

/** What a filter means, as simply as can be: what the compiled one is compared with. */
export function evaluate(tree: Tree, event: Plain): boolean {
  switch (tree.kind) {
    case 'and':
      return tree.trees.every((inner) => evaluate(inner, event));
    case 'or':
      return tree.trees.some((inner) => evaluate(inner, event));
    case 'not':
      return !evaluate(tree.tree, event);
    case 'ancestor':
      return ancestorsOf(event).some((ancestor) => evaluateInside(tree.leaf, ancestor));
    case 'pair':
      return (
        [tree.left, tree.right].every(({ tracker }) => tracker === null || tracker === event['tracker']) &&
        evaluatePair(tree, (path) => valueAt(event, path))
      );
    case 'leaf':
      return (
        (tree.tracker === null || event['tracker'] === tree.tracker) &&
        evaluateLeaf(tree, valueAt(event, tree.field.path))
      );
  }
}

function evaluateInside(leaf: Leaf | Pair, ancestor: Plain): boolean {
  const valueOf = (path: string): unknown => valueAt(ancestor, path.slice(1));
  return leaf.kind === 'pair' ? evaluatePair(leaf, valueOf) : evaluateLeaf(leaf, valueOf(leaf.field.path));
}

function evaluatePair({ left, right, op }: Pair, valueOf: (path: string) => unknown): boolean {
  const [one, other] = [valueOf(left.field.path), valueOf(right.field.path)];
  return one !== null && other !== null && evaluateLeaf({ field: left.field, op, value: other as Json }, one);
}

function ancestorsOf(event: Plain): Plain[] {
  const found: Plain[] = [];
  for (let one = valueAt(event, 'process.parent'); one !== null; one = valueAt(one as Plain, 'parent'))
    found.push(one as Plain);
  return found;
}

function valueAt(event: Plain, path: string): unknown {
  const label = /^container\.labels\.(.*)$/s.exec(path)?.[1];
  let value: unknown = event;
  for (const name of label === undefined ? path.split('.') : ['container', 'labels', label])
    value = typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Plain)[name] : null;
  return value ?? null;
}

function evaluateLeaf({ field: { type }, op, value }: Pick<Leaf, 'field' | 'op' | 'value'>, actual: unknown): boolean {
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
    case 'joined':
      return (actual as readonly string[]).join(' ').startsWith(text);
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
