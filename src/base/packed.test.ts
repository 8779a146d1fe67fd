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
