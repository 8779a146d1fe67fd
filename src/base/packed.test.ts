import fc from 'fast-check';
import { expect, it } from 'vitest';
import { pack, unpack } from './packed.js';
import { finish } from './turn.js';

const entry = fc.record({ path: fc.string(), comms: fc.array(fc.string()), count: fc.nat(), none: fc.constant(null) });
const list = fc.tuple(entry, fc.nat(1000)).map(([one, length]) => Array.from({ length }, (_, i) => ({ ...one, i })));

it('comes back as it was', () => {
  const value = fc.record({ list, empty: fc.constant([]), inside: fc.record({ list, none: fc.constant({}) }) });
  fc.assert(
    fc.property(
      fc.oneof(
        value,
        list,
        fc.jsonValue().map((each) => ({ each })),
      ),
      (given) => {
        expect(finish(unpack(finish(pack(given))))).toEqual(JSON.parse(JSON.stringify(given)));
      },
    ),
    { numRuns: 50 },
  );
});

it('has members of any name', () => {
  const given: unknown = JSON.parse(
    '{"__proto__":{"__proto__":[1],"toJSON":"x"},"constructor":[[],[[2]]],"at":"\\ud800"}',
  );
  const back = finish(unpack(finish(pack({ given }))));
  expect(JSON.stringify(back)).toBe(JSON.stringify({ given }));
});

it('is written and read in many pieces', () => {
  const paths = Array.from({ length: 20_000 }, (_, i) => ({ path: `/${i}`, comms: ['x'] }));
  const packed = finish(pack({ observation: { paths } }));
  const work = unpack(packed);
  let pieces = 0;
  while (!work.next().done) pieces += 1;
  expect(pieces).toBeGreaterThan(70);
  expect(Math.max(...packed.map(({ length }) => length))).toBeLessThan(64 << 10);
});

it.each<readonly [string, object]>([
  ['in lists of lists', [[Array.from({ length: 20_000 }, (_, i) => ({ i }))], [], [[1]]]],
  [
    'in lists of objects',
    [{ a: 1, of: Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, {}])) }, 2],
  ],
  [
    'in an object of a long name',
    { ['n'.repeat(20_000)]: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`k${i}`, i])) },
  ],
  ['in "__proto__"', JSON.parse(`{"__proto__":[{"__proto__":[${'1,'.repeat(20_000)}2]}]}`) as object],
  ['in texts', [Array.from({ length: 2000 }, (_, i) => `${i}${'x'.repeat(200)}`)]],
])('is in small pieces whatever it is in: %s', (_where, given) => {
  const packed = finish(pack(given));
  expect(JSON.stringify(finish(unpack(packed)))).toBe(JSON.stringify(given));
  expect(Math.max(...packed.map(({ length }) => length))).toBeLessThan(64 << 10);
  expect(packed.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(4 << 20);
});
