import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { describe, expect, it } from 'vitest';
import { root } from './paths.js';
import { finish } from './turn.js';
import { composingYaml, parsingYaml } from './yaml.js';

const folded = `a: >-\n  ${'some words of a long text '.repeat(80)}\n\n  more\nb: |\n${'  line é 🐧\n'.repeat(150)}`;
const quoted = `a: "${'x \\u00e9 '.repeat(300)}"\nb: '${"it''s ".repeat(300)}'\nc: {d: [${'e, '.repeat(500)}f]} # ${'g'.repeat(2000)}\n`;
const anchors = `a: &one [${'1, '.repeat(400)}2]\nb: *one\r\nc: !!str 7\n`;

describe('a YAML document that is parsed in pieces', () => {
  const rules = join(root, 'rules');
  const files = readdirSync(rules).map((name) => [name, readFileSync(join(rules, name), 'utf8')] as const);

  it.each<readonly [string, string]>([
    ...files,
    ['folded', folded],
    ['quoted', quoted],
    ['anchors', anchors],
    ['empty', ''],
    ['comment', '# x'],
  ])('is what the library makes of it as a whole: %s', (_name, text) => {
    const counted = new LineCounter();
    const whole = parseDocument(text, { lineCounter: counted });
    const lines = new LineCounter();
    const { documents } = finish(composingYaml(text, lines));
    expect(documents.map(({ range }) => range)).toEqual([whole.range]);
    expect(lines.lineStarts).toEqual(counted.lineStarts);
    expect(finish(parsingYaml(text))).toMatchObject({ value: whole.toJS() as unknown, errors: [] });
  });

  it.each([
    ['a: [1, 2\nb: 3\n', 2],
    ['a: "open', 1],
    ['\ta: 1', 1],
    [`a: ${'['.repeat(100)}`, 1],
    ['a: !nothing 1', 1],
    ['- a\nb: 1', 1],
  ])('has the errors of the library: %j', (text) => {
    const whole = parseDocument(text, { prettyErrors: false });
    const { errors } = finish(parsingYaml(text));
    expect(errors).toEqual(
      [...whole.errors, ...whole.warnings].map(({ pos: [at], message }) => ({ at, message: message.trimEnd() })),
    );
    expect(errors.length).toBeGreaterThan(0);
  });

  it('has each key once, however many there are', () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}: 1\n`).join('');
    const { errors } = finish(parsingYaml(`${keys}k7: 2\nk9: {a: 1, b: 2, a: 3}\n`));
    expect(errors.map(({ at }) => at - keys.length)).toEqual([0, 6, 23]);
  });

  it.each([
    ['a: !!timestamp 2001-12-14', 'is no text, number, true, false or null'],
    ['%YAML 1.1\n---\na: 2001-12-14', 'is no text, number, true, false or null'],
    ['a: !!binary aGVsbG8=', 'is no text, number, true, false or null'],
    ['a: !!merge x', 'is no text, number, true, false or null'],
    ['a: !!set {x, y}', 'is no list or mapping'],
    ['a: !!omap [x: 1]', 'is no list or mapping'],
    ['a: !!pairs [x: 1]', 'is no list or mapping'],
    ['a: .nan', 'is no finite number'],
    ['&a [*a]', 'has an alias within what it stands for'],
    ['a: &a {b: [*a]}', 'has an alias within what it stands for'],
    [`a: &a [${'b,'.repeat(100_000)}]\nb: [${'*a,'.repeat(20)}]`, 'its aliases make it larger by more than 1 MiB'],
    [`a: &a ${'b'.repeat(100_000)}\nb: [${'*a ,'.repeat(20)}]`, 'its aliases make it larger by more than 1 MiB'],
  ])('is refused where JSON does not have it, or not in that size: %.40j', (text, message) => {
    expect(finish(parsingYaml(text)).errors).toEqual([{ at: expect.any(Number) as number, message }]);
  });

  it('has what an explicit tag of JSON says', () => {
    const { value, errors } = finish(
      parsingYaml('a: !!str 1\nb: !!map {c: !!seq [!!int "2", !!bool true, !!null ""]}'),
    );
    expect({ value, errors }).toEqual({ value: { a: '1', b: { c: [2, true, null] } }, errors: [] });
  });

  it('is refused where it is nested without end', () => {
    for (const text of [`a: ${'['.repeat(100_000)}`, `${'- '.repeat(100_000)}a`, `${'{a: '.repeat(50_000)}`]) {
      const { errors } = finish(parsingYaml(text));
      expect(errors.map(({ message }) => message)).toEqual(['is nested in more than 200 levels']);
    }
  });

  it('has the place of each value and key, whatever they are called', () => {
    const text = 'a: [1, {b: x}]\n__proto__: {constructor: 2}\nlast:\n';
    const { value, place } = finish(parsingYaml(text));
    expect(Object.keys(value as object)).toEqual(['a', '__proto__', 'last']);
    expect(JSON.stringify(place)).toBe(
      '{"at":0,"keys":{"a":0,"__proto__":15,"last":43},"of":{"a":{"at":3,"of":[{"at":4},{"at":7,"keys":{"b":8},"of":{"b":{"at":11}}}]},' +
        '"__proto__":{"at":26,"keys":{"constructor":27},"of":{"constructor":{"at":40}}},"last":{"at":48}}}',
    );
  });

  it('has no second document', () => {
    const { errors } = finish(parsingYaml('a: 1\n---\nb: 2\n'));
    expect(errors.map(({ message }) => message)).toEqual(['has a second document; give each a file of its own']);
  });

  it('lets others have their turns', () => {
    const text = Array.from({ length: 5000 }, (_, i) => `b${i}: [some, words]\n`).join('');
    let pieces = 0;
    for (const work = parsingYaml(text); !work.next().done;) pieces++;
    expect(pieces).toBeGreaterThan(100);
  });
});
