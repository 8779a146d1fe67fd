import type { CatalogTracker } from '../../../trackers/catalog.js';

/** How a value is stored. Of tags InfluxDB keeps an index in memory: few values each, never a pid or a path. */
export type ColumnKind = 'tag' | 'integer' | 'number' | 'boolean' | 'text' | 'list';

/** Where a field of events is stored. */
export interface Column {
  /** As in the schema's `EventField`. */
  readonly path: string;
  /** The path with "_" for ".". */
  readonly name: string;
  readonly kind: ColumnKind;
  /** A 64-bit integer: a decimal text in the schema. */
  readonly wide: boolean;
  readonly nullable: boolean;
}

const KINDS: Readonly<Record<string, ColumnKind>> = {
  String: 'text',
  ID: 'text',
  DateTime: 'text',
  Int: 'integer',
  UInt32: 'integer',
  UInt64: 'integer',
  Int64: 'integer',
  Float: 'number',
  Boolean: 'boolean',
  '[String!]': 'list',
};

/** Tags by their path: these have few values though their type does not say so. Of the types, errno and enums are tags. */
const TAGS: ReadonlySet<string> = new Set([
  'tracker',
  'container.name',
  'container.image',
  'syscall.name',
  'syscount.name',
  'exit.signal',
]);
/** What of a container is stored: the rest may change while it lives, and its labels are without bound. */
const OF_CONTAINER: ReadonlySet<string> = new Set([
  'container.id',
  'container.name',
  'container.image',
  'container.composeProject',
  'container.composeService',
]);

/** Tags that are no field of events: which server, which session, and a number that tells events of one series and nanosecond apart. */
export const OWN_TAGS = { host: 'host', session: 'session', twin: 'twin' } as const;
/** The event's place in its session: a field. */
export const SEQ = 'seq';
/** Sessions and gaps have measurements of their own. No tracker can be called so: these are no names of one. */
export const SESSIONS = 'eunomia.session';
export const GAPS = 'eunomia.gap';
/** A decimal beyond int64 is a text in a column of this name: one column has one type. */
export const WIDE_SUFFIX = '_u64';

export function measurementOf(tracker: string): string {
  return `eunomia_${tracker}`;
}

export function rollupOf(tracker: string): string {
  return `eunomia_rollup_${tracker}`;
}

/** The columns of a tracker's events. `time` is the point's own. */
export function columnsOf(tracker: CatalogTracker): Column[] {
  return tracker.fields.flatMap(({ path, type }): Column[] => {
    if (path === 'time' || (path.startsWith('container.') && !OF_CONTAINER.has(path))) return [];
    const bare = type.replace(/!$/, '');
    const isTag =
      TAGS.has(path) ||
      TAGS.has(`${tracker.name}.${path}`) ||
      bare === 'Errno' ||
      (!bare.startsWith('[') && !(bare in KINDS));
    return [
      {
        path,
        name: nameOf(path),
        kind: isTag ? 'tag' : (KINDS[bare] ?? 'list'),
        wide: bare === 'UInt64' || bare === 'Int64',
        nullable: !type.endsWith('!') || path.startsWith('container.'),
      },
    ];
  });
}

export function nameOf(path: string): string {
  return path.replaceAll('.', '_');
}

/** Whether a tracker's events stand for many happenings each, as where the kernel sums: then points are not what is to be counted. */
export function isSummed(tracker: CatalogTracker & { readonly sums?: unknown }): boolean {
  return tracker.sums != null;
}

/** An amount, by its unit: what a rollup sums up. The sum of pids or namespaces means nothing. */
const AMOUNT = /(Bytes|(duration|lifetime|latency)Ns)$/i;

export function amountsOf(tracker: CatalogTracker): string[] {
  return tracker.fields.flatMap(({ path }) => (AMOUNT.test(path) ? [path] : []));
}
