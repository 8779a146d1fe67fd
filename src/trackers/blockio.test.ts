import { describe, expect, it } from 'vitest';
import { eventOf } from '../../test/support/record.js';
import blockcount from './blockcount.js';
import blockio from './blockio.js';
import fileio from './fileio.js';

const none = 2n ** 64n - 1n;

describe('an event of blockio', () => {
  it('has numbers of the device and names of flags as texts', () => {
    const event = eventOf(blockio, {
      device: (259 << 20) | 3,
      flags: (1 << 11) | (1 << 18) | (1 << 30) | 1,
      disk: Buffer.from('nvme0n1'),
      blockOperation: 2,
      sector: 8,
      queueNs: 5,
      deviceNs: 7,
    });
    expect(event).toMatchObject({
      device: '259:3',
      flags: ['SYNC', 'PREFLUSH'],
      disk: 'nvme0n1',
      blockOperation: 'WRITE',
      sector: '8',
      queueNs: '5',
      deviceNs: '7',
    });
  });

  it('has null for what a request has not', () => {
    const event = eventOf(blockio, { blockOperation: 3, sector: none, queueNs: none, deviceNs: none });
    expect(event).toMatchObject({ device: null, disk: null, sector: null, queueNs: null, deviceNs: null, errno: null });
  });
});

describe('the options of blockio, blockcount and fileio', () => {
  it('are refused where they make no sense, with what would be right', () => {
    const check = (options: Readonly<Record<string, unknown>>) => () => blockio.check?.(options, 'trackers[0].blockio');
    expect(check({ slowerThan: 0 })).toThrow(
      'trackers[0].blockio.slowerThan: 0 ns is out of range; give "1ns" to "1h"',
    );
    expect(check({ slowerThan: 3_600_001 })).toThrow('out of range');
    expect(check({ slowerThan: 0.5, operations: ['READ'] })).not.toThrow();
    expect(() => fileio.check?.({ slowerThan: 0 }, 'w')).toThrow('w.slowerThan');
    expect(() => fileio.check?.({ every: 49 }, 'w')).toThrow('w.every: 49 ms is out of range');
    expect(() => blockcount.check?.({ every: 3_600_001 }, 'w')).toThrow('w.every');
  });

  it('become constants of the object', () => {
    expect(blockio.constants?.({ operations: ['READ', 'FLUSH'], slowerThan: 0.25, failedOnly: true })).toEqual({
      operations: (1 << 1) | (1 << 3),
      slower_than_ns: 250_000n,
      failed_only: true,
    });
    expect(blockio.constants?.({})).toEqual({ operations: 0, slower_than_ns: 0n, failed_only: false });
    expect(fileio.constants?.({})).toMatchObject({ slower_than_ns: 0n, eu_self: process.pid });
    expect(fileio.constants?.({ ownCalls: true })).toMatchObject({ eu_self: 0 });
  });
});
