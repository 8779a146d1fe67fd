import { EunomiaError, messageOf } from '../../base/errors.js';
import { parseCel, type Definitions, type FilterFields } from '../../filter/index.js';
import { syscallCode } from '../../linux/syscalls.js';
import { callRows, variantsOf, type CallVariant } from './call.js';
import {
  and,
  cel,
  comparisonsIn,
  constant,
  FALSE,
  lostIn,
  macro,
  not,
  or,
  print,
  TRUE,
  widened,
  type CelTree,
  type Names,
} from './expression.js';
import type { ImportFacts } from './compare.js';
import { translateCheck } from './field.js';
import type { FalcoFile, FalcoRule } from './file.js';
import { nameOf } from './document.js';
import { messageOf as templateOf } from './message.js';
import { Resolver, type Resolved, type ResolvedCheck } from './resolve.js';
import { compareText, oneOf } from './text.js';

export interface ImportOptions extends ImportFacts {
  /** Leaves out comparisons that have no counterpart, so that a rule fires more often than Falco's, instead of leaving out the rule. */
  readonly approximate: boolean;
}

/** A rule for the events of one tracker. */
export interface TranslatedRule {
  readonly name: string;
  readonly tracker: string;
  readonly condition: CelTree;
  readonly exceptions: readonly { readonly name: string; readonly condition: CelTree }[];
  readonly rule: FalcoRule;
  readonly message: string;
  readonly notes: readonly string[];
  readonly left: readonly string[];
}

/** What became of a rule of Falco. */
export interface RuleOutcome {
  readonly rule: FalcoRule;
  readonly translated: readonly TranslatedRule[];
  /** Why there is none. */
  readonly problems: readonly string[];
}

/** What is true of every rule is told once, in the documentation. */
const NO_TYPE = 'does not say which event types it is about (evt.type), so that it concerns every system call';
const FAILED_EXEC =
  'executions that fail are left out, in which Falco compares the name and arguments of the caller (a rule that reads evt.res has them)';

/** Translates the rules of a file. Never throws for what is in the file: a rule that cannot be translated says why. */
export function translateRules(file: FalcoFile, fields: FilterFields, options: ImportOptions): readonly RuleOutcome[] {
  const resolver = new Resolver(file);
  const taken = new Set<string>();
  return file.rules.map((rule) => {
    try {
      const translated = new Translator(resolver, fields, options).rule(rule, taken);
      return { rule, translated, problems: [] };
    } catch (error) {
      if (error instanceof Untranslatable) return { rule, translated: [], problems: error.problems };
      if (error instanceof EunomiaError) return { rule, translated: [], problems: [messageOf(error)] };
      throw error;
    }
  });
}

class Untranslatable extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('; '));
    this.problems = [...new Set(problems)];
  }
}

/** Macros are written out. */
const NAMES: Names = { list: nameOf, macro: () => null };

/** What a rule is of one variant. */
interface Part {
  readonly variant: CallVariant;
  readonly condition: CelTree;
  readonly exceptions: readonly { readonly name: string; readonly condition: CelTree }[];
}

class Translator {
  readonly #resolver: Resolver;
  readonly #fields: FilterFields;
  readonly #options: ImportOptions;
  readonly #left = new Set<string>();
  readonly #notes = new Set<string>();

  constructor(resolver: Resolver, fields: FilterFields, options: ImportOptions) {
    this.#resolver = resolver;
    this.#fields = fields;
    this.#options = options;
  }

  rule(rule: FalcoRule, taken: Set<string>): readonly TranslatedRule[] {
    if (rule.source !== 'syscall')
      throw new Untranslatable([`its events are of the source ${rule.source}, not system calls`]);
    const condition = this.#resolver.condition(rule);
    const exceptions = rule.exceptions.flatMap((exception) => {
      const resolved = this.#resolver.exception(rule, exception);
      return resolved ? [{ name: slug(exception.name) || 'exception', resolved }] : [];
    });
    const calls = this.#calls(condition);
    const parts = this.#parts(condition, exceptions, calls);
    const trackers = [...new Set(parts.map(({ variant }) => variant.tracker))];
    return trackers.map((tracker) => {
      const own = parts.filter(({ variant }) => variant.tracker === tracker);
      const joined = joinParts(own);
      this.#tellCalls(own, calls);
      const base = `falco-${slug(rule.name) || 'rule'}`.slice(0, 85) + (trackers.length > 1 ? `-${tracker}` : '');
      const name = unused(base, taken);
      this.#check(joined, tracker, name);
      const told = [joined.condition, ...joined.exceptions.map(({ condition: of }) => of)].flatMap(comparisonsIn);
      return {
        name,
        tracker,
        ...joined,
        rule,
        message: own[0] ? templateOf(rule.output, rule.name, own[0].variant) : rule.name,
        notes: [...new Set([...this.#notes, ...told.flatMap(({ notes }) => notes)])],
        left: [...this.#left],
      };
    });
  }

  /** The event types for which the condition can be true. */
  #calls(condition: Resolved): readonly string[] {
    const named = new Set(typesIn(condition));
    if (possible(condition, '') !== false) throw new Untranslatable([NO_TYPE]);
    return [...named].filter((type) => possible(condition, type) !== false);
  }

  #parts(
    condition: Resolved,
    exceptions: readonly { readonly name: string; readonly resolved: Resolved }[],
    calls: readonly string[],
  ): readonly Part[] {
    const { approximate } = this.#options;
    const asksResult = [condition, ...exceptions.map(({ resolved }) => resolved)].some(readsResult);
    const problems: string[] = [];
    const parts = calls.flatMap((call): Part[] => {
      const found = variantsOf(call, isSyscall).filter(
        ({ tracker, result }) => asksResult || tracker !== 'exec' || result === 'ok',
      );
      if (!found.length) problems.push(`no tracker has the event type ${call}`);
      return found.flatMap((variant): Part[] => {
        const of = this.#translate(condition, variant);
        const excepted = exceptions.map(({ name, resolved }) => ({
          name,
          condition: this.#translate(resolved, variant),
        }));
        if (isNever(of) || excepted.some(({ condition: exception }) => isAlways(exception))) return [];
        const missing = [of, ...excepted.map(({ condition: exception }) => exception)].flatMap(lostIn);
        if (missing.length && !approximate) {
          problems.push(...missing.map(({ check, why }) => `${check}: ${why}`));
          return [];
        }
        const wide = widened(of);
        if (isAlways(wide) && missing.length) {
          problems.push(
            ...missing.map(({ check, why }) => `${check}: ${why}`),
            `nothing would be left of the condition for ${call}`,
          );
          return [];
        }
        for (const { check, why } of missing) this.#left.add(`${check} is left out: ${why}`);
        const rest = excepted.flatMap(({ name, condition: exception }) => {
          const narrow = widened(exception, false);
          return isNever(narrow) ? [] : [{ name, condition: narrow }];
        });
        return [{ variant, condition: wide, exceptions: rest }];
      });
    });
    if (problems.length && !(approximate && parts.length)) throw new Untranslatable(problems);
    for (const problem of problems) this.#left.add(`${problem}: events of it do not count`);
    if (!parts.length) throw new Untranslatable(['its condition is never true']);
    if (!asksResult && parts.some(({ variant }) => variant.tracker === 'exec')) this.#notes.add(FAILED_EXEC);
    return parts;
  }

  #translate(resolved: Resolved, variant: CallVariant): CelTree {
    switch (resolved.kind) {
      case 'and':
        return and(resolved.of.map((inner) => this.#translate(inner, variant)));
      case 'or':
        return or(resolved.of.map((inner) => this.#translate(inner, variant)));
      case 'not':
        return not(this.#translate(resolved.of, variant));
      case 'macro':
        return macro(resolved.name, this.#translate(resolved.of, variant));
      case 'check':
        if (isType(resolved)) return constant(hasType(resolved, variant.call));
        if (resolved.field.name === 'evt.dir' && resolved.values.some(({ text }) => text === '>'))
          this.#notes.add('evt.dir: events are of the end of a call, not of its beginning');
        return translateCheck(resolved, variant, this.#options);
    }
  }

  /** Calls that a tracker does not tell apart, of which the rule names only some; and what a call's events do not share. */
  #tellCalls(parts: readonly Part[], calls: readonly string[]): void {
    for (const row of new Set(parts.map(({ variant }) => variant.row))) {
      if (row.note !== undefined) this.#notes.add(row.note);
      const [named, others] = [true, false].map((own) => row.calls.filter((call) => calls.includes(call) === own));
      if (others?.length)
        this.#notes.add(
          `the tracker ${row.tracker} does not tell ${named?.join(', ')} from ${others.join(', ')}: these count too`,
        );
    }
  }

  /** Whether our own parser takes it. */
  #check(
    { condition, exceptions }: Pick<TranslatedRule, 'condition' | 'exceptions'>,
    tracker: string,
    name: string,
  ): void {
    const written = [condition, ...exceptions.map(({ condition: of }) => of)];
    const lists = new Set(written.flatMap(comparisonsIn).flatMap(({ lists: own }) => own));
    const definitions: Definitions = {
      macros: new Map(),
      readsProcesses: true,
      lists: new Map([...lists].map((list) => [nameOf(list), this.#resolver.list(list)])),
    };
    try {
      for (const one of written) parseCel(print(one, NAMES), this.#fields, [tracker], name, undefined, definitions);
    } catch (error) {
      if (error instanceof EunomiaError)
        throw new Untranslatable([`its translation is refused: ${error.message.split('\n')[0]}`]);
      throw error;
    }
  }
}

function isNever(expression: CelTree): boolean {
  return expression.kind === 'constant' && !expression.value;
}

function isAlways(expression: CelTree): boolean {
  return expression.kind === 'constant' && expression.value;
}

/** Whether Linux has a system call of this name. */
function isSyscall(name: string): boolean {
  return /^[a-z]/.test(name) && !/^\w*syscall_\d/.test(name) && syscallCode(name) !== null;
}

// Event types

function isType({ field }: ResolvedCheck): boolean {
  return field.name === 'evt.type' || field.name === 'syscall.type';
}

function hasType(check: ResolvedCheck, type: string): boolean {
  return isAlways(compareText(oneOf({ [type]: TRUE }), check));
}

const known: readonly string[] = [...new Set(callRows.flatMap(({ calls }) => calls))];

function typesIn(condition: Resolved): readonly string[] {
  switch (condition.kind) {
    case 'and':
    case 'or':
      return condition.of.flatMap(typesIn);
    case 'not':
    case 'macro':
      return typesIn(condition.of);
    case 'check':
      if (!isType(condition)) return [];
      // A part of a name is that of any call.
      return ['=', '==', '!=', 'in'].includes(condition.op) ? condition.values.map(({ text }) => text) : known;
  }
}

/** Whether the condition is true or false for all events of the type; null where that depends on the event. "" is any other type. */
function possible(condition: Resolved, type: string): boolean | null {
  switch (condition.kind) {
    case 'macro':
      return possible(condition.of, type);
    case 'not': {
      const inner = possible(condition.of, type);
      return inner === null ? null : !inner;
    }
    case 'and':
    case 'or': {
      const decides = condition.kind === 'or';
      const found = condition.of.map((inner) => possible(inner, type));
      return found.includes(decides) ? decides : found.includes(null) ? null : !decides;
    }
    case 'check':
      return isType(condition) ? hasType(condition, type) : null;
  }
}

function readsResult(condition: Resolved): boolean {
  switch (condition.kind) {
    case 'and':
    case 'or':
      return condition.of.some(readsResult);
    case 'not':
    case 'macro':
      return readsResult(condition.of);
    case 'check':
      return /^evt\.(?:res|rawres|failed|(?:raw)?arg\.res)$/.test(condition.field.name);
  }
}

// Variants of one tracker

/** The conditions of all variants of a tracker as one. Those that say the same are told by their calls alone. */
function joinParts(parts: readonly Part[]): Pick<TranslatedRule, 'condition' | 'exceptions'> {
  const key = (part: Part): string =>
    JSON.stringify([
      print(part.condition, NAMES),
      part.exceptions.map(({ name, condition }) => [name, print(condition, NAMES)]),
    ]);
  const groups = new Map<string, Part[]>();
  for (const part of parts) groups.set(key(part), [...(groups.get(key(part)) ?? []), part]);
  const [first, ...more] = [...groups.values()];
  if (first?.[0] && !more.length)
    return { condition: and([selection(first), first[0].condition]), exceptions: first[0].exceptions };
  return {
    condition: or(
      [...groups.values()].map((group) =>
        and([
          selection(group),
          group[0]?.condition ?? FALSE,
          ...(group[0]?.exceptions ?? []).map(({ condition }) => not(condition)),
        ]),
      ),
    ),
    exceptions: [],
  };
}

/** What tells the events of these variants from the tracker's others. */
function selection(parts: readonly Part[]): CelTree {
  const outcomes = new Map<string, { readonly select: CallVariant['select']; readonly outcomes: Set<string | null> }>();
  for (const { variant } of parts) {
    const key = JSON.stringify(variant.select);
    const known = outcomes.get(key) ?? { select: variant.select, outcomes: new Set() };
    known.outcomes.add(variant.outcome);
    outcomes.set(key, known);
  }
  // Values of the same field and the same outcome are one list.
  const fields = new Map<
    string,
    { readonly field: string | null; readonly outcome: string | null; readonly values: string[] }
  >();
  for (const { select, outcomes: known } of outcomes.values()) {
    const [only = null] = known;
    const outcome = known.size > 1 ? null : only;
    const key = JSON.stringify([select?.[0] ?? null, outcome]);
    const group = fields.get(key) ?? { field: select?.[0] ?? null, outcome, values: [] };
    if (select) group.values.push(select[1]);
    fields.set(key, group);
  }
  return or(
    [...fields.values()].map(({ field, outcome, values }) =>
      and([
        field === null
          ? TRUE
          : cel(
              values.length === 1
                ? `${field} == ${JSON.stringify(values[0])}`
                : `${field} in ${JSON.stringify(values).replaceAll(',', ', ')}`,
            ),
        outcome === null ? TRUE : cel(outcome),
      ]),
    ),
  );
}

// Names

/** As the name of a rule: "Run shell untrusted" is "run-shell-untrusted". */
export function slug(name: string): string {
  return name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[-0-9]+|-+$/g, '');
}

function unused(name: string, taken: Set<string>): string {
  let free = name;
  for (let i = 2; taken.has(free); i++) free = `${name}-${i}`;
  taken.add(free);
  return free;
}
