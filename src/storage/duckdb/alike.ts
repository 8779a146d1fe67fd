import type { Alike, AlikeField } from '../../event/alike.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import { textOfNanos } from '../../record/nanos.js';
import type { RowSource } from './aggregate.js';
import type { Bound, Row } from './protocol.js';
import { put, valueOf } from './read.js';
import { quote, type Column, type EventTable } from './table.js';

/** Events as one that a reader does not tell apart: DuckDB groups them, and one row of a thousand crosses over to this thread. */

const HEAD = ['min(e.time)', 'max(e.time)', 'count(*)', 'e.container', 'p.comm', 'p.uid', 'p.gid', 'p.mountNs'];

interface Taken {
  readonly column: Column;
  readonly sql: string;
}

/** A query for the events of one tracker, and what a row of it is. */
export interface AlikeQuery {
  readonly sql: string;
  readonly values: readonly Bound[];
  readonly make: (row: Row) => Alike;
}

/** `scope` is the condition on sessions, `most` how many rows are read. */
export function alikeQuery(
  { table, condition }: RowSource,
  fields: readonly AlikeField[],
  kernelAggregate: CatalogTracker['kernelAggregate'],
  { scope, most }: { readonly scope: string; readonly most: number },
  containerOf: (id: number) => object | null,
): AlikeQuery {
  const totals = totalsOf(kernelAggregate);
  const values: Bound[] = [];
  const taken = fields.flatMap((field) => takenOf(field, table, totals, values));
  const columns = [...HEAD, ...taken.map(({ sql }) => sql)];
  return {
    sql:
      `SELECT ${columns.join(', ')} FROM "${table.name}" e JOIN processes p ON p.id = e.process ` +
      `WHERE ${scope} AND ${condition.sql} GROUP BY ALL LIMIT ${most}`,
    values: [...values, ...condition.values],
    make: (row) => alikeOf(row, table, taken, totals.size > 0, containerOf),
  };
}

/** Of what the kernel has counted, the fields that can be added up. */
function totalsOf(kernelAggregate: CatalogTracker['kernelAggregate']): ReadonlySet<string> {
  if (kernelAggregate === null) return new Set();
  const { count, totals } = kernelAggregate;
  return new Set([count, ...Object.keys(totals).filter((name) => totals[name] === null)]);
}

function takenOf(field: AlikeField, table: EventTable, totals: ReadonlySet<string>, values: Bound[]): Taken[] {
  const name = typeof field === 'string' ? field : field.field;
  const column = table.own.find((own) => own.name === name);
  if (!column) return [];
  const sql = `e.${quote(name)}`;
  if (totals.has(name)) return [{ column, sql: `sum(${sql})` }];
  if (typeof field === 'string') return [{ column, sql }];
  values.push(...field.is);
  const among = field.is.map(() => '?').join(', ');
  return [{ column, sql: `CASE WHEN e.${quote(field.where)} IN (${among}) THEN ${sql} END` }];
}

function alikeOf(
  row: Row,
  { tracker, eventType }: EventTable,
  taken: readonly Taken[],
  hasTotals: boolean,
  containerOf: (id: number) => object | null,
): Alike {
  const [first, last, count, container, comm, uid, gid, mountNs] = row;
  const event: Alike['event'] & Record<string, unknown> = {
    __typename: eventType,
    tracker,
    time: textOfNanos(BigInt(first ?? 0)),
    process: {
      comm: String(comm ?? ''),
      uid: Number(uid),
      gid: Number(gid),
      mountNs: mountNs == null ? null : String(mountNs),
    },
    container: container == null ? null : containerOf(Number(container)),
  };
  taken.forEach(({ column: { name, kind } }, i) => put(event, name, valueOf(row[HEAD.length + i] ?? null, kind)));
  const events = Number(count);
  return { event, last: textOfNanos(BigInt(last ?? 0)), events, times: hasTotals ? 1 : events };
}
