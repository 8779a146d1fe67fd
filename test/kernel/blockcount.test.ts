import { beforeAll, describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/event/event.js';
import { makeLoop, blockProgram, watchDisk, whole, type Loop } from '../support/loop.js';
import { type Seen } from '../support/session.js';
import { run } from '../support/workload.js';

let program = '';
let disk: Loop;
beforeAll(async () => {
  program = await blockProgram();
  disk = await makeLoop(64 << 20);
});

const load = (...args: readonly (string | number)[]) => run(program, [disk.path, ...args].map(String));

describe('the tracker blockcount', () => {
  const HISTOGRAMS = {
    durationNs: 'durationHistogramNs',
    queueNs: 'queueHistogramNs',
    deviceNs: 'deviceHistogramNs',
    bytes: 'sizeHistogramBytes',
  };
  const sum = (events: readonly Seen[], field: string) => events.reduce((all, event) => all + Number(event[field]), 0);

  it('counts what blockio reports, with totals and histograms that agree', async () => {
    const { events, counted } = await watchDisk(
      disk,
      'blockcount',
      async () => {
        await load('write', 300, 4096);
        await load('read', 150, 16384);
      },
      { pids: [process.pid] },
    );
    const reads = events.filter((event) => event['blockOperation'] === 'READ');
    const writes = events.filter((event) => event['blockOperation'] === 'WRITE');
    expect([sum(reads, 'count'), sum(reads, 'bytes') / 512]).toEqual([counted.reads, counted.sectorsRead]);
    expect([sum(writes, 'count'), sum(writes, 'bytes') / 512]).toEqual([counted.writes, counted.sectorsWritten]);
    expect(sum(events, 'count')).toBe(450);
    expect(sum(events, 'errors')).toBe(0);
    for (const event of events) {
      expect(event).toMatchObject({ process: { comm: 'blockload' }, disk: disk.disk });
      for (const [total, histogram] of Object.entries(HISTOGRAMS)) {
        const buckets = event[histogram] as Bucket[];
        expect(buckets.reduce((all, { count }) => all + Number(count), 0)).toBe(Number(event['count']));
        const least = buckets.reduce((all, { from, count }) => all + from * Number(count), 0);
        const most = buckets.reduce((all, { to, count }) => all + (to ?? 0) * Number(count), 0);
        expect(Number(event[total])).toBeGreaterThanOrEqual(least);
        expect(Number(event[total])).toBeLessThan(most);
      }
      expect(Number(event['durationNs'])).toBe(Number(event['queueNs']) + Number(event['deviceNs']));
    }
    expect(
      new Set(
        reads.map((event) =>
          JSON.stringify((event['sizeHistogramBytes'] as Bucket[]).map(({ from, to }) => [from, to])),
        ),
      ),
    ).toEqual(new Set(['[[16384,32768]]']));
  });

  it('counts exactly while its counts are read again and again, by several processes', async () => {
    const { events, stats, counted } = await whole(
      () =>
        watchDisk(disk, 'blockcount', () => load('read', 4000, 512, 3), {
          pids: [process.pid],
          options: { every: 50, operations: ['READ'] },
        }),
      (run) => sum(run.events, 'count') === run.counted.reads,
    );
    // Requests of two processes for neighbouring sectors may become one.
    expect(sum(events, 'count')).toBe(counted.reads);
    expect(counted.reads).toBeGreaterThan(11_000);
    expect(sum(events, 'bytes')).toBe(12_000 * 512);
    expect(new Set(events.map((event) => event.process.pid)).size).toBe(3);
    expect(stats).toMatchObject({ lost: 0, produced: stats.received, skippedRuns: 0 });
  });

  it('is selected and filtered in the kernel', async () => {
    for (const [options, where, count] of [
      [{ operations: ['READ'] }, undefined, 10],
      [{}, 'blockOperation == "WRITE"', 20],
    ] as const) {
      const { events, stats } = await watchDisk(
        disk,
        'blockcount',
        async () => {
          await load('write', 20, 4096);
          await load('read', 10, 8192);
        },
        { pids: [process.pid], options, ...(where === undefined ? {} : { where }) },
      );
      expect([options, where, sum(events, 'count')]).toEqual([options, where, count]);
      expect(stats).toMatchObject({ discarded: 0, lost: 0, produced: stats.received });
    }
  });
});
