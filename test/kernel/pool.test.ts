import { uring } from '../../src/tracker/uring.js';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { objectPath } from '../../src/base/paths.js';
import type { Chunk } from '../../src/kernel/protocol.js';
import { KernelThread } from '../../src/kernel/thread.js';
import { SourcePool } from '../../src/session/source/pool.js';
import { startTracker } from '../support/session.js';
import { ended, start, work, workloadPath, firstLine } from '../support/workload.js';
import { until } from '../support/until.js';

describe('sessions with an equal kernel configuration', () => {
  it('have exact counts of their own, however they come and go while events flow: produced = lost + received', async () => {
    await workloadPath();
    const kernel = new KernelThread();
    try {
      const pool = new SourcePool(kernel);
      const filter = { cgroups: null, pids: [process.pid], descendants: true, uids: null, comms: null };
      const objects = [
        {
          name: 'open',
          path: objectPath('trackers/open'),
          constants: {},
          unneeded: [],
          capture: 0n,
          optional: uring('open'),
        },
      ];
      const share = (mask: bigint, onChunk: (chunk: Chunk) => void) =>
        pool.join('same', { delayMs: 0, ringBytes: 1 << 20, filter, objects }, [mask], onChunk);
      const counted = { received: 0, lost: 0 };
      const lasting = await share(0n, ({ offsets, lost }) => {
        counted.received += offsets.length;
        counted.lost += lost;
      });
      const working = work('burst', '/no/pool', 500_000, 2);
      const off: string[] = [];
      let over = false;
      void working.finally(() => (over = true));
      for (let i = 0; !over; i++) {
        let received = 0;
        // Every other one captures more than the one that stays: the mask changes as it comes and goes.
        const passing = await share(i % 2 ? 3n : 0n, ({ offsets }) => (received += offsets.length));
        await sleep(1);
        const { produced, lost } = await passing.close();
        if (produced !== lost + received) off.push(`${i}: produced ${produced}, lost ${lost}, received ${received}`);
      }
      await working;
      expect(off).toEqual([]);
      const { produced, lost } = await lasting.close();
      expect(lost).toBe(counted.lost);
      expect(produced).toBe(lost + counted.received);
      expect(produced).toBeGreaterThanOrEqual(1_000_000);
    } finally {
      await kernel.close();
    }
  });

  it('follow a new process of a pid that an older session knew as another', async () => {
    const workload = await workloadPath();
    const command = [workload, 'gate', workload, 'openat', '/no/reused', '0', '0'];
    const gated = async () => {
      const child = start(workload, command.slice(1));
      await once(child, 'spawn');
      return child;
    };
    // Unless another process of the machine got the pid meanwhile, and keeps it.
    const { child, pid } = await until('the pid is used again', async () => {
      const former = await gated();
      const pid = former.pid ?? 0;
      const older = await startTracker('open', { pids: [pid] });
      former.stdin?.write('\n');
      await ended(former);
      await older.next((e) => e['path'] === '/no/reused');
      const another = start(workload, ['as', String(pid), ...command]);
      return (await firstLine(another)) === 'made' && { child: another, pid };
    });
    const newer = await startTracker('open', { pids: [pid] });
    child.stdin?.write('\n');
    await ended(child);
    const events = await newer.stop();
    expect(events.map((e) => e['path'])).toContain('/no/reused');
  });
});
