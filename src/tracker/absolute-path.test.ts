import { expect, it } from 'vitest';
import { absolutePath } from './absolute-path.js';

it.each([
  ['/var/lib', 'a/b', '/var/lib/a/b'],
  ['/var/lib', '../run/./x', '/var/run/x'],
  ['/var/lib', '/etc//passwd', '/etc/passwd'],
  [null, '/../..', '/'],
  [null, 'relative', null],
  ['(unreachable)/a', 'b', null],
  ['/', '', null],
  ['/', null, null],
])('is of %j and %j: %j', (directory, path, absolute) => {
  expect(absolutePath(directory, path)).toBe(absolute);
});
