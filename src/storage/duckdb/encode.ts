import { kinds } from '../../btf/kind.js';
import type { RecordField } from '../../btf/layout.js';
import type { TraceEvent } from '../../event/event.js';
import type { RecordBatch } from '../../record/batch.js';
import type { TrackerRuntime } from '../../record/runtime.js';
import type { ColumnBuffer } from './chunk.js';
import type { EventColumn } from './table.js';

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
export function encoderOf(
  { name, kind }: EventColumn,
  { layout, definition }: Pick<TrackerRuntime, 'layout' | 'definition'>,
): FieldEncoder {
  const computed = definition.fields?.[name];
  if (!computed) return direct(name, kind, layout) ?? throughEvent(name);
  const [source, ...more] = computed.from;
  const from = source === undefined || more.length ? undefined : layout.fields.get(source);
  const number = from && wordReader(from);
  if (number) return memoized(name, kind, number);
  const row = from && kinds[from.kind];
  return from && row?.form === 'wide' && !row.signed && !row.none
    ? memoizedWords(name, kind, from)
    : throughEvent(name);
}

function throughEvent(name: string): FieldEncoder {
  const read = readerOf(name);
  return (_batch, _at, event, column, row) => column.setValue(row, read(event));
}

function memoized(name: string, kind: EventColumn['kind'], number: WordReader): FieldEncoder {
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

/** Of a 64-bit integer that is a small one mostly, as flags are. */
function memoizedWords(name: string, kind: EventColumn['kind'], { offset }: RecordField): FieldEncoder {
  const small = memoized(name, kind, ({ view }, at) => view.getUint32(at + offset, true));
  const large = throughEvent(name);
  return (batch, at, event, column, row) =>
    (batch.view.getUint32(at + offset + 4, true) === 0 ? small : large)(batch, at, event, column, row);
}

function direct(name: string, kind: EventColumn['kind'], layout: TrackerRuntime['layout']): FieldEncoder | null {
  const field = layout.fields.get(name);
  if (!field) return null;
  const { offset } = field;
  const row = kinds[field.kind];
  switch (row.form) {
    case 'wide':
      if (kind !== 'uint64' && kind !== 'int64') return null;
      if (!row.none)
        return ({ view }, at, _event, column, line) =>
          column.setWords(line, view.getUint32(at + offset, true), view.getUint32(at + offset + 4, true));
      return ({ view }, at, _event, column, line) => {
        const low = view.getUint32(at + offset, true);
        const high = view.getUint32(at + offset + 4, true);
        if (low === 0xffffffff && high === 0xffffffff) column.setNull(line);
        else column.setWords(line, low, high);
      };
    case 'text':
      if (kind !== 'text') return null;
      return ({ view, bytes }, at, _event, column, line) => {
        const word = view.getUint32(at + offset, true);
        if (word === 0) return column.setNull(line);
        const start = at + (word & 0xffff);
        column.setBytes(line, bytes, start, start + (word >>> 16));
      };
    case 'fixed': {
      if (kind !== 'text') return null;
      const { size } = field;
      return ({ bytes }, at, _event, column, line) => {
        const start = at + offset;
        let end = start;
        while (end < start + size && bytes[end] !== 0) end++;
        column.setBytes(line, bytes, start, end);
      };
    }
    case 'code': {
      const number = wordReader(field);
      return number && memoized(name, kind, number);
    }
    case 'integer': {
      const number = kind === 'int32' || kind === 'uint32' ? wordReader(field) : null;
      return number && ((batch, at, _event, column, line) => column.setWord(line, number(batch, at)));
    }
    case 'flag':
    case 'time':
    case 'container':
    case 'made':
      return null;
  }
}

type WordReader = (batch: RecordBatch, at: number) => number;

/** Of a whole number of at most 32 bits, or one that stands for a text. */
function wordReader({ kind, offset, size }: RecordField): WordReader | null {
  const row = kinds[kind];
  if (row.form !== 'integer' && row.form !== 'code') return null;
  const [unsigned, signed] = readers[size] ?? [];
  return (row.signed ? signed : unsigned)?.(offset) ?? null;
}

/** By size in bytes: unsigned and signed. */
const readers: Readonly<Record<number, readonly ((offset: number) => WordReader)[]>> = {
  1: [
    (offset) =>
      ({ view }, at) =>
        view.getUint8(at + offset),
    (offset) =>
      ({ view }, at) =>
        view.getInt8(at + offset),
  ],
  2: [
    (offset) =>
      ({ view }, at) =>
        view.getUint16(at + offset, true),
    (offset) =>
      ({ view }, at) =>
        view.getInt16(at + offset, true),
  ],
  4: [
    (offset) =>
      ({ view }, at) =>
        view.getUint32(at + offset, true),
    (offset) =>
      ({ view }, at) =>
        view.getInt32(at + offset, true),
  ],
};
