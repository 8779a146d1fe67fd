import type { Work } from '../../base/turn.js';
import type { SqlRow, SqlValue } from './protocol.js';

/**
 * Rows of a result on their way between threads: column by column in one block of memory, which is transferred. As arrays of values they
 * would be cloned, and the server's thread would read each value of a message in one piece.
 */

export type PackedForm = 'bool' | 'int32' | 'uint32' | 'int64' | 'uint64' | 'double' | 'int128' | 'text';

export interface PackedColumn {
  /** Null: a type that no column of ours has; `values` has them. */
  readonly form: PackedForm | null;
  /** Where its values are in the block: `rows` of them, or of a text where each ends among its bytes. */
  readonly at: number;
  /** A bit for each row, 1 where there is a value; negative where there is one in all. */
  readonly validity: number;
  /** Of a text: where its bytes are. */
  readonly bytes: number;
  readonly values: readonly SqlValue[] | null;
}

/** At most as many rows as DuckDB hands on at a time. */
export interface PackedRows {
  readonly rows: number;
  readonly block: ArrayBuffer;
  readonly columns: readonly PackedColumn[];
}

/** Bytes of a value; of a text, those of its end. */
export const SIZES: Readonly<Record<PackedForm, number>> = {
  bool: 1,
  int32: 4,
  uint32: 4,
  int64: 8,
  uint64: 8,
  double: 8,
  int128: 16,
  text: 4,
};

/** Rows that are read in one piece: half a millisecond or so. */
const PIECE = 128;

/** Reads rows in pieces, and makes something of each. */
export function* readRows<Made>(parts: readonly PackedRows[], make: (row: SqlRow) => Made): Work<Made[]> {
  const made: Made[] = [];
  for (const part of parts) {
    const readers = part.columns.map((column) => readerOf(part, column));
    for (let row = 0; row < part.rows; row++) {
      made.push(make(readers.map((read) => read(row))));
      if (made.length % PIECE === 0) yield;
    }
  }
  return made;
}

/** Whether they are read in one piece. */
export function areFew(parts: readonly PackedRows[]): boolean {
  return parts.reduce((sum, { rows }) => sum + rows, 0) < PIECE;
}

function readerOf({ block }: PackedRows, column: PackedColumn): (row: number) => SqlValue {
  const { values, validity } = column;
  if (values) return (row) => values[row] ?? null;
  const read = plainReaderOf(block, column);
  if (validity < 0) return read;
  const bits = new Uint8Array(block, validity);
  return (row) => (((bits[row >> 3] ?? 0) & (1 << (row & 7))) === 0 ? null : read(row));
}

function plainReaderOf(block: ArrayBuffer, { form, at, bytes }: PackedColumn): (row: number) => SqlValue {
  const view = new DataView(block, at);
  switch (form) {
    case 'bool':
      return (row) => view.getUint8(row) !== 0;
    case 'int32':
      return (row) => view.getInt32(row * 4, true);
    case 'uint32':
      return (row) => view.getUint32(row * 4, true);
    case 'int64':
      return (row) => view.getBigInt64(row * 8, true);
    case 'uint64':
      return (row) => view.getBigUint64(row * 8, true);
    case 'double':
      return (row) => view.getFloat64(row * 8, true);
    case 'int128':
      return (row) => (view.getBigInt64(row * 16 + 8, true) << 64n) | view.getBigUint64(row * 16, true);
    case 'text': {
      const text = Buffer.from(block, bytes);
      return (row) =>
        text.toString('utf8', row === 0 ? 0 : view.getUint32((row - 1) * 4, true), view.getUint32(row * 4, true));
    }
    case null:
      return () => null;
  }
}
