import fc from 'fast-check';

/** Values that break careless readers: numbers that no date has, names that objects have anyway, depth, size. */
const sharp = fc.constantFrom<unknown>(
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  253402300800,
  1.795463882687352e18,
  '',
  '__proto__',
  'constructor',
  '9'.repeat(400),
  '2026-13-45T99:99:99+02:00',
  '\u0000',
  '\ud800',
  [],
  {},
  [null],
  { length: -1 },
  JSON.parse('{"__proto__":{"polluted":1},"toString":null}'),
);

/** Any JSON. */
export const hostileJson: fc.Arbitrary<unknown> = fc.oneof(sharp, fc.jsonValue({ maxDepth: 4 }));

/** A sound value with something else in one to three places. */
export function mutated(sound: unknown): fc.Arbitrary<unknown> {
  return fc
    .array(fc.tuple(fc.nat(), fc.oneof(sharp, fc.jsonValue({ maxDepth: 2 }), fc.constant(undefined))), {
      minLength: 1,
      maxLength: 3,
    })
    .map((changes) =>
      changes.reduce<unknown>(
        (value, [place, other]) => replaced(value, place % Math.max(1, placesOf(value)), other),
        structuredClone(sound),
      ),
    );
}

function placesOf(value: unknown): number {
  return typeof value === 'object' && value !== null
    ? Object.values(value).reduce<number>((sum, inner) => sum + placesOf(inner), 1)
    : 1;
}

/** `undefined` takes the place away. */
function replaced(value: unknown, place: number, other: unknown): unknown {
  if (place === 0) return other;
  if (typeof value !== 'object' || value === null) return value;
  let left = place - 1;
  const entries = Object.entries(value).map(([key, inner]): [string, unknown] => {
    const size = placesOf(inner);
    const here = left >= 0 && left < size;
    const result = here ? replaced(inner, left, other) : inner;
    left -= size;
    return [key, result];
  });
  return Array.isArray(value) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries);
}
