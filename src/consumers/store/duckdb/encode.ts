import type { TraceEvent } from '../../../event.js';
import type { RecordBatch } from '../../../pipeline/batch.js';
import type { TrackerRuntime } from '../../../pipeline/runtime.js';
import type { ColumnBuffer } from './chunk.js';
import type { Column } from './table.js';

/** Puts one field of the record at a place, which is the event, into a row of its column. */
export type FieldEncoder = (
  batch: RecordBatch,
  at: number,
  event: TraceEvent,
  column: ColumnBuffer,
  row: number,
) => void;

/** Values of a field that is computed of one small number, by that number: there are few, and they cost. */
const MEMO = 4096;
/** The value of a field, by its path. */
export type Reader = (event: TraceEvent) => unknown;

export function readerOf(path: string): Reader {
  const [first = path, ...rest] = path.split('.');
  if (!rest.length) return (event) => Reflect.get(event, first) as unknown;
  return (event) =>
    rest.reduce<unknown>(
      (value, name) => (typeof value === 'object' && value !== null ? (Reflect.get(value, name) as unknown) : null),
      Reflect.get(event, first),
    );
}

/** What lies in the record as the column holds it is copied; the rest goes through the event, as any reader sees it. */
export function encoderOf({ name, kind }: Column, { layout, definition }: TrackerRuntime): FieldEncoder {
  const computed = definition.fields?.[name];
  if (!computed) return direct(name, kind, layout) ?? throughEvent(name);
  const [source, ...more] = computed.from;
  const from = source === undefined || more.length ? undefined : layout.fields.get(source);
  const number = from && wordReader(from.kind, from.offset);
  return number ? memoized(name, kind, number) : throughEvent(name);
}

function throughEvent(name: string): FieldEncoder {
  const read = readerOf(name);
  return (_batch, _at, event, column, row) => column.setValue(row, read(event));
}

function memoized(name: string, kind: Column['kind'], number: WordReader): FieldEncoder {
  const read = readerOf(name);
  const known = new Map<number, unknown>();
  return (batch, at, event, column, row) => {
    const key = number(batch, at);
    let value = known.get(key);
    if (value === undefined) {
      value = read(event) ?? null;
      if (known.size >= MEMO) known.clear();
      // A list's text, so that it is made once; the column takes it as one.
      known.set(key, kind === 'list' && value !== null ? (value = JSON.stringify(value)) : value);
    }
    if (typeof value === 'string' && (kind === 'list' || kind === 'text')) column.setText(row, value);
    else column.setValue(row, value);
  };
}

function direct(name: string, kind: Column['kind'], layout: TrackerRuntime['layout']): FieldEncoder | null {
  const field = layout.fields.get(name);
  if (!field) return null;
  const { offset } = field;
  switch (field.kind) {
    case 'u64':
    case 's64':
      return kind === 'uint64' || kind === 'int64'
        ? ({ view }, at, _event, column, row) =>
            column.setWords(row, view.getUint32(at + offset, true), view.getUint32(at + offset + 4, true))
        : null;
    case 'eu_duration_ns':
      if (kind !== 'uint64') return null;
      return ({ view }, at, _event, column, row) => {
        const low = view.getUint32(at + offset, true);
        const high = view.getUint32(at + offset + 4, true);
        if (low === 0xffffffff && high === 0xffffffff) column.setNull(row);
        else column.setWords(row, low, high);
      };
    case 'eu_str':
      if (kind !== 'text') return null;
      return ({ view, bytes }, at, _event, column, row) => {
        const word = view.getUint32(at + offset, true);
        if (word === 0) return column.setNull(row);
        const start = at + (word & 0xffff);
        column.setBytes(row, bytes, start, start + (word >>> 16));
      };
    case 'chars': {
      if (kind !== 'text') return null;
      const { size } = field;
      return ({ bytes }, at, _event, column, row) => {
        const start = at + offset;
        let end = start;
        while (end < start + size && bytes[end] !== 0) end++;
        column.setBytes(row, bytes, start, end);
      };
    }
    case 'eu_errno':
    case 'enum': {
      const number = wordReader(field.kind, offset);
      return number && memoized(name, kind, number);
    }
    default: {
      const number = kind === 'int32' || kind === 'uint32' ? wordReader(field.kind, offset) : null;
      return number && ((batch, at, _event, column, row) => column.setWord(row, number(batch, at)));
    }
  }
}

type WordReader = (batch: RecordBatch, at: number) => number;

/** Of a whole number of at most 32 bits. */
function wordReader(kind: string, offset: number): WordReader | null {
  switch (kind) {
    case 'u8':
      return ({ view }, at) => view.getUint8(at + offset);
    case 's8':
      return ({ view }, at) => view.getInt8(at + offset);
    case 'u16':
      return ({ view }, at) => view.getUint16(at + offset, true);
    case 's16':
      return ({ view }, at) => view.getInt16(at + offset, true);
    case 'u32':
      return ({ view }, at) => view.getUint32(at + offset, true);
    case 's32':
    case 'eu_errno':
    case 'enum':
      return ({ view }, at) => view.getInt32(at + offset, true);
    default:
      return null;
  }
}
