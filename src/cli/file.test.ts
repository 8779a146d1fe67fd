import { mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { toFile } from './file.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-file-'));
  await symlink(join(folder, 'target'), join(folder, 'link'));
});
afterAll(() => rm(folder, { recursive: true }));

async function* pieces() {
  yield 'größe ';
  yield Buffer.from('8');
  throw new Error('broke off');
}

it.each([
  ['', /--output: is empty/],
  ['.', /is no regular file/],
  ['link', /is no regular file/],
  ['missing/file', /--output: there is no directory .*missing$/],
])('refuses what cannot be a file before it takes a piece: "%s"', async (name, message) => {
  let taken = 0;
  const counted = (async function* () {
    taken++;
    yield* pieces();
  })();
  await expect(toFile(counted, name === '' ? '' : join(folder, name))).rejects.toThrow(message);
  expect(taken).toBe(0);
});

it('leaves nothing where the pieces break off', async () => {
  const before = await readdir(folder);
  await expect(toFile(pieces(), join(folder, 'part'))).rejects.toThrow('broke off');
  expect(await readdir(folder)).toEqual(before);
});

it('has all pieces, one behind the other', async () => {
  const file = join(folder, 'whole');
  const two = (async function* () {
    yield 'größe ';
    yield Buffer.from('8');
  })();
  expect(await toFile(two, file)).toBe(9);
  expect(await readFile(file, 'utf8')).toBe('größe 8');
});
