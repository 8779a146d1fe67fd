import { describe, expect, it } from 'vitest';
import syscount from './syscount.js';
import { syscallCode } from '../linux/syscalls.js';
import { eventOf } from '../../test/support/record.js';

const slotsOf = (counts: Readonly<Record<number, bigint>>): Uint8Array => {
  const words = new BigUint64Array(48);
  for (const [slot, count] of Object.entries(counts)) words[Number(slot)] = count;
  return new Uint8Array(words.buffer);
};
const field = (event: object, name: string): unknown => Reflect.get(event, name) as unknown;

describe('an event of syscount', () => {
  it('has the totals, and the histogram from the first to the last bucket that is not empty', () => {
    const event = eventOf(syscount, {
      nr: syscallCode('close') ?? 0,
      abi: process.arch === 'arm64' ? 4 : 1,
      count: 7n,
      errors: 2n,
      durationNs: 2n ** 60n,
      durationHistogramNs: slotsOf({ 2: 1n, 4: 2n ** 53n }),
    });
    expect(field(event, 'name')).toBe('close');
    expect(field(event, 'count')).toBe('7');
    expect(field(event, 'durationNs')).toBe('1152921504606846976');
    expect(field(event, 'durationHistogramNs')).toEqual([
      { from: 4, to: 8, count: '1' },
      { from: 8, to: 16, count: '0' },
      { from: 16, to: 32, count: '9007199254740992' },
    ]);
  });

  it('has a histogram that begins at 0 and ends without a bound', () => {
    const event = eventOf(syscount, { durationHistogramNs: slotsOf({ 0: 2n, 47: 3n }) });
    const buckets = field(event, 'durationHistogramNs') as object[];
    expect(buckets).toHaveLength(48);
    expect(buckets[0]).toEqual({ from: 0, to: 2, count: '2' });
    expect(buckets[47]).toEqual({ from: 2 ** 47, to: null, count: '3' });
  });

  it('has no duration where none was taken', () => {
    const event = eventOf(syscount, { count: 7n });
    expect(field(event, 'durationNs')).toBeNull();
    expect(field(event, 'durationHistogramNs')).toBeNull();
  });
});

describe('the options of syscount', () => {
  it('decide which programs are loaded, and how often the maps are read', () => {
    expect(syscount.unneeded?.({ latency: false })).toEqual(['syscount_enter']);
    expect(syscount.unneeded?.({})).toEqual([]);
    expect(syscount.constants?.({})).toMatchObject({ latency: true, eu_self: process.pid });
    expect(syscount.kernelAggregate?.everyMs({})).toBe(1000);
    expect(syscount.kernelAggregate?.everyMs({ every: 250 })).toBe(250);
  });

  it('are refused where they make no sense, with what would be right', () => {
    const where = 'input.trackers[0].syscount';
    expect(() => syscount.check?.({ every: 49 }, where)).toThrow(
      `${where}.every: 49 ms is out of range; give "50ms" to "1h"`,
    );
    expect(() => syscount.check?.({ every: 3_600_001 }, where)).toThrow('out of range');
    expect(() => syscount.check?.({ only: ['opennat'] }, where)).toThrow('did you mean "openat"');
    expect(() => syscount.check?.({ every: 50, only: ['openat'] }, where)).not.toThrow();
  });
});
