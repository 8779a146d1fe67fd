import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parsePasswd, Users } from './users.js';

it('takes the first of several users with one uid, and leaves out what is no user', () => {
  const names = parsePasswd(
    'root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/root:\n# no user\n+nis\nweb:x:33:33::/:\nbad:x:-1:0::/:\n:x:7:7::/:\n',
  );
  expect([...names]).toEqual([
    [0, 'root'],
    [33, 'web'],
  ]);
});

it('reads the file once for all who ask at a time, and has no names where there is none', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'users-'));
  try {
    const file = join(directory, 'passwd');
    expect(await new Users(file).nameOf(0)).toBeNull();
    await writeFile(file, 'root:x:0:0::/root:/bin/sh\n');
    const users = new Users(file);
    expect(await Promise.all([users.nameOf(0), users.nameOf(1)])).toEqual(['root', null]);
    await writeFile(file, 'other:x:0:0::/root:/bin/sh\n');
    expect(users.nameOf(0)).toBe('root'); // known: no promise
  } finally {
    await rm(directory, { recursive: true });
  }
});
