import type { TraceEvent } from '../event/event.js';
import { EunomiaError, suggest } from '../base/errors.js';
import { finish, type Work } from '../base/turn.js';
import { compileField, type Catalog, type CatalogTracker, type FieldReader } from '../catalog/catalog.js';
import { DetailsTemplate } from '../event/details.js';
import type { Demand } from '../event/event.js';
import { lineagePath } from '../event/lineage.js';
import {
  and,
  EventFilter,
  FilterBudget,
  namesIn,
  or,
  parseCel,
  pathsIn,
  type Definitions,
  type Filter,
  type FilterFields,
  type Macro,
} from '../filter/index.js';
import type {
  Absence,
  Bond,
  Condition,
  Expression,
  RulePlace,
  RuleDefinition,
  RuleSetDefinition,
  StepDefinition,
} from './definition.js';
import { readingRules, throwInOrder, type RuleSource } from './format.js';

export interface RuleContext {
  readonly catalog: Catalog;
  readonly fields: FilterFields;
  /** Names of the webhooks that there are; absent where that is not known. */
  readonly webhooks?: readonly string[];
  /** By which id clients find an event, as long as its session has it; absent or null: by none. */
  readonly idOf?: (event: TraceEvent) => string | null;
}

/** Reads the values of some fields. */
export interface Reading {
  readonly paths: readonly string[];
  readonly readers: readonly FieldReader[];
}

export interface CompiledStep {
  readonly filter: EventFilter;
  /** The trackers of which an event can match. */
  readonly trackers: readonly string[];
}

/** Names a set of options of a tracker; null: the usual ones. */
export type Variant = string | null;

/** Options of a tracker, as its type in the schema has them. */
export type OptionsOfTracker = CatalogTracker['optionFor'][string];

/** A rule that can be evaluated. */
export interface CompiledRule {
  readonly definition: RuleDefinition;
  readonly steps: readonly CompiledStep[];
  readonly absence: (Omit<Absence, 'step'> & { readonly step: CompiledStep }) | null;
  readonly rate: { readonly by: Reading; readonly distinct: Reading | null } | null;
  readonly firstSeen: { readonly values: Reading; readonly for: Reading } | null;
  readonly key: Reading;
  readonly message: DetailsTemplate;
  /** Why it cannot be evaluated here; null when it can. */
  readonly problem: string | null;
  /** Whether it reads what only an engine tells of a container, which may come a moment after the container's first events. */
  readonly readsEngine: boolean;
  /** What it reads of events, by tracker. */
  readonly demand: Demand;
  /** Options without which something that it reads is null, by tracker: of each on whose events it is evaluated. */
  readonly options: ReadonlyMap<string, OptionsOfTracker>;
  /** Equal for rules that need the same options of a tracker, by tracker; null where it needs none. */
  readonly variants: ReadonlyMap<string, Variant>;
  /** Equal for rules that are evaluated in the same way: what one has counted holds for the other. */
  readonly fingerprint: string;
}

/** Rules that were read and compiled together, with the lists and macros that they share. */
export interface RuleSet {
  readonly rules: readonly CompiledRule[];
  readonly definition: RuleSetDefinition;
}

export const noRules: RuleSet = { rules: [], definition: { lists: new Map(), macros: new Map(), rules: [] } };

/** Reads and compiles rule files as one set. Throws BAD_RULES with the places of all that is wrong. */
export function compileRules(sources: readonly RuleSource[], context: RuleContext): RuleSet {
  return finish(compilingRules(sources, context));
}

/** The same in pieces. */
export function* compilingRules(sources: readonly RuleSource[], context: RuleContext): Work<RuleSet> {
  const definition = yield* readingRules(sources);
  const compiler = yield* Compiler.of(definition, context);
  const errors: EunomiaError[] = [];
  const rules: CompiledRule[] = [];
  for (const rule of definition.rules) {
    try {
      rules.push(compiler.rule(rule));
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code !== 'BAD_RULES') throw error;
      errors.push(error);
    }
    yield;
  }
  throwInOrder(errors);
  return { rules, definition };
}

class Compiler {
  readonly #context: RuleContext;
  readonly #definitions: Definitions;

  private constructor(context: RuleContext, definitions: Definitions) {
    this.#context = context;
    this.#definitions = definitions;
  }

  /** Throws BAD_RULES for macros that are no CEL, or that name each other in a circle, and for names of fields and trackers. */
  static *of({ lists, macros }: RuleSetDefinition, context: RuleContext): Work<Compiler> {
    const written = new Map([...macros].map(([name, condition]) => [name, macroOf(name, condition)]));
    const errors: EunomiaError[] = [];
    const named = new Map<string, ReadonlySet<string>>();
    for (const [name, condition] of macros) {
      const { file, path } = condition.first;
      const taken = takenBy(name, context) ?? (lists.has(name) ? 'a list' : null);
      if (taken !== null) errors.push(file.failKey(path, `"${name}" is the name of ${taken}; give another one`));
      const macro = written.get(name);
      try {
        if (macro)
          named.set(
            name,
            inFile(condition.first, () => namesIn(macro)),
          );
      } catch (error) {
        if (!(error instanceof EunomiaError)) throw error;
        errors.push(error);
      }
      yield;
    }
    const circle = circleOf(named);
    const first = macros.get(circle?.[0] ?? '')?.first;
    if (circle && first) errors.push(first.file.fail(first.path, `macros name each other: ${circle.join(' → ')}`));
    throwInOrder(errors);
    return new Compiler(context, { lists, macros: written, readsProcesses: true });
  }

  rule(definition: RuleDefinition): CompiledRule {
    const { catalog } = this.#context;
    const { file, path, absence, rate, firstSeen } = definition;
    const steps = definition.steps.map((step, i) =>
      this.#step(
        step,
        i === definition.steps.length - 1 ? definition.exceptions.map(({ condition }) => condition) : [],
      ),
    );
    const last = definition.steps.at(-1)?.trackers ?? [];
    const reading = (paths: readonly string[], ...at: string[]): Reading => ({
      paths,
      readers: file.each(paths, (field, i) => {
        file.at([...path, ...at, i], () => catalog.checkPath(field, last, 'field'));
        return compileField(field, catalog.lineage);
      }),
    });
    const message = this.#message(definition, last);
    this.#checkActions(definition);
    const compiled = {
      definition,
      steps,
      absence: absence && { ...absence, step: this.#step(absence.step, []) },
      rate: rate && {
        by: reading(rate.by, 'rate', 'by'),
        distinct: rate.distinct === null ? null : reading([rate.distinct], 'rate', 'distinct'),
      },
      firstSeen: firstSeen && {
        values: reading(firstSeen.values, 'firstSeen', 'values'),
        for: reading(firstSeen.for, 'firstSeen', 'for'),
      },
      key: reading(definition.key, 'key'),
      message,
    };
    const { by, distinct } = compiled.rate ?? {};
    const read = [
      compiled.key,
      ...[by, distinct, compiled.firstSeen?.values, compiled.firstSeen?.for].filter(
        (one) => one !== null && one !== undefined,
      ),
    ].flatMap(({ paths }) => paths);
    const all = [...steps, ...(compiled.absence ? [compiled.absence.step] : [])];
    const options = this.#optionsOf(all, [...read, ...message.fields]);
    return {
      ...compiled,
      problem: this.#problemOf(all, read),
      readsEngine: [...all.flatMap(({ filter }) => pathsIn(filter.filter)), ...read].some(isOfEngine),
      demand: this.#demandOf(all, [...read, ...message.fields]),
      options,
      variants: new Map([...options].map(([tracker, needed]) => [tracker, variantOf(needed)])),
      fingerprint: fingerprintOf(definition, all),
    };
  }

  #step({ trackers, condition, file, path }: StepDefinition, exceptions: readonly Expression[]): CompiledStep {
    const { catalog, fields } = this.#context;
    file.each(trackers, (tracker, i) => file.at([...path, 'trackers', i], () => catalog.need(tracker)));
    // One filter, however many overrides and exceptions it is written in.
    const budget = new FilterBudget();
    const parse = (expression: Expression): Filter =>
      inFile(expression, () => parseCel(expression.text, fields, trackers, HERE, budget, this.#definitions));
    let matching = parse(condition.first);
    for (const { join, expression } of condition.joined)
      matching = join === 'and' ? and([matching, parse(expression)]) : or([matching, parse(expression)]);
    const excepted = exceptions.map(parse);
    const filter = new EventFilter(
      excepted.length > 0 ? and([matching, { kind: 'not', filter: or(excepted) }]) : matching,
      fields,
      trackers,
    );
    return { filter, trackers: [...filter.demand.keys()] };
  }

  #message({ message, file, path }: RuleDefinition, trackers: readonly string[]): DetailsTemplate {
    const { catalog } = this.#context;
    let template: DetailsTemplate;
    try {
      template = new DetailsTemplate(message);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw file.fail([...path, 'message'], `${error.message}; write a field in braces, {process.comm}`);
    }
    for (const field of template.fields)
      file.at([...path, 'message'], () => catalog.checkPath(field, trackers, 'message'));
    return template;
  }

  /** Throws BAD_RULES for an action that names a tracker or a webhook that there is not. */
  #checkActions({ actions }: RuleDefinition): void {
    const { catalog, webhooks } = this.#context;
    for (const action of actions) {
      const { file, path } = action;
      if (action.kind === 'collect')
        file.each(action.trackers, (tracker, i) =>
          file.at([...path, 'collect', 'trackers', i], () => catalog.need(tracker)),
        );
      if (action.kind === 'webhook' && webhooks?.includes(action.webhook) === false)
        throw file.fail(
          [...path, 'webhook'],
          `there is no webhook "${action.webhook}"${suggest(action.webhook, webhooks)}; ` +
            `--webhooks has ${webhooks.join(', ') || 'none'}`,
        );
    }
  }

  /** A message tells what is not known as such; a condition, or a key, of it would be wrong. */
  #problemOf(steps: readonly CompiledStep[], read: readonly string[]): string | null {
    const { problem = null } = this.#context.catalog.lineage ?? {};
    const reads = steps.some(({ filter }) => filter.ready !== null) || read.some((path) => lineagePath(path) !== null);
    return problem !== null && reads ? `it reads the table of processes, and there is none: ${problem}` : null;
  }

  /** What the filters read, what is read of events that match, and what one line tells of them. */
  #demandOf(steps: readonly CompiledStep[], read: readonly string[]): Demand {
    const demand = new Map<string, Set<string>>();
    const { catalog, fields } = this.#context;
    for (const { filter } of steps)
      for (const [tracker, filtered] of filter.demand) {
        const told = new DetailsTemplate(catalog.need(tracker).details).fields;
        const own = [...read, ...told].filter((path) => lineagePath(path) === null && fields.get(tracker, path));
        demand.set(tracker, new Set([...(demand.get(tracker) ?? []), ...filtered, ...own.map(firstOf)]));
      }
    return demand;
  }

  #optionsOf(steps: readonly CompiledStep[], read: readonly string[]): ReadonlyMap<string, OptionsOfTracker> {
    const options = new Map<string, OptionsOfTracker>();
    for (const { filter } of steps)
      for (const [tracker, filtered] of filter.demand) {
        const { optionFor } = this.#context.catalog.need(tracker);
        const needed = [...filtered, ...read].map((path) => optionFor[path]);
        options.set(tracker, Object.assign({}, options.get(tracker), ...needed) as OptionsOfTracker);
      }
    return options;
  }
}

function variantOf(options: OptionsOfTracker): Variant {
  const set = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  return set.length > 0 ? JSON.stringify(set) : null;
}

/** What a name is already; null when nothing. */
function takenBy(name: string, { fields, catalog }: RuleContext): string | null {
  if (catalog.get(name)) return 'a tracker';
  return fields.among(fields.trackers, name) || ['process', 'container'].includes(name) ? 'a field of events' : null;
}

/** What is known of a container without its engine. */
const KNOWN: ReadonlySet<string> = new Set(
  ['id', 'runtime', 'cgroupId', 'mountNs', 'podUid'].map((name) => `container.${name}`),
);

function isOfEngine(path: string): boolean {
  return path.startsWith('container.') && !KNOWN.has(path);
}

/** What messages call the expression itself. */
const HERE = 'condition';

/** Runs a check of an expression, and gives its errors the place of the file. */
function inFile<Made>({ file, path }: RulePlace, check: () => Made): Made {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof EunomiaError) || error.code === 'BAD_RULES') throw error;
    const own = error.details['argument'] === HERE ? `${HERE}: ` : '';
    throw file.fail(path, error.message.slice(own.length));
  }
}

function macroOf(name: string, { first, joined }: Condition): Macro {
  const { name: file } = first.file;
  const text = joined.reduce(
    (before, { join, expression }) => `(${before}) ${join === 'and' ? '&&' : '||'} (${expression.text})`,
    first.text,
  );
  return { text, path: `macro ${name} (${file})` };
}

/** The first circle of names; null where there is none. Each name is followed once, whatever names it. */
function circleOf(named: ReadonlyMap<string, ReadonlySet<string>>): readonly string[] | null {
  const done = new Set<string>();
  for (const start of named.keys()) {
    /** From the start to where the search is, with what is left to follow from each. */
    const path: { readonly name: string; readonly next: Iterator<string> }[] = [];
    const within = new Set<string>();
    const enter = (name: string): void => {
      path.push({ name, next: (named.get(name) ?? new Set<string>()).values() });
      within.add(name);
      done.add(name);
    };
    if (!done.has(start)) enter(start);
    for (let last = path.at(-1); last; last = path.at(-1)) {
      const next = last.next.next();
      if (next.done) {
        path.pop();
        within.delete(last.name);
      } else if (within.has(next.value)) {
        const names = path.map(({ name }) => name);
        return [...names.slice(names.indexOf(next.value)), next.value];
      } else if (!done.has(next.value) && named.has(next.value)) enter(next.value);
    }
  }
  return null;
}

function fingerprintOf(definition: RuleDefinition, steps: readonly CompiledStep[]): string {
  const { name, sequence, rate, firstSeen, absence, key, intervalMs, throttle } = definition;
  const bond: Bond | undefined = absence?.by;
  return JSON.stringify([
    name,
    steps.map(({ trackers, filter }) => [trackers, filter.text]),
    sequence,
    rate,
    firstSeen,
    absence && [absence.withinMs, bond],
    key,
    intervalMs,
    throttle,
  ]);
}

function firstOf(path: string): string {
  const dot = path.indexOf('.');
  return dot < 0 ? path : path.slice(0, dot);
}
