import { expect, it } from 'vitest';
import { fsopFlags, modeText } from './fsop.js';

it.each([
  [0o755, 'rwxr-xr-x'],
  [0o4755, 'rwsr-xr-x'],
  [0o6640, 'rwSr-S---'],
  [0o1777, 'rwxrwxrwt'],
  [0o1776, 'rwxrwxrwT'],
  [0, '---------'],
])('the mode %i is written as ls does', (mode, text) => expect(modeText(mode)).toBe(text));

it('flags are named by their operation, and bits without a name are one number', () => {
  expect(fsopFlags('RENAME', 3)).toEqual(['RENAME_NOREPLACE', 'RENAME_EXCHANGE']);
  expect(fsopFlags('UNLINK', 0x200)).toEqual(['AT_REMOVEDIR']);
  expect(fsopFlags('SETXATTR', 0x101)).toEqual(['XATTR_CREATE', 'AT_SYMLINK_NOFOLLOW']);
  expect(fsopFlags('LINK', 0x80000401)).toEqual(['AT_SYMLINK_FOLLOW', '0x80000001']);
  expect(fsopFlags('CHMOD', 0)).toEqual([]);
});
