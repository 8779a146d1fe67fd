import type { CatalogTracker } from '../../catalog/catalog.js';
import { fieldType, type ColumnType } from '../../event/scalar.js';

/** How a column's values are held. A list, also of a histogram's buckets, is the JSON text of it, as it stands in a group's key. */
export type ColumnKind = ColumnType;

export interface EventColumn {
  /** As the field is called in the schema, dots included. */
  readonly name: string;
  readonly kind: ColumnKind;
}

/** The table of a tracker's events. */
export interface EventTable {
  readonly tracker: string;
  readonly eventType: string;
  readonly name: string;
  /** The tracker's own, after those that all tables have. */
  readonly own: readonly EventColumn[];
  /** Columns that had another name → that name. */
  readonly former: Readonly<Record<string, string>>;
}

/** What all events have, in their order. Names with an underscore are no field's. Times are nanoseconds since 1970, UTC. */
export const sharedColumns: readonly EventColumn[] = [
  { name: '_session', kind: 'int32' },
  { name: '_seq', kind: 'int64' },
  { name: 'time', kind: 'time' },
  { name: 'bootNs', kind: 'uint64' },
  { name: 'cgroupId', kind: 'uint64' },
  { name: 'process', kind: 'int32' },
  { name: 'container', kind: 'int32' },
];

/** A process as some events saw it: its thread, names and ids may change while it lives, and each such state is a row. */
export const processColumns: readonly EventColumn[] = [
  { name: '_session', kind: 'int32' },
  { name: 'id', kind: 'int32' },
  { name: 'pid', kind: 'int32' },
  { name: 'tid', kind: 'int32' },
  { name: 'ppid', kind: 'int32' },
  { name: 'uid', kind: 'uint32' },
  { name: 'gid', kind: 'uint32' },
  { name: 'comm', kind: 'text' },
  { name: 'startTime', kind: 'time' },
  { name: 'mountNs', kind: 'uint64' },
];

const SHARED: ReadonlySet<string> = new Set(['tracker', 'time', 'bootNs', 'cgroupId', 'process', 'container']);

/**
 * A process of a session's events, or an ancestor of one, as the graph knew it: a row for each program that it executed and each name that
 * it had, with what all of them share in each. Times without a word are ns since boot, as the kernel has them.
 */
export const lineageColumns = [
  { name: '_session', kind: 'int32' },
  { name: 'pid', kind: 'int32' },
  { name: 'start', kind: 'uint64' },
  { name: 'ppid', kind: 'int32' },
  { name: 'parentStart', kind: 'uint64' },
  /** About when it ended, in ns since 1970; null while it runs. */
  { name: 'ended', kind: 'time' },
  { name: 'exit', kind: 'uint64' },
  { name: 'exitCode', kind: 'int32' },
  /** Which of its rows it is, oldest first. */
  { name: 'nth', kind: 'int32' },
  { name: 'since', kind: 'uint64' },
  { name: 'comm', kind: 'text' },
  { name: 'uid', kind: 'uint32' },
  { name: 'gid', kind: 'uint32' },
  { name: 'cgroupId', kind: 'uint64' },
  { name: 'mountNs', kind: 'uint64' },
  { name: 'initPid', kind: 'int32' },
  { name: 'initStart', kind: 'uint64' },
  /** False where the program is not known: what follows is null then. */
  { name: 'isKnown', kind: 'bool' },
  { name: 'executable', kind: 'text' },
  { name: 'executableState', kind: 'text' },
  { name: 'executableDeleted', kind: 'bool' },
  { name: 'args', kind: 'list' },
  { name: 'argsTruncated', kind: 'bool' },
  { name: 'cwd', kind: 'text' },
  { name: 'cwdState', kind: 'text' },
  { name: 'cwdDeleted', kind: 'bool' },
] as const satisfies readonly EventColumn[];

/** Derived from the schema: a new tracker, or a new field, needs no word here. */
export function tableOf({ name, eventType, fields, formerNames }: CatalogTracker): EventTable {
  const own = fields
    .filter(({ path }) => !SHARED.has(path.split('.')[0] ?? path))
    .map(({ path, type }) => ({ name: path, kind: fieldType(type).column }));
  return { tracker: name, eventType, name: `event_${name}`, own, former: formerNames };
}

export const sqlTypes: Readonly<Record<ColumnKind, string>> = {
  bool: 'BOOLEAN',
  int32: 'INTEGER',
  uint32: 'UINTEGER',
  int64: 'BIGINT',
  uint64: 'UBIGINT',
  double: 'DOUBLE',
  text: 'VARCHAR',
  time: 'BIGINT',
  list: 'VARCHAR',
  histogram: 'VARCHAR',
};

/** A kind that is held as a column of this type. */
export function kindOfSql(type: string): ColumnKind {
  const [kind] = Object.entries(sqlTypes).find(([, sql]) => sql === type) ?? ['text'];
  return kind as ColumnKind;
}

/** As an identifier. Names come from the schema, never from a client; quoted all the same. */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function createTable(name: string, columns: readonly EventColumn[]): string {
  return (
    `CREATE TABLE IF NOT EXISTS ${quote(name)} ` +
    `(${columns.map((column) => `${quote(column.name)} ${sqlTypes[column.kind]}`).join(', ')})`
  );
}

/**
 * What makes a table that is there hold these columns too. A column whose type has changed is kept under another name, for what
 * it holds can no longer be read as the field; one whose field has another name now gets that; one that the tracker no longer
 * has stays, and is null from now on.
 */
export function evolveTable(table: EventTable, there: ReadonlyMap<string, string>): string[] {
  return table.own.flatMap(({ name, kind }) => {
    const known = there.get(name);
    const type = sqlTypes[kind];
    if (known === type) return [];
    const rename = (from: string, to: string) =>
      `ALTER TABLE ${quote(table.name)} RENAME COLUMN ${quote(from)} TO ${quote(to)}`;
    const add = `ALTER TABLE ${quote(table.name)} ADD COLUMN ${quote(name)} ${type}`;
    const former = Object.hasOwn(table.former, name) ? table.former[name] : undefined;
    if (known === undefined) return [former !== undefined && there.get(former) === type ? rename(former, name) : add];
    let old = `${name}_${known.toLowerCase()}`;
    while (there.has(old)) old = `${old}_`;
    return [rename(name, old), add];
  });
}
