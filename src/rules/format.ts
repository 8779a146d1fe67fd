import { ConfigFile, throwAll, type Path } from '../base/config-file.js';
import { EunomiaError } from '../base/errors.js';
import { severities } from '../event/severity.js';
import type { Work } from '../base/turn.js';
import { parsingYaml, type ParsedYaml } from '../base/yaml.js';
import { readActions } from './action.js';
import {
  bonds,
  type Absence,
  type Bond,
  type Condition,
  type Exception,
  type Expression,
  type FirstSeen,
  type RulePlace,
  type RuleRate,
  type RuleDefinition,
  type RuleSetDefinition,
  type StepDefinition,
  type Throttle,
} from './definition.js';
import { FlatLists, MAX_LIST, type WrittenList } from './list.js';
import { applyOverrides, ofRules, type Overrides } from './override.js';

/** A rule file before it is read. */
export interface RuleSource {
  /** What messages call it. */
  readonly name: string;
  readonly text: string;
  /** What is in the text, where a thread has parsed it. */
  readonly parsed?: ParsedYaml;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MAX_FILE_BYTES = 4 << 20;
const MAX_RULES = 1000;
/** As they are written, with those that are there already. */
const MAX_WRITTEN = 10 * MAX_LIST;
/** Lists, and macros. */
const MAX_NAMED = 1000;
const MAX_STEPS = 8;
const MAX_FIELDS = 8;
const MAX_WORDS = 32;
const RULE_NAME = /^[a-z][a-z0-9-]{0,99}$/;
/** Of a list or a macro. */
const NAME = /^(?!__)[a-z_][a-z0-9_]{0,99}$/;
const ATTACK = /^(T\d{4}(\.\d{3})?|TA\d{4})$/;

const ruleSettings = [
  'name',
  'description',
  'severity',
  'tags',
  'attack',
  'enabled',
  'trackers',
  'condition',
  'sequence',
  'absence',
  'rate',
  'firstSeen',
  'exceptions',
  'message',
  'key',
  'interval',
  'throttle',
  'actions',
  'evades',
  'falsePositives',
] as const;
/** Alerts of one process are combined where a rule does not say otherwise. */
const DEFAULT_KEY = ['container.id', 'process.pid'];

/**
 * Reads rule files: what is written in them, with overrides applied and lists with all that they include. Nothing is compiled. Throws
 * BAD_RULES with the places of all that is wrong. A piece is some of a file's text, or one of its rules.
 */
export function* readingRules(sources: readonly RuleSource[]): Work<RuleSetDefinition> {
  const errors: EunomiaError[] = [];
  const keep = (error: unknown): void => {
    if (!(error instanceof EunomiaError) || error.code !== 'BAD_RULES') throw error;
    errors.push(error);
  };
  const collect = <Made>(make: () => Made, otherwise: Made): Made => {
    try {
      return make();
    } catch (error) {
      keep(error);
      return otherwise;
    }
  };
  const lists = new Map<string, WrittenList>();
  const macros = new Map<string, Condition>();
  const rules = new Map<string, RuleDefinition>();
  const overrides: Overrides[] = [];
  for (const source of sources) {
    let file: ConfigFile | null = null;
    try {
      file = yield* fileOf(source);
    } catch (error) {
      keep(error);
    }
    if (!file) continue;
    const { value = null } = file;
    const top = collect(() => file.fields(value ?? {}, [], ['lists', 'macros', 'rules', 'overrides']), null);
    if (!top) continue;
    const reader = new Reader(file);
    for (const [list, items] of collect(() => reader.mapping(top['lists'], ['lists']), [])) {
      collect(() => addOnce(lists, list, reader.list(list, items), reader.at(['lists', list])), undefined);
      yield;
    }
    for (const [macro, given] of collect(() => reader.mapping(top['macros'], ['macros']), [])) {
      collect(() => addOnce(macros, macro, reader.macro(macro, given), reader.at(['macros', macro])), undefined);
      yield;
    }
    const written = collect(() => reader.rules(top['rules']), []);
    for (const [i, rule] of written.entries()) {
      collect(() => {
        const made = reader.rule(rule, ['rules', i]);
        addOnce(rules, made.name, made, reader.at(['rules', i, 'name']));
      }, undefined);
      yield;
    }
    try {
      overrides.push(yield* reader.overrides(top['overrides']));
    } catch (error) {
      keep(error);
    }
    yield;
  }
  if (rules.size > MAX_RULES)
    errors.push(new EunomiaError('BAD_RULES', `there are ${rules.size} rules; at most ${MAX_RULES} are allowed`));
  for (const [what, { size }] of Object.entries({ lists, macros }))
    if (size > MAX_NAMED)
      errors.push(new EunomiaError('BAD_RULES', `there are ${size} ${what}; at most ${MAX_NAMED} are allowed`));
  throwInOrder(errors);
  const changed = applyOverrides({ lists, macros, rules }, overrides);
  return {
    lists: new FlatLists(changed.lists).all(),
    macros: changed.macros,
    rules: [...changed.rules.values()],
  };
}

/** Throws BAD_RULES. */
export function* fileOf(source: RuleSource): Work<ConfigFile> {
  checkSize(source);
  const { name, text, parsed = yield* parsingYaml(text) } = source;
  return new ConfigFile(name, text, 'BAD_RULES', parsed);
}

/** Throws BAD_RULES for a file that is too large to be parsed. */
export function checkSize({ name, text }: RuleSource): void {
  if (Buffer.byteLength(text) > MAX_FILE_BYTES)
    throw new EunomiaError('BAD_RULES', `${name}: has more than ${MAX_FILE_BYTES >> 20} MiB, which is the most`);
}

function addOnce<Item extends object>(
  all: Map<string, Item>,
  name: string,
  item: Item,
  { file, path }: RulePlace,
): void {
  if (all.has(name))
    throw file.fail(path, `"${name}" is there already; to change it without editing it, write \`overrides\``);
  all.set(name, item);
}

/** Throws these errors as one; those of one file in the order of their places. */
export function throwInOrder(errors: readonly EunomiaError[]): void {
  const byFile = new Map<unknown, EunomiaError[]>();
  for (const error of errors) {
    const file = error.details['file'];
    const some = byFile.get(file);
    if (some) some.push(error);
    else byFile.set(file, [error]);
  }
  const texts: string[] = [];
  let first: EunomiaError | null = null;
  for (const some of byFile.values()) {
    try {
      throwAll(some);
    } catch (error) {
      if (!(error instanceof EunomiaError)) throw error;
      first ??= error;
      texts.push(error.message);
    }
  }
  if (first) throw new EunomiaError('BAD_RULES', texts.join('\n'), { details: first.details });
}

/** Reads the parts of one file. Throws BAD_RULES with the place. */
class Reader {
  readonly #file: ConfigFile;

  constructor(file: ConfigFile) {
    this.#file = file;
  }

  at(path: Path): RulePlace {
    return { file: this.#file, path };
  }

  mapping(value: unknown, path: Path): readonly (readonly [string, unknown])[] {
    if (value === undefined || value === null) return [];
    if (typeof value !== 'object' || Array.isArray(value)) throw this.#file.fail(path, 'is to be a mapping of names');
    const entries = Object.entries(value);
    if (entries.length > MAX_NAMED)
      throw this.#file.fail(path, `has ${entries.length} names; at most ${MAX_NAMED} are allowed`);
    return entries;
  }

  rules(value: unknown): readonly unknown[] {
    const written = this.#file.list(value, ['rules']);
    if (written.length > MAX_RULES)
      throw this.#file.fail(['rules'], `has ${written.length} rules; at most ${MAX_RULES} are allowed`);
    return written;
  }

  list(name: string, value: unknown, path: Path = ['lists', name]): WrittenList {
    this.#name(name, path);
    const written = this.#file.list(value, path);
    if (written.length > MAX_WRITTEN)
      throw this.#file.fail(path, `has ${written.length} values; at most ${MAX_LIST} are allowed`);
    return { ...this.at(path), items: this.#file.each(written, (item, i) => this.#item(item, [...path, i])) };
  }

  macro(name: string, value: unknown): Condition {
    this.#name(name, ['macros', name]);
    return { first: this.#expression(value, ['macros', name]), joined: [] };
  }

  rule(value: unknown, path: Path): RuleDefinition {
    const file = this.#file;
    const given = file.fields(value, path, ruleSettings);
    const at = (setting: string): Path => [...path, setting];
    const name = file.text(given['name'], at('name'), '"shell-in-container"');
    if (!RULE_NAME.test(name))
      throw file.fail(at('name'), `"${name}" is no name of a rule; give lower-case letters, digits and "-"`);
    const sequence = given['sequence'] === undefined ? null : this.#sequence(given['sequence'], at('sequence'));
    for (const setting of ['trackers', 'condition', 'absence', 'rate', 'firstSeen'])
      if (sequence && given[setting] !== undefined)
        throw file.failKey(at(setting), 'does not go together with `sequence`, whose steps have their own conditions');
    const absence = given['absence'] === undefined ? null : this.#absence(given['absence'], at('absence'));
    const rate = given['rate'] === undefined ? null : this.#rate(given['rate'], at('rate'));
    const firstSeen = given['firstSeen'] === undefined ? null : this.#firstSeen(given['firstSeen'], at('firstSeen'));
    const kinds = Object.entries({ absence, rate, firstSeen }).filter(([, made]) => made !== null);
    const [, [second = ''] = []] = kinds;
    if (second !== '')
      throw file.failKey(at(second), `does not go together with \`${kinds[0]?.[0] ?? ''}\`: a rule has one of them`);
    return {
      ...this.at(path),
      name,
      description: file.text(given['description'], at('description'), '"A shell was started in a container."'),
      severity: file.oneOf(given['severity'], at('severity'), severities),
      tags: this.#words(given['tags'], at('tags')),
      attack: this.#words(given['attack'], at('attack'), (word) =>
        ATTACK.test(word) ? null : `"${word}" is no id of ATT&CK; give a technique as T1059.004 or a tactic as TA0002`,
      ),
      enabled: this.#flag(given['enabled'] ?? true, at('enabled')),
      steps: sequence?.steps ?? [this.#step(given, path)],
      sequence: sequence && { withinMs: sequence.withinMs, by: sequence.by },
      absence,
      rate,
      firstSeen,
      exceptions: this.exceptions(given['exceptions'], at('exceptions')),
      message: file.text(given['message'], at('message'), '"{process.comm} was started in {container.name}"'),
      key: given['key'] === undefined ? DEFAULT_KEY : this.#words(given['key'], at('key'), undefined, MAX_FIELDS),
      intervalMs: file.duration(given['interval'] ?? '5m', at('interval'), 0, DAY),
      throttle: this.#throttle(given['throttle'], at('throttle')),
      actions: readActions(file, given['actions'], at('actions')),
      evades: this.#prose(given['evades'], at('evades')),
      falsePositives: this.#prose(given['falsePositives'], at('falsePositives')),
    };
  }

  exceptions(value: unknown, path: Path): readonly Exception[] {
    return this.#file.each(this.#file.list(value, path), (item, i) => {
      const given = this.#file.fields(item, [...path, i], ['name', 'condition']);
      return {
        name: this.#file.text(given['name'], [...path, i, 'name'], '"health-checks"'),
        condition: this.#expression(given['condition'], [...path, i, 'condition']),
      };
    });
  }

  *overrides(value: unknown): Work<Overrides> {
    const file = this.#file;
    const given = file.fields(value ?? {}, ['overrides'], ['rules', 'lists', 'macros']);
    const path = (...parts: string[]): Path => ['overrides', ...parts];
    const joins = (of: Readonly<Record<string, unknown>>, at: Path): Partial<Record<'and' | 'or', Expression>> =>
      Object.fromEntries(
        (['and', 'or'] as const)
          .filter((join) => of[join] !== undefined)
          .map((join) => [join, this.#expression(of[join], [...at, join])]),
      );
    const lists: Overrides['lists'][number][] = [];
    for (const [name, change] of this.mapping(given['lists'], path('lists'))) {
      const at = path('lists', name);
      const { append, replace } = file.fields(change, at, ['append', 'replace']);
      if ((append === undefined) === (replace === undefined)) throw file.fail(at, 'is to have `append` or `replace`');
      const how = append === undefined ? 'replace' : 'append';
      lists.push({ ...this.at(at), name, how, list: this.list(name, append ?? replace, [...at, how]) });
      yield;
    }
    return {
      lists,
      macros: this.mapping(given['macros'], path('macros')).map(([name, change]) => {
        const at = path('macros', name);
        const of = file.fields(change, at, ['and', 'or', 'replace']);
        if (Object.keys(of).length !== 1) throw file.fail(at, 'is to have one of `and`, `or` and `replace`');
        const replace = of['replace'] === undefined ? null : this.#expression(of['replace'], [...at, 'replace']);
        return { ...this.at(at), name, replace, ...joins(of, at) };
      }),
      rules: this.mapping(given['rules'], path('rules')).map(([name, change]) => {
        const at = path('rules', name);
        const of = file.fields(change, at, ofRules);
        const has = (setting: string): boolean => of[setting] !== undefined;
        const place = (setting: string): Path => [...at, setting];
        return {
          ...this.at(at),
          name,
          ...joins(of, at),
          exceptions: this.exceptions(of['exceptions'], place('exceptions')),
          tags: this.#words(of['tags'], place('tags')),
          changes: {
            ...(has('enabled') && { enabled: this.#flag(of['enabled'], place('enabled')) }),
            ...(has('severity') && { severity: file.oneOf(of['severity'], place('severity'), severities) }),
            ...(has('message') && { message: file.text(of['message'], place('message'), '"{process.comm}"') }),
            ...(has('key') && { key: this.#words(of['key'], place('key'), undefined, MAX_FIELDS) }),
            ...(has('interval') && { intervalMs: file.duration(of['interval'], place('interval'), 0, DAY) }),
            ...(has('throttle') && { throttle: this.#throttle(of['throttle'], place('throttle')) }),
            ...(has('actions') && { actions: readActions(file, of['actions'], place('actions')) }),
          },
        };
      }),
    };
  }

  #name(name: string, path: Path): void {
    if (!NAME.test(name))
      throw this.#file.failKey(
        path,
        `"${name}" is no name; give lower-case letters, digits and "_", for example "shells"`,
      );
  }

  #item(item: unknown, path: Path): WrittenList['items'][number] {
    if (typeof item === 'string' || (typeof item === 'number' && Number.isSafeInteger(item))) return item;
    if (typeof item !== 'object' || item === null)
      throw this.#file.fail(path, 'is to be a text, a whole number, or another list: { list: NAME }');
    const { list } = this.#file.fields(item, path, ['list']);
    return { list: this.#file.text(list, [...path, 'list'], '"shells"'), path };
  }

  #expression(value: unknown, path: Path): Expression {
    return { ...this.at(path), text: this.#file.text(value, path, '"container != null && process.comm == \\"sh\\""') };
  }

  #flag(value: unknown, path: Path): boolean {
    if (typeof value === 'boolean') return value;
    throw this.#file.fail(path, 'is to be true or false');
  }

  #prose(value: unknown, path: Path): string | null {
    return value === undefined ? null : this.#file.text(value, path, '"A program of another name."');
  }

  #words(
    value: unknown,
    path: Path,
    problem: (word: string) => string | null = () => null,
    most = MAX_WORDS,
  ): readonly string[] {
    const words = this.#file.list(value, path);
    if (words.length > most) throw this.#file.fail(path, `has ${words.length} entries; at most ${most} are allowed`);
    return this.#file.each(words, (word, i) => {
      const text = this.#file.text(word, [...path, i], '"process.comm"');
      const wrong = problem(text);
      if (wrong !== null) throw this.#file.fail([...path, i], wrong);
      return text;
    });
  }

  #step(given: Readonly<Record<string, unknown>>, path: Path): StepDefinition {
    const { trackers: named } = given;
    const list = typeof named === 'string' ? [named] : named;
    const trackers = this.#words(list, [...path, 'trackers']);
    if (trackers.length === 0)
      throw this.#file.fail([...path, 'trackers'], 'is missing; name one tracker or a list of them, for example exec');
    const condition = { first: this.#expression(given['condition'], [...path, 'condition']), joined: [] };
    return { ...this.at(path), trackers: [...new Set(trackers)], condition };
  }

  #sequence(
    value: unknown,
    path: Path,
  ): { readonly withinMs: number; readonly by: Bond; readonly steps: readonly StepDefinition[] } {
    const file = this.#file;
    const given = file.fields(value, path, ['within', 'by', 'steps']);
    const steps = file.list(given['steps'], [...path, 'steps']);
    if (steps.length < 2 || steps.length > MAX_STEPS)
      throw file.fail([...path, 'steps'], `is to have 2 to ${MAX_STEPS} steps`);
    return {
      withinMs: file.duration(given['within'], [...path, 'within'], 1, HOUR),
      by: file.oneOf(given['by'], [...path, 'by'], bonds),
      steps: file.each(steps, (step, i) => {
        const at = [...path, 'steps', i];
        return this.#step(file.fields(step, at, ['trackers', 'condition']), at);
      }),
    };
  }

  #absence(value: unknown, path: Path): Absence {
    const given = this.#file.fields(value, path, ['trackers', 'condition', 'within', 'by']);
    return {
      step: this.#step(given, path),
      withinMs: this.#file.duration(given['within'], [...path, 'within'], 1, HOUR),
      by: this.#file.oneOf(given['by'], [...path, 'by'], bonds),
    };
  }

  #rate(value: unknown, path: Path): RuleRate {
    const given = this.#file.fields(value, path, ['count', 'within', 'by', 'distinct']);
    return {
      count: this.#file.whole(given['count'], [...path, 'count'], 2, 100_000),
      withinMs: this.#file.duration(given['within'], [...path, 'within'], 1, HOUR),
      by: this.#words(given['by'], [...path, 'by'], undefined, MAX_FIELDS),
      distinct:
        given['distinct'] === undefined
          ? null
          : this.#file.text(given['distinct'], [...path, 'distinct'], '"remotePort"'),
    };
  }

  #firstSeen(value: unknown, path: Path): FirstSeen {
    const given = this.#file.fields(value, path, ['values', 'for', 'learn', 'baseline']);
    const values = this.#words(given['values'], [...path, 'values'], undefined, MAX_FIELDS);
    if (values.length === 0)
      throw this.#file.fail([...path, 'values'], 'is missing; name fields, for example [process.executable]');
    return {
      values,
      for: this.#words(given['for'], [...path, 'for'], undefined, MAX_FIELDS),
      learnMs: this.#file.duration(given['learn'], [...path, 'learn'], 0, 30 * DAY),
      baselineMs:
        given['baseline'] === undefined
          ? null
          : this.#file.duration(given['baseline'], [...path, 'baseline'], 60_000, 30 * DAY),
    };
  }

  #throttle(value: unknown, path: Path): Throttle {
    if (value === undefined) return { alerts: 60, withinMs: 60_000 };
    const given = this.#file.fields(value, path, ['alerts', 'within']);
    return {
      alerts: this.#file.whole(given['alerts'], [...path, 'alerts'], 1, 10_000),
      withinMs: this.#file.duration(given['within'], [...path, 'within'], 1000, HOUR),
    };
  }
}
