import { formatDuration } from '../base/duration.js';
import { EunomiaError, invalid } from '../base/errors.js';

/** Checks of arguments. `path` is that of the argument; every message says what would be right. */

const HOUR = 3_600_000;
export const DAYS_30 = 30 * 24 * HOUR;

/** A whole number in a range. */
export function inRange(path: string, value: number, min: number, max: number, unit = ''): number {
  if (value >= min && value <= max) return value;
  const of = unit && ` ${unit}`;
  throw invalid(path, `${value} is out of range; give ${number(min)} to ${number(max)}${of}`, { min, max, value });
}

/** A span of milliseconds in a range. */
export function spanInRange(path: string, ms: number, min: number, max: number): number {
  if (ms >= min && ms <= max) return ms;
  throw invalid(path, `"${formatDuration(ms)}" is out of range; give "${span(min)}" to "${span(max)}"`, {
    minMs: min,
    maxMs: max,
    valueMs: ms,
  });
}

/** A text with a length in UTF-16 units, not empty. */
export function textInRange(path: string, text: string, max: number): string {
  if (text.length >= 1 && text.length <= max) return text;
  throw invalid(
    path,
    text === '' ? 'is empty; leave it out or give a text' : `has ${text.length} characters; at most ${max} are allowed`,
    { max },
  );
}

/** A list that must not be empty: OR of nothing would match nothing, which nobody means. */
export function listInRange<Item>(path: string, list: readonly Item[], max: number, example: string): readonly Item[] {
  if (list.length === 0) throw invalid(path, `is empty; leave it out, or give at least one, for example ${example}`);
  if (list.length > max)
    throw invalid(path, `has ${list.length} entries; at most ${number(max)} are allowed`, {
      max,
      actual: list.length,
    });
  return list;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function span(ms: number): string {
  return ms % (24 * HOUR) === 0 ? `${ms / HOUR}h` : formatDuration(ms);
}

export function unknownSession(id: string): EunomiaError {
  return new EunomiaError(
    'UNKNOWN_SESSION',
    `there is no session "${id.slice(0, 64)}": it never was, or it was removed; the query \`sessions\` lists those there are`,
    {
      details: { session: id },
    },
  );
}
