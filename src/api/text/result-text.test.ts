import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteLength, resultText, type ResultText } from './result-text.js';
import { finish, inTurns } from '../../base/turn.js';

function joined(text: ResultText): string {
  return typeof text === 'string' ? text : Buffer.concat(text).toString();
}

describe('a result as text', () => {
  it('is what JSON.stringify makes of it', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.constant(null), fc.dictionary(fc.string(), fc.jsonValue())),
        fc.option(fc.jsonValue(), { nil: undefined }),
        fc.nat(200),
        (data, extensions, length) => {
          const list = Array.from({ length }, (_, i) => ({ i, text: `"${i}"`, none: null }));
          const result = { extensions, data: data && { ...data, list, nested: [[list.slice(0, 3)], { list }] } };
          expect(JSON.parse(joined(finish(resultText(result as never))))).toEqual(JSON.parse(JSON.stringify(result)));
        },
      ),
    );
    expect(finish(resultText({}))).toBe('{}');
    expect(finish(resultText({ data: null }))).toBe('{"data":null}');
  });

  it('lets timers in while a large one is made', async () => {
    const nodes = Array.from({ length: 250_000 }, (_, i) => ({
      path: `/some/path/${i}`,
      process: { pid: i, comm: 'comm' },
      time: '2026-01-01T00:00:00.000000000Z',
    }));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    const text = await inTurns(resultText({ data: { nodes } }));
    clearInterval(timer);
    expect(joined(text)).toBe(JSON.stringify({ data: { nodes } }));
    expect(ticks).toBeGreaterThan(2);
  });

  it('is made of parts, none of which is long, where it is long itself', () => {
    const entries = Array.from({ length: 20_000 }, (_, i) => ({ i, text: 'ä'.repeat(100) }));
    for (const data of [{ entries }, { deep: entries.slice(0, 60).map((entry) => ({ entry, entries })) }]) {
      const parts = finish(resultText({ data }));
      if (typeof parts === 'string') throw new Error('it is one text');
      expect(Math.max(...parts.map(({ length }) => length))).toBeLessThan(256 << 10);
      expect(parts.reduce((sum, { length }) => sum + length, 0)).toBe(Buffer.byteLength(JSON.stringify({ data })));
      expect(byteLength(parts)).toBe(Buffer.byteLength(JSON.stringify({ data })));
    }
    expect(finish(resultText({ data: { entries: entries.slice(0, 10) } }))).toBeTypeOf('string');
  });
});
