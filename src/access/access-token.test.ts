import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { obtainToken, readToken, tokenFiles } from './access-token.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-token-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('the token of a server that was given none', () => {
  it('is made once, in a file that only its owner can read', () => {
    const file = join(folder, 'made/access-token');
    const made = obtainToken([file]);
    expect(made).toEqual({ file, secret: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/) as string });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'made')).mode & 0o777).toBe(0o700);
    expect(readFileSync(file, 'utf8')).toBe(`${made?.secret}\n`);
    expect(obtainToken([file])).toEqual(made);
    expect(readToken(file)?.secret).toBe(made?.secret);
  });

  it('is in the next place when it cannot be in the first, and nowhere when in none', () => {
    writeFileSync(join(folder, 'file'), '');
    const file = join(folder, 'access-token');
    expect(obtainToken([join(folder, 'file/access-token'), file])?.file).toBe(file);
    expect(obtainToken([join(folder, 'file/access-token')])).toBeNull();
    expect(tokenFiles('/data')[0]).toBe('/data/access-token');
  });

  it.each<[string, (file: string) => void]>([
    ['is a symbolic link', (file) => symlinkSync('/etc/passwd', file)],
    ['is no regular file', (file) => void execFileSync('mkfifo', ['-m', '600', file])],
    ['can be read by others', (file) => (writeFileSync(file, 'x'.repeat(43)), chmodSync(file, 0o640))],
    ['holds no token', (file) => writeFileSync(file, 'short', { mode: 0o600 })],
    ['is larger than 100 bytes', (file) => writeFileSync(file, 'x'.repeat(100_000), { mode: 0o600 })],
  ])('is not taken from a file that %s', (problem, make) => {
    const file = join(folder, 'access-token');
    make(file);
    expect(() => obtainToken([file])).toThrow(problem);
  });

  it.skipIf(process.getuid?.() !== 0)('is not taken from a file of another user', () => {
    const file = join(folder, 'access-token');
    writeFileSync(file, 'x'.repeat(43), { mode: 0o600 });
    chownSync(file, 65534, 65534);
    expect(() => obtainToken([file])).toThrow('belongs to the user 65534');
    expect(readToken(file, { anyOwner: true })).toEqual({ secret: 'x'.repeat(43), owner: 65534 });
  });
});
