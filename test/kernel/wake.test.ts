import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { objectPath } from '../../src/base/paths.js';
import { Source } from '../../src/kernel/source.js';
import { uring } from '../../src/tracker/uring.js';
import { work } from '../support/workload.js';

/** How often a program on any CPU has interrupted itself so that somebody is woken. */
function wakes(): number {
  const line = /^.*IRQ work interrupts$/m.exec(readFileSync('/proc/interrupts', 'utf8'))?.[0] ?? '';
  return [...line.matchAll(/\b\d+\b/g)].reduce((sum, [count]) => sum + Number(count), 0);
}

const EVENTS = 4_000;

describe('programs of a ring that fills', () => {
  it('wake its reader once until it has looked, not for each record behind the mark', async () => {
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
    const source = await Source.load({ delayMs: 50, ringBytes: 8 << 20, filter, objects });
    try {
      for (let look = 0; look < 2; look++) {
        const before = wakes();
        source.setWakeAt(4096);
        await work('burst', '/no/wake', EVENTS / 2, 2);
        const woken = wakes() - before;
        expect(source.counters().lost).toEqual([0]);
        expect(woken).toBeGreaterThan(0);
        expect(woken).toBeLessThan(EVENTS / 4); // others of the machine have some, too
      }
      expect(source.counters().produced[0]).toBeGreaterThanOrEqual(2 * EVENTS);
    } finally {
      await source.close();
    }
  });
});
