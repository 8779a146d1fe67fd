import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/event/event.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { until } from '../support/until.js';
import { run } from '../support/workload.js';

const V1 = '/sys/fs/cgroup/cpu';
const isV1 = existsSync(join(V1, 'cpu.cfs_quota_us'));
const root = isV1 ? V1 : '/sys/fs/cgroup';
const made: string[] = [];

/** A cgroup that may use so much of a period of 100 ms. */
async function limited(quotaUs: number): Promise<string> {
  const path = join(root, `eunomia-throttle-${process.pid}-${made.length}`);
  if (!isV1) await writeFile(join(root, 'cgroup.subtree_control'), '+cpu');
  await mkdir(path);
  made.push(path);
  if (isV1) await writeFile(join(path, 'cpu.cfs_quota_us'), String(quotaUs));
  else await writeFile(join(path, 'cpu.max'), `${quotaUs} 100000`);
  return path;
}

afterEach(async () => {
  for (const path of made.splice(0))
    await until('its processes have gone', async () =>
      rmdir(path).then(
        () => true,
        () => false,
      ),
    );
});

/** What the kernel counts of the cgroup: periods in which a run queue was throttled, and how long. */
async function counted(cgroup: string): Promise<{ times: number; ns: number }> {
  const text = await readFile(join(cgroup, 'cpu.stat'), 'utf8');
  const value = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { times: value('nr_throttled'), ns: isV1 ? value('throttled_time') : value('throttled_usec') * 1000 };
}

const spin = (cgroup: string, ms: number) =>
  `echo $$ >${cgroup}/cgroup.procs; exec ${process.execPath} -e 'const t = Date.now(); while (Date.now() < t + ${ms});'`;
const sum = (events: readonly Seen[], field: string) => events.reduce((n, event) => n + Number(event[field]), 0);

async function throttled(options: TrackOptions, quotaUs = 20_000, ms = 2000) {
  const cgroup = await limited(quotaUs);
  const tracked = await startTracker('cputhrottle', options);
  const { pid, code } = await run('sh', ['-c', spin(cgroup, ms)]);
  expect(code).toBe(0);
  const events = await tracked.stop();
  return { pid, events, kernel: await counted(cgroup), stats: await tracked.stats() };
}

describe('the tracker cputhrottle', () => {
  it('counts the throttles of a process with their times, as the kernel counts its cgroup', async () => {
    const { pid, events, kernel, stats } = await throttled({ pids: [process.pid] });
    expect(kernel.times).toBeGreaterThan(5);
    for (const event of events)
      expect(event).toMatchObject({ quotaNs: '20000000', periodNs: '100000000', process: { pid } });
    // Node has threads that do little: a run queue may be throttled while it is about to run, or on the other CPU.
    expect(sum(events, 'count')).toBeGreaterThan(kernel.times / 2);
    expect(sum(events, 'throttledNs')).toBeGreaterThan(kernel.ns / 2);
    const buckets = events.flatMap((event) => event['throttledHistogramNs'] as readonly Bucket[]);
    expect(buckets.reduce((n, { count }) => n + Number(count), 0)).toBe(sum(events, 'count'));
    // Most of each period of 100 ms: on average what is left of it.
    const average = sum(events, 'throttledNs') / sum(events, 'count');
    expect(average).toBeGreaterThan(20e6);
    expect(stats).toMatchObject({ lost: 0, discarded: 0, produced: stats.received });
  });

  it('counts nothing of a process that stays below its limit, or has none', async () => {
    const tracked = await startTracker('cputhrottle', { pids: [process.pid] });
    const cgroup = await limited(20_000);
    expect((await run('sh', ['-c', `echo $$ >${cgroup}/cgroup.procs; exec sleep 0.3`])).code).toBe(0);
    expect(
      (await run('sh', ['-c', `exec ${process.execPath} -e 'const t = Date.now(); while (Date.now() < t + 300);'`]))
        .code,
    ).toBe(0);
    expect(await tracked.stop()).toEqual([]);
  });

  it('is filtered in the kernel by process and command', async () => {
    for (const [options, seen] of [
      [{ comms: ['node'] }, true],
      [{ comms: ['nobody'] }, false],
      [{ pids: [process.pid], descendants: false }, false],
      [{ pids: [process.pid], where: 'count > 1000000' }, false],
    ] as const) {
      const { events, pid } = await throttled(options as TrackOptions, 10_000, 800);
      expect([options, events.some((event) => event.process.pid === pid)]).toEqual([options, seen]);
    }
  });
});
