import { invalid } from '../../base/errors.js';
import type { Catalog, CatalogTracker } from '../../catalog/catalog.js';
import { and, compare, or } from '../../filter/ast.js';
import type { Filter } from '../../filter/index.js';
import type { EventQuery, StoredRecord } from '../store.js';
import type { PointRange } from './plan.js';
import { nanosecondsOf } from './point.js';

/** Which points a query is about. */

const NS = 1_000_000n;
const NS_A_DAY = 86_400_000n * NS;
const NS_A_MINUTE = 60_000n * NS;

export function trackersOf(names: readonly string[], catalog: Catalog): CatalogTracker[] {
  return names.map((name) => catalog.need(name, 'trackers'));
}

/** Whatever was ever written, also by a clock that is a little ahead. */
export function allTime(): Pick<PointRange, 'from' | 'to'> {
  return { from: 0n, to: BigInt(Date.now()) * NS + NS_A_DAY };
}

/** Without a beginning: the last 24 hours; of named sessions, all that was kept of them in the last year. */
export function rangeOf(
  { sessions, trackers, from, to, containers, filter }: EventQuery,
  catalog: Catalog,
): PointRange {
  const end = to ?? BigInt(Date.now()) * NS + NS_A_MINUTE;
  const selected = containers === null ? [] : [or(containers.map(selectorFilter))];
  const whole = [...(filter ? [filter.filter] : []), ...selected];
  const days = sessions ? 365n : 1n;
  return {
    trackers: trackersOf(trackers, catalog),
    from: from ?? end - days * NS_A_DAY,
    to: end,
    sessions,
    filter: whole.length ? and(whole) : null,
  };
}

/** Around what its sessions lived, where the query says no times: a rollup begins before its first event, and clocks are set. */
export function lifeOf(query: EventQuery, records: readonly StoredRecord[]): EventQuery {
  const ns = (time: string): bigint => BigInt(nanosecondsOf(time));
  const begin = records
    .map(({ createdAt }) => ns(createdAt))
    .reduce<bigint | null>((least, time) => (least === null || time < least ? time : least), null);
  const ends = records.map(({ stoppedAt }) => (stoppedAt === null ? null : ns(stoppedAt)));
  const end = ends.includes(null)
    ? null
    : ends.reduce<bigint | null>((most, time) => (most === null || (time !== null && time > most) ? time : most), null);
  return {
    ...query,
    from: query.from ?? (begin === null ? null : begin - NS_A_MINUTE),
    to: query.to ?? (end === null ? null : end + NS_A_MINUTE),
  };
}

function selectorFilter(
  { name, id, image, labels }: NonNullable<EventQuery['containers']>[number],
  index: number,
): Filter {
  if (labels?.length)
    throw invalid(
      `containers[${index}].labels`,
      'labels are not written to InfluxDB; select containers by name, id or image',
    );
  return and([
    ...(name == null ? [] : [compare('container.name', 'string', 'glob', name)]),
    ...(id == null ? [] : [compare('container.id', 'string', 'prefix', id)]),
    ...(image == null
      ? []
      : [or([image, `${image}:*`, `${image}@*`].map((glob) => compare('container.image', 'string', 'glob', glob)))]),
  ]);
}
