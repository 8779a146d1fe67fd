import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { root } from '../src/base/paths.js';
import { checkLayers, layers, refusal, whereabouts, withTable } from './layers.mjs';

let project: string;

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'eunomia-lint-'));
  copyFileSync(join(root, '.oxlintrc.json'), join(project, '.oxlintrc.json'));
});

afterEach(() => rmSync(project, { recursive: true, force: true }));

/** The names of the rules that each file breaks. */
function lint(files: Readonly<Record<string, string>>): Record<string, string[]> {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(project, file)), { recursive: true });
    writeFileSync(join(project, file), `${text}\n`);
  }
  const { stdout } = spawnSync(process.execPath, [join(root, 'node_modules/oxlint/bin/oxlint'), '-f', 'json'], {
    cwd: project,
    encoding: 'utf8',
  });
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { filename: string; code: string }[] };
  const found: Record<string, string[]> = {};
  for (const { filename, code } of diagnostics) (found[filename] ??= []).push(code);
  return found;
}

describe('the layers', () => {
  it.each([
    ['event/event.ts', '../kernel/object.js', /types that everybody shares/],
    ['base/errors.ts', '../event/event.js', /vocabulary/],
    ['kernel/a.ts', '../tracker/define.js', /decided above/],
    ['kernel/a.ts', '../session/session.js', /decided above/],
    ['trackers/a.ts', '../kernel/object.js', /no I\/O/],
    ['trackers/a.ts', 'node:fs', /no I\/O/],
    ['filter/a.ts', '../session/session.js', /a filter is pure/],
    ['filter/a.ts', 'node:fs', /a filter is pure/],
    ['inventory/a.ts', '../tracker/define.js', /names what acted/],
    ['record/json/a.ts', '../../session/session.js', /knows neither sessions nor readers/],
    ['session/source/a.ts', '../../analysis/report/index.js', /by their interface/],
    ['session/a.ts', 'koffi', /pointers/],
    ['analysis/report/a.ts', '../../kernel/object.js', /never reaches into the kernel/],
    ['storage/duckdb/a.ts', '../../plugins/host.js', /a reader that can be queried/],
    ['plugins/a.ts', '../storage/store.js', /nothing of the server/],
    ['telemetry/otlp/a.ts', '../../alerts/book.js', /changes nothing/],
    ['service/a.ts', '../api/http/http.js', /no request, no operation and no socket/],
    ['service/a.ts', '../kernel/object.js', /no request, no operation and no socket/],
    ['api/http/a.ts', '../../storage/store.js', /asked of its service/],
    ['api/text/a.ts', '../../session/stream/stream.js', /asked of its service/],
    ['api/a.ts', '../cli/run.js', /asked of its service/],
    ['api/a.ts', 'dockerode', /names what acted/],
    ['client/a.ts', '../api/http/http.js', /any server/],
    ['cli/a.ts', '../session/session.js', /speaks GraphQL/],
    ['cli/a.ts', '../server/app.js', /speaks GraphQL/],
    ['server/a.ts', '../cli/run.js', /no part knows it/],
    ['server/a.ts', '../main.js', /reads argv/],
    ['plugin.ts', './kernel/object.js', /promises little/],
    ['main.ts', './session/session.js', /reads argv/],
    ['elsewhere/a.ts', '../base/errors.js', /no folder "elsewhere"/],
    ['api/a.ts', '../../scripts/layers.mjs', /outside of src/],
  ])('forbid %s to import %s', (file, source, reason) => {
    expect(refusal(file, source)).toMatch(reason);
  });

  it.each([
    ['kernel/a.ts', '../base/errors.js'],
    ['kernel/a.ts', 'koffi'],
    ['kernel/a.ts', 'node:fs'],
    ['trackers/a.ts', '../linux/linux.js'],
    ['filter/a.ts', '../catalog/catalog.js'],
    ['session/a.ts', '../kernel/object.js'],
    ['storage/influx/a.ts', '../../analysis/aggregate/index.js'],
    ['storage/duckdb/a.ts', './row.js'],
    ['api/graphql/resolvers/a.ts', '../../../generated/schema.js'],
    ['plugins/a.ts', '../plugin.js'],
    ['client/a.ts', 'ws'],
    ['cli/a.ts', '../client/client.js'],
    ['main.ts', './server/app.js'],
  ])('let %s import %s', (file, source) => {
    expect(refusal(file, source)).toBeNull();
  });

  it('hold for every import of src/', () => {
    expect(checkLayers()).toEqual([]);
  });

  it.each([
    ['catalog/load.ts', "new URL('../trackers/', import.meta.url)"],
    ['kernel/thread.ts', "resolve(import.meta.dirname, '../..')"],
  ])('leave it to one module to know where the package lies, and not to %s', (file, text) => {
    expect(whereabouts(file, text)).toMatch(/only src\/base\/paths\.ts knows/);
    expect(whereabouts('base/paths.ts', text)).toBeNull();
    expect(whereabouts(file, 'workerFile("kernel/worker")')).toBeNull();
  });

  it('are what docs/architecture.md says', () => {
    const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
    for (const { folder } of layers) expect(text).toContain(`\`src/${folder}/\``);
    expect(withTable(text)).toBe(text);
  });

  it('are all there are: each folder of src/ has a place among them', () => {
    const folders = readdirSync(join(root, 'src'), { withFileTypes: true }).filter(
      (entry) => entry.isDirectory() && entry.name !== 'generated',
    );
    expect(folders.map(({ name }) => name).filter((name) => !layers.some(({ folder }) => folder === name))).toEqual([]);
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
