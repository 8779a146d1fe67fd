import type { FieldValue } from '../../event.js';
import type { Encoder } from './encoder.js';
import type { ColumnType, Sheet } from './sheet.js';

// What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
const FORMULA = /^[=+\-@\t\r]/;

/**
 * RFC 4180 with a line of names first. A list is JSON. Null is nothing between two commas, an empty text is `""`. A text that a spreadsheet would take
 * for a formula has a `'` before it: what a process calls itself must not run at the desk of the one who looks at it. Numbers and times
 * stay as they are. Gaps have no place in CSV: see NDJSON.
 */
export function csv<Item>({ columns, row }: Sheet<Item>): Encoder<Item> {
  const types = columns.map(({ type }) => type);
  return {
    contentType: 'text/csv; charset=utf-8; header=present',
    head: () => lineOf(columns.map(({ name }) => cell(name, 'TEXT'))),
    items: (items) =>
      items.map((item) => lineOf(row(item).map((value, i) => cell(value, types[i] ?? 'TEXT')))).join(''),
    end: () => '',
  };
}

function lineOf(cells: readonly string[]): string {
  return `${cells.join(',')}\r\n`;
}

function cell(value: FieldValue, type: ColumnType): string {
  if (value === null) return '';
  if (typeof value === 'object') return quoted(JSON.stringify(value));
  const text = String(value);
  if (text === '') return '""';
  return quoted(type === 'TEXT' && FORMULA.test(text) ? `'${text}` : text);
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
