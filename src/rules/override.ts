import { suggest } from '../base/errors.js';
import type { Condition, Exception, Expression, RulePlace, RuleDefinition } from './definition.js';
import type { WrittenList } from './list.js';

/** What may be changed of a rule without editing it. */
export const ofRules = [
  'enabled',
  'severity',
  'and',
  'or',
  'exceptions',
  'tags',
  'message',
  'key',
  'interval',
  'throttle',
  'actions',
] as const;

type Joined = { readonly and?: Expression; readonly or?: Expression };

/** The overrides of one file. */
export interface Overrides {
  readonly lists: readonly (RulePlace & {
    readonly name: string;
    readonly how: 'append' | 'replace';
    readonly list: WrittenList;
  })[];
  readonly macros: readonly (RulePlace & Joined & { readonly name: string; readonly replace: Expression | null })[];
  readonly rules: readonly (RulePlace &
    Joined & {
      readonly name: string;
      /** Joined to those that it has. */
      readonly exceptions: readonly Exception[];
      readonly tags: readonly string[];
      /** What replaces what it has. */
      readonly changes: Partial<
        Pick<RuleDefinition, 'enabled' | 'severity' | 'message' | 'key' | 'intervalMs' | 'throttle' | 'actions'>
      >;
    })[];
}

interface Written {
  readonly lists: ReadonlyMap<string, WrittenList>;
  readonly macros: ReadonlyMap<string, Condition>;
  readonly rules: ReadonlyMap<string, RuleDefinition>;
}

/** Applies overrides in the order of the files. Throws BAD_RULES for one of what is not there. */
export function applyOverrides(written: Written, overrides: readonly Overrides[]): Written {
  const lists = new Map(written.lists);
  const macros = new Map(written.macros);
  const rules = new Map(written.rules);
  for (const { lists: ofLists, macros: ofMacros, rules: overridden } of overrides) {
    for (const { how, list, ...override } of ofLists) {
      const before = need(lists, 'list', override);
      const items = how === 'append' ? [...before.items, ...list.items] : list.items;
      lists.set(override.name, { ...list, items });
    }
    for (const { replace, ...override } of ofMacros) {
      const before = need(macros, 'macro', override);
      macros.set(override.name, replace ? { first: replace, joined: [] } : joinedTo(before, override));
    }
    for (const { changes, exceptions, tags, ...override } of overridden) {
      const before = need(rules, 'rule', override);
      if ((override.and ?? override.or) && before.sequence)
        throw override.file.fail(override.path, 'a sequence has no condition of its own; write `exceptions`');
      rules.set(override.name, {
        ...before,
        ...changes,
        exceptions: [...before.exceptions, ...exceptions],
        tags: [...new Set([...before.tags, ...tags])],
        steps: before.steps.map((step) => ({ ...step, condition: joinedTo(step.condition, override) })),
      });
    }
  }
  return { lists, macros, rules };
}

function need<Item>(
  known: ReadonlyMap<string, Item>,
  what: string,
  { name, file, path }: RulePlace & { readonly name: string },
): Item {
  const found = known.get(name);
  if (found === undefined) throw file.failKey(path, `there is no ${what} "${name}"${suggest(name, known.keys())}`);
  return found;
}

function joinedTo(condition: Condition, { and, or }: Joined): Condition {
  return {
    ...condition,
    joined: [
      ...condition.joined,
      ...(and ? [{ join: 'and', expression: and } as const] : []),
      ...(or ? [{ join: 'or', expression: or } as const] : []),
    ],
  };
}
