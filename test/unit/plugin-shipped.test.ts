import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

const files = readdirSync(join(root, 'plugins'));

it('the shipped plugins have the right types, against the public entry alone', async () => {
  await promisify(execFile)(process.execPath, [
    join(root, 'node_modules/.bin/tsc'),
    '-p',
    join(root, 'tsconfig.plugins.json'),
  ]);
});

it.each(files)('%s is one file of less than 150 lines that says what it does', (file) => {
  const source = readFileSync(join(root, 'plugins', file), 'utf8');
  expect(source.trimEnd().split('\n').length).toBeLessThan(150);
  expect(source).toMatch(/^\/\*\*/);
  expect([...source.matchAll(/from '(.*)'/g)].map(([, name]) => name)).toEqual(['eunomia/plugin']);
});
