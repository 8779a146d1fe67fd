import { Environment, type ASTNode } from '@marcbachmann/cel-js';
import { wholePath } from './field.js';

/**
 * The expression with whole names, `process.comm` for `comm`, as a server takes and keeps it. One that is no CEL stays as it is: the
 * server says what is wrong with it, and shows it.
 */
export function wholeNames(expression: string, known: ReadonlySet<string>): string {
  let ast: ASTNode;
  try {
    ({ ast } = new Environment().parse(expression));
  } catch {
    return expression;
  }
  const objects = [...known].flatMap((path) => [...path.matchAll(/\./g)].map(({ index }) => path.slice(0, index)));
  return [...missingParents(ast, new Set([...known, ...objects]))]
    .sort((a, b) => b.at - a.at)
    .reduce((text, { at, parent }) => text.slice(0, at) + parent + text.slice(at), expression);
}

interface Missing {
  readonly at: number;
  readonly parent: string;
}

/** What is to be written where. Without recursion: an expression may be some thousands of parts deep. */
function missingParents(ast: ASTNode, known: ReadonlySet<string>): readonly Missing[] {
  const missing: Missing[] = [];
  /** With the names of elements of lists that hold there. */
  const waiting: { readonly part: unknown; readonly bound: ReadonlySet<string> }[] = [{ part: ast, bound: new Set() }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { part, bound } = next;
    const add = (inner: unknown, names = bound): void => void waiting.push({ part: inner, bound: names });
    if (Array.isArray(part)) for (const inner of part) add(inner);
    if (!isNode(part)) continue;
    const named = pathOf(part);
    if (named !== null) {
      const { at, names } = named;
      const path = names.join('.');
      const whole = bound.has(names[0] ?? '') ? path : wholePath(path, known);
      if (whole !== path) missing.push({ at, parent: whole.slice(0, whole.length - path.length) });
    } else if (part.op === 'rcall') {
      const [macro, receiver, args] = part.args;
      const { outside, variables, inside } = scopeOf(macro, receiver, args);
      add(outside);
      add(inside, variables.length ? new Set([...bound, ...variables]) : bound);
    } else add(part.args);
  }
  return missing;
}

/** Macros of CEL, whether the server has them or not: how many of their arguments are variables that hold in the others, at most. */
const VARIABLES: ReadonlyMap<string, number> = new Map([
  ...['all', 'exists', 'exists_one', 'existsOne'].map((name) => [name, 2] as const),
  ...['filter', 'map'].map((name) => [name, 1] as const),
  ...['transformList', 'transformMap', 'transformMapEntry'].map((name) => [name, 2] as const),
]);

/** Of a call of this name, what its variables hold in, and what not. */
function scopeOf(
  name: string,
  receiver: ASTNode,
  args: readonly ASTNode[],
): {
  readonly outside: readonly ASTNode[];
  readonly variables: readonly string[];
  readonly inside: readonly ASTNode[];
} {
  const idOf = (node: ASTNode | undefined): string[] => (node?.op === 'id' ? [node.args] : []);
  if (name === 'bind' && receiver.op === 'id' && receiver.args === 'cel') {
    const [variable, value, ...inside] = args;
    return { outside: value ? [value] : [], variables: idOf(variable), inside };
  }
  // The last argument is what is evaluated with them.
  const most = Math.min(VARIABLES.get(name) ?? 0, args.length - 1);
  const first = args.slice(0, Math.max(0, most));
  const count = first.findIndex(({ op }) => op !== 'id');
  const variables = count < 0 ? first : first.slice(0, count);
  return { outside: [receiver], variables: variables.flatMap(idOf), inside: args.slice(variables.length) };
}

/** `container.labels["a.b"]` and where it begins; null for what is no path. */
function pathOf(node: ASTNode): { readonly at: number; readonly names: readonly string[] } | null {
  if (node.op === 'id') return { at: node.start, names: [node.args] };
  if (node.op !== '.' && node.op !== '[]') return null;
  const [object, member] = node.args;
  const name = typeof member === 'string' ? member : member.op === 'value' ? member.args : null;
  const path = typeof name === 'string' ? pathOf(object) : null;
  return path && { at: path.at, names: [...path.names, String(name)] };
}

function isNode(part: unknown): part is ASTNode {
  return typeof part === 'object' && part !== null && 'op' in part && 'args' in part;
}
