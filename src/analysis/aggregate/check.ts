import { invalid } from '../../base/errors.js';
import type { Catalog } from '../../catalog/catalog.js';
import { fieldType, isAmount, unitOf } from '../../event/scalar.js';
import type { Measure, MeasureFunction } from './measures/index.js';
import { checkKernelTotals } from './kernel-total.js';

export type Maybe<Value> = Value | null | undefined;

/** As GraphQL hands it over. */
export interface MeasureInput {
  readonly fn: MeasureFunction;
  readonly name?: Maybe<string>;
  readonly field?: Maybe<string>;
  readonly q?: Maybe<number>;
  readonly k?: Maybe<number>;
  readonly buckets?: Maybe<readonly number[]>;
}

const MAX_MEASURES = 16;
const MAX_NAME = 100;
const MAX_BUCKETS = 200;
const MAX_K = 1000;
const DEFAULT_K = 10;
const needsNumber: ReadonlySet<MeasureFunction> = new Set([
  'SUM',
  'AVG',
  'QUANTILE',
  'HISTOGRAM',
  'RATE',
  'MIN',
  'MAX',
]);
/** Which function a parameter belongs to. */
const owners = { q: 'QUANTILE', k: 'TOP_K', buckets: 'HISTOGRAM' } as const;

/** Checks measures against the fields of these trackers. Throws BAD_USER_INPUT with the argument's path. */
export function compileMeasures(
  inputs: readonly MeasureInput[],
  catalog: Catalog,
  trackers: readonly string[],
): Measure[] {
  if (inputs.length > MAX_MEASURES)
    throw invalid('measures', `has ${inputs.length} entries; at most ${MAX_MEASURES} are allowed`, {
      max: MAX_MEASURES,
    });
  const names = new Map<string, number>();
  return inputs.map((input, index) => {
    const where = `measures[${index}]`;
    const measure = compileOne(input, where, catalog, trackers);
    const before = names.get(measure.name);
    if (before !== undefined) {
      throw invalid(
        `${where}.name`,
        `"${measure.name}" is the name of measures[${before}] already; give another \`name\``,
        { name: measure.name },
      );
    }
    // Conditions and orders name the number of events "count".
    if (measure.name === 'count' && (measure.fn !== 'COUNT' || measure.field !== null)) {
      throw invalid(`${where}.name`, '"count" is the number of events of the group; give another `name`');
    }
    names.set(measure.name, index);
    return measure;
  });
}

function compileOne(
  { fn, name, field, q, k, buckets }: MeasureInput,
  path: string,
  catalog: Catalog,
  trackers: readonly string[],
): Measure {
  for (const [parameter, value] of Object.entries({ q, k, buckets })) {
    const owner = owners[parameter as keyof typeof owners];
    if (value != null && fn !== owner)
      throw invalid(`${path}.${parameter}`, `belongs to ${owner}, not to ${fn}; leave it out`);
  }
  const time = checkMeasured(fn, field ?? null, path, catalog, trackers);
  if (name != null && (name === '' || name.length > MAX_NAME))
    throw invalid(`${path}.name`, `give a text of 1 to ${MAX_NAME} characters, or leave it out`, { max: MAX_NAME });
  return {
    name: name ?? defaultName(fn, field ?? null, q),
    fn,
    field: field ?? null,
    unit: field == null || fn === 'COUNT' || fn === 'DISTINCT' ? null : unitOf(field),
    time,
    q: fn === 'QUANTILE' ? quantileOf(q, `${path}.q`) : 0,
    k: topOf(k, `${path}.k`),
    buckets: buckets == null ? null : boundsOf(buckets, `${path}.buckets`),
  };
}

/** Whether the field is a time. */
function checkMeasured(
  fn: MeasureFunction,
  field: string | null,
  path: string,
  catalog: Catalog,
  trackers: readonly string[],
): boolean {
  if (field === null) {
    if (fn === 'COUNT' || fn === 'RATE') return false;
    throw invalid(`${path}.field`, `${fn} needs the field that it measures${exampleOf(fn, catalog, trackers)}`);
  }
  catalog.checkValue(field, trackers, `${path}.field`);
  checkKernelTotals(fn, field, path, catalog, trackers);
  if (!needsNumber.has(fn)) return false;
  const types = typesOf(field, catalog, trackers);
  if (types.some(isNumber)) return false;
  if (
    (fn === 'MIN' || fn === 'MAX') &&
    types.some((type) => fieldType(type).measured === 'time' && !type.startsWith('['))
  )
    return true;
  const needed = fn === 'MIN' || fn === 'MAX' ? 'a number or a time' : 'a number';
  throw invalid(
    `${path}.field`,
    `"${field}" is ${[...new Set(types)].join(' or ')}, and ${fn} needs ${needed}${exampleOf(fn, catalog, trackers)}`,
    { field, fn },
  );
}

function exampleOf(fn: MeasureFunction, catalog: Catalog, trackers: readonly string[]): string {
  const fields = trackers.flatMap((name) => catalog.need(name).fields);
  const fit = needsNumber.has(fn) ? fields.filter(({ type }) => isNumber(type)) : fields;
  const example = fit.find(({ path }) => isAmount(path)) ?? fit[0];
  return example ? `, for example "${example.path}"` : '; no event of this session has one';
}

function quantileOf(q: Maybe<number>, path: string): number {
  if (q == null) throw invalid(path, 'QUANTILE needs it: 0.5 is the median, 0.99 the 99th percentile');
  if (q >= 0 && q <= 1) return q;
  const hint = q > 1 && q <= 100 ? `; did you mean ${q / 100}?` : '';
  throw invalid(path, `${q} is out of range; give 0 to 1${hint}`, { min: 0, max: 1, value: q });
}

function topOf(k: Maybe<number>, path: string): number {
  if (k == null) return DEFAULT_K;
  if (Number.isInteger(k) && k >= 1 && k <= MAX_K) return k;
  throw invalid(path, `${k} is out of range; give 1 to ${MAX_K} values`, { min: 1, max: MAX_K, value: k });
}

function boundsOf(buckets: readonly number[], path: string): readonly number[] {
  if (buckets.length === 0)
    throw invalid(path, 'is empty; leave it out for powers of two, or give bounds, for example [1000, 10000]');
  if (buckets.length > MAX_BUCKETS)
    throw invalid(path, `has ${buckets.length} bounds; at most ${MAX_BUCKETS} are allowed`, { max: MAX_BUCKETS });
  buckets.forEach((bound, index) => {
    const before = buckets[index - 1];
    if (!Number.isFinite(bound)) throw invalid(`${path}[${index}]`, `${bound} is not a finite number`);
    if (before !== undefined && bound <= before)
      throw invalid(`${path}[${index}]`, `${bound} is not above the bound before it, ${before}; bounds ascend`);
  });
  return buckets;
}

/** "p99(durationNs)", "sum(sentBytes)", "count". */
function defaultName(fn: MeasureFunction, field: string | null, q: Maybe<number>): string {
  const short =
    fn === 'QUANTILE' ? `p${Number(((q ?? 0) * 100).toFixed(6))}` : fn === 'TOP_K' ? 'top' : fn.toLowerCase();
  return field === null ? short : `${short}(${field})`;
}

/** Whether the trackers differ in how they hold the field's value. */
export function isMixed(path: string, catalog: Catalog, trackers: readonly string[]): boolean {
  return new Set(typesOf(path, catalog, trackers).map(heldAs)).size > 1;
}

/** The GraphQL types, without list and null, that a field has in the events of these trackers. */
function typesOf(path: string, catalog: Catalog, trackers: readonly string[]): string[] {
  const types = trackers.flatMap((name) => catalog.typeOf(path, name)?.replace(/!/g, '') ?? []);
  return types.length ? types : ['String']; // a label
}

function isNumber(type: string): boolean {
  const { list, measured } = fieldType(type);
  return !list && measured === 'number';
}

/** How a value of this type is held in memory. */
function heldAs(type: string): string {
  const { list, held } = fieldType(type);
  return list ? 'list' : held;
}
