import { homedir, userInfo } from 'node:os';
import { expect, it } from 'vitest';
import { homeDirectory, userName } from './user.js';

const unlisted = (): never => {
  throw Object.assign(new Error('A system error occurred: uv_os_get_passwd returned ENOENT'), { code: 'ENOENT' });
};

it('the user of this process has a name and a home directory', () => {
  expect([userName(), homeDirectory()]).toEqual([userInfo().username, homedir()]);
});

it('a user in no list of users has the name that the environment tells, and the root directory', () => {
  expect(userName(unlisted, { USER: 'eunomia' })).toBe('eunomia');
  expect(userName(unlisted, { USER: '' })).toBe(null);
  expect(userName(unlisted, {})).toBe(null);
  expect(homeDirectory(unlisted)).toBe('/');
});
