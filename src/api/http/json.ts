import { EunomiaError, messageOf } from '../../base/errors.js';

/**
 * Filters are nested 50 deep at most, which takes two levels each. What walks a client's values recursively stays far
 * from the stack's end.
 */
export const MAX_NESTING = 200;

/** Parses JSON that a client sent. Throws BAD_REQUEST for what is none, and for what is nested more than MAX_NESTING deep. */
export function parseJson(text: string, where: string): unknown {
  if (isNestedTooDeep(text)) throw new EunomiaError('BAD_REQUEST', `${where}: is nested more than ${MAX_NESTING} deep`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new EunomiaError('BAD_REQUEST', `${where}: is not JSON: ${messageOf(error).slice(0, 200)}`);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** One pass over the text, before it is parsed. Exact for JSON; for other text it does not matter. */
export function isNestedTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === QUOTE) {
      at = endOfString(text, at);
      if (at < 0) return false;
    } else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > MAX_NESTING) return true;
    } else if (unit === 0x7d || unit === 0x5d) depth -= 1;
  }
  return false;
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
