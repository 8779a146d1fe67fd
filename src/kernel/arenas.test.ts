import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { root } from '../base/paths.js';

/** Prints how many arenas glibc has, before and while twenty threads run. */
const program = `
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { shareArenas } from ${JSON.stringify(join(root, 'build/kernel/arenas.js'))};

const libc = koffi.load('libc.so.6');
const fopen = libc.func('void *fopen(const char *path, const char *mode)');
const fclose = libc.func('int fclose(void *file)');
const mallocInfo = libc.func('int malloc_info(int options, void *file)');
const folder = mkdtempSync(join(tmpdir(), 'eunomia-arenas-'));
function arenas() {
  const file = fopen(join(folder, 'info.xml'), 'w');
  mallocInfo(0, file);
  fclose(file);
  return readFileSync(join(folder, 'info.xml'), 'utf8').split('<heap ').length - 1;
}
shareArenas();
const before = arenas();
const wait = "setInterval(() => {}, 1000)";
const threads = Array.from({ length: 20 }, () => new Worker(wait, { eval: true }));
await Promise.all(threads.map((thread) => new Promise((resolve) => thread.once('online', resolve))));
console.log(JSON.stringify({ before, during: arenas() }));
rmSync(folder, { recursive: true });
process.exit();
`;

// In a process of its own: how many there may be, glibc decides once.
it('threads that begin afterwards share the arenas that are there', async () => {
  const { MALLOC_ARENA_MAX: _, ...env } = process.env;
  const args = ['--input-type=module', '-e', program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env });
  const { before, during } = JSON.parse(stdout) as { before: number; during: number };
  expect(during).toBe(Math.max(before, 2));
});
