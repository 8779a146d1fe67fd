import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, isScalarType, isSpecifiedScalarType } from 'graphql';
import { describe, expect, it } from 'vitest';
import { root } from '../src/base/paths.js';
import { changesOf, checkContract, contractProblems, raisedVersion, releasedText } from './contract.mjs';

const before = `
  enum Colour { RED GREEN }
  input Filter { most: Int = 10 name: String }
  type Thing { name: String! size(unit: Colour = RED): Int! old: Int @deprecated(reason: "Since API 1.2: use \`size\`.") }
  type Query { things(where: Filter): [Thing!]! node(id: ID!): Thing }
`;

interface Change {
  readonly from?: string;
  readonly to?: string;
  readonly version: string;
  readonly released?: string;
  readonly changelog?: string;
}

/** The problems of the schema with a piece of it changed, against the one without the change. */
function problemsOf({ from = '', to = '', version, released = '0.1', changelog = '' }: Change): readonly string[] {
  const current = before.replace(from, to);
  if (from !== to) expect(current).not.toBe(before);
  return contractProblems({
    released: releasedText(before, released),
    current,
    version,
    changelog: `# Changelog\n\n## Unreleased\n\n${changelog}\n\n## 0.1\n\n- **Breaking:** \`Thing.name\` of long ago.\n`,
  });
}

const breaking: readonly (readonly [what: string, from: string, to: string, where: string])[] = [
  ['a field that is gone', 'name: String! size', 'size', 'Thing.name'],
  ['a field of another type', 'name: String!', 'name: Int!', 'Thing.name'],
  ['a field that became nullable', 'name: String!', 'name: String', 'Thing.name'],
  ['an argument that is gone', '(unit: Colour = RED)', '', 'Thing.size'],
  ['another default of an argument', 'unit: Colour = RED', 'unit: Colour = GREEN', 'Thing.size'],
  ['another default in an input', 'most: Int = 10', 'most: Int = 20', 'Filter.most'],
  ['a default that is gone', 'most: Int = 10', 'most: Int', 'Filter.most'],
  ['an argument that is required', 'node(id: ID!)', 'node(id: ID!, kind: Colour!)', 'Query.node'],
  ['a field of an input that is required', 'name: String }', 'name: String must: Int! }', 'Filter.must'],
  ['a value of an enum that is gone', 'RED GREEN', 'RED', 'Colour.GREEN'],
];

describe('what breaks clients', () => {
  it.each(breaking)('%s needs a version of its own and an entry in the changelog', (_what, from, to, where) => {
    const [first = '', second = '', ...more] = problemsOf({ from, to, version: '0.1' });
    expect(more).toEqual([]);
    expect(first).toContain(`Name \`${where}\` behind "**Breaking:**"`);
    expect(second).toContain('raise API_VERSION to 0.2');
    expect(problemsOf({ from, to, version: '0.2' })).toEqual([first]);
    const changelog = `- Other things.\n- Things are better. **Breaking:** \`${where}\` is not what it was.`;
    expect(problemsOf({ from, to, version: '0.2', changelog })).toEqual([]);
  });

  it('is not announced by an entry that does not say so, or by one of an earlier release', () => {
    const change = { from: 'name: String! size', to: 'size', version: '0.2' };
    expect(problemsOf({ ...change, changelog: '- `Thing.name` is gone.' })).toHaveLength(1);
    expect(problemsOf({ ...change, changelog: '- `Thing.name`, at last. **Breaking:** `Thing.size`.' })).toHaveLength(
      1,
    );
  });

  it('must have been deprecated in a release, and takes a major version, from 1.0 on', () => {
    const changelog = '- **Breaking:** `Thing.name` and `Thing.old` are gone.';
    const old = / old: Int.*/.exec(before)?.[0] ?? '';
    const released = '1.4';
    expect(problemsOf({ from: old, to: ' }', version: '2.0', released, changelog })).toEqual([]);
    expect(problemsOf({ from: old, to: ' }', version: '1.5', released, changelog })).toEqual([
      expect.stringContaining('raise API_VERSION to 2.0'),
    ]);
    expect(problemsOf({ from: 'name: String! size', to: 'size', version: '2.0', released, changelog })).toEqual([
      expect.stringContaining('`Thing.name` was not deprecated in API 1.4'),
    ]);
  });
});

it('what has changed is told once: as a break, and not as something new', () => {
  const now = before
    .replace('size(unit: Colour = RED): Int!', 'size(unit: Colour = RED): Int')
    .replace('RED GREEN', 'RED BLUE');
  expect(changesOf(before, now.replace('type Query {', 'type Query { more: Int '))).toEqual({
    breaking: ['GREEN was removed from enum type Colour.', 'Thing.size changed type from Int! to Int.'],
    added: ['Colour.BLUE', 'Query.more'],
  });
  expect(changesOf(before, before)).toEqual({ breaking: [], added: [] });
});

it('what is new takes a minor version', () => {
  const change = { from: 'type Thing {', to: 'type Thing { more: Int' };
  expect(problemsOf({ ...change, version: '1.4', released: '1.4' })).toEqual([
    expect.stringContaining('`Thing.more`): raise API_VERSION to 1.5'),
  ]);
  expect(problemsOf({ ...change, version: '1.5', released: '1.4' })).toEqual([]);
  expect(problemsOf({ version: '1.4', released: '1.4' })).toEqual([]);
});

it.each([
  ['0.1', '0.1', before, '0.1'],
  ['0.1', '0.1', before.replace('type Thing {', 'type Thing { more: Int'), '0.2'],
  ['0.1', '0.1', before.replace('name: String! size', 'size'), '0.2'],
  ['0.1', '0.3', before.replace('name: String! size', 'size'), '0.3'],
  ['0.1', '1.0', before, '1.0'],
  ['1.4', '1.4', before, '1.4'],
  ['1.4', '1.4', before.replace('type Thing {', 'type Thing { more: Int'), '1.5'],
  ['1.4', '1.5', before.replace('name: String! size', 'size'), '2.0'],
  ['1.4', '2.0', before.replace('name: String! size', 'size'), '2.0'],
])('after API %s, the set-up raises %s no further than the schema needs', (released, version, current, expected) => {
  const text = releasedText(before, released);
  expect(raisedVersion({ released: text, current, version })).toBe(expected);
  const problems = contractProblems({ released: text, current, version: expected, changelog: '' });
  expect(problems.filter((problem) => problem.includes('raise API_VERSION'))).toEqual([]);
});

it('a deprecation says since when, and what to use', () => {
  const to = '@deprecated(reason: "old")';
  expect(problemsOf({ from: /@deprecated\(.*?\)/.exec(before)?.[0] ?? '', to, version: '0.1' })).toEqual([
    expect.stringContaining('`Thing.old` is deprecated because "old"'),
  ]);
});

it('schema.graphql keeps the policy, against the last release', () => expect(checkContract()).toEqual([]));

it('each scalar of the contract says what specifies it', () => {
  const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
  const scalars = Object.values(schema.getTypeMap())
    .filter(isScalarType)
    .filter((type) => !isSpecifiedScalarType(type));
  expect(scalars.length).toBeGreaterThan(5);
  for (const { name, specifiedByURL } of scalars)
    expect([name, URL.canParse(specifiedByURL ?? '')]).toEqual([name, true]);
});
