import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { ResumedStream } from './resume.js';
import type { StoredPage } from './store.js';

const EMPTY: StoredPage = { events: [], gaps: [], hasNext: false, hasPrevious: false };

it('reads nothing for readers that left before it was their turn', async () => {
  const reads: (() => void)[] = [];
  const store = {
    page: () => new Promise<StoredPage>((resolve) => reads.push(() => resolve(EMPTY))),
  };
  const resumed = (): ResumedStream =>
    new ResumedStream({ source: { store, id: 'a', trackers: ['open'] }, from: 0, where: null, live: null, end: 10 });
  const left = Array.from({ length: 100 }, resumed);
  const results = left.map((stream) => stream.next());
  await setImmediate();
  await Promise.all(left.map((stream) => stream.return()));
  const stays = resumed();
  const last = stays.next();
  let ended = false;
  void last.then(() => (ended = true));
  for (let turns = 0; !ended && turns < 1000; turns++) {
    for (const end of reads) end();
    await setImmediate();
  }
  expect(ended).toBe(true);
  expect((await Promise.all(results)).every(({ done }) => done)).toBe(true);
  // Of those that left, at most the ones that were being read.
  expect(reads.length).toBeLessThanOrEqual(3);
});
