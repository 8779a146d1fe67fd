import { describe, expect, it } from 'vitest';
import type { Gap } from '../../src/event/event.js';
import { startTracker } from '../support/session.js';
import { work, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

const RING_BYTES = 65536;

describe('a ring that is too small for a burst', () => {
  it('loses events, counts each, and tells where: produced = lost + received', async () => {
    await workloadPath(); // compiled before, so that nothing else runs meanwhile
    const open = await startTracker('open', {
      pids: [process.pid],
      comms: ['workload'],
      ringBytes: RING_BYTES,
      bufferBytes: 1 << 30,
    });
    const gaps: Gap[] = [];
    let delivered = 0;
    const stream = open.session.subscribe({ demand: new Map() });
    const reading = (async () => {
      for await (const delivery of stream) {
        if (delivery.gap) gaps.push(delivery.gap);
        delivered += delivery.events.length;
      }
    })();

    const [processes, each] = [4, 60_000];
    await work('burst', '/no/burst', each, processes);
    const running = await open.stats();
    // The reader catches up, so that the ring has room again.
    await until('the reader has caught up', async () => (await open.stats()).queued === 0);
    // One event behind the last loss, so that this stands before an event of a page.
    await work('openat', '/no/end', 0, 0);
    await open.next((e) => e['path'] === '/no/end');
    await open.stop();
    await reading;

    const stats = await open.stats();
    expect(stats.lost).toBeGreaterThan(0);
    expect(stats.produced).toBe(stats.lost + stats.received);
    expect(stats.skippedRuns).toBe(0); // calls do not end inside of each other
    expect(running.produced).toBe(running.lost + running.received);
    // The workload made exactly so many events; a few more are its dynamic linker's.
    const ours = open.events.filter((e) => e['path'] === '/no/burst').length;
    expect(ours + stats.lost).toBeGreaterThanOrEqual(processes * each);
    expect(stats.produced).toBeGreaterThanOrEqual(processes * each);
    expect(stats.produced).toBeLessThan(processes * each + 20);

    expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
    expect(stats.queued).toBe(0);
    expect(stats.delivered).toBe(delivered + gaps.reduce((sum, gap) => sum + gap.dropped, 0));
    // Every loss stands in the stream, once.
    expect(gaps.reduce((sum, gap) => sum + gap.lost, 0)).toBe(stats.lost);
    for (const gap of gaps) expect(gap.from <= gap.to).toBe(true);
    const page = open.session.page({ first: 1_000_000 });
    expect(page.gaps.reduce((sum, gap) => sum + gap.lost, 0)).toBe(stats.lost);
  });

  it('loses nothing where it is large enough', async () => {
    const open = await startTracker('open', { pids: [process.pid], ringBytes: 64 << 20, bufferBytes: 1 << 30 });
    await work('burst', '/no/burst', 20_000, 2);
    await open.stop();
    const stats = await open.stats();
    expect(stats.lost).toBe(0);
    expect(stats.produced).toBe(stats.received);
    expect(open.events.filter((e) => e['path'] === '/no/burst')).toHaveLength(40_000);
  });

  it('loses only for the session whose ring it is', async () => {
    const small = await startTracker('open', { pids: [process.pid], ringBytes: RING_BYTES });
    const large = await startTracker('open', { pids: [process.pid], ringBytes: 64 << 20 });
    await work('burst', '/no/burst', 60_000, 2);
    await small.stop();
    await large.stop();
    const [lossy, whole] = [await small.stats(), await large.stats()];
    expect(lossy.lost).toBeGreaterThan(0);
    expect(whole.lost).toBe(0);
    expect(lossy.produced).toBe(lossy.lost + lossy.received);
    expect(whole.received).toBeGreaterThanOrEqual(120_000);
  });

  it('keeps the events of one process in order', async () => {
    const open = await startTracker('open', { pids: [process.pid], ringBytes: RING_BYTES });
    await work('count', '/no/n', 20_000, 0);
    const numbers = (await open.stop())
      .filter((e) => String(e['path']).startsWith('/no/n'))
      .map((e) => Number(String(e['path']).slice(5)));
    expect(numbers.length).toBeGreaterThan(0);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});
