import { expect, it } from 'vitest';
import { suggest } from './errors.js';

it('suggests names that are near, the nearest first', () => {
  const known = ['process.comm', 'process.pid', 'path', 'patch', 'errno'];
  expect(suggest('comm', known)).toBe('; did you mean "process.comm"?');
  expect(suggest('pth', known)).toBe('; did you mean "path"?');
  expect(suggest('PATH', known)).toBe('; did you mean "path" or "patch"?');
  expect(suggest('quite another', known)).toBe('');
  expect(suggest('', known)).toBe('');
});

it('suggests nothing that is another word, and takes letters that are exchanged for one slip', () => {
  const trackers = ['open', 'exec', 'tcp', 'dns', 'mount', 'bind'];
  for (const other of ['nope', 'x', 'run', 'file', 'ping', 'network']) expect(suggest(other, trackers)).toBe('');
  expect(suggest('opne', trackers)).toBe('; did you mean "open"?');
  expect(suggest('exce', trackers)).toBe('; did you mean "exec"?');
  expect(suggest('tpc', trackers)).toBe('; did you mean "tcp"?');
  expect(suggest('opens', trackers)).toBe('; did you mean "open"?');
  expect(suggest('nmae', ['process.name', 'name', 'time'])).toBe('; did you mean "name"?');
});

it('does not compare a text of a mebibyte with each of a thousand names', () => {
  const known = Array.from({ length: 1000 }, (_, i) => `process.name${i}`);
  expect(suggest('x'.repeat(1 << 20), known)).toBe('');
});
