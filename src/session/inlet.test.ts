import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Chunk } from '../kernel/protocol.js';
import { Lease } from '../record/lease.js';
import { layoutOf, packed, recordOf } from '../../test/support/record.js';
import { Inlet, pauseBetween, WRITTEN_NS } from './inlet.js';

const layout = layoutOf('exit');

function chunkOf(times: readonly number[], { tid = 1, lost = 0, readBefore = 0 } = {}): Chunk {
  const { data, offsets } = packed(times.map((bootNs) => recordOf(layout, { bootNs, tid, pid: 1 })));
  return {
    data: new Uint8Array(data),
    offsets,
    lost,
    clock: { seconds: 0, nanoseconds: 0 },
    readAt: Math.max(0, ...times),
    readBefore,
  };
}

const timesOf = ({ data, offsets }: Chunk): number[] =>
  [...offsets].map((at) => Number(new DataView(data.buffer, data.byteOffset).getBigUint64(at, true)));

/** An inlet, what came through it, and how much memory is lent to it. */
function inletOf() {
  const taken: number[] = [];
  const lost: number[] = [];
  let lent = 0;
  const inlet = new Inlet((chunk) => {
    taken.push(...timesOf(chunk));
    lost.push(chunk.lost);
    return null;
  });
  const give = (chunk: Chunk): void => {
    lent++;
    const lease = new Lease(() => lent--);
    lease.hold();
    void inlet.take(chunk, lease);
    lease.release();
  };
  return { inlet, taken, lost, give, lent: () => lent };
}

it('lets in what is within its span, and counts what is not, held back or not', async () => {
  const { inlet, taken, lost, give, lent } = inletOf();
  give(chunkOf([1, 2]));
  await inlet.hold();
  give(chunkOf([3, 4], { lost: 2 }));
  give(chunkOf([5, 6], { lost: 3, readBefore: 4 }));
  expect([taken, lent()]).toEqual([[1, 2], 2]);
  expect([...inlet.times({ from: 4, until: 6 })]).toEqual([4, 5]);
  await inlet.release({ until: 4 });
  give(chunkOf([3, 7], { readBefore: 8 }));
  expect(taken).toEqual([1, 2, 3, 3]);
  expect(lost).toEqual([0, 2, 0]);
  expect([inlet.excluded, lent()]).toEqual([{ events: 4, lost: 3 }, 0]);
});

it('leaves out what is older than its span also where the ring is read late, part by part', async () => {
  const { inlet, taken, lost, give } = inletOf();
  await inlet.hold();
  await inlet.release({ from: 1_000 });
  const late = 1_000 + 1e9;
  give(chunkOf([998, 999], { readBefore: late }));
  give(chunkOf([999, 1_001], { readBefore: late, lost: 1 }));
  give(chunkOf([1_000 + WRITTEN_NS, 2_000 + WRITTEN_NS], { readBefore: late }));
  expect(taken).toEqual([1_001, 1_000 + WRITTEN_NS, 2_000 + WRITTEN_NS]);
  expect([lost, inlet.excluded]).toEqual([[1, 0], { events: 3, lost: 0 }]);
});

it('waits for what was begun before it holds back, and keeps the order', async () => {
  const order: string[] = [];
  let end: () => void = () => undefined;
  const inlet = new Inlet((chunk) => {
    order.push(`begin ${timesOf(chunk).join()}`);
    return new Promise<void>((resolve) => (end = resolve)).then(() => void order.push('end'));
  });
  const lease = new Lease(() => undefined);
  lease.hold();
  void inlet.take(chunkOf([1]), lease);
  const held = inlet.hold().then(() => order.push('held'));
  void inlet.take(chunkOf([2]), lease);
  end();
  await held;
  expect(order).toEqual(['begin 1', 'end', 'held']);
  const released = inlet.release({}, () => void order.push('another'));
  await released;
  expect(order.at(-1)).toBe('another');
});

it('lets go of all memory when it is closed', async () => {
  const { inlet, taken, give, lent } = inletOf();
  await inlet.hold();
  give(chunkOf([1]));
  expect(lent()).toBe(1);
  inlet.close();
  give(chunkOf([2]));
  expect([taken, lent()]).toEqual([[], 0]);
});

it('a boundary between two sources gives each happening once, whatever each of them takes', async () => {
  const happening = fc.record({
    pauseNs: fc.integer({ min: 0, max: 200_000 }),
    /** How much later the second program reads the clock: an interrupt may lie in between. */
    laterNs: fc.oneof(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 60_000 })),
    tid: fc.integer({ min: 1, max: 3 }),
    old: fc.boolean(),
    next: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { minLength: 1, maxLength: 60 }), async (happenings) => {
      const [old, next] = [inletOf(), inletOf()];
      await Promise.all([old.inlet.hold(), next.inlet.hold()]);
      let now = 1_000_000;
      const all = happenings.map((one) => {
        now += one.pauseNs + 1;
        const times = { first: now, second: now + one.laterNs };
        now = times.second;
        return { ...one, ...times };
      });
      for (const { first, second, tid, old: inOld, next: inNext } of all) {
        if (inOld) old.give(chunkOf([first], { tid }));
        if (inNext) next.give(chunkOf([second], { tid }));
      }
      const at = pauseBetween(old.inlet, next.inlet, 1_000_000, now + 1);
      await old.inlet.release({ until: at });
      await next.inlet.release({ from: at });
      for (const { first, second, old: inOld, next: inNext } of all) {
        const times = (inOld && old.taken.includes(first) ? 1 : 0) + (inNext && next.taken.includes(second) ? 1 : 0);
        // One that the boundary divides is there twice; one that only one of them takes is evaluated by that.
        expect(times).toBeLessThanOrEqual(1);
        if (inOld && inNext) expect(times).toBe(1);
      }
    }),
    { numRuns: 300 },
  );
});
