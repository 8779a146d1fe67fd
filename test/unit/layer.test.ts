import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
let project: string;

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'eunomia-lint-'));
  copyFileSync(join(root, '.oxlintrc.json'), join(project, '.oxlintrc.json'));
});

afterEach(() => rmSync(project, { recursive: true, force: true }));

/** What the rules say of one line in one file: "import" for a broken arrow, else the rule's name. */
function lint(files: Readonly<Record<string, string>>): Record<string, string[]> {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(project, file)), { recursive: true });
    writeFileSync(join(project, file), `${text}\n`);
  }
  const { stdout } = spawnSync(process.execPath, [join(root, 'node_modules/oxlint/bin/oxlint'), '-f', 'json'], {
    cwd: project,
    encoding: 'utf8',
  });
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { filename: string; code: string; help?: string }[] };
  const found: Record<string, string[]> = {};
  for (const { filename, code, help } of diagnostics)
    (found[filename] ??= []).push(code.includes('no-restricted-imports') ? (help ?? '') : code);
  return found;
}

const imports = (source: string): string => `export * from '${source}';`;

describe('the layers', () => {
  it.each([
    ['src/event.ts', './kernel/object.js', /vocabulary/],
    ['src/errors.ts', './app.js', /put the parts together/],
    ['src/names.ts', 'koffi', /pointers/],
    ['src/kernel/a.ts', '../trackers/define.js', /decided above/],
    ['src/kernel/a.ts', '../pipeline/session.js', /decided above/],
    ['src/kernel/a.ts', '../containers/registry.js', /decided above/],
    ['src/trackers/a.ts', '../kernel/object.js', /no I\/O/],
    ['src/trackers/a.ts', 'node:fs', /no I\/O/],
    ['src/filter/a.ts', '../pipeline/session.js', /A filter is pure/],
    ['src/filter/a.ts', 'node:fs', /A filter is pure/],
    ['src/containers/a.ts', '../kernel/object.js', /without a kernel program/],
    ['src/containers/a.ts', '../trackers/define.js', /without a kernel program/],
    ['src/containers/a.ts', '../pipeline/session.js', /Imports go up/],
    ['src/pipeline/a.ts', '../consumers/rules.js', /by their interface/],
    ['src/pipeline/a.ts', '../api/index.js', /by their interface/],
    ['src/pipeline/a.ts', 'koffi', /pointers/],
    ['src/consumers/a.ts', '../kernel/object.js', /never reaches into the kernel/],
    ['src/consumers/a.ts', './rules.js', /never import each other/],
    ['src/consumers/rules/a.ts', '../metrics/index.js', /never import each other/],
    ['src/consumers/rules/a.ts', '../../kernel/object.js', /never reaches into the kernel/],
    ['src/consumers/store/duckdb/a.ts', '../../rules/index.js', /never import each other/],
    ['src/consumers/store/duckdb/a.ts', '../../../kernel/object.js', /never reaches into the kernel/],
    ['src/consumers/a.ts', '../api/index.js', /Imports go up/],
    ['src/api/a.ts', '../kernel/object.js', /pointers and file descriptors end/],
    ['src/api/resolvers/a.ts', '../../kernel/object.js', /pointers and file descriptors end/],
    ['src/api/a.ts', '../cli/run.js', /one of them/],
    ['src/api/a.ts', 'dockerode', /container engine/],
    ['src/cli/a.ts', '../kernel/object.js', /speaks GraphQL/],
    ['src/cli/a.ts', '../pipeline/session.js', /speaks GraphQL/],
    ['src/cli/a.ts', '../app.js', /put the parts together/],
    ['src/plugin.ts', './kernel/object.js', /promises little/],
    ['src/app.ts', './cli/run.js', /starts it/],
    ['src/main.ts', './pipeline/session.js', /app.ts knows the parts/],
    ['plugins/a.ts', '../src/event.js', /eunomia\/plugin/],
  ])('forbid %s to import %s', (file, source, reason) => {
    expect(lint({ [file]: imports(source) })).toEqual({ [file]: [expect.stringMatching(reason)] });
  });

  it('forbid an import of types as they do one of values', () => {
    expect(
      lint({ 'src/api/a.ts': "import type { X } from '../kernel/object.js';\nexport type Y = X;" })['src/api/a.ts'],
    ).toHaveLength(1);
  });

  it('let each folder import from those above it', () => {
    const allowed = {
      'src/kernel/a.ts': ['../errors.js', './object.js', 'koffi', 'node:fs'],
      'src/trackers/a.ts': ['./define.js', '../event.js', '../linux.js'],
      'src/filter/a.ts': ['../trackers/catalog.js', '../event.js', './ast.js', 're2js'],
      'src/containers/a.ts': ['../event.js', 'dockerode', 'node:fs/promises'],
      'src/pipeline/a.ts': ['../kernel/object.js', '../trackers/define.js', '../containers/registry.js', './batch.js'],
      'src/consumers/a.ts': ['../pipeline/session.js', '../event.js'],
      'src/consumers/store/duckdb/a.ts': ['../../../pipeline/session.js', './row.js', '../store.js'],
      'src/api/a.ts': [
        '../pipeline/session.js',
        '../consumers/rules.js',
        '../trackers/catalog.js',
        './resolvers/index.js',
      ],
      'src/cli/a.ts': ['../api/index.js', '../errors.js', 'commander'],
      'src/app.ts': ['./kernel/object.js', './api/index.js', './consumers/rules.js'],
      'src/main.ts': ['./app.js', './cli/program.js'],
      'plugins/a.ts': ['eunomia/plugin'],
    };
    expect(
      lint(
        Object.fromEntries(Object.entries(allowed).map(([file, sources]) => [file, sources.map(imports).join('\n')])),
      ),
    ).toEqual({});
  });
});

it.each([
  ['typescript(no-explicit-any)', 'export const x: any = 1;'],
  ['typescript(no-non-null-assertion)', 'export const f = (x: number | null): number => x!;'],
  ['eslint(eqeqeq)', 'export const f = (x: unknown): boolean => x == 1;'],
  ['eslint(no-unused-vars)', 'const x = 1;\nexport const y = 2;'],
  ['typescript(ban-ts-comment)', '// @ts-ignore\nexport const x: number = "1";'],
])('reports %s', (rule, text) => {
  expect(lint({ 'src/api/a.ts': text })).toEqual({ 'src/api/a.ts': [rule] });
});
