import { DuckDBTypeId, type DuckDBDataChunk } from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import { SIZES, type PackedForm, type PackedColumn, type PackedRows } from './packed.js';
import type { SqlValue } from './protocol.js';

/** duckdb/common/types/string_type.hpp: length, then the text itself up to so many bytes, else four of them and a pointer. */
const ENTRY = 16;
const INLINE = 12;
/** Where a column begins in a block: any value is aligned to it. */
const ALIGNMENT = 8;

const FORMS: ReadonlyMap<DuckDBTypeId, PackedForm> = new Map([
  [DuckDBTypeId.BOOLEAN, 'bool'],
  [DuckDBTypeId.INTEGER, 'int32'],
  [DuckDBTypeId.UINTEGER, 'uint32'],
  [DuckDBTypeId.BIGINT, 'int64'],
  [DuckDBTypeId.UBIGINT, 'uint64'],
  [DuckDBTypeId.DOUBLE, 'double'],
  [DuckDBTypeId.HUGEINT, 'int128'],
  [DuckDBTypeId.VARCHAR, 'text'],
]);

/**
 * A part of a result as one block. Texts are read here: the library's reader takes a byte-order mark at a text's
 * beginning away, so that two names would be one.
 */
export function pack(chunk: DuckDBDataChunk, types: readonly DuckDBTypeId[]): PackedRows {
  const rows = chunk.rowCount;
  const sources = types.map((type, i) => sourceOf(chunk, i, type));
  let length = 0;
  const place = (bytes: number): number => {
    const at = length;
    length += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    return at;
  };
  const columns = sources.map(({ form, validity, texts, values }): PackedColumn => ({
    form,
    at: place(form === null ? 0 : rows * SIZES[form]),
    validity: validity ? place(validity.length) : -1,
    bytes: place(texts?.reduce((sum, text) => sum + text.length, 0) ?? 0),
    values,
  }));
  const block = new ArrayBuffer(length);
  sources.forEach(({ data, validity, texts }, i) => {
    const column = columns[i];
    if (!column) return;
    if (validity) new Uint8Array(block, column.validity).set(validity);
    if (data) new Uint8Array(block, column.at).set(data);
    if (!texts) return;
    const ends = new Uint32Array(block, column.at, rows);
    const bytes = new Uint8Array(block, column.bytes);
    let end = 0;
    texts.forEach((text, row) => {
      bytes.set(text, end);
      ends[row] = end += text.length;
    });
  });
  return { rows, block, columns };
}

interface ColumnSource {
  readonly form: PackedForm | null;
  readonly data: Uint8Array | null;
  readonly validity: Uint8Array | null;
  readonly texts: readonly Uint8Array[] | null;
  readonly values: readonly SqlValue[] | null;
}

const NOTHING = new Uint8Array(0);

function sourceOf(chunk: DuckDBDataChunk, column: number, type: DuckDBTypeId): ColumnSource {
  const form = FORMS.get(type) ?? null;
  if (form === null)
    return {
      form,
      data: null,
      validity: null,
      texts: null,
      values: chunk.getColumnValues(column) as readonly SqlValue[],
    };
  const rows = chunk.rowCount;
  const vector = duckdb.data_chunk_get_vector(chunk.chunk, column);
  // Without a null there is no such mask. DuckDB keeps it in words of 64 bits.
  const validity = duckdb.vector_get_validity(vector, Math.ceil(rows / 64) * 8) as Uint8Array | null;
  if (form !== 'text')
    return {
      form,
      data: duckdb.vector_get_data(vector, rows * SIZES[form]),
      validity,
      texts: null,
      values: null,
    };
  const { buffer, byteOffset, byteLength } = duckdb.vector_get_data(vector, rows * ENTRY);
  const entries = Buffer.from(buffer, byteOffset, byteLength);
  const texts = Array.from({ length: rows }, (_, row) => {
    if (validity && ((validity[row >> 3] ?? 0) & (1 << (row & 7))) === 0) return NOTHING;
    const at = row * ENTRY;
    const length = entries.readUInt32LE(at);
    if (length <= INLINE) return entries.subarray(at + 4, at + 4 + length);
    return duckdb.get_data_from_pointer(buffer as ArrayBuffer, entries.byteOffset + at + 8, length);
  });
  return { form, data: null, validity, texts, values: null };
}
