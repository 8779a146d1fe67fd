/** What a condition of Falco becomes: a tree of comparisons in CEL, of what is always so, and of what cannot be said. */
export type Expression =
  | { readonly kind: 'constant'; readonly value: boolean }
  | { readonly kind: 'and' | 'or'; readonly of: readonly Expression[] }
  | { readonly kind: 'not'; readonly of: Expression }
  | { readonly kind: 'macro'; readonly name: string; readonly of: Expression }
  | Comparison
  | Lost;

export interface Comparison {
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

export const TRUE: Expression = { kind: 'constant', value: true };
export const FALSE: Expression = { kind: 'constant', value: false };

export function constant(value: boolean): Expression {
  return value ? TRUE : FALSE;
}

export function cel(text: string, ...notes: readonly string[]): Expression {
  return { kind: 'comparison', text: () => text, lists: [], notes };
}

/** A comparison with the items of a list: `write` gets the list, or a macro of CEL over it. */
export function celOfList(list: string, write: (list: string) => string): Expression {
  return { kind: 'comparison', text: (name) => write(name(list)), lists: [list], notes: [] };
}

export function lost(check: string, why: string): Expression {
  return { kind: 'lost', check, why };
}

export function noted(expression: Expression, ...notes: readonly string[]): Expression {
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
export function and(parts: readonly Expression[]): Expression {
  return junction('and', parts, false);
}

export function or(parts: readonly Expression[]): Expression {
  return junction('or', parts, true);
}

/** `decides`: the value of a part that decides the whole. */
function junction(kind: 'and' | 'or', parts: readonly Expression[], decides: boolean): Expression {
  const flat = parts.flatMap((part) => (part.kind === kind ? part.of : [part]));
  if (flat.some((part) => part.kind === 'constant' && part.value === decides)) return constant(decides);
  const rest = withoutRepeats(flat.filter((part) => part.kind !== 'constant'));
  const [only] = rest;
  return only === undefined ? constant(!decides) : rest.length === 1 ? only : { kind, of: rest };
}

function withoutRepeats(parts: readonly Expression[]): readonly Expression[] {
  const seen = new Set<string>();
  return parts.filter((part) => {
    if (part.kind !== 'comparison') return true;
    const text = part.text((name) => name);
    if (seen.has(text)) return false;
    seen.add(text);
    return true;
  });
}

export function not(of: Expression): Expression {
  if (of.kind === 'constant') return constant(!of.value);
  if (of.kind === 'not') return of.of;
  return of.kind === 'comparison' ? (opposite(of) ?? { kind: 'not', of }) : { kind: 'not', of };
}

/** Of a comparison with null, the other one. */
function opposite(of: Comparison): Comparison | null {
  const [, path = '', equal = ''] =
    /^([\w.]+) ([!=]=) null$/.exec(of.lists.length ? '' : of.text((name) => name)) ?? [];
  return path === '' ? null : { ...of, text: () => `${path} ${equal === '==' ? '!=' : '=='} null` };
}

export function macro(name: string, of: Expression): Expression {
  return of.kind === 'constant' || of.kind === 'lost' ? of : { kind: 'macro', name, of };
}

/** The comparisons in it that have no counterpart. */
export function lostIn(expression: Expression): readonly Lost[] {
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

export function comparisonsIn(expression: Expression): readonly Comparison[] {
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
export function widened(expression: Expression, positive = true): Expression {
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
export function print(expression: Expression, names: Names, place = 0): string {
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
