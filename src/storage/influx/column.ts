import type { CatalogTracker } from '../../catalog/catalog.js';
import { fieldType, isAmount, type ScalarRow } from '../../event/scalar.js';

/** How a value is stored. Of tags InfluxDB keeps an index in memory: few values each, never a pid or a path. */
export type PointColumnKind = ScalarRow['influx'] | 'list';

/** Where a field of events is stored. */
export interface PointColumn {
  /** As in the schema's `EventField`. */
  readonly path: string;
  /** The path with "_" for ".". */
  readonly name: string;
  readonly kind: PointColumnKind;
  /** A 64-bit integer: a decimal text in the schema. */
  readonly wide: boolean;
  readonly nullable: boolean;
}

/**
 * Tags by their path: these have few values though their type does not say so, as have those that the tracker calls
 * `indexed`. Of the types, errno and enums are tags.
 */
const TAGS: ReadonlySet<string> = new Set(['tracker', 'container.name', 'container.image']);
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
/** Of a session's point: the server whose session it was. */
export const NODE_FIELDS = { id: 'node_id', name: 'node_name' } as const;
/** Of a session's point: the spool of that server, by which it knows its sessions again. */
export const SPOOL = 'spool';
/** Of a session's point: what was asked of it, as JSON, in as many fields as it takes: `spec`, `spec_1`, … */
export const SPEC = 'spec';
/** A decimal beyond int64 is a text in a column of this name: one column has one type. */
export const WIDE_SUFFIX = '_u64';

export function measurementOf(tracker: string): string {
  return `eunomia_${tracker}`;
}

export function rollupOf(tracker: string): string {
  return `eunomia_rollup_${tracker}`;
}

/** The columns of a tracker's events. `time` is the point's own. */
export function columnsOf(tracker: CatalogTracker): PointColumn[] {
  return tracker.fields.flatMap(({ path, type }): PointColumn[] => {
    if (path === 'time' || (path.startsWith('container.') && !OF_CONTAINER.has(path))) return [];
    const { list, influx, wide } = fieldType(type);
    const isTag = TAGS.has(path) || tracker.indexed.includes(path);
    return [
      {
        path,
        name: nameOf(path),
        kind: isTag ? 'tag' : list ? 'list' : influx,
        wide,
        nullable: !type.endsWith('!') || path.startsWith('container.'),
      },
    ];
  });
}

export function nameOf(path: string): string {
  return path.replaceAll('.', '_');
}

/**
 * Whether a tracker's events stand for many happenings each, because it aggregates in the kernel: points are then not
 * what is to be counted.
 */
export function isKernelAggregate(tracker: CatalogTracker & { readonly kernelAggregate?: unknown }): boolean {
  return tracker.kernelAggregate != null;
}

export function amountsOf(tracker: CatalogTracker): string[] {
  return tracker.fields.flatMap(({ path, type }) => (isAmount(path) && !fieldType(type).list ? [path] : []));
}
