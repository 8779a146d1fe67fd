import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, Kind, parse, validate, visit, type SelectionSetNode } from 'graphql';
import { describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { loadTrackers } from '../../src/catalog/load.js';

const { readmeWithTable, trackerDocs } = (await import(join(root, 'scripts/setup/tracker-docs.mjs'))) as {
  readmeWithTable: (text: string) => Promise<string>;
  trackerDocs: () => Promise<string>;
};
const { costsSection, readCosts } = (await import(join(root, 'scripts/setup/tracker-costs.mjs'))) as {
  costsSection: (costs: object, names: readonly string[]) => string;
  readCosts: () => Readonly<Record<string, unknown>>;
};
const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));

it('docs/trackers.md is what the contract, the definitions and the objects give: run `npm run build` and commit it', async () => {
  expect(readFileSync(join(root, 'docs/trackers.md'), 'utf8')).toBe(await trackerDocs());
});

describe('the table of README.md', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');

  it('is what the definitions give: run `npm run build` and commit it', async () => {
    expect(await readmeWithTable(readme)).toBe(readme);
  });

  it('replaces what stands between its marks, and nothing else', async () => {
    const changed = readme.replace(/^\| `exec` \|.*\n/m, '| `gone` | what is no tracker | |\n');
    expect(changed).not.toBe(readme);
    expect(await readmeWithTable(changed)).toBe(readme);
    await expect(readmeWithTable('# Nothing')).rejects.toThrow(
      'README.md has not exactly one table between <!-- Written by',
    );
  });

  it('has each tracker with what it watches, its options and what it needs beyond what all need', async () => {
    const rows = readme.split('\n').filter((line) => /^\| `\w+` \| \S/.test(line));
    for (const { name, watches } of await loadTrackers()) {
      const [row = '', ...others] = rows.filter((line) => line.startsWith(`| \`${name}\` |`));
      expect(others).toEqual([]);
      expect(row).toContain(`| ${watches}`);
      expect(watches).not.toMatch(/\.$/);
    }
    const row = (name: string) => rows.find((line) => line.startsWith(`| \`${name}\` |`));
    expect(row('udp')).toMatch(/ \(Linux 6\.3, needs `CAP_NET_ADMIN`\) \| `operations`, `failedOnly` \|$/);
    expect(row('exec')).not.toContain('Linux');
  });
});

describe('costs', () => {
  const run = { date: '2026-11-30', machine: '2 × CPU, Linux 6.18', load: 1.5, rounds: 15 };
  const figures = { untracedNs: 3360, watchedNs: 1089, leanNs: 816, otherNs: -5, emptyNs: null, insideNs: 700 };
  const open = { operation: 'an open', ...figures, eventBytes: 217.5, startMs: 24, ...run };

  it('of trackers that were measured are in the page, with each figure of the file', async () => {
    const [, section = ''] = /\n## Costs\n(.*?)\n## /s.exec(await trackerDocs()) ?? [];
    const rows = section.split('\n').filter((line) => /^\| \[\w+\]\(#/.test(line));
    expect(rows.map((row) => /\[(\w+)\]/.exec(row)?.[1])).toEqual(Object.keys(readCosts()));
  });

  it('are shown as they were measured, with the run that they are of', () => {
    const quick = { ...open, rounds: 3 };
    const section = costsSection({ exec: quick, open }, ['exec', 'exit', 'open']);
    expect(section).toContain(
      '| [open](#open) | an open | 3,360 | 1,089 | 700 | 816 | − 5 | – | 217.5 | 24 | 2 |\n\nNot measured: [exit](#exit).',
    );
    expect(section).toContain(
      '1. 2026-11-30, 2 × CPU, Linux 6.18, medians of 3 rounds, `--quick`: an indication, load average 1.5',
    );
    expect(section).toContain('2. 2026-11-30, 2 × CPU, Linux 6.18, medians of 15 rounds, load average 1.5 before it.');
    expect(costsSection({}, ['exec'])).toContain('No tracker has been measured.');
  });

  it.each([
    ['of a tracker that is gone', { gone: open }, 'gone: there is no such tracker'],
    ['without a figure', { open: { ...open, leanNs: undefined } }, 'open.leanNs is no number'],
    ['without their run', { open: { ...open, date: '' } }, 'when, where and in how many rounds'],
  ])('%s are refused', (_what, costs, message) => {
    expect(() => costsSection(costs, ['open'])).toThrow(message);
  });
});

it('has for each tracker an example that is valid', async () => {
  const examples = [...(await trackerDocs()).matchAll(/```graphql\n(.*?)```/gs)].map(([, example = '']) => example);
  const names = schema.getType('TrackerInput');
  expect(examples.length).toBe(names && 'getFields' in names ? Object.keys(names.getFields()).length : NaN);
  for (const example of examples) expect(validate(schema, parse(example))).toEqual([]);
});

it('has for each tracker an event that its trigger made, with what the example selects: run `npm run samples` and commit it', async () => {
  const text = await trackerDocs();
  for (const { name, trigger } of await loadTrackers()) {
    const [, section = ''] = text.split(`\n## ${name}\n`);
    const [, example = ''] = /```graphql\n(.*?)```/s.exec(section) ?? [];
    const [, command, sample = '{}'] = /\n`([^\n]*)` made this event of it:\n\n```json\n(.*?)```/s.exec(section) ?? [];
    expect(command).toBe(trigger);
    expect(Object.keys(JSON.parse(sample) as object)).toEqual(selectedOfNodes(example));
  }
});

/** The names in the result of each of the `nodes` that a query selects. */
function selectedOfNodes(query: string): string[] {
  let names: string[] = [];
  const namesOf = ({ selections }: SelectionSetNode): string[] =>
    selections.flatMap((node) => {
      if (node.kind === Kind.FIELD) return [node.alias?.value ?? node.name.value];
      return node.kind === Kind.INLINE_FRAGMENT ? namesOf(node.selectionSet) : [];
    });
  visit(parse(query), {
    Field: ({ name, selectionSet }) => {
      if (name.value === 'nodes' && selectionSet) names = namesOf(selectionSet);
    },
  });
  return names;
}
