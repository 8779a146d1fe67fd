import * as fc from 'fast-check';
import { RE2JS } from 're2js';
import { describe, expect, it } from 'vitest';
import {
  compileCidr,
  compileGlob,
  compileRegex,
  MAX_PROGRAM,
  normaliseAddress,
  normaliseCidr,
  plainGlob,
  plainRegex,
} from './pattern.js';

const fail = (message: string): never => {
  throw new Error(message);
};

function matchesPlain([op, value]: NonNullable<ReturnType<typeof plainGlob>>, text: string): boolean {
  if (op === 'isNull') return true;
  return op === 'eq'
    ? text === value
    : op === 'prefix'
      ? text.startsWith(value)
      : op === 'suffix'
        ? text.endsWith(value)
        : text.includes(value);
}

describe('a plain pattern', () => {
  it.each([
    ['/etc/*', ['prefix', '/etc/']],
    ['*.so', ['suffix', '.so']],
    ['*x*', ['contains', 'x']],
    ['x', ['eq', 'x']],
    ['***', ['isNull', false]],
    ['a*b', null],
    ['a?', null],
    ['\\*', null],
    ['[a]', null],
  ])('glob %s', (glob, plain) => expect(plainGlob(glob)).toEqual(plain));

  it.each([
    ['^/etc/', ['prefix', '/etc/']],
    ['\\.so$', ['suffix', '.so']],
    ['etc', ['contains', 'etc']],
    ['^a\\/b$', ['eq', 'a/b']],
    ['^$', ['eq', '']],
    ['^', ['isNull', false]],
    ['a.b', null],
    ['a|b', null],
    ['(?i)a', null],
    ['a\\d', null],
    ['a\\$', null],
    ['\\bfoo', null],
    ['a{2}', null],
    ['[a]', null],
  ])('regex %s', (source, plain) => expect(plainRegex(source)).toEqual(plain));

  it('means what the automaton says', () => {
    const source = fc
      .array(fc.constantFrom('^', '$', 'a', 'b', '/', '\\.', '\\$', '\\/', '.', '*', '?', '|'), { maxLength: 6 })
      .map((list) => list.join(''));
    const text = fc
      .array(fc.constantFrom('a', 'b', '/', '.', '$', '\n'), { maxLength: 5 })
      .map((list) => list.join(''));
    fc.assert(
      fc.property(source, text, (pattern, subject) => {
        const plain = plainRegex(pattern);
        if (plain) expect(compileRegex(pattern, fail)(subject)).toBe(matchesPlain(plain, subject));
        const glob = plainGlob(pattern);
        if (glob && pattern !== '') expect(compileGlob(pattern, fail)(subject)).toBe(matchesPlain(glob, subject));
      }),
      { numRuns: 5000 },
    );
  });
});

describe('a regular expression', () => {
  it('is of an engine that cannot backtrack: it refuses what needs to', () => {
    for (const source of ['(a)\\1', '(?=a)', '(?!a)', '(?<=a)b', '(?<!a)b', '(?>a)', 'a++'])
      expect(() => compileRegex(source, fail)).toThrow('no RE2 regular expression');
  });

  it.each(['(a+)+$', '^(a|a)*$', '(a|aa)+$', '(.*a){12}$', '([a-z]+)*[A-Z]$', '^(([a-z])+.)+[A-Z]([a-z])+$'])(
    '%s takes a program, and so time a character, that does not grow with the text',
    (source) => {
      // A backtracking engine would take 2^100000 steps: that this ends at all is the point. The program is all that a character costs.
      expect(RE2JS.compile(source).programSize()).toBeLessThan(100);
      expect(compileRegex(source, fail)(`${'a'.repeat(100_000)}!`)).toBe(false);
    },
  );

  it('is bounded in its program', () => {
    expect(() => compileRegex('a{301}', fail)).toThrow(`at most ${MAX_PROGRAM} are allowed`);
    expect(() => compileRegex('((a{10}){10}){10}', fail)).toThrow(/instructions|repeat/);
    expect(compileRegex('[0-9a-f]{64}', fail)('0'.repeat(64))).toBe(true);
  });
});

describe('an address', () => {
  it.each([
    ['10.1.2.3', '10.1.2.3'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::FFFF:0a01:0203', '10.1.2.3'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['::', '::'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
  ])('%s is %s', (text, normal) => expect(normaliseAddress(text, fail)).toBe(normal));

  it.each([
    '',
    '1',
    '10.1.2',
    '256.1.1.1',
    '0x7f.0.0.1',
    '010.0.0.1',
    ':::',
    'g::',
    'fe80::1%lo',
    '1.2.3.4/8',
    'localhost',
  ])('%j is none', (text) => expect(() => normaliseAddress(text, fail)).toThrow('is no IP address'));
});

describe('a network', () => {
  it.each([
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.0.0.0/9', '10.128.0.0', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['1.2.3.4/32', '1.2.3.4', true],
    ['1.2.3.4/32', '1.2.3.5', false],
    ['1.2.3.4/31', '1.2.3.5', true],
    ['::/0', '::1', true],
    ['::/0', '1.2.3.4', false],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['2001:db8::/33', '2001:db8:7fff::1', true],
    ['::ffff:10.0.0.0/104', '10.1.2.3', true],
    ['::ffff:0:0/96', '1.2.3.4', true],
    ['10.0.0.0/8', 'nonsense', false],
  ])('%s has %s: %s', (cidr, address, expected) => {
    const contains = compileCidr(cidr, fail);
    expect(contains(address)).toBe(expected);
    expect(contains(address)).toBe(expected); // remembered
  });

  it('is written in one way', () => {
    expect(normaliseCidr('::FFFF:10.0.0.0/104', fail)).toBe('10.0.0.0/8');
    expect(normaliseCidr('2001:0DB8::/32', fail)).toBe('2001:db8::/32');
  });

  it('remembers no more addresses than it must', () => {
    const contains = compileCidr('10.0.0.0/8', fail);
    for (let i = 0; i < 20_000; i++) expect(contains(`10.${i >> 8}.${i & 255}.1`)).toBe(i >> 8 < 256);
  });
});
