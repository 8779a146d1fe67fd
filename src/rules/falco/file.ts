import { isMap, isScalar, isSeq, LineCounter, type Node, type YAMLMap } from 'yaml';
import { invalid, messageOf } from '../../base/errors.js';
import { finish } from '../../base/turn.js';
import { composingYaml } from '../../base/yaml.js';

/** A rule of Falco as it is written, with what later items add to it. */
export interface FalcoRule {
  readonly name: string;
  /** Where it begins: "falco_rules.yaml:12". */
  readonly place: string;
  readonly condition: string;
  readonly description: string;
  readonly output: string;
  readonly priority: string;
  readonly source: string;
  readonly tags: readonly string[];
  readonly enabled: boolean;
  readonly exceptions: readonly FalcoException[];
}

/** Tuples of values for which the rule does not hold. */
export interface FalcoException {
  readonly name: string;
  readonly fields: readonly string[];
  /** Whether it is of one field that is written without a list: its values are a list of values of that. */
  readonly single: boolean;
  /** Empty where they are the usual ones. */
  readonly comparisons: readonly string[];
  /** As they are written: a value, or of each tuple a value for each field; a value for `in` is a list. */
  readonly values: readonly (string | readonly (string | readonly string[])[])[];
}

export interface FalcoMacro {
  readonly place: string;
  readonly condition: string;
}

export interface FalcoFile {
  readonly rules: readonly FalcoRule[];
  readonly macros: ReadonlyMap<string, FalcoMacro>;
  readonly lists: ReadonlyMap<string, readonly string[]>;
  /** Items that are no rule, no macro and no list, or that cannot be read, with the reason. */
  readonly problems: readonly string[];
}

/** Larger files are refused: Falco's own sets have some 100 KiB. */
export const MAX_FALCO_BYTES = 4 << 20;
const MAX_ITEMS = 20_000;
const PASSED_OVER = ['required_engine_version', 'required_plugin_versions', 'plugin_version'];
const RULE_TEXTS = { desc: 'description', output: 'output', priority: 'priority', source: 'source' } as const;

/**
 * Reads files of Falco's rules. Later items of a name replace or extend earlier ones, as Falco has it. What cannot be read is among the
 * problems. Throws BAD_USER_INPUT for a text that is no list of items in YAML.
 */
export function readFalcoFiles(files: readonly { readonly name: string; readonly text: string }[]): FalcoFile {
  const definitions = new Definitions();
  for (const { name, text } of files) {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_FALCO_BYTES) throw invalid(name, `has ${bytes} bytes; at most ${MAX_FALCO_BYTES} are read`);
    new Reader(name, definitions).read(text);
  }
  return { ...definitions, rules: [...definitions.rules.values()] };
}

/** As an override or "append: true" says. */
type Change = 'append' | 'replace';

class Definitions {
  readonly rules = new Map<string, FalcoRule>();
  readonly macros = new Map<string, FalcoMacro>();
  readonly lists = new Map<string, readonly string[]>();
  readonly problems: string[] = [];
}

class Reader {
  readonly #name: string;
  readonly #lines = new LineCounter();
  readonly #rules: Map<string, FalcoRule>;
  readonly #macros: Map<string, FalcoMacro>;
  readonly #lists: Map<string, readonly string[]>;
  readonly #problems: string[];

  constructor(name: string, { rules, macros, lists, problems }: Definitions) {
    this.#name = name;
    this.#rules = rules;
    this.#macros = macros;
    this.#lists = lists;
    this.#problems = problems;
  }

  read(text: string): void {
    for (const item of this.#items(text)) {
      try {
        this.#item(item);
      } catch (error) {
        this.#problems.push(messageOf(error));
      }
    }
  }

  #items(text: string): readonly unknown[] {
    // The library refuses a list behind a byte order mark, which editors of Windows write.
    const { documents, tooDeep } = finish(composingYaml(text.replace(/^\ufeff/, ''), this.#lines));
    if (tooDeep) throw invalid(this.#placeAt(tooDeep.at), `is no YAML: ${tooDeep.message}`);
    const items = documents.flatMap((document) => {
      const [error] = document.errors;
      if (error) throw invalid(this.#placeAt(error.pos[0]), `is no YAML: ${error.message}`);
      if (document.contents === null) return [];
      if (!isSeq(document.contents))
        throw invalid(
          this.#place(document.contents),
          'is no file of Falco rules, which is a list of rules, macros and lists',
        );
      return document.contents.items;
    });
    if (items.length > MAX_ITEMS) throw invalid(this.#name, `has ${items.length} items; at most ${MAX_ITEMS} are read`);
    return items;
  }

  #item(item: unknown): void {
    if (!isMap(item)) throw invalid(this.#place(item), 'is no rule, macro or list: it is to be a mapping');
    const has = (key: string): boolean => item.has(key);
    if (has('rule')) return this.#rule(item);
    if (has('macro')) return this.#macro(item);
    if (has('list')) return this.#list(item);
    const [first] = item.items;
    const key = isScalar(first?.key) ? String(first.key.value) : '?';
    if (!PASSED_OVER.includes(key)) throw invalid(this.#place(item), `"${key}" is no rule, macro or list`);
  }

  #list(item: YAMLMap): void {
    const name = this.#need(item, 'list');
    const items = this.#texts(item, 'items');
    const change = this.#change(item, 'items');
    const before = this.#lists.get(name);
    if (change !== null && !before) throw this.#absent(item, 'list', name);
    this.#lists.set(name, change === 'append' && before ? [...before, ...items] : items);
  }

  #macro(item: YAMLMap): void {
    const name = this.#need(item, 'macro');
    const condition = this.#need(item, 'condition');
    const change = this.#change(item, 'condition');
    const before = this.#macros.get(name);
    if (change !== null && !before) throw this.#absent(item, 'macro', name);
    const place = before && change === 'append' ? before.place : this.#place(item);
    this.#macros.set(name, {
      place,
      condition: change === 'append' && before ? `${before.condition} ${condition}` : condition,
    });
  }

  #rule(item: YAMLMap): void {
    const name = this.#need(item, 'rule');
    const before = this.#rules.get(name);
    const override = isMap(item.get('override', true)) || this.#text(item, 'append') === 'true';
    // An item with nothing but "enabled" switches a rule on or off.
    if (override || (before && !item.has('condition') && item.has('enabled'))) {
      if (!before) throw this.#absent(item, 'rule', name);
      this.#rules.set(name, this.#changed(before, item));
      return;
    }
    this.#rules.set(name, {
      name,
      place: this.#place(item),
      condition: this.#need(item, 'condition'),
      description: this.#text(item, 'desc') ?? '',
      output: this.#text(item, 'output') ?? '',
      priority: this.#text(item, 'priority') ?? '',
      source: this.#text(item, 'source') ?? 'syscall',
      tags: this.#texts(item, 'tags'),
      enabled: this.#text(item, 'enabled') !== 'false',
      exceptions: this.#exceptions(item),
    });
  }

  #changed(before: FalcoRule, item: YAMLMap): FalcoRule {
    const enabled = this.#text(item, 'enabled');
    const joined = (key: string, old: string, separator: string): string => {
      const text = this.#text(item, key);
      if (text === undefined) return old;
      return this.#change(item, key) === 'append' ? `${old}${separator}${text}` : text;
    };
    const texts = Object.fromEntries(
      Object.entries(RULE_TEXTS).map(([key, field]) => [field, joined(key, before[field], ' ')]),
    );
    return {
      ...before,
      ...texts,
      condition: joined('condition', before.condition, ' '),
      tags: item.has('tags')
        ? [...(this.#change(item, 'tags') === 'append' ? before.tags : []), ...this.#texts(item, 'tags')]
        : before.tags,
      enabled: enabled === undefined ? before.enabled : enabled !== 'false',
      exceptions: item.has('exceptions')
        ? this.#change(item, 'exceptions') === 'append'
          ? merged(before.exceptions, this.#exceptions(item))
          : this.#exceptions(item)
        : before.exceptions,
    };
  }

  /** What "append: true" or the item's override does with a key; null where it does nothing. */
  #change(item: YAMLMap, key: string): Change | null {
    if (this.#text(item, 'append') === 'true') return 'append';
    const override = item.get('override', true);
    if (!isMap(override)) return null;
    const how = this.#text(override, key);
    if (how === undefined) return null;
    if (how === 'append' || how === 'replace') return how;
    throw invalid(this.#place(override), `override of ${key}: "${how}" is neither "append" nor "replace"`);
  }

  #exceptions(item: YAMLMap): FalcoException[] {
    const list = item.get('exceptions', true);
    if (list === undefined || (isScalar(list) && list.value === null)) return [];
    if (!isSeq(list)) throw invalid(this.#place(item), 'exceptions is to be a list');
    return list.items.filter(isMap).map((one) => {
      const fields = one.get('fields', true);
      const values = one.get('values', true);
      const nested = (value: unknown): string | readonly string[] =>
        isSeq(value) ? value.items.map((inner) => this.#plain(inner)) : this.#plain(value);
      return {
        name: this.#text(one, 'name') ?? '',
        fields: this.#texts(one, 'fields'),
        single: fields !== undefined && !isSeq(fields),
        comparisons: this.#texts(one, 'comps'),
        values: isSeq(values)
          ? values.items.map((tuple) => (isSeq(tuple) ? tuple.items.map(nested) : this.#plain(tuple)))
          : [],
      };
    });
  }

  #need(item: YAMLMap, key: string): string {
    const text = this.#text(item, key);
    if (text !== undefined && text.trim() !== '') return text;
    const [name] = ['rule', 'macro', 'list'].flatMap((kind) =>
      item.has(kind) && kind !== key ? `${kind} "${this.#text(item, kind)}"` : [],
    );
    throw invalid(this.#place(item), `${name ?? 'the item'} has no ${key}`);
  }

  #text(item: YAMLMap, key: string): string | undefined {
    const value = item.get(key, true);
    return isScalar(value) && value.value !== null ? this.#plain(value) : undefined;
  }

  #texts(item: YAMLMap, key: string): string[] {
    const value = item.get(key, true);
    if (isSeq(value)) return value.items.map((inner) => this.#plain(inner));
    return isScalar(value) && value.value !== null ? [this.#plain(value)] : [];
  }

  /** A scalar as it is written: 0777 is no number here. */
  #plain(value: unknown): string {
    if (!isScalar(value)) throw invalid(this.#place(value), 'is to be a single value');
    return typeof value.value === 'string' ? value.value : (value.source ?? String(value.value));
  }

  #absent(item: YAMLMap, kind: string, name: string): Error {
    return invalid(this.#place(item), `${kind} "${name}" is changed, and no earlier item defines it`);
  }

  #place(node: unknown): string {
    return this.#placeAt((node as Node | null)?.range?.[0] ?? 0);
  }

  #placeAt(offset: number): string {
    return `${this.#name}:${Math.max(1, this.#lines.linePos(offset).line)}`;
  }
}

/** Values are added to the exceptions of the same name. */
function merged(before: readonly FalcoException[], added: readonly FalcoException[]): FalcoException[] {
  const extended = before.map((old) => {
    const more = added.filter(({ name }) => name === old.name);
    return { ...old, values: [...old.values, ...more.flatMap(({ values }) => values)] };
  });
  return [...extended, ...added.filter(({ name }) => !before.some((old) => old.name === name))];
}
