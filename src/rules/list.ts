import type { Path } from '../base/config-file.js';
import type { Scalar } from '../filter/index.js';
import type { RulePlace } from './definition.js';

/** Values of a list, with those of the lists that it includes. */
export const MAX_LIST = 1000;
/** Values that lists take from others, of all lists together. */
const MAX_INCLUDED = 100_000;

/** A list as it is written: a constant, or what another list has. */
export interface WrittenList extends RulePlace {
  readonly items: readonly (Scalar | { readonly list: string; readonly path: Path })[];
}

/** The constants of lists and of those that they include. */
export class FlatLists {
  readonly #written: ReadonlyMap<string, WrittenList>;
  readonly #made = new Map<string, readonly Scalar[]>();
  #included = 0;

  constructor(written: ReadonlyMap<string, WrittenList>) {
    this.#written = written;
  }

  /** Throws BAD_RULES. */
  all(): ReadonlyMap<string, readonly Scalar[]> {
    for (const [name, list] of this.#written) this.#of(name, list, new Set());
    return this.#made;
  }

  /** `within`: the lists that include it, the outermost first. */
  #of(name: string, list: WrittenList, within: ReadonlySet<string>): readonly Scalar[] {
    const made = this.#made.get(name);
    if (made) return made;
    const chain = new Set([...within, name]);
    const values = new Set<Scalar>();
    for (const item of list.items) {
      if (typeof item !== 'object') values.add(item);
      else for (const value of this.#include(item, list, chain)) values.add(value);
      if (values.size > MAX_LIST)
        throw list.file.fail(list.path, `has more than ${MAX_LIST} values, with those of the lists that it includes`);
    }
    const all = [...values];
    this.#made.set(name, all);
    return all;
  }

  #include(
    { list: name, path }: { readonly list: string; readonly path: Path },
    { file }: WrittenList,
    chain: ReadonlySet<string>,
  ): readonly Scalar[] {
    const list = this.#written.get(name);
    if (!list) throw file.fail(path, `there is no list "${name}"`);
    if (chain.has(name)) throw file.fail(path, `lists include each other: ${[...chain, name].join(' → ')}`);
    const values = this.#of(name, list, chain);
    this.#included += values.length + 1;
    if (this.#included > MAX_INCLUDED)
      throw file.fail(path, `lists take more than ${MAX_INCLUDED} values from each other, which is the most`);
    return values;
  }
}
