import {
  ALWAYS,
  ANCESTORS,
  and,
  compare,
  isTracker,
  NEVER,
  or,
  PARENT,
  type Any,
  type Comparison,
  type Filter,
  type Operator,
  type Pair,
  type Scalar,
} from './ast.js';
import { costOf } from './cost.js';
import type { FilterFields } from './field.js';
import { emptyRange } from './literal.js';
import { compileGlob, compileRegex, plainGlob, plainRegex } from './pattern.js';
import { print } from './print.js';

/**
 * Returns the canonical filter that is equivalent for events of these trackers: flat, without parts that are always
 * true or always false, without duplicates, cheap parts first. For a single tracker, it is the part of the filter that
 * applies to it.
 */
export function optimise(filter: Filter, fields: FilterFields, trackers: readonly string[]): Filter {
  // Removing a part can simplify another one. Each round makes the filter smaller, so this terminates.
  let current = filter;
  for (let text = ''; ;) {
    current = new Folder(fields).fold(current, trackers);
    const next = print(current);
    if (next === text) return current;
    text = next;
  }
}

const NEGATED: Partial<Record<Operator, Operator>> = { eq: 'ne', ne: 'eq', lt: 'gte', lte: 'gt', gt: 'lte', gte: 'lt' };

/** `scope` is always the set of trackers whose events reach a part of the filter. */
class Folder {
  readonly #fields: FilterFields;
  /** Of the elements that are looked at, the path of their list. */
  #list = '';

  constructor(fields: FilterFields) {
    this.#fields = fields;
  }

  fold(filter: Filter, scope: readonly string[]): Filter {
    switch (filter.kind) {
      case 'always':
        return filter;
      case 'not':
        return this.#not(this.fold(filter.filter, scope), scope);
      case 'comparison':
        return filter.path === 'tracker' ? this.#tracker(filter, scope) : this.#comparison(filter, scope);
      case 'pair':
        return this.#pair(filter, scope);
      case 'any':
        return this.#any(filter, scope);
      case 'and':
        return this.#and(filter.filters, scope);
      case 'or':
        return this.#or(filter.filters, scope);
    }
  }

  #not(inner: Filter, scope: readonly string[]): Filter {
    if (inner.kind === 'always') return inner.value ? NEVER : ALWAYS;
    if (inner.kind === 'not') return inner.filter;
    if (inner.kind === 'pair' && ![inner.left, inner.right].some((path) => this.#canBeNull(path, scope)))
      return { ...inner, op: inner.op === 'eq' ? 'ne' : 'eq' };
    if (inner.kind !== 'comparison') return { kind: 'not', filter: inner };
    if (inner.op === 'isNull') return { ...inner, value: inner.value !== true };
    if (inner.path === 'tracker')
      return this.#trackers(
        scope.filter((tracker) => !accepts(inner, tracker)),
        scope,
      );
    const negated = NEGATED[inner.op];
    // If the field can be null, the negation matches null, but the negated operator does not.
    const exact =
      negated &&
      inner.type !== 'length' &&
      inner.type !== 'joined' &&
      !this.#canBeNull(inner.path, scope) &&
      this.#has(inner.path, negated, scope);
    return exact ? { ...inner, op: negated } : { kind: 'not', filter: inner };
  }

  #has(path: string, op: Operator, scope: readonly string[]): boolean {
    return path === '' || scope.every((tracker) => this.#fields.get(tracker, path)?.operators.includes(op));
  }

  #canBeNull(path: string, scope: readonly string[]): boolean {
    return path !== '' && scope.some((tracker) => this.#fields.get(tracker, path)?.nullable ?? true);
  }

  /** Whether the trackers that it matches are known. */
  #tracker(comparison: Comparison, scope: readonly string[]): Filter {
    return this.#trackers(
      scope.filter((tracker) => accepts(comparison, tracker)),
      scope,
    );
  }

  #trackers(wanted: readonly string[], scope: readonly string[]): Filter {
    if (wanted.length === scope.length) return ALWAYS;
    const [only, more] = wanted;
    if (only === undefined) return NEVER;
    return more === undefined ? isTracker(only) : compare('tracker', 'string', 'in', [...wanted].sort());
  }

  #comparison(comparison: Comparison, scope: readonly string[]): Filter {
    const { path, op, value, type } = comparison;
    if (path !== '') {
      const found = scope.map((tracker) => this.#fields.get(tracker, path));
      if (found.every((field) => field === undefined)) return op === 'isNull' && value === true ? ALWAYS : NEVER;
      if (op === 'isNull' && !this.#canBeNull(path, scope)) return value === true ? NEVER : ALWAYS;
    } else if (op === 'isNull') return value === true ? NEVER : ALWAYS;
    if (op === 'in' && Array.isArray(value)) {
      const values = sorted(value as readonly Scalar[]);
      const [only, more] = values;
      return only !== undefined && more === undefined
        ? compare(path, type, 'eq', only)
        : compare(path, type, 'in', values);
    }
    const plain = op === 'glob' ? plainGlob(String(value)) : op === 'regex' ? plainRegex(String(value)) : null;
    if (plain === null || (plain[0] === 'eq' && !this.#isName(path || this.#list, plain[1], scope))) return comparison;
    return this.#comparison(compare(path, type, plain[0], plain[1]), scope);
  }

  /** Whether a text may be compared with: a pattern may match none of the names that a field has. */
  #isName(path: string, text: string, scope: readonly string[]): boolean {
    return scope.every((tracker) => this.#fields.get(tracker, path)?.names?.has(text) ?? true);
  }

  /** What is not there is null, which is equal to nothing and not unequal either. */
  #pair(pair: Pair, scope: readonly string[]): Filter {
    const { left, right, op } = pair;
    const isThere = scope.some((tracker) => [left, right].every((path) => this.#fields.get(tracker, path)));
    if (!isThere) return NEVER;
    if (left !== right || this.#canBeNull(left, scope)) return pair;
    return op === 'eq' ? ALWAYS : NEVER;
  }

  #any({ path, filter }: Any, scope: readonly string[]): Filter {
    if (scope.every((tracker) => this.#fields.get(tracker, path) === undefined)) return NEVER;
    this.#list = path;
    const inner = this.fold(filter, scope);
    if (inner.kind !== 'always') return { kind: 'any', path, filter: inner };
    if (!inner.value) return NEVER;
    return path === ANCESTORS ? compare(PARENT, 'object', 'isNull', false) : compare(path, 'length', 'gt', 0);
  }

  #and(filters: readonly Filter[], scope: readonly string[]): Filter {
    let narrow = scope;
    let parts: readonly Filter[] = filters;
    for (;;) {
      const within = narrow;
      parts = parts
        .map((part) => this.fold(part, within))
        .flatMap((part) => (part.kind === 'and' ? part.filters : [part]));
      const asked = parts.filter(isTrackerComparison);
      if (asked.length === 0) break;
      narrow = narrow.filter((tracker) => asked.every((comparison) => accepts(comparison, tracker)));
      if (narrow.length === 0) return NEVER;
      parts = parts.filter((part) => !isTrackerComparison(part));
    }
    if (parts.some(isNever) || hasOpposites(parts) || emptyRange(and(parts))) return NEVER;
    const rest = ordered(
      parts.filter((part) => !isAlways(part)),
      this.#fields,
      narrow,
    );
    const tracker = this.#trackers(narrow, scope);
    return and(isAlways(tracker) ? rest : [tracker, ...rest]);
  }

  #or(filters: readonly Filter[], scope: readonly string[]): Filter {
    const parts = filters
      .map((part) => this.fold(part, scope))
      .flatMap((part) => (part.kind === 'or' ? part.filters : [part]));
    if (parts.some(isAlways) || hasOpposites(parts)) return ALWAYS;
    const asked = parts.filter(isTrackerComparison);
    const tracker = this.#trackers(
      scope.filter((name) => asked.some((comparison) => accepts(comparison, name))),
      scope,
    );
    if (isAlways(tracker)) return ALWAYS;
    const others = joinValues(
      parts.filter((part) => !isTrackerComparison(part) && !isNever(part)),
      (path) => path === '' || scope.some((name) => this.#fields.get(name, path)?.operators.includes('in')),
    );
    return or(ordered(isNever(tracker) ? others : [tracker, ...others], this.#fields, scope));
  }
}

function isAlways(filter: Filter): boolean {
  return filter.kind === 'always' && filter.value;
}

function isNever(filter: Filter): boolean {
  return filter.kind === 'always' && !filter.value;
}

function isTrackerComparison(filter: Filter): filter is Comparison {
  return filter.kind === 'comparison' && filter.path === 'tracker';
}

/** Whether it contains both X and not X. */
function hasOpposites(parts: readonly Filter[]): boolean {
  const texts = new Set(parts.map(print));
  return parts.some(
    (part) =>
      (part.kind === 'not' && texts.has(print(part.filter))) ||
      (part.kind === 'comparison' && part.op === 'isNull' && texts.has(print({ ...part, value: part.value !== true }))),
  );
}

/** Removes duplicates and sorts by cost, then by text, so that the original order does not matter. */
function ordered(parts: readonly Filter[], fields: FilterFields, scope: readonly string[]): Filter[] {
  const byText = new Map(parts.map((part) => [print(part), part]));
  return [...byText]
    .map(([text, part]) => ({ text, part, cost: costOf(part, fields, scope) }))
    .sort((a, b) => a.cost - b.cost || (a.text < b.text ? -1 : 1))
    .map(({ part }) => part);
}

/**
 * Merges `errno == "EPERM" || errno == "EACCES"` into one set lookup if the field supports `in`, because the result is
 * printed and parsed again.
 */
function joinValues(parts: readonly Filter[], takesSet: (path: string) => boolean): Filter[] {
  const values = new Map<string, Comparison[]>();
  for (const part of parts)
    if (part.kind === 'comparison' && (part.op === 'eq' || part.op === 'in') && takesSet(part.path))
      add(values, `${part.type} ${part.path}`, part);
  const joined = [...values.values()].flatMap((same) => {
    const [first] = same;
    if (!first || same.length < 2) return same;
    return [
      compare(
        first.path,
        first.type,
        'in',
        sorted(same.flatMap(({ value }) => (Array.isArray(value) ? (value as Scalar[]) : [value as Scalar]))),
      ),
    ];
  });
  const taken = new Set([...values.values()].flat());
  return [...joined, ...parts.filter((part) => part.kind !== 'comparison' || !taken.has(part))];
}

function add(map: Map<string, Comparison[]>, key: string, part: Comparison): void {
  const list = map.get(key);
  if (list) list.push(part);
  else map.set(key, [part]);
}

/** Sorts numerically if they are numbers, and removes duplicates. */
function sorted(values: readonly Scalar[]): Scalar[] {
  return [...new Set(values)].sort((a, b) =>
    typeof a === 'number' && typeof b === 'number' ? a - b : a < b ? -1 : a > b ? 1 : 0,
  );
}

/** Returns whether events of the tracker match a comparison of `tracker`. */
export function accepts({ op, value }: Comparison, tracker: string): boolean {
  const text = String(value);
  switch (op) {
    case 'eq':
      return tracker === value;
    case 'ne':
      return tracker !== value;
    case 'in':
      return Array.isArray(value) && value.includes(tracker);
    case 'prefix':
      return tracker.startsWith(text);
    case 'suffix':
      return tracker.endsWith(text);
    case 'contains':
      return tracker.includes(text);
    case 'glob':
      return compileGlob(text, checked)(tracker);
    case 'regex':
      return compileRegex(text, checked)(tracker);
    default:
      return op === 'isNull' && value === false;
  }
}

/** Patterns have already been checked when the filter was created. */
export function checked(message: string): never {
  throw new TypeError(message);
}
