import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resultText } from './result-text.js';
import { finish, inTurns } from '../../base/turn.js';

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
          expect(JSON.parse(finish(resultText(result as never)))).toEqual(JSON.parse(JSON.stringify(result)));
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
    expect(text).toBe(JSON.stringify({ data: { nodes } }));
    expect(ticks).toBeGreaterThan(2);
  });
});
