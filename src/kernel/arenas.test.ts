import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { shareArenas } from './arenas.js';

const libc = koffi.load('libc.so.6');
const fopen = libc.func('void *fopen(const char *path, const char *mode)');
const fclose = libc.func('int fclose(void *file)');
const mallocInfo = libc.func('int malloc_info(int options, void *file)');

/** How many arenas glibc has in this process. */
function arenas(): number {
  const folder = mkdtempSync(join(tmpdir(), 'eunomia-arenas-'));
  const path = join(folder, 'info.xml');
  const file = fopen(path, 'w') as unknown;
  mallocInfo(0, file);
  fclose(file);
  const count = readFileSync(path, 'utf8').split('<heap ').length - 1;
  rmSync(folder, { recursive: true });
  return count;
}

it('threads that begin afterwards share the arenas that are there', async () => {
  shareArenas();
  const before = arenas();
  const threads = Array.from(
    { length: 20 },
    () => new Worker(`require('node:worker_threads').parentPort.once('message', () => {})`, { eval: true }),
  );
  await Promise.all(threads.map((thread) => new Promise((resolve) => thread.once('online', resolve))));
  const during = arenas();
  await Promise.all(threads.map((thread) => thread.terminate()));
  expect(during).toBe(Math.max(before, 2));
});
