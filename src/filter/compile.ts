import type { Demand, TraceEvent } from '../event/event.js';
import { lineagePath, MOST_ANCESTORS, type Lineage, type ProcessAt } from '../event/lineage.js';
import {
  ANCESTORS,
  firstOf,
  isOfElement,
  LABELS,
  type Any,
  type Comparison,
  type Filter,
  type Operator,
  type Pair,
} from './ast.js';
import type { FilterFields } from './field.js';
import { checked, optimise } from './optimise.js';
import { isMembership } from './print.js';
import { compileCidr, compileGlob, compileRegex, type TextPredicate } from './pattern.js';

export type Predicate = (event: TraceEvent) => boolean;

/**
 * Compiles a filter into a predicate for events of these trackers. Each tracker has its own predicate, for the part of
 * the filter that applies to it. The predicate reads only what it needs and retains nothing of an event. It never
 * throws for an event that conforms to the schema.
 */
export function compileFilter(filter: Filter, fields: FilterFields, trackers: readonly string[]): Predicate {
  const patterns: Patterns = new Map();
  const predicates = new Map(
    trackers.map((tracker) => [tracker, compileOne(optimise(filter, fields, [tracker]), patterns, fields.lineage)]),
  );
  const [only] = predicates.values();
  if (only && predicates.size === 1) return only;
  return (event) => predicates.get(event.tracker)?.(event) ?? false;
}

/** As `compileFilter`, of one tracker, for a filter on containers alone: it reads nothing else of an event. */
export function compileContainerFilter(
  filter: Filter,
  fields: FilterFields,
  tracker: string,
): (event: Pick<TraceEvent, 'tracker' | 'container'>) => boolean {
  return compileOne<Pick<TraceEvent, 'tracker' | 'container'>>(optimise(filter, fields, [tracker]), new Map());
}

/** Returns the fields that the filter reads, by tracker. Trackers of which no event can match are omitted. */
export function fieldsOf(filter: Filter, fields: FilterFields, trackers: readonly string[]): Demand {
  const demand = new Map<string, ReadonlySet<string>>();
  for (const tracker of trackers) {
    const rest = optimise(filter, fields, [tracker]);
    if (rest.kind === 'always' && !rest.value) continue;
    const paths = new Set<string>();
    collect(rest, paths);
    demand.set(tracker, paths);
  }
  return demand;
}

/** All fields that it reads, by their whole paths. */
export function pathsIn(filter: Filter): readonly string[] {
  if (filter.kind === 'not') return pathsIn(filter.filter);
  if (filter.kind === 'and' || filter.kind === 'or') return filter.filters.flatMap(pathsIn);
  if (filter.kind === 'pair') return [filter.left, filter.right];
  return filter.kind === 'comparison' || filter.kind === 'any' ? [filter.path] : [];
}

function collect(filter: Filter, paths: Set<string>): void {
  if (filter.kind === 'not') collect(filter.filter, paths);
  else if (filter.kind === 'and' || filter.kind === 'or') for (const inner of filter.filters) collect(inner, paths);
  else if (filter.kind === 'pair') for (const path of [filter.left, filter.right]) paths.add(firstOf(path));
  else if (filter.kind === 'comparison' || filter.kind === 'any') {
    paths.add(firstOf(filter.path));
    if (filter.kind === 'comparison' && filter.type === 'age') paths.add('time');
  }
}

/** Patterns, each compiled once for all trackers. */
type Patterns = Map<string, TextPredicate>;

function compileOne<Event = TraceEvent>(
  filter: Filter,
  patterns: Patterns,
  lineage: Lineage | null = null,
): (event: Event) => boolean {
  const compiled: unknown = new Generator(filter, patterns, lineage).compile();
  return compiled as (event: Event) => boolean;
}

const runtime = {
  /** The time between two times of events, in ns. As numbers, since an age is far below 2^53. */
  age(time: string, start: string | null | undefined): number | null {
    if (start == null) return null;
    const seconds = Date.parse(`${time.slice(0, 19)}Z`) - Date.parse(`${start.slice(0, 19)}Z`);
    return seconds * 1e6 + Number(time.slice(20, 29)) - Number(start.slice(20, 29));
  },

  /**
   * Returns less than 0 if the left one is smaller. Compares decimals without leading zeros, of which the longer one is
   * larger; or a number.
   */
  order(left: string | number, right: string): number {
    const text = typeof left === 'string' ? left : String(left);
    const negative = text.startsWith('-');
    if (negative !== right.startsWith('-')) return negative ? -1 : 1;
    const order = text.length !== right.length ? text.length - right.length : text < right ? -1 : text > right ? 1 : 0;
    return negative ? -order : order;
  },

  label(container: object | null | undefined, name: string): unknown {
    const labels: unknown = container && Reflect.get(container, 'labels');
    // The label's name comes from the client and must not find properties that every object inherits.
    return typeof labels === 'object' && labels !== null && Object.hasOwn(labels, name)
      ? Reflect.get(labels, name)
      : null;
  },

  some(list: readonly string[], matches: (text: string) => boolean): boolean {
    for (const text of list) if (matches(text)) return true;
    return false;
  },

  anyAncestor(
    process: ProcessAt,
    matches: (ancestor: ProcessAt) => boolean,
    known: WeakMap<ProcessAt, boolean>,
  ): boolean {
    const before = known.get(process);
    if (before !== undefined) return before;
    let found = false;
    let left = MOST_ANCESTORS;
    for (let one = process.parent; one && !found && left > 0; one = one.parent, left--) found = matches(one);
    known.set(process, found);
    return found;
  },
};

/** Types whose values are decimal texts; that of `container.cgroupId` is a number. */
function isWide(type: Comparison['type']): boolean {
  return type === 'uint64' || type === 'int64';
}

/** Up to this number, values are compared one by one, which is faster than a lookup in a set. */
const FEW = 4;

/**
 * Generates a function, as record/view.ts does for events. Nested closures would read all fields at the same few call
 * sites, which V8 cannot optimize. No text from a client becomes code: values are passed as constants, paths come from
 * the schema.
 */
class Generator {
  readonly #filter: Filter;
  readonly #patterns: Patterns;
  readonly #lineage: Lineage | null;
  readonly #constants: unknown[] = [];
  readonly #reads = new Map<string, number>();
  readonly #locals = new Map<string, string>();
  #temporaries = 0;

  constructor(filter: Filter, patterns: Patterns, lineage: Lineage | null) {
    this.#filter = filter;
    this.#patterns = patterns;
    this.#lineage = lineage;
    count(filter, this.#reads);
  }

  compile(): unknown {
    const body = this.#code(this.#filter);
    const names = [
      ...this.#locals.values(),
      'process',
      ...Array.from({ length: this.#temporaries }, (_, index) => `t${index}`),
    ];
    const source = `'use strict';
      const [${this.#constants.map((_, index) => `k${index}`).join(', ')}] = constants;
      return function matches(event) { ${names.length ? `let ${names.join(', ')};` : ''} return ${body}; }`;
    return new Function('runtime', 'constants', source)(runtime, this.#constants);
  }

  #constant(value: unknown): string {
    return `k${this.#constants.push(value) - 1}`;
  }

  #temporary(): string {
    return `t${this.#temporaries++}`;
  }

  #code(filter: Filter): string {
    switch (filter.kind) {
      case 'always':
        return String(filter.value);
      case 'not':
        return `!(${this.#code(filter.filter)})`;
      case 'and':
      case 'or':
        return `(${filter.filters.map((inner) => this.#code(inner)).join(filter.kind === 'and' ? ' && ' : ' || ')})`;
      case 'any':
        return this.#any(filter);
      case 'comparison':
        return this.#comparison(filter);
      case 'pair':
        return this.#pair(filter);
    }
  }

  #pair({ left, right, type, op }: Pair): string {
    const [one, other] = [this.#temporary(), this.#temporary()];
    const equal = isWide(type) ? `String(${one}) === String(${other})` : `${one} === ${other}`;
    return (
      `((${one} = ${this.#read(left)}) != null && (${other} = ${this.#read(right)}) != null && ` +
      `${op === 'eq' ? '' : '!'}(${equal}))`
    );
  }

  /** Values that are read more than once are kept in a variable for the current event. */
  #read(path: string): string {
    const read = this.#access(path);
    if (path === '' || path === ANCESTORS || (this.#reads.get(path) ?? 0) < 2) return read;
    const local = this.#locals.get(path) ?? `r${this.#locals.size}`;
    this.#locals.set(path, local);
    return `(${local} !== undefined ? ${local} : ${local} = ${read} ?? null)`;
  }

  #age(path: string): string {
    return `runtime.age(${this.#read('time')}, ${this.#read(path)})`;
  }

  /** Joined once an event, however often it is compared. */
  #joined(path: string): string {
    const key = `${path} joined`;
    const local = this.#locals.get(key) ?? `r${this.#locals.size}`;
    this.#locals.set(key, local);
    return `(${local} !== undefined ? ${local} : ${local} = ${this.#read(path)}?.join(' ') ?? null)`;
  }

  #access(path: string): string {
    if (path === '') return 'event';
    if (isOfElement(path)) return `event[${JSON.stringify(path.slice(1))}]`;
    const inside = lineagePath(path);
    if (inside !== null) {
      // Looked for once an event. A process that is known has a list of ancestors.
      const found = `(process !== undefined ? process : process = ${this.#constant(this.#lineage)}?.of(event) ?? null)`;
      return path === ANCESTORS ? found : `${found}${membersOf(inside, '?.')}`;
    }
    if (path.startsWith(LABELS)) return `runtime.label(event.container, ${this.#constant(path.slice(LABELS.length))})`;
    return `event${membersOf(path, '')}`;
  }

  #any({ path, filter }: Any): string {
    const list = this.#temporary();
    const matches = (): string => this.#constant(compileOne(filter, this.#patterns));
    const found =
      path === ANCESTORS
        ? `runtime.anyAncestor(${list}, ${matches()}, ${this.#constant(new WeakMap<ProcessAt, boolean>())})`
        : isMembership(filter)
          ? `${list}.includes(${this.#constant(filter.value)})`
          : `runtime.some(${list}, ${matches()})`;
    return `((${list} = ${this.#read(path)}) != null && ${found})`;
  }

  #comparison(comparison: Comparison): string {
    const { path, op, value, type } = comparison;
    const read = type === 'joined' ? this.#joined(path) : type === 'age' ? this.#age(path) : this.#read(path);
    if (op === 'isNull') return `${read} ${value === true ? '==' : '!='} null`;
    const values = Array.isArray(value) ? value : [value];
    const direct = !isWide(type) && type !== 'length';
    if (op === 'eq' && direct) return `${read} === ${this.#constant(value)}`;
    if (op === 'in' && direct && values.length > FEW) return `${this.#constant(new Set(values))}.has(${read})`;
    const temporary = this.#temporary();
    return `((${temporary} = ${read}) != null && ${this.#test(comparison, type === 'length' ? `${temporary}.length` : temporary)})`;
  }

  /** Returns code that compares the non-null value in `v`. */
  #test({ op, value, type }: Comparison, v: string): string {
    const order = { lt: '<', lte: '<=', gt: '>', gte: '>=' }[op as string];
    if (order)
      return isWide(type)
        ? `runtime.order(${v}, ${this.#constant(value)}) ${order} 0`
        : `${v} ${order} ${this.#constant(type === 'age' ? Number(value) : value)}`;
    switch (op) {
      case 'eq':
        return this.#equal(v, value, type);
      case 'ne':
        return `!${this.#equal(v, value, type)}`;
      case 'in': {
        const values = Array.isArray(value) ? (value as readonly unknown[]) : [value];
        if (values.length > FEW) return `${this.#constant(new Set(values))}.has(${isWide(type) ? `String(${v})` : v})`;
        return `(${values.map((item) => this.#equal(v, item, type)).join(' || ')})`;
      }
      case 'prefix':
        return `${v}.startsWith(${this.#constant(value)})`;
      case 'suffix':
        return `${v}.endsWith(${this.#constant(value)})`;
      case 'contains':
        return `${v}.includes(${this.#constant(value)})`;
      default:
        return `${this.#constant(this.#pattern(op, String(value)))}(${v})`;
    }
  }

  #pattern(op: Operator, value: string): TextPredicate {
    const key = `${op} ${value}`;
    const compile = op === 'glob' ? compileGlob : op === 'regex' ? compileRegex : compileCidr;
    const compiled = this.#patterns.get(key) ?? compile(value, checked);
    this.#patterns.set(key, compiled);
    return compiled;
  }

  #equal(v: string, value: unknown, type: Comparison['type']): string {
    if (!isWide(type)) return `(${v} === ${this.#constant(value)})`;
    const number = Number(value);
    return Number.isSafeInteger(number)
      ? `(${v} === ${this.#constant(value)} || ${v} === ${this.#constant(number)})`
      : `(${v} === ${this.#constant(value)})`;
  }
}

/** Code that reads the members of a path, one of the other. */
function membersOf(path: string, first: '' | '?.'): string {
  return path
    .split('.')
    .map((name, index) => `${index > 0 ? '?.' : first}[${JSON.stringify(name)}]`)
    .join('');
}

function count(filter: Filter, reads: Map<string, number>): void {
  if (filter.kind === 'not') count(filter.filter, reads);
  else if (filter.kind === 'and' || filter.kind === 'or') for (const inner of filter.filters) count(inner, reads);
  else if (filter.kind === 'pair')
    for (const path of [filter.left, filter.right]) reads.set(path, (reads.get(path) ?? 0) + 1);
  else if (filter.kind === 'comparison' || filter.kind === 'any')
    reads.set(filter.path, (reads.get(filter.path) ?? 0) + 1);
}
