import { invalid, suggest } from '../../base/errors.js';
import type { Demand } from '../../event/event.js';
import { lineagePath, type Lineage } from '../../event/lineage.js';
import type { Catalog } from '../../catalog/catalog.js';
import { compileMeasures, isMixed, type Maybe, type MeasureInput } from './check.js';
import type { Measure } from './measures/index.js';
import { kernelTotalsOf, type KernelTotals } from './kernel-total.js';

/** As GraphQL hands it over; durations in milliseconds. */
export interface AggregateInput {
  readonly groupBy: readonly string[];
  readonly measures?: Maybe<readonly MeasureInput[]>;
  readonly window?: Maybe<{ readonly size: number; readonly slide?: Maybe<number> }>;
  readonly having?: Maybe<readonly HavingInput[]>;
  readonly orderBy?: Maybe<readonly { readonly by: string; readonly direction?: Maybe<'ASC' | 'DESC'> }[]>;
  readonly limit?: Maybe<number>;
  readonly maxGroups?: Maybe<number>;
}

const comparisons = ['eq', 'ne', 'gt', 'gte', 'lt', 'lte'] as const;
export type ComparisonName = (typeof comparisons)[number];
export type HavingInput = { readonly measure: string } & { readonly [Name in ComparisonName]?: Maybe<number> };

/** What a condition or an order looks at: the number of events, a measure or a field of the key, by their places. */
export type Operand = { readonly kind: 'COUNT' } | { readonly kind: 'MEASURE' | 'KEY'; readonly index: number };

/** An aggregate that was checked. */
export interface AggregateSpec {
  /** `mixed`: not all trackers have the same type of value there. */
  readonly groupBy: readonly { readonly path: string; readonly mixed: boolean }[];
  readonly measures: readonly Measure[];
  /** Whole milliseconds; a tumbling window has `slideMs` equal to `sizeMs`. Null is one group for all times. */
  readonly window: { readonly sizeMs: number; readonly slideMs: number } | null;
  readonly having: readonly { readonly of: Operand; readonly comparison: ComparisonName; readonly value: number }[];
  readonly orderBy: readonly { readonly of: Operand; readonly descending: boolean }[];
  /** Rows of a window. */
  readonly limit: number;
  /** Groups of a window that are told apart. */
  readonly maxGroups: number;
  /** Where events stand for many happenings; null where each is one. */
  readonly kernelTotals: KernelTotals | null;
  /** Of the processes of events, where a field that is read comes from there; else null. */
  readonly lineage: Lineage | null;
}

export const DEFAULT_LIMIT = 1000;
export const DEFAULT_GROUPS = 10_000;
const MAX_LIMIT = 10_000;
const MAX_GROUPS = 100_000;
const MAX_FIELDS = 8;
const MAX_CONDITIONS = 16;
const MAX_PANES = 1000;
const MIN_SLIDE_MS = 1;
const MAX_WINDOW_MS = 30 * 24 * 3_600_000;
/** Differ for every event. */
const UNIQUE: ReadonlySet<string> = new Set(['time', 'bootNs']);

/** Checks all that the schema's types cannot say. Throws BAD_USER_INPUT with the argument's path. */
export function compileAggregate(input: AggregateInput, catalog: Catalog, trackers: readonly string[]): AggregateSpec {
  const groupBy = groupsOf(input, catalog, trackers);
  const measures = compileMeasures(input.measures ?? [], catalog, trackers);
  const paths = [...groupBy.map(({ path }) => path), ...measures.flatMap(({ field }) => field ?? [])];
  const operand = operandsOf(
    groupBy.map(({ path }) => path),
    measures,
  );
  return {
    groupBy,
    measures,
    window: input.window == null ? null : windowOf(input.window),
    having: atMost('having', input.having ?? [], MAX_CONDITIONS).flatMap((condition, index) =>
      conditionsOf(condition, `having[${index}]`, operand),
    ),
    orderBy: atMost('orderBy', input.orderBy ?? [], MAX_CONDITIONS).map(({ by, direction }, index) => ({
      of: operand(by, `orderBy[${index}].by`, true),
      descending: (direction ?? 'DESC') === 'DESC',
    })),
    limit: within('limit', input.limit ?? DEFAULT_LIMIT, MAX_LIMIT, 'rows'),
    maxGroups: within('maxGroups', input.maxGroups ?? DEFAULT_GROUPS, MAX_GROUPS, 'groups'),
    kernelTotals: kernelTotalsOf(catalog, trackers),
    lineage: paths.some((path) => lineagePath(path) !== null) ? catalog.lineage : null,
  };
}

/** The fields that an aggregate reads of each tracker's events. */
export function demandOf(spec: AggregateSpec, catalog: Catalog, trackers: readonly string[]): Demand {
  const paths = [...spec.groupBy.map(({ path }) => path), ...spec.measures.flatMap(({ field }) => field ?? [])];
  const roots = new Set(paths.map((path) => path.split('.')[0] ?? path));
  return new Map(
    trackers.map((name) => [
      name,
      new Set(
        catalog
          .need(name)
          .fields.map(({ path }) => path.split('.')[0] ?? path)
          .filter((root) => roots.has(root)),
      ),
    ]),
  );
}

function groupsOf(
  { groupBy, measures, window }: AggregateInput,
  catalog: Catalog,
  trackers: readonly string[],
): AggregateSpec['groupBy'] {
  if (groupBy.length === 0 && !measures?.length && window == null) {
    throw invalid(
      'groupBy',
      'is empty; name one to eight fields, for example ["process.comm"], or give `measures` of all events',
    );
  }
  atMost('groupBy', groupBy, MAX_FIELDS);
  return groupBy.map((path, index) => {
    const where = `groupBy[${index}]`;
    catalog.checkValue(path, trackers, where);
    const before = groupBy.indexOf(path);
    if (before < index) throw invalid(where, `"${path}" is there already, in groupBy[${before}]`, { field: path });
    if (UNIQUE.has(path)) {
      throw invalid(
        where,
        `"${path}" differs for every event, so that each would be its own group; use \`window: { size: "1m" }\` to group by time`,
        { field: path },
      );
    }
    return { path, mixed: isMixed(path, catalog, trackers) };
  });
}

function windowOf({
  size,
  slide: given,
}: {
  readonly size: number;
  readonly slide?: Maybe<number>;
}): AggregateSpec['window'] {
  const slide = given ?? size;
  const where = given == null ? 'window.size' : 'window.slide';
  for (const [at, ms] of [
    ['window.size', size],
    [where, slide],
  ] as const) {
    if (ms < MIN_SLIDE_MS || ms > MAX_WINDOW_MS)
      throw invalid(at, `${msText(ms)} is out of range; give "1ms" to "720h"`, {
        minMs: MIN_SLIDE_MS,
        maxMs: MAX_WINDOW_MS,
        valueMs: ms,
      });
    if (!Number.isInteger(ms))
      throw invalid(at, `${msText(ms)} is not a whole number of milliseconds`, { valueMs: ms });
  }
  if (slide > size)
    throw invalid(
      'window.slide',
      `${msText(slide)} is longer than the window of ${msText(size)}: events between the windows would be in ` +
        "none; give at most the window's size",
    );
  if (size % slide !== 0) {
    const parts = Math.max(1, Math.round(size / slide));
    throw invalid(
      'window.slide',
      `${msText(slide)} does not divide the window of ${msText(size)}; with this slide give a size of ` +
        `${msText(parts * slide)} or ${msText((parts + 1) * slide)}`,
    );
  }
  if (size / slide > MAX_PANES) {
    throw invalid(
      'window.slide',
      `${msText(slide)} makes each event part of ${size / slide} windows; at most ${MAX_PANES} are allowed: give ` +
        `at least ${msText(Math.ceil(size / MAX_PANES))}`,
      { max: MAX_PANES },
    );
  }
  return { sizeMs: size, slideMs: slide };
}

type OperandOf = (name: string, path: string, keys: boolean) => Operand;

function operandsOf(paths: readonly string[], measures: readonly Measure[]): OperandOf {
  return (name, path, keys) => {
    const measure = measures.findIndex((candidate) => candidate.name === name);
    const found = measures[measure];
    if (found && (found.fn === 'HISTOGRAM' || found.fn === 'TOP_K'))
      throw invalid(path, `"${name}" is a ${found.fn}, which has no one value to compare`);
    if (found && found.time && !keys) throw invalid(path, `"${name}" is a time; conditions compare numbers`);
    if (found) return { kind: 'MEASURE', index: measure };
    if (name === 'count') return { kind: 'COUNT' };
    const key = keys ? paths.indexOf(name) : -1;
    if (key >= 0) return { kind: 'KEY', index: key };
    const known = ['count', ...measures.map((candidate) => candidate.name), ...(keys ? paths : [])];
    throw invalid(
      path,
      `there is no measure "${name}"${suggest(name, known)}; there are ${known.map((one) => `"${one}"`).join(', ')}`,
      { known },
    );
  };
}

function conditionsOf(condition: HavingInput, path: string, operand: OperandOf): AggregateSpec['having'] {
  const of = operand(condition.measure, `${path}.measure`, false);
  const given = comparisons.flatMap((comparison) => {
    const value = condition[comparison];
    return value == null ? [] : [{ of, comparison, value }];
  });
  if (given.length) return given;
  throw invalid(
    path,
    `compares nothing; give at least one of ${comparisons.join(', ')}, for example { measure: "${condition.measure}", gt: 100 }`,
  );
}

function atMost<Item>(path: string, list: readonly Item[], max: number): readonly Item[] {
  if (list.length <= max) return list;
  throw invalid(path, `has ${list.length} entries; at most ${max} are allowed`, { max, actual: list.length });
}

function within(path: string, value: number, max: number, unit: string): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw invalid(path, `${value} is out of range; give 1 to ${max.toLocaleString('en-US')} ${unit}`, {
    min: 1,
    max,
    value,
  });
}

function msText(ms: number): string {
  return `"${ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`}"`;
}
