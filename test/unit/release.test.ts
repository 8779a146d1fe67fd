import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const { version } = JSON.parse(read('package.json')) as { readonly version: string };
const changelog = read('CHANGELOG.md');
const headings = [...changelog.matchAll(/^## (.*)$/gm)].map(([, heading = '']) => heading);
/** The section of the last release. */
const [, released = ''] = changelog.split(/^## (?!Unreleased)/m);

it('the changelog begins with what is not released, and then has the version of the package with its day', () => {
  const [unreleased, last = '', ...earlier] = headings;
  expect(unreleased).toBe('Unreleased');
  for (const heading of [last, ...earlier]) expect(heading).toMatch(/^\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d$/);
  const [number = '', day = ''] = last.split(' - ');
  expect(number).toBe(version);
  expect(new Date(day).toISOString().slice(0, 10)).toBe(day);
  const numbers = [last, ...earlier].map((heading) => heading.split(' ')[0] ?? '');
  expect(numbers).toEqual(numbers.toSorted((a, b) => b.localeCompare(a, 'en', { numeric: true })));
});

it('the last release has a summary, and the version of the schema that is kept of it', () => {
  const [, api = ''] = /^# API (\d+\.\d+):/.exec(read('scripts/contract/released.graphql')) ?? [];
  const [, summary = ''] = released.split('\n\n');
  expect(summary).toContain(`API ${api}.`);
});

it('the lock and the image of compose.yaml have the version of the package', () => {
  const lock = JSON.parse(read('package-lock.json')) as {
    readonly version: string;
    readonly packages: Readonly<Record<string, { readonly version: string }>>;
  };
  expect([lock.version, lock.packages['']?.version]).toEqual([version, version]);
  expect(/image: eunomia:(\S+)/.exec(read('docker/compose.yaml'))?.[1]).toBe(version);
});

it('the changelog links what exists', () => {
  const links = [...changelog.matchAll(/\]\((?![a-z]+:)([^)#\s]+)/g)].map(([, link = '']) => link);
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
});
