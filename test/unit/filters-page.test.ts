import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { packageFile } from '../../src/base/paths.js';
import { filterOf, SessionFilter } from '../../src/filter/index.js';
import { blocksRunBy } from '../support/page.js';
import { createRuleContext } from '../../src/server/rule-test.js';

const { catalog, fields } = await createRuleContext();
const page = readFileSync(packageFile('docs/filters.md'), 'utf8');

/** Where a filter is evaluated for the events of a tracker, as the table of the page has it. */
function placesOf(tracker: string, expr: string): readonly string[] {
  const where = filterOf({ expr }, fields, [tracker]);
  if (!where) throw new Error(`${expr} matches everything`);
  const filter = new SessionFilter(where, [catalog.need(tracker)], fields);
  const shown = (text: string | null): string => (text === null ? '' : `\`${text}\``);
  return [shown(filter.inKernel(tracker)), shown(filter.rest.textOf(tracker))];
}

const examples = [...page.matchAll(/^\| `(\w+)` \| `(.+?)` \| (.*?) ?\| (.*?) ?\|$/gm)].map(
  ([, tracker = '', expr = '', kernel = '', server = '']) => ({
    tracker,
    expr: expr.replaceAll('\\|', '|'),
    kernel,
    server,
  }),
);

it.each(examples)('$tracker: $expr is evaluated where docs/filters.md says', ({ tracker, expr, kernel, server }) => {
  expect([kernel, server].map((text) => text.replaceAll('\\|', '|'))).toEqual(placesOf(tracker, expr));
});

it('shows the error of an unknown field', () => {
  const [shown] = blocksRunBy('test/unit/filters-page.test.ts', 1);
  expect(() => filterOf({ expr: 'proces.comm == "sh"' }, fields, ['exec'])).toThrow(shown?.text.trim());
});

it('has examples, and its other expressions are filters', () => {
  expect(examples.length).toBeGreaterThan(8);
  const expressions = [...page.matchAll(/^```cel\n(.*?)^```/gms)].flatMap(([, block = '']) => block.trim().split('\n'));
  expect(expressions.length).toBeGreaterThan(8);
  const all = catalog.trackers.map(({ name }) => name);
  for (const expr of expressions) expect(filterOf({ expr }, fields, all)).not.toBeNull();
});
