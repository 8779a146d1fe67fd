import { afterAll, expect, it } from 'vitest';
import { finish } from '../../base/turn.js';
import { parsingYaml } from '../../base/yaml.js';
import { rulesOf, ruleContext } from '../../../test/support/rules.js';
import { compileRules } from '../../rules/compile.js';
import { RuleFileThread } from './thread.js';

const thread = new RuleFileThread();
afterAll(() => thread.end());

const text = `lists:
  __proto__: [a]
  shells: [&a sh, *a]
rules:
  - name: x
    description: "é 🐧"
    severty: LOW
`;

it('what a thread makes of a rule file is what is made of it here, errors with their places too', async () => {
  const others = ['a: [1', '', '# x', '['.repeat(1000), 'a: &a [1]\nb: *a\n', 'a: .inf'];
  const notJson = ['a: &a {b: *a}', 'a: !!timestamp 2001-12-14', 'a: !!set {x}'];
  for (const each of [text, ...others, ...notJson]) {
    const [source] = await thread.parse([{ name: 'x.yaml', text: each }]);
    expect(source?.parsed).toEqual(JSON.parse(JSON.stringify(finish(parsingYaml(each)))));
  }
  const sources = await thread.parse([{ name: 'x.yaml', text }]);
  const refusal = (compile: () => unknown): string => {
    try {
      compile();
    } catch (error) {
      return String(error);
    }
    return 'none';
  };
  const here = refusal(() => rulesOf(text)).replaceAll('rules.yaml', 'x.yaml');
  expect(refusal(() => compileRules(sources, ruleContext))).toBe(here);
  expect(here).toContain('severty');
});

it('a file of thousands of mistakes tells some of them', async () => {
  const sources = await thread.parse([{ name: 'x.yaml', text: `lists: { a: [${'null, '.repeat(9_000)}] }` }]);
  expect(() => compileRules(sources, ruleContext)).toThrow(/and many more errors$/);
});
