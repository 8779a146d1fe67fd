import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { keepCompiled } from './compiled.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-code-'));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

it('compiled code is kept where only this user can write, by a Node that keeps it', () => {
  vi.stubEnv('RUNTIME_DIRECTORY', folder);
  keepCompiled();
  const code = join(folder, 'code');
  expect(existsSync(code)).toBe('enableCompileCache' in module);
  if (existsSync(code)) expect(statSync(code).mode & 0o777).toBe(0o700);
});

it('nothing is kept where there is no such place', () => {
  vi.stubEnv('RUNTIME_DIRECTORY', '/proc/none');
  expect(() => keepCompiled()).not.toThrow();
});
