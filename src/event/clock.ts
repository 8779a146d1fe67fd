/** Formats times of records as RFC 3339 with nanoseconds, from CLOCK_BOOTTIME and its offset to the wall clock. */

import type { ClockOffset } from '../base/clock.js';

export type { ClockOffset } from '../base/clock.js';

const TWO_32 = 4294967296;
const BILLION = 1_000_000_000;

// An event has its own time and its process's start time: with a single cached second, each would evict the other.
const REMEMBERED = 64;
const knownSeconds = new Float64Array(REMEMBERED).fill(-1);
const knownTexts = Array.from({ length: REMEMBERED }, () => '');

function wallText(seconds: number, nanoseconds: number): string {
  const slot = seconds & (REMEMBERED - 1);
  if (knownSeconds[slot] !== seconds) {
    knownSeconds[slot] = seconds;
    knownTexts[slot] = new Date(seconds * 1000).toISOString().slice(0, 19);
  }
  return `${knownTexts[slot] ?? ''}.${String(BILLION + nanoseconds).slice(1)}Z`;
}

/** Returns the wall-clock time of `high << 32 | low` nanoseconds since boot. Exact. */
export function wallTime(offset: ClockOffset, high: number, low: number): string {
  // high * 2^32 ns = high * 4.294967296 s: split before the sum could pass 2^53.
  const highNs = (high * 294_967_296) % BILLION; // exact: high < 2^22 for 500 years of uptime
  let nanoseconds = highNs + (low % BILLION) + offset.nanoseconds;
  let seconds = high * 4 + Math.floor((high * 294_967_296) / BILLION) + Math.floor(low / BILLION) + offset.seconds;
  while (nanoseconds >= BILLION) {
    nanoseconds -= BILLION;
    seconds += 1;
  }
  return wallText(seconds, nanoseconds);
}

/** Returns the wall-clock time of a number of nanoseconds since boot. */
export function wallTimeOf(offset: ClockOffset, bootNs: number): string {
  return wallTime(offset, Math.floor(bootNs / TWO_32), bootNs % TWO_32);
}

let lastNow = { ms: 0, text: '' };

/** Returns the current time in the format that clients receive. */
export function nowText(): string {
  const ms = Date.now();
  if (ms !== lastNow.ms) lastNow = { ms, text: wallText(Math.floor(ms / 1000), (ms % 1000) * 1_000_000) };
  return lastNow.text;
}

export function textOfMs(ms: number): string {
  return wallText(Math.floor(ms / 1000), Math.floor((ms % 1000) * 1_000_000));
}

const TIME = /^(.{19})(?:\.(\d{1,9}))?Z$/;

/** Reads a time in RFC 3339 of up to nine digits of a second, in UTC; all of ours have nine. */
export function nanosecondsSince1970(time: string): bigint {
  const [, second = '', fraction = ''] = TIME.exec(time) ?? [];
  return BigInt(Date.parse(`${second}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Formats an s64 in decimal. `high` is its signed upper half. */
export function signedDecimal(high: number, low: number): string {
  if (high >= -0x200000 && high < 0x200000) return String(high * TWO_32 + low);
  return String((BigInt(high) << 32n) | BigInt(low));
}

/** Formats a u64 in decimal. */
export function decimal(high: number, low: number): string {
  if (high < 0x200000) return String(high * TWO_32 + low);
  return String((BigInt(high) << 32n) | BigInt(low));
}
