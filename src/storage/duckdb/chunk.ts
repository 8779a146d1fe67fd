import {
  BIGINT,
  BOOLEAN,
  DOUBLE,
  DuckDBDataChunk,
  INTEGER,
  UBIGINT,
  UINTEGER,
  VARCHAR,
  type DuckDBAppender,
  type DuckDBType,
} from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import { textOfBytes } from '../../base/bytes.js';
import { nanosOf } from '../../record/nanos.js';
import type { EventColumn, ColumnKind } from './table.js';

/** Rows of a DuckDB vector, STANDARD_VECTOR_SIZE. */
export const CHUNK_ROWS = 2048;
const VALIDITY_BYTES = CHUNK_ROWS / 8;
/**
 * A text up to so many bytes lies in the vector itself (duckdb/common/types/string_type.hpp); its entry is 16 bytes:
 * length, then these.
 */
const INLINE = 12;
/** 1 where a byte of a name stands for itself. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => Number(byte < 0x80 && byte !== 0x5c));

const types: Readonly<Record<ColumnKind, readonly [type: DuckDBType, width: number]>> = {
  bool: [BOOLEAN, 1],
  int32: [INTEGER, 4],
  uint32: [UINTEGER, 4],
  int64: [BIGINT, 8],
  uint64: [UBIGINT, 8],
  double: [DOUBLE, 8],
  text: [VARCHAR, 16],
  time: [BIGINT, 8],
  list: [VARCHAR, 16],
  histogram: [VARCHAR, 16],
};

/**
 * The values of one column of a chunk, in DuckDB's own layout. All are copied to DuckDB at once: a call of the binding for each value would
 * cost more than all the rest.
 */
export class ColumnBuffer {
  readonly kind: ColumnKind;
  readonly bytes: Uint8Array;
  /** Numbers of 4 bytes; of 8, their low and high halves. */
  readonly words: Uint32Array;
  readonly #validity = new Uint8Array(VALIDITY_BYTES).fill(0xff);
  readonly #doubles: Float64Array;
  readonly #longs: BigUint64Array;
  #nulls = false;
  /** Texts that do not lie in the vector. */
  readonly #longRows: number[] = [];
  readonly #longTexts: (string | Uint8Array)[] = [];

  readonly #unused: boolean;

  /** `unused`: all of its values are null. */
  constructor(kind: ColumnKind, unused = false) {
    this.kind = kind;
    this.#unused = unused;
    this.bytes = new Uint8Array(types[kind][1] * CHUNK_ROWS);
    this.words = new Uint32Array(this.bytes.buffer);
    this.#doubles = new Float64Array(this.bytes.buffer);
    this.#longs = new BigUint64Array(this.bytes.buffer);
  }

  setNull(row: number): void {
    this.#nulls = true;
    const at = row >> 3;
    this.#validity[at] = (this.#validity[at] ?? 0) & ~(1 << (row & 7));
  }

  setWords(row: number, low: number, high: number): void {
    this.words[2 * row] = low;
    this.words[2 * row + 1] = high;
  }

  setWord(row: number, value: number): void {
    this.words[row] = value;
  }

  /** A name as the kernel has it; stored as the text that `textOfBytes` makes of it. */
  setBytes(row: number, source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    let plain = true;
    if (length > INLINE) {
      for (let i = start; i < end; i++) plain &&= PLAIN[source[i] ?? 0] === 1;
      return this.#long(row, plain ? source.subarray(start, end) : textOfBytes(source, start, end));
    }
    const at = row * 16;
    this.#startShort(row, length);
    for (let i = 0; i < length; i++) {
      const byte = source[start + i] ?? 0;
      plain &&= PLAIN[byte] === 1;
      this.bytes[at + 4 + i] = byte;
    }
    if (!plain) this.#long(row, textOfBytes(source, start, end));
  }

  setText(row: number, text: string): void {
    const { length } = text;
    if (length > INLINE) return this.#long(row, text);
    const at = row * 16;
    this.#startShort(row, length);
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) return this.#long(row, text);
      this.bytes[at + 4 + i] = code;
    }
  }

  /** A value as an event has it. */
  setValue(row: number, value: unknown): void {
    if (value === null || value === undefined) return this.setNull(row);
    switch (this.kind) {
      case 'bool':
        this.bytes[row] = value === true ? 1 : 0;
        return;
      case 'int32':
      case 'uint32':
        this.words[row] = Number(value);
        return;
      case 'double':
        this.#doubles[row] = Number(value);
        return;
      case 'int64':
      case 'uint64':
        this.#longs[row] = BigInt.asUintN(64, BigInt(value as string | number | bigint));
        return;
      case 'time':
        this.#longs[row] = BigInt.asUintN(64, typeof value === 'bigint' ? value : nanosOf(String(value)));
        return;
      case 'list':
      case 'histogram':
        return this.setText(row, JSON.stringify(value));
      case 'text':
        return this.setText(row, String(value));
    }
  }

  /** Copies the first so many values to a vector, and is empty again. */
  copyTo(vector: ReturnType<typeof duckdb.data_chunk_get_vector>, rows: number): void {
    if (this.#unused) {
      this.#validity.fill(0);
      this.#nulls = true;
    }
    const { buffer } = this.bytes;
    if (buffer instanceof ArrayBuffer) duckdb.copy_data_to_vector(vector, 0, buffer, 0, rows * types[this.kind][1]);
    if (this.#nulls) {
      duckdb.vector_ensure_validity_writable(vector);
      duckdb.copy_data_to_vector_validity(vector, 0, this.#validity.buffer, 0, VALIDITY_BYTES);
      this.#validity.fill(0xff);
      this.#nulls = false;
    }
    this.#longRows.forEach((row, i) => {
      const text = this.#longTexts[i] ?? '';
      if (typeof text === 'string') duckdb.vector_assign_string_element(vector, row, text);
      else duckdb.vector_assign_string_element_len(vector, row, text);
    });
    this.#longRows.length = 0;
    this.#longTexts.length = 0;
  }

  #startShort(row: number, length: number): void {
    const at = row * 4;
    this.words[at] = length;
    this.words[at + 1] = 0;
    this.words[at + 2] = 0;
    this.words[at + 3] = 0;
  }

  /** The entry itself stays an empty text until DuckDB is told. */
  #long(row: number, text: string | Uint8Array): void {
    this.#startShort(row, 0);
    this.#longRows.push(row);
    this.#longTexts.push(text);
  }
}

/** Gathers rows of a table and hands them to DuckDB by the chunk. */
export class ChunkWriter {
  readonly columns: readonly ColumnBuffer[];
  readonly #chunk: DuckDBDataChunk;
  readonly #appender: DuckDBAppender;
  rows = 0;

  constructor(columns: readonly (EventColumn & { readonly unused?: boolean })[], appender: DuckDBAppender) {
    this.columns = columns.map(({ kind, unused }) => new ColumnBuffer(kind, unused));
    this.#chunk = DuckDBDataChunk.create(columns.map(({ kind }) => types[kind][0]));
    this.#appender = appender;
  }

  /** The place of a new row, of which every column must be set. Throws what DuckDB says of the rows before it. */
  next(): number {
    if (this.rows === CHUNK_ROWS) this.#append();
    return this.rows++;
  }

  /** All rows are in DuckDB's transaction after it. */
  flush(): void {
    if (this.rows) this.#append();
    this.#appender.flushSync();
  }

  close(): void {
    this.#appender.closeSync();
  }

  #append(): void {
    const { chunk } = this.#chunk;
    this.#chunk.reset();
    duckdb.data_chunk_set_size(chunk, this.rows);
    this.columns.forEach((column, i) => column.copyTo(duckdb.data_chunk_get_vector(chunk, i), this.rows));
    this.rows = 0;
    this.#appender.appendDataChunk(this.#chunk);
  }
}
