import { expect, it } from 'vitest';
import { suggest } from './errors.js';

it('suggests names that are near, the nearest first', () => {
  const known = ['process.comm', 'process.pid', 'path', 'patch', 'errno'];
  expect(suggest('comm', known)).toBe('; did you mean "process.comm"?');
  expect(suggest('pth', known)).toBe('; did you mean "path" or "patch"?');
  expect(suggest('PATH', known)).toBe('; did you mean "path" or "patch"?');
  expect(suggest('quite another', known)).toBe('');
  expect(suggest('', known)).toBe('');
});

it('does not compare a text of a mebibyte with each of a thousand names', () => {
  const known = Array.from({ length: 1000 }, (_, i) => `process.name${i}`);
  expect(suggest('x'.repeat(1 << 20), known)).toBe('');
});
