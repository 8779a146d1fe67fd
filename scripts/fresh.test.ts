import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../src/base/paths.js';

/** Names as scripts import them before they do anything, and what those import that are files of ours. */
function importsOf(file: string, seen = new Set<string>()): readonly string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  const text = readFileSync(join(root, file), 'utf8');
  const head = text.slice(0, /^(?!import |} from | |\/\/|\n)/m.exec(text)?.index);
  return [...head.matchAll(/from '([^']+)'/g)].flatMap(([, name = '']) =>
    name.startsWith('.') ? [name, ...importsOf(relative(root, resolve(root, file, '..', name)), seen)] : [name],
  );
}

const scripts = readdirSync(join(root, 'scripts')).filter((name) => name.endsWith('.mjs'));

it('finds what is imported over several lines, and by what is imported', () => {
  expect(importsOf('scripts/contract.mjs')).toEqual(expect.arrayContaining(['graphql', 'node:fs']));
  expect(importsOf('scripts/test.mjs')).toContain('./setup/packages.mjs');
});

it.each(scripts)('%s runs on a checkout without packages, if it installs them', (script) => {
  const imports = importsOf(join('scripts', script));
  if (script !== 'setup.mjs' && !imports.includes('./setup.mjs')) return;
  expect(imports.filter((name) => !/^(?:node:|\.)/.test(name))).toEqual([]);
});
