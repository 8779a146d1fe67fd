import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeName, encodeQuery, encodeResponse, numbers } from '../../test/support/dns-message.js';
import { dnsAddresses, dnsAnswers } from './dns-message.js';

type Records = Parameters<typeof encodeResponse>[1];

const query = encodeQuery(1, 'example.com');
const texts = (message: Buffer) => dnsAnswers(message.toString('latin1'));
const answers = (...records: Records) => texts(encodeResponse(query, records));
const own = numbers(0xc00c);

describe('answers', () => {
  it.each<[type: number, data: Buffer, text: string]>([
    [1, Buffer.of(192, 0, 2, 255), 'A 192.0.2.255'],
    [28, Buffer.from('20010db8000000000000000000000053', 'hex'), 'AAAA 2001:db8::53'],
    [5, encodeName('WWW.Example.net'), 'CNAME www.example.net'],
    [2, own, 'NS example.com'],
    [12, Buffer.concat([Buffer.of(2), Buffer.from('ns'), own]), 'PTR ns.example.com'],
    [15, Buffer.concat([numbers(10), own]), 'MX 10 example.com'],
    [33, Buffer.concat([numbers(1, 2, 5060), own]), 'SRV 1 2 5060 example.com'],
    [
      6,
      Buffer.concat([own, encodeName('root.net'), numbers(0, 1, 0, 2, 0, 3, 0, 4, 1, 0)]),
      'SOA example.com root.net 1 2 3 4 65536',
    ],
    [16, Buffer.from('\x03a"\\\x02\xff ', 'latin1'), 'TXT "a\\"\\\\" "\\255 "'],
    [257, Buffer.from('\x00\x05issueca.example', 'latin1'), 'CAA 0 issue "ca.example"'],
    [65280, Buffer.of(1, 2, 255), 'TYPE65280 \\# 3 0102ff'],
    [65280, Buffer.alloc(0), 'TYPE65280 \\# 0'],
    // What does not keep to the notation of its type
    [1, Buffer.of(1, 2, 3), 'A \\# 3 010203'],
    [28, Buffer.alloc(4), 'AAAA \\# 4 00000000'],
    [5, Buffer.of(0, 9), 'CNAME \\# 2 0009'],
    [15, Buffer.of(0), 'MX \\# 1 00'],
    [16, Buffer.of(9, 65), 'TXT \\# 2 0941'],
    [257, Buffer.of(0, 9, 65), 'CAA \\# 3 000941'],
    [6, own, 'SOA \\# 2 c00c'],
  ])('of type %i have the data %o as %s', (type, data, text) => {
    expect(answers({ type, data })).toEqual([`example.com 300 IN ${text}`]);
  });

  it('are addresses where they are', () => {
    const message = encodeResponse(query, [
      { type: 1, data: Buffer.of(192, 0, 2, 1) },
      { type: 5, data: own },
      { type: 1, data: Buffer.of(1) },
      { type: 28, data: Buffer.alloc(16) },
    ]);
    expect(dnsAddresses(message.toString('latin1'))).toEqual(['192.0.2.1', '::']);
  });

  it('end where the message is cut', () => {
    const record = { type: 1, data: Buffer.of(192, 0, 2, 1) };
    const message = encodeResponse(query, [record, record, record]);
    for (let length = 0; length < message.length; length++)
      expect(texts(message.subarray(0, length))).toHaveLength(Math.max(0, Math.floor((length - query.length) / 16)));
  });

  it.each<[what: string, name: Buffer]>([
    ['leads to itself', numbers(0xc000 | (query.length + 16))],
    ['leads forward', numbers(0xc000 | (query.length + 28))],
    ['leads behind the end', numbers(0xffff)],
    ['has a label of a kind that there is not', Buffer.of(0x80, 0)],
    ['is cut in a pointer', Buffer.of(0xc0)],
  ])('end at a name that %s', (_what, name) => {
    const good = { type: 1, data: Buffer.of(192, 0, 2, 1) };
    expect(answers(good, { ...good, name }, good)).toHaveLength(1);
  });

  it('end at a name that grows by pointers beyond 255 bytes', () => {
    const long = Buffer.concat(Array.from({ length: 3 }, () => Buffer.concat([Buffer.of(63), Buffer.alloc(63, 'x')])));
    const name = Buffer.concat([Buffer.of(63), Buffer.alloc(63, 'y'), own]);
    const asked = encodeQuery(1, Buffer.concat([long, Buffer.of(0)]));
    const record = { type: 1, data: Buffer.alloc(4) };
    expect(texts(encodeResponse(asked, [record, { ...record, name }]))).toHaveLength(1);
  });

  it('never throw, and are no more than there can be', () => {
    const header = numbers(1, 0x8180, 1, 0xffff, 0, 0);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, started) => {
        const message = started ? Buffer.concat([header, bytes]) : Buffer.from(bytes);
        expect(texts(message).length).toBeLessThanOrEqual(message.length / 11);
      }),
      { numRuns: 2000 },
    );
  });

  describe('of a message made to be slow', () => {
    const MOST_TEXT = 16 * 1024;
    const addresses = (message: Buffer) => dnsAddresses(message.toString('latin1'));
    const sizeOf = (lines: readonly string[]) => lines.reduce((size, { length }) => size + length, 0);
    const one = Buffer.of(192, 0, 2, 1);

    it.each([
      [
        'of unprintable bytes',
        [63, 63, 63, 61].map((length) => Buffer.concat([Buffer.of(length), Buffer.alloc(length)])),
      ],
      ['of 126 labels', Array.from({ length: 126 }, () => Buffer.of(1, 0))],
    ])('have 16 KiB of text at most, with pointers at one name %s', (_what, labels) => {
      const asked = encodeQuery(1, Buffer.concat([...labels, Buffer.of(0)]));
      const cname = { type: 5, data: own };
      const message = encodeResponse(asked, [
        ...Array.from({ length: 200 }, () => cname),
        { type: 1, data: one },
      ]).subarray(0, 4096);
      // Two of them are whole: what ends the list of 200 is its size.
      expect(texts(encodeResponse(asked, [cname, cname]))).toHaveLength(2);
      const size = sizeOf(texts(message));
      expect(size).toBeLessThanOrEqual(MOST_TEXT);
      expect(size).toBeGreaterThan(MOST_TEXT - 4096);
      // This list is not ended by names.
      expect(addresses(message)).toEqual(['192.0.2.1']);
    });

    it('end at a name with more than 16 pointers', () => {
      // Behind the question each is a record whose name is the name before, by one pointer more.
      const start = query.length;
      const chain = Array.from({ length: 250 }, (_, i) => ({
        type: 1,
        name: numbers(0xc000 | (i === 0 ? 12 : start + 16 * (i - 1))),
        data: one,
      }));
      const message = encodeResponse(query, chain);
      expect(texts(message)).toHaveLength(16);
      expect(addresses(message)).toHaveLength(16);
    });

    it('follow no chain of 900 pointers in the data of each of the others', () => {
      const start = query.length + 12;
      const links = Array.from({ length: 900 }, (_, i) => numbers(0xc000 | (i === 0 ? 12 : start + 2 * (i - 1))));
      const last = numbers(0xc000 | (start + 2 * 899));
      const message = encodeResponse(query, [
        { type: 65280, data: Buffer.concat(links) },
        ...Array.from({ length: 100 }, () => ({ type: 5, data: last })),
        { type: 5, data: numbers(0xc000 | (start + 2 * 14)) },
        { type: 5, data: numbers(0xc000 | (start + 2 * 15)) },
      ]);
      const data = texts(message).map((text) => text.replace(/^.* /, ''));
      expect(data.slice(1, 101)).toEqual(Array.from({ length: 100 }, () => last.toString('hex')));
      expect(data.slice(101)).toEqual(['example.com', numbers(0xc000 | (start + 2 * 15)).toString('hex')]);
    });
  });
});
