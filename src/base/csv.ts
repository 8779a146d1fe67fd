import { visibleLines } from './visible.js';

// What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"), the full-width forms too.
const FORMULA = /^[=+\-@\t＝＋－＠]/;

/** TEXT is what a process, a container or a user chose; the values of others (numbers, times, booleans) are ours. */
export type CsvKind = 'TEXT' | 'PLAIN';

/** One line of RFC 4180, CRLF included. */
export function csvLine(cells: readonly string[]): string {
  return `${cells.join(',')}\r\n`;
}

/**
 * A cell of RFC 4180. Null is nothing between two commas, an empty text is `""`, a list or an object is JSON. A text
 * that a spreadsheet would take for a formula has a `'` before it, and a character that acts on a terminal is written
 * as `\u001b`: a file of CSV is looked at in both. NDJSON and Parquet hold texts as they are.
 */
export function csvCell(value: unknown, kind: CsvKind): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'object') return quoted(visibleLines(JSON.stringify(value)));
  const text = visibleLines(String(value)).replaceAll('\r', '\\u000d');
  if (text === '') return '""';
  return quoted(kind === 'TEXT' && FORMULA.test(text) ? `'${text}` : text);
}

function quoted(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
