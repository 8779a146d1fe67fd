import * as fc from 'fast-check';
import { graphqlSync, parseValue } from 'graphql';
import { describe, expect, it } from 'vitest';
import { scalars } from './scalars.js';
import { formatDuration, parseDuration } from '../../base/duration.js';
import { contractSchema } from './schema.js';

const read = (name: keyof typeof scalars, value: unknown): unknown =>
  (scalars[name]['__parseValue'] as (value: unknown) => unknown)(value);

describe('Duration', () => {
  it.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['250us', 0.25],
    ['1ns', 1e-6],
    ['0s', 0],
  ])('reads %s as %d ms', (text, ms) => {
    expect(read('Duration', text)).toBe(ms);
  });

  it.each(['', '10', '1.5s', '-1s', '10 s', '10S', 's', '1d', 10, null, {}, '9'.repeat(20) + 's'])(
    'refuses %j and says what is right',
    (value) => {
      expect(() => read('Duration', value)).toThrow(
        'write a whole number and one of the units ns, us, ms, s, m, h, for example "500ms"',
      );
    },
  );

  it('writes what it reads', () => {
    fc.assert(
      fc.property(fc.nat(10_000_000), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });
});

describe('DateTime', () => {
  it.each([
    ['2026-01-31T08:15:30Z', '2026-01-31T08:15:30.000000000Z'],
    ['2026-01-31T08:15:30.5Z', '2026-01-31T08:15:30.500000000Z'],
    ['2026-01-31T08:15:30.123456789+02:00', '2026-01-31T06:15:30.123456789Z'],
  ])('reads %s as %s', (text, expected) => expect(read('DateTime', text)).toBe(expected));

  it.each(['2026-02-31T00:00:00Z', '2026-01-31', 'yesterday', '2026-01-31T25:00:00Z', '2026-01-31T08:15:30', 0])(
    'refuses %j',
    (value) => {
      expect(() => read('DateTime', value)).toThrow('write RFC 3339');
    },
  );
});

describe('UInt64', () => {
  it('reads the whole range, without leading zeros', () => {
    expect(read('UInt64', '18446744073709551615')).toBe('18446744073709551615');
    expect(read('UInt64', '007')).toBe('7');
    expect(read('UInt64', 42)).toBe('42');
  });

  it.each(['18446744073709551616', '-1', '1.5', '', 2 ** 60, -1])('refuses %j', (value) =>
    expect(() => read('UInt64', value)).toThrow('write a decimal number from 0 to 18446744073709551615'),
  );
});

it('reads a literal as it reads a variable, and keeps the schema’s description', () => {
  const literal = scalars.Duration['__parseLiteral'] as (node: unknown) => unknown;
  expect(literal(parseValue('"3s"'))).toBe(3000);
  expect(() => literal(parseValue('3'))).toThrow('did you mean "3s"?');
  expect(() => literal(parseValue('[1]'))).toThrow('write a string');
  const { data } = graphqlSync({ schema: contractSchema(), source: '{ __type(name: "Duration") { description } }' });
  expect(data).toMatchObject({ __type: { description: expect.stringContaining('"500ms", "10s" or "5m"') } });
});
