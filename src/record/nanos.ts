import { wallTime } from '../event/clock.js';

/** Times as one number: nanoseconds since 1970, UTC. */

const WORD = 4294967296n;
const epoch = { seconds: 0, nanoseconds: 0 };

/** As RFC 3339 with nine digits of a second. */
export function textOfNanos(nanos: bigint): string {
  return wallTime(epoch, Number(nanos / WORD), Number(nanos % WORD));
}

/** Of RFC 3339 in UTC, with up to nine digits of a second. */
export function nanosOf(time: string): bigint {
  const seconds = Date.parse(`${time.slice(0, 19)}Z`) / 1000;
  const fraction = /\.(\d{1,9})/.exec(time)?.[1] ?? '';
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}
