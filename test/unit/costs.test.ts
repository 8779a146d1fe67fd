import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { CostFile, type Cost } from '../../bench/costs.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-costs-'));
afterAll(() => rmSync(folder, { recursive: true }));

const cost: Cost = {
  operation: 'a call',
  untracedNs: 1234.5678,
  watchedNs: 456.7,
  leanNs: null,
  otherNs: -20.4,
  emptyNs: 0,
  insideNs: 300,
  eventBytes: 123.456,
  startMs: 20.04,
  rounds: 15,
};
const costsIn = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, Record<string, unknown>>;

it('keeps the costs of trackers that were not measured, and says when and where each was', () => {
  const path = join(folder, 'costs.json');
  const first = new CostFile(path);
  first.set('open', cost);
  first.set('exec', cost);
  new CostFile(path).set('open', { ...cost, untracedNs: 2, rounds: 3 });
  const { open, exec, ...others } = costsIn(path);
  expect(others).toEqual({});
  expect(Object.keys(costsIn(path))).toEqual(['exec', 'open']);
  expect(open).toMatchObject({ untracedNs: 2, rounds: 3 });
  expect(exec).toEqual({
    ...cost,
    untracedNs: 1235,
    watchedNs: 457,
    otherNs: -20,
    eventBytes: 123.5,
    startMs: 20,
    date: expect.stringMatching(/^\d{4}-\d\d-\d\d$/),
    machine: expect.stringMatching(/^\d+ × \S.*, Linux \d+\.\d+$/),
    load: expect.any(Number),
  });
});

it.each([
  ['package.json', '{"name": "eunomia", "scripts": {}}', 'has something else than costs of trackers'],
  ['list.json', '[]', 'has something else than costs of trackers'],
  ['broken.json', '{', 'JSON'],
  ['costs.md', '', 'is not called .json'],
])('overwrites no %s', (name, text, message) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  expect(() => new CostFile(path)).toThrow(message);
  expect(readFileSync(path, 'utf8')).toBe(text);
});

it('needs a directory that is there', () => {
  expect(() => new CostFile(join(folder, 'none/costs.json'))).toThrow('there is no directory');
});
