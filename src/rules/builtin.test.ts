import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { rulesPage } from '../../scripts/docs/rules.mjs';
import { root } from '../base/paths.js';
import { EventFilter, optimise, SessionFilter } from '../filter/index.js';
import { createRuleContext } from '../server/rule-test.js';
import { compileRules } from './compile.js';
import { readTests, runTest } from './trial/index.js';

const context = await createRuleContext();
const { catalog, fields } = context;
const folder = join(root, 'rules');
const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
const set = compileRules(
  files
    .filter((name) => !name.endsWith('.test.yaml'))
    .map((name) => ({ name: `rules/${name}`, text: readFileSync(join(folder, name), 'utf8') })),
  context,
);
const definitions = set.rules.map(({ definition }) => definition);

describe('the built-in rules', () => {
  it('are many, and each is enabled', () => {
    expect(definitions.length).toBeGreaterThanOrEqual(60);
    expect(definitions.filter(({ enabled }) => !enabled)).toEqual([]);
  });

  it('say what they detect, what evades them, what is no attack, and which technique it is', () => {
    const lacking = definitions.filter(
      ({ attack, tags, evades, falsePositives, key }) =>
        !attack.length || !tags.length || !evades || !falsePositives || !key.length,
    );
    expect(lacking.map(({ name }) => name)).toEqual([]);
    for (const what of ['description', 'message'] as const) {
      const texts = definitions.map((definition) => definition[what]);
      expect(texts.filter((text, i) => texts.indexOf(text) !== i)).toEqual([]);
    }
    for (const { description } of definitions) expect(description).toMatch(/^[A-Za-z].*\.$/);
  });

  it('have conditions that some event meets and another one does not', () => {
    const constant = set.rules.flatMap(({ definition, steps }) =>
      steps.flatMap(({ filter, trackers }) =>
        trackers
          .map((tracker) => [tracker, optimise(filter.filter, fields, [tracker])] as const)
          .filter(([, made]) => made.kind === 'always')
          .map(([tracker]) => `${definition.name}: ${tracker}`),
      ),
    );
    expect(constant).toEqual([]);
  });

  it('are looked for in the kernel, where there are many events', () => {
    const busy = ['open', 'fsop', 'privilege', 'tcp', 'dns', 'unix', 'syscall', 'signal', 'bind', 'mount'];
    const all = set.rules.flatMap(({ definition, steps }) =>
      steps.flatMap(({ filter, trackers }) =>
        trackers
          .filter((tracker) => busy.includes(tracker))
          .map((tracker) => {
            const own = optimise(filter.filter, fields, [tracker]);
            const where = new EventFilter(own, fields, [tracker]);
            return [
              `${tracker}: ${definition.name}`,
              new SessionFilter(where, [catalog.need(tracker)], fields).inKernel(tracker),
            ];
          }),
      ),
    );
    expect(all.filter(([, inKernel]) => inKernel === null)).toEqual([]);
  });

  it.each(files.filter((name) => name.endsWith('.test.yaml')))('raise what the tests in %s say', async (name) => {
    const text = readFileSync(join(folder, name), 'utf8');
    const tests = readTests({ name: `rules/${name}`, text }, set, context);
    const outcomes = await Promise.all(tests.map((test) => runTest(test, set, context)));
    expect(outcomes.flatMap(({ problems }) => problems)).toEqual([]);
    // Each rule of the file beside it has a test that fires, and one that is near.
    const tested = outcomes.map(({ rules, alerts }) => `${rules.join()} ${alerts.length > 0}`);
    const rules = set.rules.filter(({ definition }) => definition.file.name === `rules/${name.replace('.test', '')}`);
    for (const { definition } of rules)
      for (const fires of [true, false]) expect(tested).toContain(`${definition.name} ${fires}`);
  });

  it('are described on a page of the documentation', () => {
    expect(readFileSync(join(root, 'docs/built-in-rules.md'), 'utf8')).toBe(rulesPage());
  });
});

it('the table of what the built-in rules cover names each of them, and no other', () => {
  const table = readFileSync(join(root, 'docs/rules-coverage.md'), 'utf8');
  const named = new Set([...table.matchAll(/`([a-z0-9]+(?:-[a-z0-9]+)+)`/g)].map(([, name]) => name));
  expect([...named].sort()).toEqual(set.definition.rules.map(({ name }) => name).sort());
});
