import { invalid, suggest } from '../base/errors.js';
import { and, isTracker, or, type Comparison, type Filter, type Operator } from './ast.js';
import { FilterBudget } from './budget.js';
import { parseCel } from './cel.js';
import { element, joinedOf, lengthOf, type FilterField, type FilterFields } from './field.js';
import { comparison, emptyRange, show } from './literal.js';
import type { Fail } from './pattern.js';

type InputObject = Readonly<Record<string, unknown>>;

/**
 * Converts an `EventFilter` into a filter for events of these trackers. Accepts the input as coerced by GraphQL, or any
 * JSON, which is checked in the same way. Throws BAD_USER_INPUT with the path of the argument:
 * `where.or[1].open.path.regex: …`.
 */
export function parseInput(input: unknown, fields: FilterFields, trackers: readonly string[], path = 'where'): Filter {
  return new InputParser(fields, trackers).filter(input, path, true);
}

/** Checks a filter that is to be saved, as `parseInput` does. */
export function checkSaved(input: unknown, fields: FilterFields, trackers: readonly string[], path: string): void {
  new InputParser(fields, trackers, true).filter(input, path, true);
}

class InputParser {
  readonly #fields: FilterFields;
  readonly #trackers: readonly string[];
  readonly #budget = new FilterBudget();
  /** Whether it is within a saved filter. */
  #isSaved: boolean;

  constructor(fields: FilterFields, trackers: readonly string[], isSaved = false) {
    this.#fields = fields;
    this.#trackers = trackers;
    this.#isSaved = isSaved;
  }

  filter(input: unknown, path: string, mayBeEmpty = false, depth = 0): Filter {
    const entries = entriesOf(
      input,
      path,
      mayBeEmpty ? null : 'give at least one condition, for example { process: { comm: { eq: "nginx" } } }',
    );
    this.#budget.depth(depth, failAt(path));
    return inRange(and(entries.map(([name, value]) => this.#condition(name, value, `${path}.${name}`, depth))), path);
  }

  #condition(name: string, value: unknown, argumentPath: string, depth: number): Filter {
    switch (name) {
      case 'and':
      case 'or': {
        const filters = itemsOf(value, argumentPath).map((item, index) =>
          this.filter(item, `${argumentPath}[${index}]`, false, depth + 1),
        );
        return name === 'and' ? inRange(and(filters), argumentPath) : or(filters);
      }
      case 'not':
        return { kind: 'not', filter: this.filter(value, argumentPath, false, depth + 1) };
      case 'expr':
        if (typeof value !== 'string') throw invalid(argumentPath, `needs a CEL expression; it is ${show(value)}`);
        return parseCel(value, this.#fields, this.#trackers, argumentPath, this.#budget);
      case 'saved':
        if (this.#fields.saved) return this.#saved(value, argumentPath, depth, this.#fields.saved);
    }
    const own = this.#fields.own(name);
    if (own) return this.#section(name, value, argumentPath);
    if (this.#isShared(name)) return this.#field(this.#fields.shared, name, value, argumentPath);
    const elsewhere = this.#fields.trackers
      .filter((tracker) => this.#fields.own(tracker)?.has(name))
      .map((tracker) => `${tracker}: { ${name}: … }`);
    const known = [
      ...new Set([...this.#fields.shared.keys()].map((path) => path.split('.')[0] ?? '')),
      ...this.#fields.trackers,
      'and',
      'or',
      'not',
      'expr',
      ...(this.#fields.saved ? ['saved'] : []),
    ];
    throw invalid(
      argumentPath,
      `there is no such field${elsewhere.length > 0 ? `; it is a tracker's own: write ${elsewhere.join(' or ')}` : suggest(name, known)}`,
      { field: name },
    );
  }

  /** One within a saved one is refused: filters could name each other in a circle. */
  #saved(name: unknown, path: string, depth: number, find: NonNullable<FilterFields['saved']>): Filter {
    if (typeof name !== 'string') throw invalid(path, `needs the name of a saved filter; it is ${show(name)}`);
    if (this.#isSaved) throw invalid(path, 'a saved filter cannot name another one; write its conditions here');
    this.#isSaved = true;
    try {
      const filter = find(name, path);
      this.#budget.saved(filter, failAt(path));
      return this.filter(filter, path, false, depth + 1);
    } finally {
      this.#isSaved = false;
    }
  }

  /** A tracker's section: matches events of that tracker whose own fields match. */
  #section(tracker: string, value: unknown, path: string): Filter {
    if (!this.#trackers.includes(tracker))
      throw invalid(path, `the session has no tracker ${tracker}; it has ${this.#trackers.join(', ')}`, { tracker });
    const own = this.#fields.own(tracker) ?? new Map<string, FilterField>();
    const conditions = entriesOf(value, path, null).map(([name, below]) =>
      this.#field(own, name, below, `${path}.${name}`),
    );
    return and([isTracker(tracker), ...conditions]);
  }

  #isShared(name: string): boolean {
    return [...this.#fields.shared.keys()].some((path) => path === name || path.startsWith(`${name}.`));
  }

  #field(fields: ReadonlyMap<string, FilterField>, path: string, value: unknown, argumentPath: string): Filter {
    const field = fields.get(path);
    if (field) this.#refuse(field, argumentPath);
    if (field && field.type !== 'object') return this.#operators(field, value, argumentPath);
    const inside = [...fields.keys()].flatMap((known) =>
      known.startsWith(`${path}.`) ? [known.slice(path.length + 1)] : [],
    );
    if (inside.length === 0)
      throw invalid(argumentPath, `there is no such field${suggest(path, fields.keys())}`, { field: path });
    const entries = entriesOf(value, argumentPath, `give at least one field, for example { ${inside[0]}: … }`);
    return and(
      entries.map(([name, below]) => {
        const at = `${argumentPath}.${name}`;
        if (name === 'isNull' && field) return this.#compare(field, 'isNull', below, at);
        if (name === 'labels' && field)
          return and(itemsOf(below, at).map((item, index) => this.#label(item, `${at}[${index}]`)));
        if (!inside.includes(name))
          throw invalid(at, `there is no such field${suggest(name, inside)}`, { field: `${path}.${name}` });
        return this.#field(fields, `${path}.${name}`, below, at);
      }),
    );
  }

  #label(item: unknown, path: string): Filter {
    const { name, value, ...rest } = Object.fromEntries(
      entriesOf(item, path, 'name a label, for example { name: "tier", value: { eq: "web" } }'),
    );
    const [unknown] = Object.keys(rest);
    if (unknown !== undefined)
      throw invalid(`${path}.${unknown}`, `there is no such field${suggest(unknown, ['name', 'value'])}`);
    if (typeof name !== 'string' || name === '')
      throw invalid(`${path}.name`, `needs a label's name; it is ${show(name)}`);
    const label = this.#fields.label(name);
    if (!label) throw invalid(path, 'labels cannot be filtered here');
    return value === undefined
      ? this.#compare(label, 'isNull', false, path)
      : this.#operators(label, value, `${path}.value`);
  }

  /** The operators of one field, joined by AND. */
  #operators(field: FilterField, value: unknown, path: string): Filter {
    const entries = entriesOf(value, path, `give at least one of ${field.operators.join(', ')}`);
    const isNull = entries.find(([op]) => op === 'isNull');
    if (isNull?.[1] === true && entries.length > 1)
      throw invalid(
        `${path}.isNull`,
        'a null fulfils nothing else: with isNull: true nothing would match; leave one of them out',
      );
    return inRange(and(entries.map(([op, operand]) => this.#operator(field, op, operand, `${path}.${op}`))), path);
  }

  #operator(field: FilterField, op: string, operand: unknown, path: string): Filter {
    if (!field.operators.includes(op))
      throw invalid(
        path,
        `${field.filterType} has no "${op}"${suggest(op, field.operators)}; it has ${field.operators.join(', ')}`,
      );
    if (op === 'has')
      return { kind: 'any', path: field.path, filter: this.#compare(element(field), 'eq', operand, path) };
    if (op === 'any' && field.type === 'processes') {
      const elements = this.#fields.elementFields(field);
      return { kind: 'any', path: field.path, filter: this.#field(elements, '', operand, path) };
    }
    if (op === 'any') {
      const filter = this.#operators(element(field), operand, path);
      return { kind: 'any', path: field.path, filter };
    }
    if (op === 'length') return this.#operators(lengthOf(field), operand, path);
    if (op === 'joined') return this.#operators(joinedOf(field), operand, path);
    // GraphQL coerces a single value to a list.
    if (op === 'cidr')
      return or(
        itemsOf(typeof operand === 'string' ? [operand] : operand, path).map((item, index) =>
          this.#compare(field, 'cidr', item, typeof operand === 'string' ? path : `${path}[${index}]`),
        ),
      );
    return this.#compare(field, op as Operator, operand, path);
  }

  #refuse(field: FilterField, path: string): void {
    const why = this.#fields.refusalOf(field);
    if (why !== null) throw invalid(path, why, { field: field.path });
  }

  #compare(field: FilterField, op: Operator, operand: unknown, path: string): Comparison {
    const fail = failAt(path);
    const made = comparison(field, op, operand, fail);
    this.#budget.take(made, fail);
    return made;
  }
}

function inRange(filter: Filter, path: string): Filter {
  const empty = emptyRange(filter);
  if (empty) throw invalid(path, empty);
  return filter;
}

function failAt(path: string): Fail {
  return (message, index) => {
    throw invalid(index === undefined ? path : `${path}[${index}]`, message);
  };
}

/**
 * Returns the entries of an object. A null value is an error: treated as omitted it would match everything, treated as
 * a value nothing.
 */
function entriesOf(value: unknown, path: string, emptyHint: string | null): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(path, `needs an object; it is ${show(value)}`);
  const entries = Object.entries(value as InputObject).filter(([, inner]) => inner !== undefined);
  const none = entries.find(([, inner]) => inner === null);
  if (none)
    throw invalid(
      `${path}.${none[0]}`,
      'is null, which is no condition; leave it out, or ask for a null with { isNull: true }',
    );
  if (entries.length === 0 && emptyHint !== null) throw invalid(path, `is empty; ${emptyHint}`);
  return entries;
}

function itemsOf(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(path, `needs a list; it is ${show(value)}`);
  if (value.length === 0) throw invalid(path, 'is empty; leave it out, or give at least one');
  return value;
}
