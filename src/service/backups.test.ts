import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Caller } from '../access/caller.js';
import { Backups } from './backups.js';
import type { PaceLimits } from './pace.js';

const BYTES = 1 << 20;
let directory = '';
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'eunomia-backups-'))));
afterEach(() => rm(directory, { recursive: true }));

/** Of files of zeros; `slow` overrides what is patient. */
function backups(slow: Partial<PaceLimits> = {}): Backups {
  let copies = 0;
  const copy = async (): Promise<string> => {
    const path = join(directory, `copy-${copies++}`);
    await writeFile(path, Buffer.alloc(BYTES));
    return path;
  };
  return new Backups(
    { stores: new Map([['EMBEDDED', { copy }]]) },
    { stallMs: 60_000, spanMs: 60_000, spanBytes: 0, ...slow },
  );
}

function operator(): { readonly caller: Caller; leave(): void } {
  const leaving = new AbortController();
  return { caller: { who: 'a test', role: 'operator', signal: leaving.signal }, leave: () => leaving.abort() };
}

const busy = { code: 'LIMIT_EXCEEDED' };

it('is as long as it says, and makes room for the next one at its end', async () => {
  const all = backups();
  const first = operator();
  const { body, length } = await all.open(first.caller);
  await expect(all.open(operator().caller)).rejects.toMatchObject(busy);
  let bytes = 0;
  for await (const piece of body) bytes += piece.length;
  expect([bytes, length]).toEqual([BYTES, BYTES]);
  await all.open(operator().caller);
  // The end of the first one frees no place of the second one.
  first.leave();
  await expect(all.open(operator().caller)).rejects.toMatchObject(busy);
  expect(await readdir(directory)).toEqual([]);
});

it('makes room when its client goes away', async () => {
  const all = backups();
  const { caller, leave } = operator();
  await all.open(caller);
  leave();
  await all.open(operator().caller);
});

it.each<[string, Partial<PaceLimits>, RegExp]>([
  ['takes nothing more', { stallMs: 50 }, /its reader took nothing for 0.05 s/],
  ['is too slow', { spanMs: 50, spanBytes: BYTES }, /its reader took \d+ bytes in 0.05 s; at least 1048576 are needed/],
])('is given up when its reader %s', async (_, slow, why) => {
  const all = backups(slow);
  const { body, tooSlow } = await all.open(operator().caller);
  await body.next();
  await body.next();
  if (!tooSlow) throw new Error('it is waited for');
  if (!tooSlow.aborted) await new Promise((resolve) => tooSlow.addEventListener('abort', resolve));
  expect(tooSlow.reason).toMatchObject({ code: 'CANCELLED', message: expect.stringMatching(why) });
  await all.open(operator().caller);
});
