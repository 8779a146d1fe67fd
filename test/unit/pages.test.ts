import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kind, parse, visit, type FieldNode, type SelectionSetNode } from 'graphql';
import { afterAll, describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { ConfigFile } from '../../src/base/config-file.js';
import { root } from '../../src/base/paths.js';
import { configOf, readSources } from '../../src/options/config.js';
import { finish } from '../../src/base/turn.js';
import { parseExported } from '../../src/server/configured/index.js';
import { checkRules, testRules } from '../../src/server/rule-test.js';
import { parseWebhooks } from '../../src/webhook/index.js';
import { createFixture } from '../api/support.js';
import { allBlocks, blocksIn, blocksRunBy, pages, type Block } from '../support/page.js';

// Each block of code of README.md and docs/ is run by a test: by its language, or by the one that a comment before it names.

/** Who runs the blocks of a language that no comment gives to somebody else. */
const runners: Readonly<Record<string, string>> = {
  cel: 'test/unit/filters-page.test.ts',
  yaml: 'test/unit/pages.test.ts',
  json: 'test/unit/pages.test.ts',
  graphql: 'test/e2e/pages.test.ts',
  sh: 'test/e2e/pages.test.ts',
  text: 'test/e2e/pages.test.ts',
  js: 'test/e2e/pages.test.ts',
  ts: 'test/e2e/pages.test.ts',
};

const nearest = ({ previous, language }: Block, wanted: string): Block | null =>
  previous?.language === wanted || (previous?.language === language && language !== wanted) ? previous : null;

/** Why nobody runs a block; null when somebody does. */
function unclaimed(block: Block): string | null {
  const { mark, language, page } = block;
  if (mark !== null) {
    const [, file] = /^run by (\S+)$/.exec(mark) ?? [];
    if (file !== undefined) {
      if (!existsSync(join(root, file))) return `there is no ${file}`;
      return /blocksRunBy/.test(readFileSync(join(root, file), 'utf8')) ? null : `${file} does not read it`;
    }
    return /^not run: .{20,}$/.test(mark) ? null : `"${mark}" says neither who runs it nor why nobody does`;
  }
  if (!(language in runners)) return `no test runs ${language || 'a block without a language'}`;
  if (language === 'text' && !nearest(block, 'sh')) return 'is output of no command before it';
  if (language === 'json' && !nearest(block, 'graphql') && !nearest(block, 'sh'))
    return 'is the result of no operation';
  if (language === 'cel' && page !== 'docs/filters.md') return `${runners['cel']} reads docs/filters.md alone`;
  return null;
}

it('each block of code is run by a test, or says why not', () => {
  const nobody = allBlocks.flatMap((block) => {
    const why = unclaimed(block);
    return why === null ? [] : [`${block.page}:${block.line}: ${why}`];
  });
  expect(nobody).toEqual([]);
  expect(allBlocks.length).toBeGreaterThan(150);
  // Those that are only indented have no language.
  expect(
    pages.filter((page) => /\n\n {4}\S/.test(readFileSync(join(root, page), 'utf8').replace(/^```.*?^```/gms, ''))),
  ).toEqual([]);
  expect(Object.values(runners).filter((file) => !existsSync(join(root, file)))).toEqual([]);
});

const folder = mkdtempSync(join(tmpdir(), 'eunomia-pages-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** All rules and tests of a page, in a directory. */
function rulesOf(page: string): string {
  const directory = mkdtempSync(join(folder, 'rules-'));
  const blocks = allBlocks.filter((block) => block.page === page && block.language === 'yaml');
  for (const { line, text } of blocks) {
    const kind = /^(tests|lists|macros|rules|overrides):$/m.exec(text)?.[1];
    if (kind) writeFileSync(join(directory, `${line}.${kind === 'tests' ? 'test.' : ''}yaml`), text);
  }
  return directory;
}

/** What reads a file whose first key is this. Throws what is wrong with it. */
const readers: Readonly<Record<string, (block: Block) => unknown>> = {
  rules: ({ page }) => checkRules([rulesOf(page)]),
  lists: ({ page }) => checkRules([rulesOf(page)]),
  // Of rules that the page has too, or of those that come with Eunomia.
  overrides: ({ page }) =>
    checkRules([
      rulesOf(page),
      ...(allBlocks.some((other) => other.page === page && /^rules:$/m.test(other.text)) ? [] : ['builtin']),
    ]),
  async tests({ page }) {
    const { outcomes } = await testRules([rulesOf(page)], null, () => undefined);
    expect(outcomes.flatMap(({ problems }) => problems)).toEqual([]);
  },
  webhooks({ text }) {
    for (const [, name = ''] of text.matchAll(/^ +(?:secretFile|headersFile): (\S+)/gm))
      writeFileSync(join(folder, name), 'Name: a value of 16 characters', { mode: 0o600 });
    return parseWebhooks(finish(ConfigFile.of(join(folder, 'webhooks.yaml'), text, 'BAD_WEBHOOKS')));
  },
  host({ text }) {
    const file = join(folder, 'eunomia.yaml');
    writeFileSync(file, text);
    writeFileSync(join(folder, 'tokens'), 'admin:a-secret-of-16-characters', { mode: 0o600 });
    expect(configOf(readSources(new Map([['config', file]]), {}))).toMatchObject({
      host: '127.0.0.1',
      limits: { sessions: 8 },
    });
  },
  async sessions({ text }) {
    await metricsOf(text);
  },
  scrape_configs({ text }) {
    const file = join(folder, 'prometheus.yml');
    writeFileSync(file, text);
    execFileSync('promtool', ['check', 'config', '--syntax-only', file], { stdio: 'pipe' });
  },
};

async function metricsOf(text: string): Promise<unknown> {
  const { services } = await createFixture();
  const { catalog, fields, plugins } = services;
  const file = finish(ConfigFile.of('metrics.yaml', text, 'BAD_METRICS_CONFIG'));
  return parseExported(file, { schema: contractSchema(), catalog, fields, plugins });
}

describe('YAML', () => {
  it.each(blocksIn('yaml'))('$title is read', async (block) => {
    const keys = Object.keys(parseYaml(block.text) as object);
    const [read] = keys.flatMap((key) => readers[key] ?? []);
    if (!read) throw new Error(`nobody reads ${keys.join(', ')}: add a reader, or a comment with the test that does`);
    await read(block);
  });

  it('with an error is refused as docs/metrics.md shows', async () => {
    const [shown] = blocksRunBy('test/unit/pages.test.ts', 1);
    const [config] = blocksIn('yaml').filter(({ text }) => text.startsWith('sessions:'));
    const wrong = config?.text.replace('uid: process.uid', 'who: process.pid') ?? '';
    await expect(metricsOf(wrong)).rejects.toThrow(shown?.text.trim());
  });
});

/** The names of a result that are not those of the selection. */
function differences(value: unknown, set: SelectionSetNode, at: string): readonly string[] {
  const selected = new Map(selectedFields(set).map((field) => [field.alias?.value ?? field.name.value, field]));
  const object = Object(value) as Readonly<Record<string, unknown>>;
  return [
    ...[...selected.keys()].flatMap((name) => (name in object ? [] : [`${at}.${name} is missing`])),
    ...Object.entries(object).flatMap(([name, part]) => {
      const field = selected.get(name);
      if (!field) return [`${at}.${name} was not selected`];
      const { selectionSet } = field;
      if (!selectionSet) return [];
      return [part].flat().flatMap((one) => (one === null ? [] : differences(one, selectionSet, `${at}.${name}`)));
    }),
  ];
}

/** A sample is an event of the tracker that it was selected for: each fragment applies. */
function selectedFields({ selections }: SelectionSetNode): readonly FieldNode[] {
  return selections.flatMap((selection) => {
    if (selection.kind === Kind.FIELD) return [selection];
    return 'selectionSet' in selection ? selectedFields(selection.selectionSet) : [];
  });
}

describe('JSON', () => {
  it.each(blocksIn('json').filter(({ previous }) => previous?.language === 'graphql'))(
    '$title has what the operation before it selects',
    ({ text, previous }) => {
      const found: SelectionSetNode[] = [];
      visit(parse(previous?.text ?? ''), {
        Field({ name, selectionSet }) {
          if (name.value === 'nodes' && selectionSet) found.push(selectionSet);
        },
      });
      const [nodes] = found;
      if (!nodes) throw new Error('the operation selects no nodes');
      expect(differences(JSON.parse(text), nodes, 'event')).toEqual([]);
    },
  );
});
