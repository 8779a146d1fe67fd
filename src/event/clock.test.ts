import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseNamespaceOffset } from '../kernel/clock.js';
import { decimal, nowText, textOfMs, wallTime, wallTimeOf } from './clock.js';

const BILLION = 1_000_000_000n;
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
// Until the year 9999, beyond which ISO 8601 has another form.
const LAST_SECOND = 253_402_300_799n;

function oracle(bootNs: bigint, seconds: number, nanoseconds: number): string {
  const ns = bootNs + BigInt(seconds) * BILLION + BigInt(nanoseconds);
  const whole = ns / BILLION;
  return `${new Date(Number(whole) * 1000).toISOString().slice(0, 19)}.${String(ns % BILLION).padStart(9, '0')}Z`;
}

const offset = fc.record({
  seconds: fc.integer({ min: 0, max: 4_000_000_000 }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
});

describe('the wall time of an event', () => {
  it('is exact to the nanosecond for any time since boot and any offset', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), offset, (bootNs, clock) => {
        fc.pre(bootNs / BILLION + BigInt(clock.seconds) < LAST_SECOND);
        expect(wallTime(clock, Number(bootNs >> 32n), Number(bootNs & 0xffffffffn))).toBe(
          oracle(bootNs, clock.seconds, clock.nanoseconds),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('is exact where a second ends', () => {
    const clock = { seconds: 1_700_000_000, nanoseconds: 999_999_999 };
    for (const bootNs of [
      0n,
      1n,
      BILLION - 1n,
      BILLION,
      BILLION + 1n,
      2n ** 32n - 1n,
      2n ** 32n,
      2n ** 53n,
      2n ** 53n + 1n,
      12_345n * BILLION + 1n,
    ]) {
      expect(wallTime(clock, Number(bootNs >> 32n), Number(bootNs & 0xffffffffn))).toBe(
        oracle(bootNs, clock.seconds, clock.nanoseconds),
      );
    }
  });

  it('sorts as text as the events do in time', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2n ** 60n }),
        fc.bigInt({ min: 0n, max: 2n ** 60n }),
        offset,
        (a, b, clock) => {
          const shown = (ns: bigint) => wallTime(clock, Number(ns >> 32n), Number(ns & 0xffffffffn));
          expect(shown(a) < shown(b)).toBe(a < b);
        },
      ),
    );
  });

  it('of a plain number is the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), offset, (bootNs, clock) => {
        expect(wallTimeOf(clock, bootNs)).toBe(oracle(BigInt(bootNs), clock.seconds, clock.nanoseconds));
      }),
    );
  });
});

describe('other times', () => {
  it('have the same form', () => {
    expect(nowText()).toMatch(RFC_3339);
    expect(textOfMs(0)).toBe('1970-01-01T00:00:00.000000000Z');
    expect(textOfMs(1_700_000_000_123)).toBe('2023-11-14T22:13:20.123000000Z');
    const before = Date.now();
    const shown = Date.parse(nowText());
    expect(shown).toBeGreaterThanOrEqual(before);
    expect(shown).toBeLessThanOrEqual(Date.now());
  });

  it('as decimals keep all 64 bits', () => {
    expect(decimal(0xffffffff, 0xffffffff)).toBe('18446744073709551615');
    expect(decimal(0, 0)).toBe('0');
  });
});

describe('the offset of a time namespace', () => {
  it('is the one of CLOCK_BOOTTIME, before and behind zero', () => {
    expect(parseNamespaceOffset('monotonic           1         0\nboottime        86400         5\n')).toBe(
      86_400_000_000_005n,
    );
    expect(parseNamespaceOffset('monotonic           0         0\nboottime           -2 500000000\n')).toBe(
      -1_500_000_000n,
    );
    expect(parseNamespaceOffset('1 5 0\n7 9 0\n')).toBe(9_000_000_000n);
    expect(parseNamespaceOffset('')).toBe(0n);
  });
});
