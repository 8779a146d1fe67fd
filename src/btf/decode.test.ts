import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textOfBytes } from '../base/bytes.js';
import { decode } from './decode.js';

const HEADER = 32;

/** A record with `content` behind its struct, and the word that refers to it. */
function record(content: Uint8Array, lead = 0): { bytes: Uint8Array; start: number; word: number } {
  const bytes = new Uint8Array(lead + HEADER + content.length + 5).fill(0x7e);
  bytes.set(content, lead + HEADER);
  return { bytes, start: lead, word: ((content.length << 16) | HEADER) >>> 0 };
}

const text = (content: Uint8Array, lead?: number) => {
  const { bytes, start, word } = record(content, lead);
  return decode.text(bytes, start, word);
};
const texts = (content: Uint8Array, lead?: number) => {
  const { bytes, start, word } = record(content, lead);
  return decode.texts(bytes, start, word);
};

const address = (bytes: Uint8Array) => decode.ip(bytes, 0);
/** Bytes of addresses, often with runs of zeroes. */
const ip = fc
  .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 0xff])));

/** The address as 8 numbers, read by another parser. */
function groupsOf(shown: string): number[] {
  const { hostname } = new URL(`http://[${shown}]/`);
  const [left = '', right] = hostname.slice(1, -1).split('::');
  const numbers = (part: string) => (part === '' ? [] : part.split(':').map((g) => parseInt(g, 16)));
  const [before, after] = [numbers(left), numbers(right ?? '')];
  return right === undefined
    ? before
    : [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}

describe('text', () => {
  it('is null when it was not captured, and empty when it is', () => {
    expect(decode.text(new Uint8Array(8), 0, 0)).toBeNull();
    expect(text(new Uint8Array(0))).toBe('');
  });

  it('is exactly the bytes that its word names, also beyond 64', () => {
    for (const length of [1, 63, 64, 65, 4095])
      expect(text(Buffer.from('é'.repeat(length)), 16)).toBe('é'.repeat(length));
  });

  it('is the text of any bytes, however often', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 64 }), (content, lead) => {
        const expected = textOfBytes(content);
        expect(text(content, lead)).toBe(expected);
        expect(text(content, lead)).toBe(expected); // from the table of those seen
      }),
    );
  });

  it('never takes a text for another of the same hash', () => {
    // 31 * 1 + 31 = 31 * 2 + 0: these pairs fall together.
    const pairs = [
      [
        [1, 31],
        [2, 0],
      ],
      [
        [65, 31, 7],
        [66, 0, 7],
      ],
    ] as const;
    for (const [a, b] of pairs) {
      for (let i = 0; i < 3; i++) {
        expect(text(Uint8Array.from(a))).toBe(Buffer.from(a).toString());
        expect(text(Uint8Array.from(b))).toBe(Buffer.from(b).toString());
      }
    }
  });

  it('of a fixed array ends at its first NUL, or at its end', () => {
    expect(decode.chars(Buffer.from('bash\0\0\0\0xyz'), 0, 8)).toBe('bash');
    expect(decode.chars(Buffer.from('exactly8xyz'), 0, 8)).toBe('exactly8');
    expect(decode.chars(Buffer.from('\0ash'), 0, 4)).toBe('');
  });
});

describe('lists of texts', () => {
  it('hold empty ones wherever they stand', () => {
    expect(decode.texts(new Uint8Array(8), 0, 0)).toBeNull();
    expect(texts(new Uint8Array(0))).toEqual([]);
    expect(texts(Buffer.from('\0'))).toEqual(['']);
    expect(texts(Buffer.from('a\0\0'))).toEqual(['a', '']);
    expect(texts(Buffer.from('\0\0b\0'))).toEqual(['', '', 'b']);
    expect(texts(Buffer.from('a\0cut'))).toEqual(['a', 'cut']);
  });

  it('are what was put in, and nothing of the bytes behind', () => {
    const argument = fc
      .oneof(
        fc.constant(''),
        fc.string({ maxLength: 20, unit: 'grapheme' }),
        fc.string({ minLength: 60, maxLength: 90 }),
      )
      .map((s) => Buffer.from(s.replaceAll('\0', '')).toString());
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 12 }), fc.integer({ min: 0, max: 40 }), (list, lead) => {
        expect(texts(Buffer.from(list.map((s) => `${s}\0`).join('')), lead)).toEqual(list);
      }),
    );
  });

  it('escape bytes that are no UTF-8 in their own text only', () => {
    expect(texts(Buffer.concat([Buffer.from('ok\0'), Buffer.from([0xc3]), Buffer.from('\0fine\0')]))).toEqual([
      'ok',
      '\\xc3',
      'fine',
    ]);
  });
});

describe('addresses', () => {
  it('of IPv4 are dotted', () => {
    fc.assert(
      fc.property(fc.ipV4(), (shown) => {
        expect(
          address(Uint8Array.from([...new Array<number>(10).fill(0), 0xff, 0xff, ...shown.split('.').map(Number)])),
        ).toBe(shown);
      }),
    );
  });

  it('of IPv6 are as RFC 5952 recommends', () => {
    const known: readonly (readonly [groups: readonly number[], shown: string])[] = [
      [[0, 0, 0, 0, 0, 0, 0, 0], '::'],
      [[0, 0, 0, 0, 0, 0, 0, 1], '::1'],
      [[0xfe80, 0, 0, 0, 0, 0, 0, 0], 'fe80::'],
      [[0x2001, 0xdb8, 0, 0, 0, 0, 2, 1], '2001:db8::2:1'], // 4.2.1: as short as it can be
      [[0x2001, 0xdb8, 0, 1, 1, 1, 1, 1], '2001:db8:0:1:1:1:1:1'], // 4.2.2: one group stays
      [[0x2001, 0, 0, 1, 0, 0, 0, 1], '2001:0:0:1::1'], // 4.2.3: the longest run
      [[0x2001, 0xdb8, 0, 0, 1, 0, 0, 1], '2001:db8::1:0:0:1'], // 4.2.3: the first of equals
      [[0x2001, 0xdb8, 0, 0, 0, 0xaaaa, 0xbb, 0xc], '2001:db8::aaaa:bb:c'], // 4.1 and 4.3
      [[1, 2, 3, 4, 5, 6, 7, 8], '1:2:3:4:5:6:7:8'],
      [[0, 0, 3, 4, 5, 6, 0, 0], '::3:4:5:6:0:0'],
      [[1, 2, 3, 4, 5, 6, 0, 0], '1:2:3:4:5:6::'],
    ];
    for (const [groups, shown] of known)
      expect(address(Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 0xff])))).toBe(shown);
  });

  it('of IPv6 are those of another implementation, and read back as the same bytes', () => {
    fc.assert(
      fc.property(ip, (bytes) => {
        const shown = address(bytes);
        fc.pre(!shown.includes('.'));
        expect(isIPv6(shown)).toBe(true);
        expect(`[${shown}]`).toBe(new URL(`http://[${shown}]/`).hostname);
        expect(groupsOf(shown)).toEqual(
          Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)),
        );
      }),
      { numRuns: 1000 },
    );
  });
});

describe('numbers', () => {
  it('of errno have their names, or their digits', () => {
    expect([0, -2, -13, -111, -524, 2].map((code) => decode.errno(code))).toEqual([
      null,
      'ENOENT',
      'EACCES',
      'ECONNREFUSED',
      '524',
      'ENOENT',
    ]);
    expect(decode.errno(-41)).toBe('41'); // a hole in Linux's list
  });

  it('of 64 bits are decimal, exactly', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        expect(decode.decimal(Number(value >> 32n), Number(value & 0xffffffffn))).toBe(String(value));
      }),
    );
    for (const value of [0n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
      expect(decode.decimal(Number(value >> 32n), Number(value & 0xffffffffn))).toBe(String(value));
    }
  });

  it('that stand for nothing are null', () => {
    expect(decode.duration(0xffffffff, 0xffffffff)).toBeNull();
    expect(decode.duration(0xffffffff, 0xfffffffe)).toBe(String(2n ** 64n - 2n));
    expect(decode.duration(0, 0)).toBe('0');
    expect(decode.timeOrNull({ seconds: 1, nanoseconds: 0 }, 0, 0)).toBeNull();
    expect(decode.timeOrNull({ seconds: 1, nanoseconds: 0 }, 0, 1)).toBe('1970-01-01T00:00:01.000000001Z');
  });
});
