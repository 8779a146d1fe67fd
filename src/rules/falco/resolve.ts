import { invalid, suggest } from '../../base/errors.js';
import type { FalcoException, FalcoFile, FalcoRule } from './file.js';
import { parseCondition, valueOf, type FalcoCheck, type Written } from './syntax.js';

/** A constant of a comparison, and the list of the file from which it comes. */
export interface ListedValue {
  readonly text: string;
  readonly list: string | null;
}

export type ResolvedCheck = Omit<FalcoCheck, 'values' | 'start' | 'end'> & {
  readonly values: readonly ListedValue[];
  /** As it was written. */
  readonly text: string;
};

/** A condition in which macros and lists have been replaced by what they stand for; the names of macros are kept. */
export type Resolved =
  | { readonly kind: 'and' | 'or'; readonly of: readonly Resolved[] }
  | { readonly kind: 'not'; readonly of: Resolved }
  | { readonly kind: 'macro'; readonly name: string; readonly of: Resolved }
  | ResolvedCheck;

const MAX_VALUES = 10_000;
/** Macros that name each other can stand for more comparisons than anybody reads. */
const MAX_CHECKS = 20_000;

/** Looks up what conditions name. */
export class Resolver {
  readonly #file: FalcoFile;
  readonly #macros = new Map<string, Resolved>();
  readonly #sizes = new Map<string, number>();
  readonly #lists = new Map<string, readonly string[]>();

  constructor(file: FalcoFile) {
    this.#file = file;
  }

  /** The rule's condition without its exceptions. Throws BAD_USER_INPUT, with the rule's place. */
  condition(rule: FalcoRule): Resolved {
    return this.#parsed(rule.condition, rule.place, []).resolved;
  }

  /** What one of its exceptions leaves out; null where it has no values. */
  exception(rule: FalcoRule, exception: FalcoException): Resolved | null {
    const { name, fields, single } = exception;
    const where = `${rule.place}: exception "${name}"`;
    if (!exception.values.length) return null;
    const comparisons = exception.comparisons.length ? exception.comparisons : fields.map(() => (single ? 'in' : '='));
    const values = single
      ? [[exception.values.flatMap((value) => (typeof value === 'string' ? value : value.flat()))]]
      : exception.values.map((tuple) => (typeof tuple === 'string' ? [tuple] : tuple));
    if (!fields.length || comparisons.length !== fields.length)
      throw invalid(where, `has ${fields.length} fields and ${comparisons.length} comparisons; they are to be as many`);
    const tuples = values.map((tuple) => {
      if (tuple.length !== fields.length)
        throw invalid(where, `has ${tuple.length} values for its ${fields.length} fields`);
      const checks = tuple.map((value, i) => {
        const items = typeof value === 'string' ? inQuotes(value) : `(${value.map(inQuotes).join(', ')})`;
        return `${fields[i]} ${comparisons[i]} ${items}`;
      });
      return `(${checks.join(' and ')})`;
    });
    return this.#parsed(tuples.join(' or '), where, []).resolved;
  }

  /** The items of a list, those of the lists in it included. Throws BAD_USER_INPUT for a list that contains itself. */
  list(name: string, path: readonly string[] = []): readonly string[] {
    const known = this.#lists.get(name);
    if (known) return known;
    if (path.includes(name)) throw invalid(`list "${name}"`, `contains itself: ${[...path, name].join(' → ')}`);
    const items = (this.#file.lists.get(name) ?? []).flatMap((item) => {
      const value = valueOf(item);
      return !value.quoted && this.#file.lists.has(item) ? this.list(item, [...path, name]) : [value.text];
    });
    if (items.length > MAX_VALUES)
      throw invalid(`list "${name}"`, `has ${items.length} items; at most ${MAX_VALUES} are taken`);
    const unique = [...new Set(items)];
    this.#lists.set(name, unique);
    return unique;
  }

  #parsed(text: string, where: string, path: readonly string[]): { resolved: Resolved; size: number } {
    let size = 0;
    const walk = (written: Written): Resolved => {
      switch (written.kind) {
        case 'and':
        case 'or':
          return { kind: written.kind, of: written.of.map(walk) };
        case 'not':
          return { kind: 'not', of: walk(written.of) };
        case 'macro': {
          const of = this.#macro(written.name, where, path);
          size += this.#sizes.get(written.name) ?? 0;
          if (size > MAX_CHECKS) throw invalid(where, `stands for more than ${MAX_CHECKS} comparisons`);
          return { kind: 'macro', name: written.name, of };
        }
        case 'check':
          size++;
          return this.#check(written, text.slice(written.start, written.end));
      }
    };
    const resolved = walk(parseCondition(text, where));
    return { resolved, size };
  }

  #macro(name: string, where: string, path: readonly string[]): Resolved {
    const known = this.#macros.get(name);
    if (known) return known;
    const macro = this.#file.macros.get(name);
    if (!macro) throw invalid(where, `there is no macro "${name}"${suggest(name, this.#file.macros.keys())}`);
    if (path.includes(name)) throw invalid(macro.place, `macro "${name}" names itself: ${[...path, name].join(' → ')}`);
    const { resolved, size } = this.#parsed(macro.condition, `${macro.place}: macro "${name}"`, [...path, name]);
    this.#macros.set(name, resolved);
    this.#sizes.set(name, size);
    return resolved;
  }

  #check({ field, op, values, other }: FalcoCheck, text: string): ResolvedCheck {
    const known = values.flatMap((value): ListedValue[] => {
      const named = op === 'in' || op === 'intersects' || op === 'pmatch';
      if (!named || value.quoted || !this.#file.lists.has(value.text)) return [{ text: value.text, list: null }];
      return this.list(value.text).map((item) => ({ text: item, list: value.text }));
    });
    return { kind: 'check', field, op, values: known, other, text: text.replace(/\s+/g, ' ') };
  }
}

/** A value of an exception as the language takes it: bare where that is the name of a list or already in quotes. */
function inQuotes(value: string): string {
  if (/^[\w.:/@%+-]+$/.test(value) || /^(["']).*\1$/s.test(value) || /^\(.*\)$/s.test(value)) return value;
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}
