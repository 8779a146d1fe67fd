import { coerceInputValue, GraphQLNonNull, isInputType, type GraphQLSchema } from 'graphql';
import type { PluginHost, PluginRequest } from '../../plugins/index.js';
import { compileAggregate, demandOf, type AggregateSpec } from '../../analysis/aggregate/index.js';
import { EunomiaError } from '../../base/errors.js';
import type { Demand } from '../../event/event.js';
import { filterOf, type EventFilter, type FilterFields } from '../../filter/index.js';
import type { StartSessionInput } from '../../generated/schema.js';
import type { SessionSpec } from '../../session/spec.js';
import type { Catalog } from '../../catalog/catalog.js';
import { sessionSpec } from '../../service/input.js';
import { pluginRequests } from '../../service/plugins.js';
import type { ConfigFile, Path } from '../../base/config-file.js';

const types = ['counter', 'gauge', 'histogram'] as const;
type MetricType = (typeof types)[number];

/** Which measures make sense of a kind of metric: a counter never falls, a gauge is one number of a window. */
const allowed: Readonly<Record<MetricType, readonly string[]>> = {
  counter: ['COUNT', 'SUM'],
  gauge: ['COUNT', 'SUM', 'DISTINCT', 'MIN', 'MAX', 'AVG', 'QUANTILE', 'RATE'],
  histogram: ['HISTOGRAM'],
};
const settings = ['name', 'help', 'type', 'session', 'groupBy', 'measure', 'where', 'scale', 'window', 'maxSeries'];
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;
const MAX_METRICS = 100;
const MAX_SERIES = 10_000;
const DEFAULT_SERIES = 1_000;
const DEFAULT_WINDOW = '60s';
/** Seconds, for durations in nanoseconds: microseconds to a minute. */
const DEFAULT_BUCKETS = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 6e10];

/** A metric that was checked. */
export interface ExportedMetric {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  /** Place in `sessions`. */
  readonly session: number;
  /** Names of the labels, in the order of the aggregate's `groupBy`. */
  readonly labels: readonly string[];
  readonly aggregate: AggregateSpec;
  readonly demand: Demand;
  readonly where: EventFilter | null;
  /** What values are multiplied by: 1e-9 makes seconds of nanoseconds. */
  readonly scale: number;
  readonly windowMs: number | null;
}

/** A session that runs for as long as the server, with its plugins. */
export interface ConfiguredSession {
  readonly spec: SessionSpec;
  readonly plugins: readonly PluginRequest[];
}

export interface ExportedConfig {
  readonly sessions: readonly ConfiguredSession[];
  readonly metrics: readonly ExportedMetric[];
}

export interface ConfigContext {
  readonly schema: GraphQLSchema;
  readonly catalog: Catalog;
  readonly fields: FilterFields;
  readonly plugins: Pick<PluginHost, 'check'>;
}

/**
 * Checks a metrics configuration. Throws BAD_METRICS_CONFIG, for each entry that is wrong with file, line and column, the setting's path,
 * and what would be right.
 */
export function parseExported(file: ConfigFile, context: ConfigContext): ExportedConfig {
  const { sessions, metrics } = file.fields(file.value, [], ['sessions', 'metrics']);
  const configured = file.each(file.list(sessions, ['sessions']), (session, i) =>
    sessionOf(file, session, ['sessions', i], context),
  );
  const specs = configured.map(({ spec }) => spec);
  const names = specs.map(({ name }) => name ?? '');
  file.each(names, (name, i) => {
    if (names.indexOf(name) < i)
      throw file.fail(['sessions', i, 'name'], `"${name}" is there already, in sessions[${names.indexOf(name)}]`);
  });
  const list = file.list(metrics, ['metrics']);
  if (list.length > MAX_METRICS)
    throw file.fail(['metrics'], `has ${list.length} entries; at most ${MAX_METRICS} are allowed`);
  const parsed = file.each(list, (metric, i) => metricOf(file, metric, ['metrics', i], specs, context));
  file.each(parsed, ({ name }, i) => {
    const before = parsed.findIndex((other) => other.name === name);
    if (before < i) throw file.fail(['metrics', i, 'name'], `"${name}" is there already, in metrics[${before}]`);
  });
  return { sessions: configured, metrics: parsed };
}

/** As `startSession` takes it, but that it needs a name, and that nothing ends it. */
function sessionOf(
  file: ConfigFile,
  value: unknown,
  path: Path,
  { schema, catalog, fields, plugins }: ConfigContext,
): ConfiguredSession {
  const type = schema.getType('StartSessionInput');
  if (!isInputType(type)) throw new EunomiaError('BAD_SCHEMA', 'the schema has no StartSessionInput');
  const input: unknown = coerceInputValue(value, new GraphQLNonNull(type), (inner, _value, error) => {
    // The place of an unknown field is the object that has it.
    const [, unknown] = /^Field "(.*?)" is not defined/.exec(error.message) ?? [];
    throw file.fail([...path, ...inner, ...(unknown === undefined ? [] : [unknown])], error.message);
  });
  const { name, for: runsFor, ttl } = input as StartSessionInput;
  file.text(name, [...path, 'name'], '"host"; it is the label `session` of what it counts');
  for (const [setting, given] of [
    ['for', runsFor],
    ['ttl', ttl],
  ] as const)
    if (given != null) throw file.fail([...path, setting], 'cannot be set: the session runs as long as the server');
  try {
    const spec = sessionSpec(input as StartSessionInput, catalog, fields);
    const requests = pluginRequests((input as StartSessionInput).plugins);
    requests.forEach((request, i) =>
      plugins.check(
        request,
        spec.trackers.map((tracker) => tracker.name),
        `input.plugins[${i}]`,
        i,
      ),
    );
    return { spec, plugins: requests };
  } catch (error) {
    if (!(error instanceof EunomiaError)) throw error;
    // "input.plugins[0].options.least: message"
    const [, argument = '', message = error.message] = /^input((?:\.\w+|\[\d+\])*): (.*)$/s.exec(error.message) ?? [];
    const inner = argument
      .split(/[.[\]]+/)
      .filter(Boolean)
      .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
    throw file.fail([...path, ...inner], message);
  }
}

function metricOf(
  file: ConfigFile,
  value: unknown,
  path: Path,
  sessions: readonly SessionSpec[],
  { catalog, fields }: ConfigContext,
): ExportedMetric {
  const given = file.fields(value, path, settings);
  const at = (setting: string): Path => [...path, setting];
  const type = types.find((one) => one === given['type']);
  if (!type) throw file.fail(at('type'), `is to be ${types.join(', ')}`);
  const name = nameOf(file, given['name'], type, at('name'));
  const help = file.text(given['help'], at('help'), '"Programs executed, by user."');
  const session = sessions.findIndex((spec) => spec.name === given['session']);
  const spec = sessions[session];
  if (!spec)
    throw file.fail(
      at('session'),
      'is to be the name of one of ' +
        `\`sessions\`${sessions.length ? `: ${sessions.map((one) => one.name).join(', ')}` : ', of which there is none'}`,
    );
  const trackers = spec.trackers.map((tracker) => tracker.name);

  const groupBy = file.fields(
    given['groupBy'] ?? {},
    at('groupBy'),
    Object.keys((given['groupBy'] as object | undefined) ?? {}),
  );
  for (const [label, field] of Object.entries(groupBy)) {
    if (!LABEL.test(label) || label === 'le')
      throw file.fail(
        [...at('groupBy'), label],
        'is no name of a label; give letters, digits and _, for example "container"',
      );
    file.text(field, [...at('groupBy'), label], '"container.name"');
    if (/^process\.(parent\.)?(pid|tid|ppid|startTime)$|^(bootNs|time)$/.test(String(field)))
      throw file.fail(
        [...at('groupBy'), label],
        `"${String(field)}" has a value for every process or event: a metric cannot be grouped by it; \`aggregate\` in GraphQL can`,
      );
    file.at([...at('groupBy'), label], () => catalog.checkValue(String(field), trackers, 'groupBy'));
  }
  const windowMs =
    type === 'gauge' ? file.duration(given['window'] ?? DEFAULT_WINDOW, at('window'), 1_000, 3_600_000) : null;
  if (type !== 'gauge' && given['window'] !== undefined)
    throw file.fail(at('window'), `belongs to gauges; a ${type} counts from the start of the server`);
  const maxSeries = numberOf(file, given['maxSeries'] ?? DEFAULT_SERIES, 1, MAX_SERIES, at('maxSeries'));
  const measure = measureOf(file, given['measure'], type, at('measure'));
  const aggregate = file.at(at('measure'), () =>
    compileAggregate(
      {
        groupBy: Object.values(groupBy).map(String),
        measures: type === 'histogram' ? [measure, { fn: 'SUM', name: 'sum', field: measure.field }] : [measure],
        maxGroups: maxSeries,
        limit: maxSeries,
      },
      catalog,
      trackers,
    ),
  );
  const expression = given['where'];
  const where =
    expression === undefined
      ? null
      : file.at(at('where'), () =>
          filterOf({ expr: file.text(expression, at('where'), '"errno != null"') }, fields, trackers),
        );
  const demand = demandOf(aggregate, catalog, trackers);
  const scale = numberOf(file, given['scale'] ?? 1, Number.MIN_VALUE, Number.MAX_VALUE, at('scale'), false);
  return {
    name,
    help,
    type,
    session,
    labels: Object.keys(groupBy),
    aggregate,
    where,
    demand: where?.with(demand) ?? demand,
    scale,
    windowMs,
  };
}

function nameOf(file: ConfigFile, value: unknown, type: MetricType, path: Path): string {
  const name = file.text(value, path, '"execs_total"');
  if (!NAME.test(name))
    throw file.fail(path, `"${name}" is no name of a metric; give letters, digits, _ and :, for example "execs_total"`);
  if (name.startsWith('eunomia_'))
    throw file.fail(path, `"${name}" begins with eunomia_, as the server's own do; give another name`);
  if ((type === 'counter') !== name.endsWith('_total'))
    throw file.fail(
      path,
      type === 'counter'
        ? `"${name}" is a counter, whose name ends in _total`
        : `"${name}" ends in _total, but is no counter`,
    );
  if (type === 'histogram' && /_(bucket|sum|count)$/.test(name))
    throw file.fail(path, `"${name}" ends as the series of a histogram do; give another name`);
  return name;
}

function measureOf(
  file: ConfigFile,
  value: unknown,
  type: MetricType,
  path: Path,
): NonNullable<Parameters<typeof compileAggregate>[0]['measures']>[number] {
  const given = file.fields(value ?? {}, path, ['fn', 'field', 'q', 'buckets']);
  const fn = given['fn'] ?? (type === 'histogram' ? 'HISTOGRAM' : 'COUNT');
  if (!allowed[type].includes(String(fn)))
    throw file.fail([...path, 'fn'], `a ${type} takes ${allowed[type].join(', ')}`);
  const buckets =
    type === 'histogram' ? file.list(given['buckets'] ?? DEFAULT_BUCKETS, [...path, 'buckets']) : undefined;
  buckets?.forEach((bucket, i) =>
    numberOf(file, bucket, -Number.MAX_VALUE, Number.MAX_VALUE, [...path, 'buckets', i], false),
  );
  if (type !== 'histogram' && given['buckets'] !== undefined)
    throw file.fail([...path, 'buckets'], 'belong to histograms');
  const q = given['q'] === undefined ? undefined : numberOf(file, given['q'], 0, 1, [...path, 'q'], false);
  const field =
    given['field'] === undefined ? undefined : file.text(given['field'], [...path, 'field'], '"durationNs"');
  return { fn: fn as 'COUNT', name: 'value', field, q, buckets: buckets as readonly number[] | undefined };
}

function numberOf(file: ConfigFile, value: unknown, min: number, max: number, path: Path, whole = true): number {
  if (typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  throw file.fail(
    path,
    whole || max === 1
      ? `is to be a ${whole ? 'whole ' : ''}number from ${min} to ${max}`
      : 'is to be a number above 0',
  );
}
