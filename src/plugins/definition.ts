import { EunomiaError, suggest } from '../base/errors.js';
import type { FilterFields } from '../filter/index.js';
import { EventFilter, parseCel } from '../filter/index.js';
import type { MetricDefinition, OptionDefinition } from '../plugin.js';
import type { Catalog } from '../catalog/catalog.js';

/** A plugin's definition as data, checked: what crosses from its thread. */
export interface PluginFacts {
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, OptionDefinition>>;
  readonly metrics: Readonly<Record<string, MetricDefinition>>;
  /** Tracker → single values, groups ("process") taken apart. */
  readonly reads: Readonly<Record<string, readonly string[]>>;
  /** The single values of the same trackers that it does not read: reading one is an error. */
  readonly undeclared: Readonly<Record<string, readonly string[]>>;
  readonly where: string | null;
  readonly everyMs: number | null;
}

/** What definitions are checked against. */
export interface Vocabulary {
  readonly catalog: Catalog;
  readonly fields: FilterFields;
}

/** More than any tracker has. */
const MAX_FIELDS = 256;
const MAX_OPTIONS = 32;
const MAX_METRICS = 32;
const KNOWN = [
  'name',
  'version',
  'summary',
  'options',
  'metrics',
  'reads',
  'where',
  'every',
  'onStart',
  'onBatch',
  'onInterval',
  'onStop',
];

export function badPlugin(file: string, message: string, details: Record<string, unknown> = {}): EunomiaError {
  return new EunomiaError('BAD_PLUGIN', `${file}: ${message}`, { details: { file, ...details } });
}

/** Checks what a plugin's thread tells of its default export. Throws BAD_PLUGIN; the message names the file and what would be right. */
export function checkDefinition(told: unknown, file: string, { catalog, fields }: Vocabulary): PluginFacts {
  const fail = (message: string): never => {
    throw badPlugin(file, message);
  };
  const definition = record(told) ?? fail('has no plugin: write `export default definePlugin({ … })`');
  for (const key of Object.keys(definition))
    if (!KNOWN.includes(key)) fail(`a plugin has no property "${key}"${suggest(key, KNOWN)}`);
  const text = (key: string, max: number): string => {
    const value = definition[key];
    if (typeof value === 'string' && value.length >= 1 && value.length <= max) return value;
    return fail(`\`${key}\` must be a text of 1 to ${max} characters; it is ${show(value)}`);
  };
  const name = text('name', 50);
  if (!/^[a-z][a-z0-9-]*$/.test(name))
    fail(`\`name\` is made of lower-case letters, digits and hyphens and begins with a letter; it is "${name}"`);
  if (definition['onBatch'] !== 'function') fail('`onBatch` is missing: it takes the events');
  for (const hook of ['onStart', 'onInterval', 'onStop']) {
    if (definition[hook] !== undefined && definition[hook] !== 'function') fail(`\`${hook}\` must be a function`);
  }
  const every = definition['every'];
  if ((every === undefined) !== (definition['onInterval'] === undefined))
    fail('`every` and `onInterval` belong together: give both or neither');
  if (every !== undefined && !(Number.isInteger(every) && Number(every) >= 100 && Number(every) <= 3_600_000)) {
    fail(`\`every\` is a whole number of milliseconds, 100 to 3600000; it is ${show(every)}`);
  }
  const reads = readsOf(definition['reads'], catalog, fail);
  const where = definition['where'];
  if (where !== undefined) {
    if (typeof where !== 'string') return fail(`\`where\` must be a CEL expression; it is ${show(where)}`);
    try {
      whereOf({ where, reads }, fields);
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  }
  return {
    name,
    version: text('version', 50),
    summary: text('summary', 300),
    options: optionsOf(definition['options'] ?? {}, fail),
    metrics: metricsOf(definition['metrics'] ?? {}, fail),
    reads,
    undeclared: Object.fromEntries(
      Object.entries(reads).map(([tracker, paths]) => [
        tracker,
        undeclaredOf(catalog.need(tracker, 'reads').fields, paths),
      ]),
    ),
    where: where ?? null,
    everyMs: every === undefined ? null : Number(every),
  };
}

/** The filter of a plugin; null when it has none. */
export function whereOf(
  { where, reads }: { readonly where: string | null; readonly reads: PluginFacts['reads'] },
  fields: FilterFields,
): EventFilter | null {
  if (where === null) return null;
  const trackers = Object.keys(reads);
  return new EventFilter(parseCel(where, fields, trackers, 'where'), fields, trackers);
}

type Fail = (message: string) => never;

function readsOf(told: unknown, catalog: Catalog, fail: Fail): Record<string, readonly string[]> {
  const reads = record(told);
  if (!reads || !Object.keys(reads).length)
    return fail(
      '`reads` is missing: name the trackers and fields it reads, for example { exec: ["args", "process.pid"] }',
    );
  return Object.fromEntries(
    Object.entries(reads).map(([tracker, paths]) => {
      try {
        const { fields } = catalog.need(tracker, `reads.${tracker}`);
        if (!Array.isArray(paths) || paths.length > MAX_FIELDS)
          return fail(`reads.${tracker} must be a list of at most ${MAX_FIELDS} fields; it is ${show(paths)}`);
        const single = paths.flatMap((path: unknown, index) => {
          if (typeof path !== 'string')
            return fail(`reads.${tracker}[${index}] must be the path of a field; it is ${show(path)}`);
          const inside = fields.filter((field) => field.path.startsWith(`${path}.`)).map((field) => field.path);
          if (path === 'container') inside.push('container.labels');
          if (inside.length || path === 'container.labels') return inside.length ? inside : [path];
          catalog.checkField(path, [tracker], `reads.${tracker}[${index}]`);
          return [path];
        });
        return [tracker, [...new Set(single)]];
      } catch (error) {
        return fail(error instanceof EunomiaError ? error.message.replace(/^BAD_PLUGIN: /, '') : String(error));
      }
    }),
  );
}

function undeclaredOf(fields: readonly { readonly path: string }[], declared: readonly string[]): string[] {
  return fields
    .map(({ path }) => path)
    .filter(
      (path) => path !== 'tracker' && !declared.includes(path) && !declared.some((one) => one.startsWith(`${path}.`)),
    );
}

function optionsOf(told: unknown, fail: Fail): Record<string, OptionDefinition> {
  const options = record(told) ?? fail('`options` must be an object: a name and a definition each');
  if (Object.keys(options).length > MAX_OPTIONS)
    fail(`\`options\` has ${Object.keys(options).length} entries; at most ${MAX_OPTIONS} are allowed`);
  for (const [name, value] of Object.entries(options)) {
    const option = record(value) ?? fail(`options.${name} must be an object with type, default and description`);
    if (!/^[a-zA-Z][a-zA-Z0-9]*$/.test(name)) fail(`options.${name}: a name is made of letters and digits`);
    if (!['number', 'integer', 'string', 'boolean', 'strings'].includes(String(option['type']))) {
      fail(`options.${name}.type is one of number, integer, string, boolean, strings; it is ${show(option['type'])}`);
    }
    if (typeof option['description'] !== 'string' || !option['description'])
      fail(`options.${name}.description is missing: say what the option does, and its unit`);
    const wrong = problemOf(option as OptionShape, option['default']);
    if (wrong) fail(`options.${name}.default ${wrong}`);
  }
  return options as Record<string, OptionDefinition>;
}

function metricsOf(told: unknown, fail: Fail): Record<string, MetricDefinition> {
  const metrics = record(told) ?? fail('`metrics` must be an object: a name and a definition each');
  if (Object.keys(metrics).length > MAX_METRICS)
    fail(`\`metrics\` has ${Object.keys(metrics).length} entries; at most ${MAX_METRICS} are allowed`);
  for (const [name, value] of Object.entries(metrics)) {
    const metric = record(value) ?? fail(`metrics.${name} must be an object with type and help`);
    if (!/^[a-z][a-z0-9_]{0,60}$/.test(name))
      fail(`metrics.${name}: a name is made of lower-case letters, digits and underscores`);
    if (!['counter', 'gauge', 'histogram'].includes(String(metric['type'])))
      fail(`metrics.${name}.type is one of counter, gauge, histogram; it is ${show(metric['type'])}`);
    if (typeof metric['help'] !== 'string' || !metric['help'])
      fail(`metrics.${name}.help is missing: say what it counts, and its unit`);
    const labels = metric['labels'] ?? [];
    if (
      !Array.isArray(labels) ||
      labels.length > 5 ||
      !labels.every((label) => typeof label === 'string' && /^[a-z][a-z0-9_]{0,40}$/.test(label))
    ) {
      fail(
        `metrics.${name}.labels must be up to five names of lower-case letters, digits and underscores; it is ${show(labels)}`,
      );
    }
    const buckets = metric['buckets'] ?? [];
    const ascending =
      Array.isArray(buckets) &&
      buckets.length <= 30 &&
      buckets.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > buckets[i - 1]));
    if (!ascending || (metric['type'] === 'histogram') !== buckets.length > 0)
      fail(`metrics.${name}.buckets: a histogram, and nothing else, has up to 30 ascending numbers`);
  }
  return metrics as Record<string, MetricDefinition>;
}

/** Options as whoever attaches the plugin wrote them, checked, with defaults. `where` is their path. Throws BAD_USER_INPUT. */
export function checkOptions(
  { name, options }: Pick<PluginFacts, 'name' | 'options'>,
  given: unknown,
  path: string,
): Readonly<Record<string, unknown>> {
  const values = given === null || given === undefined ? {} : record(given);
  const fail = (message: string): never => {
    throw new EunomiaError('BAD_USER_INPUT', `${path}${message}`, { details: { argument: path, plugin: name } });
  };
  if (!values)
    return fail(`: must be an object, for example { ${Object.keys(options)[0] ?? 'name'}: … }; it is ${show(given)}`);
  const known = Object.keys(options);
  for (const [key, value] of Object.entries(values)) {
    const option = Object.hasOwn(options, key) ? options[key] : undefined;
    if (!option)
      return fail(
        `.${key}: the plugin ${name} has no option "${key}"${suggest(key, known)}; it has ${known.join(', ') || 'none'}`,
      );
    const wrong = problemOf(option, value);
    if (wrong) fail(`.${key}: ${wrong}`);
  }
  return Object.fromEntries(
    Object.entries(options).map(([key, option]) => [key, Object.hasOwn(values, key) ? values[key] : option.default]),
  );
}

/** What decides whether a value fits an option. */
type OptionShape = Pick<OptionDefinition, 'type'> & {
  readonly enum?: readonly string[];
  readonly min?: number;
  readonly max?: number;
};

/** Why a value does not fit an option; null when it does. */
function problemOf(option: OptionShape, value: unknown): string | null {
  switch (option.type) {
    case 'boolean':
      return typeof value === 'boolean' ? null : `must be true or false; it is ${show(value)}`;
    case 'string':
      if (typeof value !== 'string' || value.length > 1000)
        return `must be a text of up to 1000 characters; it is ${show(value)}`;
      return !option.enum || option.enum.includes(value)
        ? null
        : `must be one of ${option.enum.join(', ')}; it is ${show(value)}`;
    case 'strings':
      return Array.isArray(value) && value.length <= 1000 && value.every((item) => typeof item === 'string')
        ? null
        : `must be a list of up to 1000 texts; it is ${show(value)}`;
    case 'number':
    case 'integer': {
      const { min = -Number.MAX_VALUE, max = Number.MAX_VALUE } = option;
      const what = option.type === 'integer' ? 'a whole number' : 'a number';
      const range =
        option.min === undefined && option.max === undefined
          ? ''
          : ` from ${option.min ?? 'any'} to ${option.max ?? 'any'}`;
      const fits =
        typeof value === 'number' &&
        Number.isFinite(value) &&
        (option.type === 'number' || Number.isInteger(value)) &&
        value >= min &&
        value <= max;
      return fits ? null : `must be ${what}${range}; it is ${show(value)}`;
    }
  }
}

function record(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

function show(value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value) ?? typeof value).slice(0, 100);
}
