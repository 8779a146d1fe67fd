import { constants } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openFlags as namesOf } from '../tracker/open-flags.js';
import tracker from './open.js';
import { eventOf } from '../../test/support/record.js';

const openFlags = (flags: number) => namesOf(BigInt(flags >>> 0));

const {
  O_CREAT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
  O_APPEND,
  O_NOATIME,
  O_DIRECT,
  O_NOCTTY,
} = constants;
const O_TMPFILE_BIT = 0o20000000; // asm-generic/fcntl.h: __O_TMPFILE
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

describe('the flags of open', () => {
  it('have the names of the C library, the access mode first', () => {
    expect(openFlags(O_RDONLY)).toEqual(['O_RDONLY']);
    expect(openFlags(O_WRONLY | O_CREAT | O_TRUNC)).toEqual(['O_WRONLY', 'O_CREAT', 'O_TRUNC']);
    for (const [name, bits] of Object.entries({
      O_CREAT,
      O_EXCL,
      O_NOCTTY,
      O_TRUNC,
      O_APPEND,
      O_NONBLOCK,
      O_DSYNC,
      O_SYNC,
      O_DIRECT,
      O_DIRECTORY,
      O_NOFOLLOW,
      O_NOATIME,
      O_PATH,
      O_CLOEXEC,
    })) {
      expect(openFlags(O_RDWR | bits)).toEqual(['O_RDWR', name]);
    }
    expect(openFlags(3)).toEqual(['O_ACCMODE']);
  });

  it('tell O_SYNC from the bit that it shares with O_DSYNC', () => {
    expect(openFlags(O_DSYNC)).toEqual(['O_RDONLY', 'O_DSYNC']);
    expect(openFlags(O_SYNC)).toEqual(['O_RDONLY', 'O_SYNC']);
    expect(openFlags(O_SYNC & ~O_DSYNC)).toEqual(['O_RDONLY', `0x${(O_SYNC & ~O_DSYNC).toString(16)}`]); // a bit without a name of its own
  });

  it('tell O_TMPFILE from the bit that it shares with O_DIRECTORY', () => {
    expect(openFlags(O_RDWR | O_TMPFILE_BIT | O_DIRECTORY)).toEqual(['O_RDWR', 'O_TMPFILE']);
    expect(openFlags(O_DIRECTORY)).toEqual(['O_RDONLY', 'O_DIRECTORY']);
  });

  it('without a name are one hexadecimal number', () => {
    expect(openFlags(0x40000000)).toEqual(['O_RDONLY', '0x40000000']);
    expect(openFlags(0x80000000 | 0x40000000 | O_CREAT)).toEqual(['O_RDONLY', 'O_CREAT', '0xc0000000']);
  });

  it('lose no bit and invent none', () => {
    const named: Record<string, number> = {
      O_RDONLY,
      O_WRONLY,
      O_RDWR,
      O_ACCMODE: 3,
      O_CREAT,
      O_EXCL,
      O_NOCTTY,
      O_TRUNC,
      O_APPEND,
      O_NONBLOCK,
      O_DSYNC,
      O_SYNC,
      FASYNC: 0o20000,
      O_DIRECT,
      O_LARGEFILE: process.arch === 'arm64' ? 0o400000 : 0o100000,
      O_DIRECTORY,
      O_TMPFILE: O_TMPFILE_BIT | O_DIRECTORY,
      O_NOFOLLOW,
      O_NOATIME,
      O_CLOEXEC,
      O_PATH,
    };
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (flags) => {
        const names = openFlags(flags);
        const bits = names.reduce((sum, name) => (sum | (named[name] ?? Number(name))) >>> 0, 0);
        expect(bits).toBe(flags);
        expect(new Set(names).size).toBe(names.length);
      }),
      { numRuns: 1000 },
    );
  });

  it('are all 64 bits of openat2, and none where they could not be read', () => {
    expect(namesOf((1n << 32n) | BigInt(O_RDWR | O_CLOEXEC))).toEqual(['O_RDWR', 'O_CLOEXEC', '0x100000000']);
    expect(namesOf((1n << 63n) | 0x40000000n)).toEqual(['O_RDONLY', '0x8000000040000000']);
    expect(namesOf(2n ** 64n - 1n)).toEqual([]);
  });

  it('of openat2 have resolve flags beside them, unknown bits too; of another call there are none', () => {
    expect(eventOf(tracker, { how: 1, resolve: 0x18 })).toMatchObject({
      resolve: ['RESOLVE_BENEATH', 'RESOLVE_IN_ROOT'],
    });
    expect(eventOf(tracker, { how: 1, resolve: (1n << 40n) | 1n })).toMatchObject({
      resolve: ['RESOLVE_NO_XDEV', '0x10000000000'],
    });
    expect(eventOf(tracker, { how: 1 })).toMatchObject({ resolve: [] });
    expect(eventOf(tracker, { how: 0, flags: 2n ** 64n - 1n, mode: 0o600 })).toMatchObject({
      resolve: null,
      flags: [],
      mode: null,
    });
  });

  it('with no state of the path say nothing of its being deleted', () => {
    expect(eventOf(tracker, {})).toMatchObject({ resolvedState: null, deleted: null });
    expect(eventOf(tracker, { resolvedState: 3, deleted: 1 })).toMatchObject({
      resolvedState: 'DETACHED',
      deleted: true,
    });
  });
});
