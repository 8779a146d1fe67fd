import { textOfBytes } from '../../base/bytes.js';
import type { ClockOffset } from '../../event/clock.js';

/**
 * JSON text as bytes, written in place: no strings between a record and the socket. All of it is ASCII (other characters
 * are \u escapes), so that a byte is a character and what is shared or cut needs no look at its content.
 *
 * The functions below write at a place and return the place behind; the caller has made room. They are compiled into
 * the writers of json-writer.ts.
 */
export class JsonBytes {
  bytes: Buffer;
  view: DataView;
  /** Where writing goes on. */
  at = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  }

  /** Makes room for `more` bytes behind `at`. What was written stays; `bytes` and `view` may be others. */
  ensure(at: number, more: number): void {
    if (at + more <= this.bytes.length) return;
    const grown = new JsonBytes(Math.max(this.bytes.length * 2, at + more));
    this.bytes.copy(grown.bytes, 0, 0, at);
    this.bytes = grown.bytes;
    this.view = grown.view;
  }

  /** Adds ASCII text. */
  add(text: string): void {
    this.at = this.put(text, this.at, SLACK);
  }

  addBytes(bytes: Uint8Array): void {
    this.ensure(this.at, bytes.length + SLACK);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** Writes ASCII text at a place, with room for `rest` bytes behind it. */
  put(text: string, at: number, rest: number): number {
    this.ensure(at, text.length + rest);
    if (text.length > 48) return at + this.bytes.write(text, at, 'latin1');
    for (let i = 0; i < text.length; i++) this.bytes[at + i] = text.charCodeAt(i);
    return at + text.length;
  }

  /** What was written since `from`. */
  since(from: number): Buffer {
    return this.bytes.subarray(from, this.at);
  }
}

/** Constants are written eight bytes at a time, so that their last write may reach so far behind them. */
export const SLACK = 8;
/** The longest character of a text: a control character as \u001f. */
export const ESCAPED_BYTES = 6;

/** A value as JSON in ASCII. */
export function asciiJson(value: unknown): string {
  const json = JSON.stringify(value);
  return /[\u0080-\uffff]/.test(json)
    ? json.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    : json;
}

// 1 where a byte stands for itself in JSON's text.
const plain = Uint8Array.from({ length: 256 }, (_, byte) =>
  Number(byte >= 0x20 && byte < 0x80 && byte !== 0x22 && byte !== 0x5c),
);

function text(out: JsonBytes, p: number, source: Uint8Array, start: number, end: number): number {
  const { bytes } = out;
  bytes[p] = 0x22;
  let at = p + 1;
  for (let i = start; i < end; i++) {
    const byte = source[i] ?? 0;
    if (plain[byte] === 0) return escaped(out, p, source, start, end);
    bytes[at++] = byte;
  }
  bytes[at] = 0x22;
  return at + 1;
}

/** As decode.ts reads it. A byte that is no UTF-8 takes five in JSON, so the room is enough. */
function escaped(out: JsonBytes, p: number, source: Uint8Array, start: number, end: number): number {
  const json = asciiJson(textOfBytes(source, start, end));
  return p + out.bytes.write(json, p, 'latin1');
}

/** A number below 2^32. */
function unsigned(bytes: Uint8Array, p: number, value: number): number {
  let digits = 1;
  for (let limit = 10; digits < 10 && value >= limit; limit *= 10) digits++;
  let rest = value;
  for (let at = p + digits - 1; at >= p; at--) {
    const tenth = Math.floor(rest / 10);
    bytes[at] = 0x30 + rest - tenth * 10;
    rest = tenth;
  }
  return p + digits;
}

const BILLION = 1_000_000_000;
// Two digits, as a little-endian u16: 07 → "07".
const pairs = Uint16Array.from({ length: 100 }, (_, n) => (0x30 + Math.floor(n / 10)) | ((0x30 + (n % 10)) << 8));

function nineDigits(view: DataView, p: number, value: number): number {
  let rest = value;
  for (let at = p + 7; at > p; at -= 2) {
    const hundredth = (rest / 100) | 0;
    view.setUint16(at, pairs[rest - hundredth * 100] ?? 0, true);
    rest = hundredth;
  }
  view.setUint8(p, 0x30 + rest);
  return p + 9;
}

/** A u64 by its halves. */
function decimal(out: JsonBytes, p: number, high: number, low: number): number {
  if (high === 0) return unsigned(out.bytes, p, low);
  if (high >= 0x200000) return p + out.bytes.write(String((BigInt(high) << 32n) | BigInt(low)), p, 'latin1');
  const value = high * 4294967296 + low;
  const billions = Math.floor(value / BILLION);
  if (billions === 0) return unsigned(out.bytes, p, value);
  return nineDigits(out.view, unsigned(out.bytes, p, billions), value - billions * BILLION);
}

// Texts of seconds, each with its quote, by their last bits: events of one second share one, and a process's start does not push it out.
const SECONDS = 64;
const SECOND_WORDS = 3;
const SECOND_BYTES = 21;
const secondTexts = new Uint8Array(SECONDS * SECOND_WORDS * 8);
const secondWords = new Float64Array(secondTexts.buffer);
const secondsKnown = new Float64Array(SECONDS).fill(Number.NaN);
/** The part of a time that its high half and the clock give: these change every four seconds. */
const base = { high: -1, clockSeconds: -1, clockNanoseconds: -1, seconds: 0, nanoseconds: 0 };

/** A time as clock.ts `wallTime` writes it, in quotes. */
function time(out: JsonBytes, p: number, clock: ClockOffset, high: number, low: number): number {
  if (high !== base.high || clock.seconds !== base.clockSeconds || clock.nanoseconds !== base.clockNanoseconds) {
    base.high = high;
    base.clockSeconds = clock.seconds;
    base.clockNanoseconds = clock.nanoseconds;
    base.seconds = high * 4 + Math.floor((high * 294_967_296) / BILLION) + clock.seconds;
    base.nanoseconds = ((high * 294_967_296) % BILLION) + clock.nanoseconds;
  }
  const wholeLow = Math.floor(low / BILLION);
  let nanoseconds = base.nanoseconds + low - wholeLow * BILLION;
  let seconds = base.seconds + wholeLow;
  while (nanoseconds >= BILLION) {
    nanoseconds -= BILLION;
    seconds += 1;
  }
  const slot = seconds & (SECONDS - 1);
  const word = slot * SECOND_WORDS;
  if (secondsKnown[slot] !== seconds) {
    secondsKnown[slot] = seconds;
    secondTexts.set(Buffer.from(`"${new Date(seconds * 1000).toISOString().slice(0, 19)}.`, 'latin1'), word * 8);
  }
  // ASCII is never a NaN, so that its bits survive as a number.
  out.view.setFloat64(p, secondWords[word] ?? 0, true);
  out.view.setFloat64(p + 8, secondWords[word + 1] ?? 0, true);
  out.view.setFloat64(p + 16, secondWords[word + 2] ?? 0, true);
  const end = nineDigits(out.view, p + SECOND_BYTES, nanoseconds);
  out.view.setUint16(end, 0x225a, true); // Z"
  return end + 2;
}

export const write = { text, unsigned, decimal, time };
