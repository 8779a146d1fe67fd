import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOfText, textOfBytes } from './bytes.js';
import { decode } from '../btf/decode.js';
import { JsonBytes, write } from '../record/json/bytes.js';
import { holdsFor } from '../../test/support/property.js';

const piece = fc
  .constantFrom('\\', 'x', '\\x5c', '\\xff', '5c', 'ff', '80', 'é', '☃', '😀', '\uFEFF', '\uFFFD', 'a')
  .map((text) => Buffer.from(text));
const broken = fc
  .constantFrom(
    [0xff],
    [0x80],
    [0xc3],
    [0xe2, 0x82],
    [0xed, 0xa0, 0x80],
    [0xf0, 0x9f],
    [0xc0, 0xaf],
    [0xf4, 0x90, 0x80, 0x80],
    [0],
  )
  .map((bytes) => Buffer.from(bytes));
/** Names: bytes of any kind, and those that the rule is about. */
const name = fc.oneof(
  fc.uint8Array({ maxLength: 80 }),
  fc.array(fc.oneof(piece, broken), { maxLength: 12 }).map((parts) => new Uint8Array(Buffer.concat(parts))),
);

describe('the text of a name', () => {
  it.each([
    [[0x61, 0xff], 'a\\xff'],
    [[0xef, 0xbb, 0xbf, 0x61], '\uFEFFa'],
    [[0xe2, 0x82], '\\xe2\\x82'],
    [[...Buffer.from('\\xff')], '\\x5cxff'],
    [[...Buffer.from('\\x5c')], '\\x5cx5c'],
    [[...Buffer.from('C:\\x\\y\\xFF \\x7f')], 'C:\\x\\y\\xFF \\x7f'],
    [[0x5c, 0xff], '\\\\xff'],
    [[...Buffer.from('\uFFFD')], '\uFFFD'],
  ])('%j is %j', (bytes, text) => {
    expect(textOfBytes(Uint8Array.from(bytes))).toBe(text);
    expect(bytesOfText(text)).toEqual(Buffer.from(bytes));
  });

  it('leads back to its bytes, whatever they are, so that no two names have one text', async () => {
    await holdsFor(
      fc.property(name, (bytes) => {
        const text = textOfBytes(bytes);
        expect([...(bytesOfText(text) ?? [])]).toEqual([...bytes]);
        expect(text).not.toMatch(/\p{Surrogate}/u);
      }),
    );
  });

  it('is what UTF-8 says where it says something, but for what looks like an escape', async () => {
    await holdsFor(
      fc.property(
        fc.string({ unit: 'binary' }).filter((text) => !/\\x|\p{Surrogate}/u.test(text)),
        (text) => void expect(textOfBytes(Buffer.from(text))).toBe(text),
      ),
    );
  });

  it.each(['\\xc3\\xa9', '\\x5c', '\\x5cx7f', 'a\ud800', '\\xef\\xbb\\xbf'])(
    'is never %j: no name has this text',
    (text) => expect(bytesOfText(text)).toBeNull(),
  );

  it('is the same by every way that leads to a client', async () => {
    await holdsFor(
      fc.property(
        name.filter((bytes) => !bytes.includes(0)),
        (bytes) => {
          const text = textOfBytes(bytes);
          const record = new Uint8Array(4 + bytes.length);
          record.set(bytes, 4);
          expect(decode.text(record, 0, (bytes.length << 16) | 4)).toBe(text);
          expect(decode.chars(record, 4, bytes.length)).toBe(text);
          expect(decode.texts(record, 0, (bytes.length << 16) | 4)).toEqual(bytes.length ? [text] : []);
          const out = new JsonBytes(8 + 6 * bytes.length);
          const end = write.text(out, 0, record, 4, record.length);
          expect(JSON.parse(out.bytes.toString('latin1', 0, end))).toBe(text);
        },
      ),
    );
  });
});
