import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyProgram } from './tiny-program.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-tiny-'));
afterAll(() => rmSync(folder, { recursive: true }));

function run(...call: Parameters<typeof tinyProgram>): number | null {
  const path = join(folder, 'program');
  writeFileSync(path, tinyProgram(...call) ?? '', { mode: 0o755 });
  return spawnSync(path).status;
}

describe('a program of one system call', () => {
  it('exits with 0 if the call succeeded', () => {
    expect(run('getppid', [])).toBe(0);
    expect(run('mkdirat', [-100, join(folder, 'made'), 0o700])).toBe(0);
    expect(existsSync(join(folder, 'made'))).toBe(true);
  });

  it('exits with the error number otherwise', () => {
    expect(run('mkdirat', [-100, join(folder, 'no/such'), 0o700])).toBe(constants.errno.ENOENT);
    expect(run('renameat2', [-100, folder, -100, `${folder}/x/y`])).toBe(constants.errno.ENOENT);
  });

  it('is none of a call that does not exist', () => {
    expect(tinyProgram('no_such_call', [])).toBeNull();
  });
});
