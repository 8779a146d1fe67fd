import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../src/base/paths.js';

/** What a script loads before it does anything, by who imports it: files, and packages. */
function importsOf(file: string, found = new Map<string, string>()): ReadonlyMap<string, string> {
  const text = readFileSync(join(root, file), 'utf8');
  for (const [, name = ''] of text.matchAll(/^(?:import|export)\b[^'"`;()]*?['"]([^'"]+)['"];?$/gm)) {
    const imported = name.startsWith('.') ? relative(root, resolve(root, file, '..', name)) : name;
    if (found.has(imported)) continue;
    found.set(imported, file);
    if (name.startsWith('.')) importsOf(imported, found);
  }
  return found;
}

const scripts = readdirSync(join(root, 'scripts')).filter((name) => name.endsWith('.mjs'));

it('finds what is imported over several lines, and by what is imported', () => {
  expect([...importsOf('scripts/contract.mjs').keys()]).toEqual(expect.arrayContaining(['graphql', 'node:fs']));
  expect([...importsOf('scripts/test.mjs').keys()]).toContain('scripts/setup/project.mjs');
});

it.each(scripts)('%s runs on a checkout without packages, if it installs them', (script) => {
  const imports = importsOf(join('scripts', script));
  if (script !== 'setup.mjs' && !imports.has('scripts/setup.mjs')) return;
  const packages = [...imports].filter(([name]) => !name.startsWith('node:') && !name.startsWith('scripts/'));
  expect(packages).toEqual([]);
});
