import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

const run = promisify(execFile);
let folder: string;
const page = 'docs/api.md';
const text = 'see [the other](other.md) and [the first](first.md)\n';
const at = (path: string): string => join(folder, path);
const call = (name: string) =>
  run(process.execPath, ['-e', `import('${at('scripts/setup/shipped-pages.mjs')}').then((m) => m.${name}())`]);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-pages-'));
  await mkdir(at('scripts/setup'), { recursive: true });
  await mkdir(at('docs'));
  for (const name of ['shipped-pages', 'project'])
    await cp(join(root, `scripts/setup/${name}.mjs`), at(`scripts/setup/${name}.mjs`));
  await writeFile(at('package.json'), JSON.stringify({ name: 'x', version: '1.0.0', files: ['docs'] }));
  await writeFile(at('docs/first.md'), 'first\n');
  await writeFile(at(page), text);
});
afterEach(() => rm(folder, { recursive: true }));

it('pages are put back, also of a run that was cut off and when other files are packed since', async () => {
  await call('writeShippedPages');
  expect(await readFile(at(page), 'utf8')).toBe('see the other and [the first](first.md)\n');
  await writeFile(at('docs/other.md'), 'other\n');
  await call('restorePages');
  expect(await readFile(at(page), 'utf8')).toBe(text);
});

it('a page that was edited since stays, and one that is gone is no error', async () => {
  await call('writeShippedPages');
  await writeFile(at(page), 'edited\n');
  await call('restorePages');
  expect(await readFile(at(page), 'utf8')).toBe('edited\n');
  await writeFile(at(page), text);
  await call('writeShippedPages');
  await rm(at(page));
  await call('restorePages');
  await writeFile(at(page), text);
  await call('writeShippedPages');
  expect(await readFile(at(page), 'utf8')).not.toBe(text);
});
