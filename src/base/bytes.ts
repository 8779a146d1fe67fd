/**
 * Names in the kernel are bytes; texts of the schema are Unicode. What is valid UTF-8 is that text. A byte that belongs
 * to no valid sequence is `\xff`: a backslash, an x, two lower-case hexadecimal digits, 80 to ff. A backslash in a name
 * that what follows would make look like such an escape, or like its own, is `\x5c`. So each name has one text, no two
 * names have the same one, and of all other names the text is what it always was.
 */
const ESCAPE = /\\x([89a-f][0-9a-f]|5c)/;
const ESCAPES = new RegExp(ESCAPE, 'g');
const BACKSLASH = 0x5c;

/** The text of the bytes from `start` to `end`. */
export function textOfBytes(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
  // Either tells that the slow way may say something else: a replaced byte, the beginning of an escape.
  return text.includes('\uFFFD') || text.includes('\\x') ? escapedText(bytes, start, end) : text;
}

/**
 * The bytes whose text this is; null when it is the text of none, as one with half of a surrogate pair or an escape
 * where none is needed.
 */
export function bytesOfText(text: string): Uint8Array | null {
  const bytes = ESCAPE.test(text) ? Buffer.concat(partsOf(text)) : Buffer.from(text);
  return textOfBytes(bytes) === text ? bytes : null;
}

function partsOf(text: string): Uint8Array[] {
  // Of a split by an expression with a group, every second part is the group's.
  return text.split(ESCAPES).map((part, i) => (i % 2 ? Uint8Array.of(Number.parseInt(part, 16)) : Buffer.from(part)));
}

function escapedText(bytes: Uint8Array, start: number, end: number): string {
  let text = '';
  let from = start;
  const flush = (to: number): void => {
    if (to > from) text += Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('utf8');
  };
  for (let at = start; at < end;) {
    const byte = bytes[at] ?? 0;
    const length = byte === BACKSLASH && looksEscaped(bytes, at, end) ? 0 : validLength(bytes, at, end);
    if (length > 0) {
      at += length;
      continue;
    }
    flush(at);
    text += `\\x${byte.toString(16)}`;
    from = ++at;
  }
  flush(end);
  return text;
}

/** Whether a backslash begins what would be read as an escape. */
export function looksEscaped(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + 3 >= end || bytes[at + 1] !== 0x78) return false;
  const [first = 0, second = 0] = [bytes[at + 2], bytes[at + 3]];
  if (first === 0x35) return second === 0x63;
  return (
    (first === 0x38 || first === 0x39 || isLetter(first)) && ((second >= 0x30 && second <= 0x39) || isLetter(second))
  );
}

function isLetter(byte: number): boolean {
  return byte >= 0x61 && byte <= 0x66;
}

/** How many bytes the character has that begins here; 0 when none does (the Unicode Standard, table 3-7). */
function validLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  const second = bytes[at + 1] ?? 0;
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let i = 2; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}
