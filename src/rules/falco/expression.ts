/** What a condition of Falco becomes: a tree of comparisons in CEL, of what is always so, and of what cannot be said. */
export type CelTree =
  | { readonly kind: 'constant'; readonly value: boolean }
  | { readonly kind: 'and' | 'or'; readonly of: readonly CelTree[] }
  | { readonly kind: 'not'; readonly of: CelTree }
  | { readonly kind: 'macro'; readonly name: string; readonly of: CelTree }
  | CelComparison
  | Lost;

export interface CelComparison {
  readonly kind: 'comparison';
  /** The comparison in CEL. `list` is how it names a list of the file. */
  text(list: (name: string) => string): string;
  readonly lists: readonly string[];
  /** What it does not share with Falco's. */
  readonly notes: readonly string[];
}

/** A comparison that has no counterpart. */
export interface Lost {
  readonly kind: 'lost';
  readonly check: string;
  readonly why: string;
}

export const TRUE: CelTree = { kind: 'constant', value: true };
export const FALSE: CelTree = { kind: 'constant', value: false };

export function constant(value: boolean): CelTree {
  return value ? TRUE : FALSE;
}

export function cel(text: string, ...notes: readonly string[]): CelTree {
  return { kind: 'comparison', text: () => text, lists: [], notes };
}

/** A comparison with the items of a list: `write` gets the list, or a macro of CEL over it. */
export function celOfList(list: string, write: (list: string) => string): CelTree {
  return { kind: 'comparison', text: (name) => write(name(list)), lists: [list], notes: [] };
}

export function lost(check: string, why: string): CelTree {
  return { kind: 'lost', check, why };
}

export function noted(expression: CelTree, ...notes: readonly string[]): CelTree {
  if (!notes.length) return expression;
  switch (expression.kind) {
    case 'comparison':
      return { ...expression, notes: [...expression.notes, ...notes] };
    case 'and':
    case 'or':
      return { ...expression, of: expression.of.map((inner) => noted(inner, ...notes)) };
    case 'not':
    case 'macro':
      return { ...expression, of: noted(expression.of, ...notes) };
    default:
      return expression;
  }
}

/** Both simplify: what is always so, or never, is left out. */
export function and(parts: readonly CelTree[]): CelTree {
  return junction('and', parts, false);
}

export function or(parts: readonly CelTree[]): CelTree {
  return junction('or', parts, true);
}

/** `decides`: the value of a part that decides the whole. */
function junction(kind: 'and' | 'or', parts: readonly CelTree[], decides: boolean): CelTree {
  const flat = parts.flatMap((part) => (part.kind === kind ? part.of : [part]));
  if (flat.some((part) => part.kind === 'constant' && part.value === decides)) return constant(decides);
  const rest = withoutRepeats(flat.filter((part) => part.kind !== 'constant'));
  const [only] = rest;
  return only === undefined ? constant(!decides) : rest.length === 1 ? only : { kind, of: rest };
}

function withoutRepeats(parts: readonly CelTree[]): readonly CelTree[] {
  const seen = new Set<string>();
  return parts.filter((part) => {
    if (part.kind !== 'comparison') return true;
    const text = part.text((name) => name);
    if (seen.has(text)) return false;
    seen.add(text);
    return true;
  });
}

export function not(of: CelTree): CelTree {
  if (of.kind === 'constant') return constant(!of.value);
  if (of.kind === 'not') return of.of;
  return of.kind === 'comparison' ? (opposite(of) ?? { kind: 'not', of }) : { kind: 'not', of };
}

/** Of a comparison with null, the other one. */
function opposite(of: CelComparison): CelComparison | null {
  const [, path = '', equal = ''] =
    /^([\w.]+) ([!=]=) null$/.exec(of.lists.length ? '' : of.text((name) => name)) ?? [];
  return path === '' ? null : { ...of, text: () => `${path} ${equal === '==' ? '!=' : '=='} null` };
}

export function macro(name: string, of: CelTree): CelTree {
  return of.kind === 'constant' || of.kind === 'lost' ? of : { kind: 'macro', name, of };
}

/** The comparisons in it that have no counterpart. */
export function lostIn(expression: CelTree): readonly Lost[] {
  switch (expression.kind) {
    case 'lost':
      return [expression];
    case 'and':
    case 'or':
      return expression.of.flatMap(lostIn);
    case 'not':
    case 'macro':
      return lostIn(expression.of);
    default:
      return [];
  }
}

export function comparisonsIn(expression: CelTree): readonly CelComparison[] {
  switch (expression.kind) {
    case 'comparison':
      return [expression];
    case 'and':
    case 'or':
      return expression.of.flatMap(comparisonsIn);
    case 'not':
    case 'macro':
      return comparisonsIn(expression.of);
    default:
      return [];
  }
}

/**
 * Leaves out what has no counterpart, so that the rest is true at least where the whole is: a comparison counts as true where it makes the
 * condition true, and as false below a negation.
 */
export function widened(expression: CelTree, positive = true): CelTree {
  switch (expression.kind) {
    case 'lost':
      return constant(positive);
    case 'and':
      return and(expression.of.map((inner) => widened(inner, positive)));
    case 'or':
      return or(expression.of.map((inner) => widened(inner, positive)));
    case 'not':
      return not(widened(expression.of, !positive));
    case 'macro':
      return lostIn(expression.of).length ? widened(expression.of, positive) : expression;
    default:
      return expression;
  }
}

/** How names are written: null writes what a macro stands for. */
export interface Names {
  list(name: string): string;
  macro(name: string): string | null;
}

const PLACE = { or: 1, and: 2, not: 3 } as const;

/** As CEL. */
export function print(expression: CelTree, names: Names, place = 0): string {
  switch (expression.kind) {
    case 'constant':
      return String(expression.value);
    case 'lost':
      throw new TypeError(`${expression.check} has no counterpart`);
    case 'comparison': {
      const text = expression.text((name) => names.list(name));
      return place === PLACE.not && !isPostfix(text) ? `(${text})` : text;
    }
    case 'macro': {
      const name = names.macro(expression.name);
      return name ?? print(expression.of, names, place);
    }
    case 'not':
      return `!${print(expression.of, names, PLACE.not)}`;
    case 'and':
    case 'or': {
      const own = PLACE[expression.kind];
      const text = expression.of.map((inner) => print(inner, names, own)).join(own === PLACE.and ? ' && ' : ' || ');
      return place > own ? `(${text})` : text;
    }
  }
}

/** Whether it is a field or a call, which binds more tightly than "!". */
function isPostfix(text: string): boolean {
  return /^[\w.]+$/.test(text) || /^[\w.]+(?:\["(?:[^"\\]|\\.)*"\])?\.\w+\((?:"(?:[^"\\]|\\.)*")?\)$/.test(text);
}
