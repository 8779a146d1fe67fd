import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { extension, hello, sized, u16 } from '../../test/support/client-hello.js';
import { isEncrypted, ja4, parseClientHello, tlsVersionName, type ClientHello } from './client-hello.js';

const parse = (bytes: Buffer) => parseClientHello(bytes.toString('latin1'));
const of = (parts: Partial<ClientHello>): ClientHello => ({
  version: 0x0304,
  ciphers: [],
  extensions: [],
  alpn: [],
  signatures: [],
  ...parts,
});
const hexes = (list: string) => list.split(',').map((text) => Number.parseInt(text, 16));

describe('a ClientHello', () => {
  it('has what it offers', () => {
    const extensions = Buffer.concat([
      extension(0, sized(Buffer.concat([Buffer.of(0), sized(Buffer.from('a.example'))]))),
      extension(16, sized(Buffer.from('\x02h2\x08http/1.1'))),
      extension(13, sized(u16(0x0403, 0x0804))),
      extension(43, Buffer.concat([Buffer.of(6), u16(0x3a3a, 0x0304, 0x0303)])),
      extension(0xfe0d, Buffer.alloc(3)),
    ]);
    const found = parse(hello([0x1301, 0x1302], extensions));
    expect(found).toEqual({
      version: 0x0304,
      ciphers: [0x1301, 0x1302],
      extensions: [0, 16, 13, 43, 0xfe0d],
      alpn: ['h2', 'http/1.1'],
      signatures: [0x0403, 0x0804],
    });
    expect(found && isEncrypted(found)).toBe(true);
  });

  it('of an old client has no extensions', () => {
    expect(parse(hello([0x0005], null, 0x0301))).toEqual(of({ version: 0x0301, ciphers: [5] }));
  });

  it('that is cut, or of another kind, is none', () => {
    const whole = hello([1, 2], extension(16, sized(Buffer.from('\x02h2'))));
    expect(parse(whole)).not.toBeNull();
    for (let length = 0; length < whole.length; length++) expect(parse(whole.subarray(0, length))).toBeNull();
    expect(parse(Buffer.concat([Buffer.of(2), whole.subarray(1)]))).toBeNull();
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const found = parse(Buffer.concat([Buffer.of(1, 0), u16(bytes.length), bytes]));
        if (found) expect(ja4(found)).toMatch(/^t..[di]\d{4}..(_[0-9a-f]{12}){2}$/);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('JA4', () => {
  // The example of its specification.
  const example = of({
    ciphers: hexes('5a5a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035'),
    extensions: hexes('001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,caca'),
    alpn: ['h2'],
    signatures: hexes('0403,0804,0401,0503,0805,0501,0806,0601'),
  });

  it('is that of the specification, whatever the order and what is made up', () => {
    expect(ja4(example)).toBe('t13d1516h2_8daaf6152771_e5627efa2ab1');
    expect(
      ja4({ ...example, extensions: example.extensions.toReversed(), ciphers: example.ciphers.toReversed() }),
    ).toBe(ja4(example));
  });

  it('tells of what there is not', () => {
    expect(ja4(of({ version: 0x0303 }))).toBe('t12i000000_000000000000_000000000000');
    expect(ja4(of({ alpn: ['\xab'] }))).toMatch(/^t13i0000ab_/);
    expect(ja4(of({ alpn: ['http/1.1'], version: 9 }))).toMatch(/^t00i0000h1_/);
  });
});

it('names versions', () => {
  expect([0x0304, 0x0303, 0x0300, 0x7f1c].map(tlsVersionName)).toEqual(['TLS 1.3', 'TLS 1.2', 'SSL 3.0', '0x7f1c']);
});
