import { DuckDBTypeId, type DuckDBDataChunk } from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import type { Value } from './protocol.js';

/** duckdb/common/types/string_type.hpp: length, then the text itself up to so many bytes, else four of them and a pointer. */
const ENTRY = 16;
const INLINE = 12;

/**
 * The values of one column of a result. Texts are read here: the library's reader takes a byte-order mark at a text's
 * beginning away, so that two names would be one.
 */
export function valuesOf(chunk: DuckDBDataChunk, column: number, type: DuckDBTypeId): readonly Value[] {
  if (type !== DuckDBTypeId.VARCHAR) return chunk.getColumnValues(column) as readonly Value[];
  const rows = chunk.rowCount;
  const vector = duckdb.data_chunk_get_vector(chunk.chunk, column);
  const { buffer: memory, byteOffset: begin, byteLength: size } = duckdb.vector_get_data(vector, rows * ENTRY);
  const data = Buffer.from(memory, begin, size);
  // Without a null there is no such mask.
  const validity = duckdb.vector_get_validity(vector, Math.ceil(rows / 64) * 8) as Uint8Array | null;
  return Array.from({ length: rows }, (_, row) => {
    if (validity && ((validity[row >> 3] ?? 0) & (1 << (row & 7))) === 0) return null;
    const at = row * ENTRY;
    const length = data.readUInt32LE(at);
    if (length <= INLINE) return data.toString('utf8', at + 4, at + 4 + length);
    const { buffer, byteOffset, byteLength } = duckdb.get_data_from_pointer(
      data.buffer as ArrayBuffer,
      data.byteOffset + at + 8,
      length,
    );
    return Buffer.from(buffer, byteOffset, byteLength).toString('utf8');
  });
}
