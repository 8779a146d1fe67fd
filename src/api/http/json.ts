import { EunomiaError, messageOf } from '../../base/errors.js';
import { limitExceeded } from '../graphql/limits.js';

/**
 * Filters are nested 50 deep at most, which takes two levels each. What walks a client's values recursively stays far
 * from the stack's end.
 */
export const MAX_NESTING = 200;

/**
 * A filter has 10,000 values at most. Parsing and coercing a mebibyte of empty objects takes half a second and sixty
 * times its memory: without a bound any request could take that, and any WebSocket before its token.
 */
export const MAX_VALUES = 20_000;

/**
 * Parses JSON that a client sent. Throws BAD_REQUEST for what is none, and for what is nested too deep; LIMIT_EXCEEDED
 * for too many values.
 */
export function parseJson(text: string, path: string): unknown {
  const excess = excessOf(text);
  if (excess === 'DEPTH') throw new EunomiaError('BAD_REQUEST', `${path}: is nested more than ${MAX_NESTING} deep`);
  if (excess === 'VALUES')
    throw limitExceeded(
      'values',
      MAX_VALUES,
      `more than ${MAX_VALUES}`,
      `${path}: has more than ${MAX_VALUES} values; send several requests`,
    );
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new EunomiaError('BAD_REQUEST', `${path}: is not JSON: ${messageOf(error).slice(0, 200)}`);
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

/** Which bound a text exceeds: how deep its values are nested, or their number (by commas and opening brackets). */
export type Excess = 'DEPTH' | 'VALUES';

/** One pass over the text, before it is parsed. Exact for JSON; for other text it does not matter. */
export function excessOf(text: string): Excess | null {
  let depth = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === QUOTE) {
      at = endOfString(text, at);
      if (at < 0) return null;
    } else if (unit === COMMA) {
      if (++values > MAX_VALUES) return 'VALUES';
    } else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > MAX_NESTING) return 'DEPTH';
      if (++values > MAX_VALUES) return 'VALUES';
    } else if (unit === 0x7d || unit === 0x5d) depth -= 1;
  }
  return null;
}

/** Of the closing quote; negative when there is none. */
function endOfString(text: string, from: number): number {
  for (let end = text.indexOf('"', from + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = end - 1;
    while (text.charCodeAt(escapes) === BACKSLASH) escapes -= 1;
    if ((end - escapes) % 2 === 1) return end;
  }
  return -1;
}
