import type { Bucket } from '../../event/event.js';

/**
 * InfluxDB's line protocol: `measurement,tag=text field=value time`. Written by hand, not with the client's `Point`: no text of a watched
 * process may become a line, a tag or a field of its own, and the client's escapes leave the two holes that are closed here.
 */

/** A tag's value at most: series keys are kept in the database's memory. */
const MAX_TAG = 250;
/** A text at most, in UTF-8: servers refuse 64 KiB and more. */
const MAX_TEXT = 60_000;
const CONTROL_PICTURES = 0x2400;
/** Before a character that stands for another one elsewhere, and here is itself: SYMBOL FOR SUBSTITUTE FORM TWO. */
export const ITSELF = '\u2426';
const REMEMBERED = 4096;
const INT64_MAX = 9_223_372_036_854_775_807n;
const INT64_MIN = -9_223_372_036_854_775_808n;

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const inTags = /[\u0000-\u001f\u007f\\\u2400-\u241f\u2421\u2426\u2216]/g;
const inTexts = /[\n\r\0\u2400\u240a\u240d\u2426]/g;
const standIns = /\u2426([^])|[\u2400-\u241f\u2421\u2426\u2216]/g;
const standInsOfTexts = /\u2426([^])|[\u2400\u240a\u240d]/g;

/**
 * U+240A for a line feed, and so on: visible, and no end of a line to any parser. Such a character itself gets U+2426
 * before it, so that no two texts are stored as one.
 */
function standInFor(character: string): string {
  const code = character.charCodeAt(0);
  if (code === 0x5c) return '\u2216';
  if (code === 0x7f) return '\u2421';
  return code < 0x20 ? String.fromCharCode(CONTROL_PICTURES + code) : `${ITSELF}${character}`;
}

function standsFor(standIn: string, itself: string | undefined): string {
  if (itself !== undefined) return itself;
  const code = standIn.charCodeAt(0);
  return code === 0x2216 ? '\\' : code === 0x2421 ? '\u007f' : String.fromCharCode(code - CONTROL_PICTURES);
}

/** The text that was stored as this; of one that was cut, what is left. */
export function originalTag(stored: string): string {
  return stored.replace(standIns, standsFor);
}

export function originalText(stored: string): string {
  return stored.replace(standInsOfTexts, standsFor);
}

/**
 * A text as it is stored in a tag; also what a filter on the tag must look for. The protocol cannot say a backslash before a comma, a space
 * or the end of a tag, and servers differ in how they read one: it becomes U+2216. Control characters become their pictures.
 */
export function storedTag(text: string): string {
  const plain = text.replace(inTags, standInFor);
  return plain.length <= MAX_TAG ? plain : `${cutText(plain, MAX_TAG)}…`;
}

/** A text as it is stored in a field. Some servers end a line at a line feed also inside quotes: it becomes U+240A. */
export function storedText(text: string): string {
  const plain = text.replace(inTexts, standInFor);
  return plain.length * 3 <= MAX_TEXT || Buffer.byteLength(plain) <= MAX_TEXT
    ? plain
    : `${cutText(plain, MAX_TEXT / 3)}…`;
}

/** Never between the halves of a pair of surrogates, nor behind an ITSELF. */
function cutText(text: string, length: number): string {
  const code = text.charCodeAt(length - 1);
  return text.slice(0, (code >= 0xd800 && code < 0xdc00) || code === 0x2426 ? length - 1 : length);
}

const remembered = new Map<string, string>();

function escapedTag(text: string): string {
  const known = remembered.get(text);
  if (known !== undefined) return known;
  const escaped = storedTag(text).replace(/[,= ]/g, '\\$&');
  if (remembered.size >= REMEMBERED) remembered.clear();
  remembered.set(text, escaped);
  return escaped;
}

/** `,name=value`, empty for what has no value: the protocol has no empty tag. Names are ours. */
export function tag(name: string, value: string | null): string {
  return value === null || value === '' ? '' : `,${name}=${escapedTag(value)}`;
}

/** A field's value, a text. */
export function textValue(text: string): string {
  const stored = storedText(text);
  return `"${stored.includes('"') || stored.includes('\\') ? stored.replace(/["\\]/g, '\\$&') : stored}"`;
}

/** Any value as JSON, in pieces that are no longer than a text may be. Nothing of it is beyond ASCII, so that it can be cut anywhere. */
export function jsonPieces(value: unknown): string[] {
  const json = JSON.stringify(value).replace(
    /[^\u0020-\u007e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return Array.from({ length: Math.ceil(json.length / MAX_TEXT) }, (_, i) =>
    json.slice(i * MAX_TEXT, (i + 1) * MAX_TEXT),
  );
}

/** A list as JSON: texts, of a list that is too long the first ones, or the few buckets of a histogram. */
export function listValue(list: readonly (string | Bucket)[]): string {
  let kept = list;
  let json = JSON.stringify(kept);
  while (json.length > MAX_TEXT / 3 && Buffer.byteLength(json) > MAX_TEXT) {
    kept = kept.length > 1 ? kept.slice(0, kept.length >> 1) : [`${cutText(String(kept[0] ?? ''), MAX_TEXT / 12)}…`];
    json = JSON.stringify(kept);
  }
  return textValue(json);
}

/** Whether a decimal is an int64: what is beyond has no number in the protocol that all servers take. */
export function isInt64(decimal: string): boolean {
  if (decimal.length < 19) return true;
  const value = BigInt(decimal);
  return value <= INT64_MAX && value >= INT64_MIN;
}
