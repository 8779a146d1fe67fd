import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { finish, type Work } from '../base/turn.js';
import { nanosecondsSince1970 } from '../event/clock.js';
import type { Bucket, FieldValue } from '../event/event.js';
import type { ColumnType } from '../event/scalar.js';
import type { AskedFrom } from '../session/asked.js';
import { itemsAtOnce, type Encoder, type ExportFacts } from './encoder.js';
import type { SheetColumn, Sheet } from './sheet.js';

type Writer = ConstructorParameters<typeof ParquetWriter>[0];
type SchemaElement = Writer['schema'][number];

/** Rows of one group: they wait in memory until they are so many. Groups of a long file are larger: its end lists all of them at once. */
const GROUP_ROWS = 4096;
const LONG_ROWS = 16_384;
const LONG_CELLS = 1 << 20;

/**
 * Parquet with typed columns: times are timestamps in nanoseconds, in UTC but without a zone (DuckDB cuts those with one to microseconds),
 * 64-bit integers are that, lists are lists, histograms are lists of buckets. The session's facts and how the export ended (`lost`,
 * `dropped`, `complete`) are in the file's metadata under "eunomia" and "eunomia.end", as JSON.
 */
export function parquet<Item>({ columns, row }: Sheet<Item>, facts: ExportFacts): Encoder<Item> {
  const bytes = new FlushingWriter();
  const writer = new ParquetWriter({
    writer: bytes,
    schema: [{ name: 'root', num_children: columns.length }, ...columns.flatMap(elementsOf)],
    createdBy: 'eunomia',
  });
  const rows: FieldValue[][] = [];
  const changes: AskedFrom[] = [];
  const longRows = Math.max(GROUP_ROWS, Math.min(LONG_ROWS, Math.floor(LONG_CELLS / columns.length)));
  const groupRows = (): number => (writer.num_rows < 4 * LONG_ROWS ? GROUP_ROWS : longRows);
  const writeGroup = function* (): Work<void> {
    const group = rows.splice(0, groupRows());
    const [first, before] = [writer.row_groups.length, writer.num_rows];
    for (const [i, { name, type }] of columns.entries()) {
      const data = group.map((values) => valueOf(values[i] ?? null, type));
      void writer.write({ columnData: [{ name, data }], rowGroupSize: LONG_ROWS });
      yield;
    }
    // The library writes all columns of a group at once, which takes up to a second: here each was a group, and they are made one.
    const parts = writer.row_groups.splice(first);
    const sum = (bytes: (part: (typeof parts)[number]) => bigint | undefined): bigint =>
      parts.reduce((all, part) => all + (bytes(part) ?? 0n), 0n);
    writer.row_groups.push({
      columns: parts.flatMap((part) => part.columns),
      num_rows: BigInt(group.length),
      total_byte_size: sum((part) => part.total_byte_size),
      total_compressed_size: sum((part) => part.total_compressed_size),
    });
    writer.num_rows = before + BigInt(group.length);
  };
  const groupOf = function* (): Work<Uint8Array> {
    yield* writeGroup();
    return bytes.take();
  };
  return {
    contentType: 'application/vnd.apache.parquet',
    head: () => bytes.take(),
    most: itemsAtOnce(columns),
    items: (items) => {
      for (const item of items) rows.push(row(item));
      return '';
    },
    due: () => (rows.length < groupRows() ? null : groupOf()),
    rest: () => (rows.length ? groupOf() : null),
    change: (change) => {
      changes.push(change);
      return '';
    },
    end: (ending) => {
      while (rows.length) finish(writeGroup());
      writer.kvMetadata = [
        { key: 'eunomia', value: JSON.stringify(facts) },
        { key: 'eunomia.changes', value: JSON.stringify(changes) },
        { key: 'eunomia.end', value: JSON.stringify(ending) },
      ];
      void writer.finish();
      return bytes.take();
    },
  };
}

/** Hands out what was written so far and forgets it; `offset`, the place in the file, goes on. */
class FlushingWriter extends ByteWriter {
  take(): Uint8Array {
    const taken = new Uint8Array(this.getBuffer());
    this.index = 0;
    return taken;
  }
}

/** Integers by their converted type only: hyparquet-writer 0.17 writes INTEGER's width as an i32, which DuckDB refuses. */
function elementsOf({ name, type }: SheetColumn): SchemaElement[] {
  const optional = { name, repetition_type: 'OPTIONAL' } as const;
  switch (type) {
    case 'text':
      return [{ ...optional, type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } }];
    case 'list':
      return [
        { ...optional, num_children: 1, converted_type: 'LIST', logical_type: { type: 'LIST' } },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        {
          name: 'element',
          repetition_type: 'OPTIONAL',
          type: 'BYTE_ARRAY',
          converted_type: 'UTF8',
          logical_type: { type: 'STRING' },
        },
      ];
    case 'histogram':
      return [
        { ...optional, num_children: 1, converted_type: 'LIST', logical_type: { type: 'LIST' } },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'OPTIONAL', num_children: 3 },
        { name: 'from', repetition_type: 'OPTIONAL', type: 'DOUBLE' },
        { name: 'to', repetition_type: 'OPTIONAL', type: 'DOUBLE' },
        { name: 'count', repetition_type: 'OPTIONAL', type: 'INT64', converted_type: 'UINT_64' },
      ];
    case 'bool':
      return [{ ...optional, type: 'BOOLEAN' }];
    case 'double':
      return [{ ...optional, type: 'DOUBLE' }];
    case 'int32':
      return [{ ...optional, type: 'INT32', converted_type: 'INT_32' }];
    case 'uint32':
      return [{ ...optional, type: 'INT32', converted_type: 'UINT_32' }];
    case 'int64':
      return [{ ...optional, type: 'INT64', converted_type: 'INT_64' }];
    case 'uint64':
      return [{ ...optional, type: 'INT64', converted_type: 'UINT_64' }];
    case 'time':
      return [
        { ...optional, type: 'INT64', logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: false, unit: 'NANOS' } },
      ];
  }
}

function valueOf(value: FieldValue, type: ColumnType): unknown {
  if (value === null) return null;
  switch (type) {
    case 'text':
      return typeof value === 'object' ? JSON.stringify(value) : String(value);
    case 'time':
      return nanosecondsSince1970(String(value));
    case 'uint64':
    case 'int64':
      return BigInt(String(value));
    case 'histogram':
      return (value as readonly Bucket[]).map(({ from, to, count }) => ({ from, to, count: BigInt(count) }));
    default:
      return value;
  }
}
