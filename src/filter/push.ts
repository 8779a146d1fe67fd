import type { Constant, PushedField } from '../tracker/define.js';
import { ALWAYS, and, isTracker, NEVER, or, type Any, type Comparison, type Filter } from './ast.js';
import { both, either, isEmpty, type Domain } from './domain.js';
import { encode, type Rules } from './encode.js';
import type { FilterFields } from './field.js';
import { leafOf, type Leaf } from './leaf.js';
import { optimise } from './optimise.js';

/**
 * Computes the part of a filter that the kernel can evaluate: for each field that it knows, the values that a matching
 * event can have. A part of the filter that is completely expressed by these values is not evaluated again in user
 * space.
 */
export interface Pushdown {
  readonly tracker: string;
  /** Constants of the tracker's object. */
  readonly constants: Readonly<Record<string, Constant>>;
  /** The sets that its rules refer to, by the set's number, which is unique in the session. */
  readonly numbers: Rules['numbers'];
  readonly prefixes: Rules['prefixes'];
  /** The filter that the kernel evaluates. */
  readonly inKernel: Filter;
  /** The filter that user space evaluates for the remaining events. */
  readonly rest: Filter;
}

/** The header's fields, which `eu_wanted` evaluates for every tracker. */
const HEADER: Readonly<Record<string, PushedField>> = {
  'process.pid': { kind: 'number', stem: 'pid' },
  'process.tid': { kind: 'number', stem: 'tid' },
  'process.uid': { kind: 'number', stem: 'uid' },
  'process.gid': { kind: 'number', stem: 'gid' },
  'process.comm': { kind: 'text', stem: 'comm', bytes: 16 },
  cgroupId: { kind: 'number', stem: 'cgroup_id' },
};

/** A tracker of the session. */
export interface PushTarget {
  readonly name: string;
  readonly pushed?: Readonly<Record<string, PushedField | null>> | undefined;
}

/**
 * Computes what is pushed down to each of a session's trackers, in their order. Pure. Never discards an event that the
 * filter matches.
 */
export function pushDown(
  filter: Filter,
  trackers: readonly PushTarget[],
  fields: FilterFields,
  nextSet: () => number = numbers(),
): Pushdown[] {
  return trackers.map(({ name, pushed }) => {
    const known = new Map(
      Object.entries({ ...HEADER, ...pushed }).filter((entry): entry is [string, PushedField] => entry[1] !== null),
    );
    const pusher = new Pusher(optimise(filter, fields, [name]), name, known, fields, nextSet);
    return pusher.push();
  });
}

/** Numbers for the sets of one session. */
export function numbers(): () => number {
  let sets = 0;
  return () => ++sets;
}

/** Returns the filter that remains to be evaluated for events of all these trackers. */
export function restOf(pushdowns: readonly Pushdown[], fields: FilterFields): Filter {
  return optimise(
    or(pushdowns.map(({ tracker, rest }) => and([isTracker(tracker), rest]))),
    fields,
    pushdowns.map(({ tracker }) => tracker),
  );
}

class Pusher {
  readonly #filter: Filter;
  readonly #tracker: string;
  readonly #known: ReadonlyMap<string, PushedField>;
  readonly #fields: FilterFields;
  readonly #nextSet: () => number;

  constructor(
    filter: Filter,
    tracker: string,
    known: ReadonlyMap<string, PushedField>,
    fields: FilterFields,
    nextSet: () => number,
  ) {
    this.#filter = filter;
    this.#tracker = tracker;
    this.#known = known;
    this.#fields = fields;
    this.#nextSet = nextSet;
  }

  push(): Pushdown {
    const filter = this.#filter;
    if (filter.kind === 'always') return filter.value ? this.#made([], ALWAYS, ALWAYS) : this.#never();
    const parts = filter.kind === 'and' ? filter.filters : [filter];
    const rules: Rules[] = [];
    const shown: Filter[] = [];
    const done = new Set<Filter>();
    for (const stem of new Set([...this.#known.values()].map((field) => field.stem))) {
      const found = parts.flatMap((part) => {
        const leaf = this.#project(part, stem, false);
        return leaf ? [{ part, ...leaf }] : [];
      });
      const [first, ...more] = found;
      if (!first) continue;
      const domain = more.reduce<Domain>((all, { domain: one }) => both(all, one), first.domain);
      if (isEmpty(domain)) return this.#never();
      const encoded = encode(stem, domain, this.#nextSet);
      if (!encoded) continue;
      rules.push(encoded);
      shown.push(...found.map((leaf) => leaf.shown));
      if (encoded.exact)
        for (const leaf of found) if (leaf.domain.exact && this.#isOnly(leaf.part, stem)) done.add(leaf.part);
    }
    return this.#made(rules, and(shown), and(parts.filter((part) => !done.has(part))));
  }

  #never(): Pushdown {
    return { ...this.#made([], NEVER, NEVER), constants: { eu_where: true, eu_where_none: true } };
  }

  #made(rules: readonly Rules[], inKernel: Filter, rest: Filter): Pushdown {
    return {
      tracker: this.#tracker,
      constants: Object.assign(
        rules.length > 0 ? { eu_where: true } : {},
        ...rules.map(({ constants }) => constants),
      ) as Record<string, Constant>,
      numbers: rules.flatMap(({ numbers }) => numbers),
      prefixes: rules.flatMap(({ prefixes }) => prefixes),
      inKernel: optimise(inKernel, this.#fields, [this.#tracker]),
      rest: optimise(rest, this.#fields, [this.#tracker]),
    };
  }

  /** Returns whether the filter refers only to this field. */
  #isOnly(filter: Filter, stem: string): boolean {
    if (filter.kind === 'comparison' || filter.kind === 'any') return this.#known.get(filter.path)?.stem === stem;
    if (filter.kind === 'not') return this.#isOnly(filter.filter, stem);
    // The kernel compares no two fields.
    if (filter.kind === 'always' || filter.kind === 'pair') return false;
    return filter.filters.every((inner) => this.#isOnly(inner, stem));
  }

  /**
   * Returns the constraint that the filter, or its negation, puts on one field; null if there is none. Parts about
   * other fields may be true or false.
   */
  #project(filter: Filter, stem: string, negated: boolean): Leaf | null {
    switch (filter.kind) {
      case 'always':
      case 'pair':
        return null;
      case 'not':
        return this.#project(filter.filter, stem, !negated);
      case 'and':
      case 'or': {
        const inner = filter.filters.map((part) => this.#project(part, stem, negated));
        return (filter.kind === 'and') !== negated ? all(inner, filter.filters.length) : some(inner);
      }
      case 'comparison':
      case 'any':
        return this.#leaf(filter, stem, negated);
    }
  }

  #leaf(filter: Comparison | Any, stem: string, negated: boolean): Leaf | null {
    const field = this.#known.get(filter.path);
    return field?.stem === stem ? leafOf(filter, field, negated, this.#fields, this.#tracker) : null;
  }
}

/** For an AND: a part without a constraint leaves the others, whose constraint is then wider than the whole. */
function all(parts: readonly (Leaf | null)[], count: number): Leaf | null {
  const found = parts.filter((part) => part !== null);
  const [first, ...more] = found;
  if (!first) return null;
  const domain = more.reduce<Domain>((joined, part) => both(joined, part.domain), first.domain);
  return {
    domain: found.length < count ? { ...domain, exact: false } : domain,
    shown: and(found.map(({ shown }) => shown)),
  };
}

/** For an OR: a part without a constraint makes the whole unconstrained. */
function some(parts: readonly (Leaf | null)[]): Leaf | null {
  let domain: Domain | null = null;
  const shown: Filter[] = [];
  for (const part of parts) {
    if (!part) return null;
    domain = domain ? either(domain, part.domain) : part.domain;
    if (!domain) return null;
    shown.push(part.shown);
  }
  return domain && { domain, shown: or(shown) };
}
