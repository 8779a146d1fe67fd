import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageFile } from '../base/paths.js';
import { snakeCase } from '../base/names.js';
import { loadTrackers } from './load.js';

const filesOf = (folder: string): string[] => readdirSync(packageFile(folder)).sort();
const stems = (await loadTrackers()).map(({ name }) => snakeCase(name));

it('the folders of the trackers have three files for each, perhaps a test, and nothing else', () => {
  const sources = filesOf(join('src', 'trackers'));
  const tests = stems.map((stem) => `${stem}.test.ts`).filter((file) => sources.includes(file));
  expect(sources).toEqual([...stems.flatMap((stem) => [`${stem}.ts`, `${stem}.graphql`]), ...tests].sort());
  expect(filesOf(join('bpf', 'trackers'))).toEqual(stems.map((stem) => `${stem}.bpf.c`).sort());
});

it('each tracker has a test of its own with the real kernel', () => {
  expect(filesOf(join('test', 'kernel'))).toEqual(
    expect.arrayContaining(stems.map((stem) => `${stem.replaceAll('_', '-')}.test.ts`)),
  );
});
