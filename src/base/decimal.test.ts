import fc from 'fast-check';
import { GraphQLError, parseValue, type GraphQLScalarType } from 'graphql';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { decimal, thousandths } from './decimal.js';

const schema = contractSchema();
const scalar = (name: string): GraphQLScalarType => schema.getType(name) as GraphQLScalarType;

describe('a number that is told', () => {
  it('has no digits that binary arithmetic made', () => {
    expect(decimal(6e10 * 1e-9)).toBe(60);
    expect(decimal(0.1 + 0.2)).toBe(0.3);
    expect(decimal(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: -9, max: 9 }),
        (n, exponent) => void expect(decimal(n * 10 ** exponent)).toBe(Number(`${n}e${exponent}`)),
      ),
    );
  });

  it('of a measured time has at most three digits behind the point', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e9, noNaN: true }),
        (ms) => void expect(String(thousandths(ms))).toMatch(/^\d+(\.\d{1,3})?$/),
      ),
    );
  });

  it.each([
    ['UInt64', 0.5],
    ['UInt64', -1],
    ['UInt64', Number.NaN],
    ['UInt64', 1e21],
    ['Int64', 1.5],
    ['UInt32', 0.5],
    ['UInt32', 2 ** 32],
  ])('is an error, not a %s, when it is %d', (name, value) => {
    expect(() => scalar(name).serialize(value)).toThrow();
  });

  it.each([
    ['UInt64', 2 ** 63, '9223372036854775808'],
    ['Int64', -5, '-5'],
  ])('of the type %s is written in digits: %d', (name, value, text) =>
    expect(scalar(name).serialize(value)).toBe(text),
  );

  it.each([
    ['UInt64', '18446744073709551615'],
    ['UInt64', '9007199254740993'],
    ['Int64', '-9223372036854775808'],
  ])('of the type %s keeps all digits of the literal %s', (name, digits) => {
    expect(scalar(name).parseLiteral(parseValue(digits))).toBe(digits);
    expect(() => scalar(name).parseLiteral(parseValue('99999999999999999999'))).toThrow(GraphQLError);
  });
});
