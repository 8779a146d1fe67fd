/**
 * The type of a column in the embedded store and in exports. A list is a list of texts, a histogram a list of buckets; a
 * time is in nanoseconds.
 */
export type ColumnType =
  'bool' | 'int32' | 'uint32' | 'int64' | 'uint64' | 'double' | 'text' | 'time' | 'list' | 'histogram';

/** The type of an element of a histogram: the only object type that a field of a tracker's own is made of. */
export const HISTOGRAM_BUCKET = 'HistogramBucket';

/** The schema's scalars that event fields use, and the type of a histogram's buckets. */
export type ScalarName =
  | 'String'
  | 'ID'
  | 'Boolean'
  | 'Int'
  | 'Float'
  | 'UInt32'
  | 'UInt64'
  | 'Int64'
  | 'DateTime'
  | 'Errno'
  | typeof HISTOGRAM_BUCKET;

/** The schema's enum of that name. */
export type Unit = 'NANOSECONDS' | 'BYTES';

export interface ScalarRow {
  readonly column: Exclude<ColumnType, 'list'>;
  /** The type in InfluxDB. InfluxDB keeps an index of tags in memory, so a tag must have few distinct values. */
  readonly influx: 'tag' | 'integer' | 'number' | 'boolean' | 'text';
  /** How a filter compares it; null if the schema has no filter for it. */
  readonly compared: 'string' | 'int' | 'uint32' | 'int64' | 'uint64' | 'boolean' | 'time' | 'errno' | null;
  /** The type in a decoded event. 64-bit integers are decimal texts. */
  readonly held: 'number' | 'boolean' | 'text';
  /** The measures that it supports in aggregates, in addition to counting and grouping. */
  readonly measured: 'number' | 'time' | null;
}

/** Everything that depends on the scalar of a field, in one row per scalar. Enums use `enumRow`. */
export const scalars: Readonly<Record<ScalarName, ScalarRow>> = {
  String: { column: 'text', influx: 'text', compared: 'string', held: 'text', measured: null },
  ID: { column: 'text', influx: 'text', compared: null, held: 'text', measured: null },
  Boolean: { column: 'bool', influx: 'boolean', compared: 'boolean', held: 'boolean', measured: null },
  Int: { column: 'int32', influx: 'integer', compared: 'int', held: 'number', measured: 'number' },
  Float: { column: 'double', influx: 'number', compared: null, held: 'number', measured: 'number' },
  UInt32: { column: 'uint32', influx: 'integer', compared: 'uint32', held: 'number', measured: 'number' },
  UInt64: { column: 'uint64', influx: 'integer', compared: 'uint64', held: 'text', measured: 'number' },
  Int64: { column: 'int64', influx: 'integer', compared: 'int64', held: 'text', measured: 'number' },
  DateTime: { column: 'time', influx: 'text', compared: 'time', held: 'text', measured: 'time' },
  Errno: { column: 'text', influx: 'tag', compared: 'errno', held: 'text', measured: null },
  HistogramBucket: { column: 'histogram', influx: 'text', compared: null, held: 'text', measured: null },
};

const enumRow: ScalarRow = { column: 'text', influx: 'tag', compared: null, held: 'text', measured: null };

/** The parsed type of a field, for example of "[UInt64!]". */
export interface FieldType extends Omit<ScalarRow, 'column'> {
  readonly column: ColumnType;
  readonly list: boolean;
  /**
   * True for 64 bits: a decimal text in the schema, an integer in a column. False for lists, whose elements stay texts.
   */
  readonly wide: boolean;
}

/** Parses a printed type. A name that is not a scalar of the table is taken for an enum. */
export function fieldType(printed: string): FieldType {
  const plain = printed.replace(/!/g, '');
  const list = plain.startsWith('[');
  const row = rowOf(list ? plain.slice(1, -1) : plain);
  return list
    ? { ...row, list, wide: false, column: row.column === 'histogram' ? row.column : 'list' }
    : { ...row, list, wide: row.column === 'uint64' || row.column === 'int64' };
}

/** Whether the values of a printed type, or of its list, are names of an enumeration. */
export function isEnumType(printed: string): boolean {
  return !isScalar(printed.replace(/[[\]!]/g, ''));
}

/** Returns the row of a named type. */
export function rowOf(name: string): ScalarRow {
  return isScalar(name) ? scalars[name] : enumRow;
}

function isScalar(name: string): name is ScalarName {
  return Object.hasOwn(scalars, name);
}

const UNITS: readonly (readonly [pattern: RegExp, unit: Unit])[] = [
  // The inode number of a namespace ends in Ns too.
  [/(?<!^|\.|pid|net|mount|user|ipc|uts|cgroup)Ns$/, 'NANOSECONDS'],
  [/bytes$/i, 'BYTES'],
];

/** The unit of a field, by its name; null for a count, a number without one and anything else. */
export function unitOf(path: string): Unit | null {
  return UNITS.find(([pattern]) => pattern.test(path))?.[1] ?? null;
}

const AMOUNT = /(Bytes|(duration|lifetime|latency)Ns)$/i;

/** Whether a field is an amount, by the unit in its name: what a sum is made of. The sum of pids or namespaces means nothing. */
export function isAmount(path: string): boolean {
  return AMOUNT.test(path);
}
