import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGlob } from './glob.js';

const fail = (message: string): never => {
  throw new Error(message);
};

describe('a glob', () => {
  it.each([
    ['*', '', true],
    ['*', 'a/b', true],
    ['a*', 'a', true],
    ['*b', 'ab', true],
    ['a*c', 'abc', true],
    ['a*c', 'abcd', false],
    ['/etc/*', '/etc/a/b', true],
    ['**', 'x', true],
    ['?', 'a', true],
    ['?', '', false],
    ['?', 'ab', false],
    ['?', '/', true],
    ['?', '😀', true],
    ['?', '\n', true],
    ['a.b', 'axb', false],
    ['a+b', 'aab', false],
    ['(a)', '(a)', true],
    ['+(a|b)', 'a', false],
    ['!a', 'b', false],
    ['^a$', '^a$', true],
    ['[a-c]', 'b', true],
    ['[a-c]', 'd', false],
    ['[a-cx-z]', 'y', true],
    ['[!a-c]', 'd', true],
    ['[^a-c]', 'b', false],
    ['[a-]', '-', true],
    ['[-a]', '-', true],
    ['[]]', ']', true],
    ['[!]]', ']', false],
    ['[a]]', 'a]', true],
    ['[a&&b]', '&', true],
    ['[\\d]', 'd', true],
    ['[\\d]', '\\', true],
    ['[😀-😂]', '😁', true],
    ['[[:alpha:]]', 'a:]', false],
    ['{a,bc}', 'bc', true],
    ['{a,bc}', 'b', false],
    ['{a}', 'a', true],
    ['{a,{b,c}d}', 'cd', true],
    ['{,a}', '', true],
    ['{a,b*}c*', 'bxcy', true],
    ['{a*,*}*b', 'a', false],
    ['{*,a}{*,b}', 'xyz', true],
    ['a,b', 'a,b', true],
    ['a}', 'a}', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['\\**', '*a', true],
    ['\\{a,b}', '{a,b}', true],
    ['ä*', 'äx', true],
    ['Nginx', 'nginx', false],
    ['', '', true],
    ['', 'a', false],
  ])('%s on %j is %s', (glob, text, expected) => {
    const matches = compileGlob(glob, fail);
    expect([matches(text), matches(text)]).toEqual([expected, expected]);
  });

  it.each([
    ['a[b', '"a[b" has a [ without its ]; write \\[ for the character'],
    ['[]', '"[]" has a [ without its ]; write \\[ for the character'],
    ['a{b,{c}', '"a{b,{c}" has a { without its }; write \\{ for the character'],
    ['a\\', '"a\\" ends with a \\ that takes nothing; write \\\\ for a backslash'],
    ['[c-a]', '"[c-a]" has the range c-a, which is empty; write a-c'],
  ])('%s is none', (glob, message) => {
    expect(() => compileGlob(glob, fail)).toThrow(message);
  });

  it('matches what a plain definition of it says', () => {
    const glob = fc.array(fc.constantFrom('a', 'b', '*', '?', '[ab]', '[!a]', '{', ',', '}', '\\*'), { maxLength: 9 });
    const text = fc.array(fc.constantFrom('a', 'b', '*', ','), { maxLength: 7 }).map((list) => list.join(''));
    fc.assert(
      fc.property(glob, text, (parts, subject) => {
        const source = parts.join('');
        let matches;
        try {
          matches = compileGlob(source, fail);
        } catch {
          return; // a brace is open
        }
        expect(matches(subject)).toBe(alternatives(parts).some((each) => defined(each, subject)));
      }),
      { numRuns: 10_000 },
    );
  });

  it.each([
    '*?*?*?*?*?*?*?*!',
    '*a*a*a*a*a*a*a*b',
    '{a,aa}'.repeat(42),
    `${'{*,'.repeat(60)}b${'}'.repeat(60)}*b`,
    `${'*a'.repeat(128)}b`,
    `*a${'?'.repeat(253)}b`,
  ])('%s takes time that is linear in the text', (glob) => {
    // Backtracking would take some 100000^8 steps: that this ends at all is the point.
    expect(compileGlob(glob, fail)(`${'a'.repeat(100_000)}c`)).toBe(false);
  });
});

/** All that a glob in parts stands for, without its braces. */
function alternatives(parts: readonly string[]): readonly (readonly string[])[] {
  const close = parts.findIndex((part, i) => part === '}' && parts.slice(0, i).includes('{'));
  if (close < 0) return [parts];
  const open = parts.lastIndexOf('{', close);
  const choices: string[][] = [[]];
  for (const part of parts.slice(open + 1, close)) {
    if (part === ',') choices.push([]);
    else choices.at(-1)?.push(part);
  }
  // A comma of an outer pair stays one: the innermost pair goes first.
  return choices.flatMap((choice) => alternatives([...parts.slice(0, open), ...choice, ...parts.slice(close + 1)]));
}

function defined([part, ...rest]: readonly string[], text: string): boolean {
  if (part === undefined) return text === '';
  if (part === '*') return defined(rest, text) || (text !== '' && defined([part, ...rest], text.slice(1)));
  const one = part === '?' || (part === '[ab]' ? /^[ab]/ : part === '[!a]' ? /^[^a]/ : null)?.test(text);
  return text !== '' && (one ?? part.replace('\\', '') === text[0]) && defined(rest, text.slice(1));
}
