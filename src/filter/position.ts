import { invalid, type EunomiaError } from '../base/errors.js';

/** A part of an expression: from `start` (inclusive) to `end` (exclusive). */
export interface TextRange {
  readonly start: number;
  readonly end: number;
}

const BEFORE = 50;
const WIDTH = 110;

/**
 * Creates a BAD_USER_INPUT error with the position in the text: `where.expr: 1:9: message`, and below it the line with
 * carets under the part in question. Columns count characters from 1.
 */
export function errorAt(path: string, text: string, { start, end }: TextRange, message: string): EunomiaError {
  const lineStart = text.lastIndexOf('\n', start - 1) + 1;
  const newline = text.indexOf('\n', start);
  const lineEnd = newline < 0 ? text.length : newline;
  const line = text.slice(0, lineStart).split('\n').length;
  const column = lengthOf(text.slice(lineStart, start)) + 1;
  const stop = Math.max(Math.min(end, lineEnd), start);
  const length = Math.max(1, lengthOf(text.slice(start, stop)));

  const from = Math.max(lineStart, start - BEFORE);
  const to = Math.min(lineEnd, from + WIDTH);
  const cut = from > lineStart ? '…' : '';
  const excerpt = `${cut}${text.slice(from, to)}${to < lineEnd ? '…' : ''}`.replace(/[\p{Cc}\p{Surrogate}]/gu, ' ');
  const indent = lengthOf(cut + text.slice(from, start));
  const carets = '^'.repeat(Math.max(1, Math.min(length, lengthOf(excerpt) - indent)));
  return invalid(path, `${line}:${column}: ${message}\n  ${excerpt}\n  ${' '.repeat(indent)}${carets}`, {
    line,
    column,
    length,
  });
}

/** Counts code points, most of which a terminal shows as one character. */
function lengthOf(text: string): number {
  return [...text].length;
}
