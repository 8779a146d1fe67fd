import fc from 'fast-check';
import { pino } from 'pino';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TraceEvent } from '../event/event.js';
import { ContainerRegistry } from '../inventory/registry.js';
import type { Chunk } from '../kernel/protocol.js';
import type { RecordBatch } from '../record/batch.js';
import { Lease } from '../record/lease.js';
import { createRuntime, type TrackerRuntime } from '../record/runtime.js';
import exit from '../trackers/exit.js';
import { batchAt, layoutOf, packed, recordOf } from '../../test/support/record.js';
import { SessionBuffer } from './buffer.js';
import { Ingest } from './ingest.js';
import type { TargetSpec } from './spec.js';
import { Readers } from './stream/readers.js';
import { CgroupMatcher } from './target.js';

/** In the target of sessions that have one. */
const OURS = 5;
const THEIRS = 6;
const clock = { seconds: 0, nanoseconds: 0 };
const layout = layoutOf('exit');
const target: TargetSpec = {
  containers: [],
  waitForContainers: false,
  cgroups: [OURS],
  pids: [],
  descendants: false,
  uids: [],
  comms: [],
};
const even = ({ bootNs }: TraceEvent) => Number(bootNs) % 2 === 0;

let tracker: TrackerRuntime;
beforeAll(async () => {
  tracker = createRuntime(exit);
});

/** One record for each number, which is its bootNs; of this cgroup. */
function chunkOf(numbers: readonly number[], cgroupId = OURS, lost = 0): Chunk {
  const { data, offsets } = packed(numbers.map((bootNs) => recordOf(layout, { bootNs, cgroupId, pid: 1 })));
  return { data: new Uint8Array(data), offsets, lost, clock, readAt: 2, readBefore: 1 };
}

interface Setting {
  readonly target?: TargetSpec | null;
  readonly limit?: number | null;
  readonly matches?: ((event: TraceEvent) => boolean) | null;
}

/** An ingest with the real parts around it. Its registry has not begun: it finds any cgroup to be the host's, but not at once. */
function setUp({ target: wanted = null, limit = null, matches = null }: Setting = {}) {
  const registry = new ContainerRegistry({ log: pino({ level: 'silent' }), sources: [] });
  const matcher = new CgroupMatcher(wanted, registry, undefined, [tracker.layout.second]);
  const buffer = new SessionBuffer({ session: 's', bytes: 1 << 24, since: () => '' });
  const readers = new Readers();
  const batches: RecordBatch[] = [];
  const errors: unknown[] = [];
  const losses: object[] = [];
  const full: number[] = [];
  const ingest: Ingest = new Ingest({
    session: 's',
    trackers: [tracker],
    matcher,
    buffer,
    readers,
    limit,
    onCount: () => undefined,
    onBatch: (batch) => batches.push(batch),
    onFull: () => full.push(ingest.counts.delivered),
    log: {
      error: ({ err }) => void errors.push(err),
      warn: (told) => void losses.push(told),
    },
  });
  const take = ingest.taker({ matches, ready: null });
  let lent = 0;
  const give = (chunk: Chunk): Promise<void> | null => {
    lent++;
    const lease = new Lease(() => lent--);
    lease.hold();
    const work = take(chunk, lease);
    if (work) return work.then(() => lease.release());
    lease.release();
    return null;
  };
  let busy: Promise<void> | null = null;
  /** Offers a chunk as the kernel thread and the pool do: when the one before is taken, and with its memory held until it is. */
  const offer = (chunk: Chunk): Promise<void> | null => {
    const work: Promise<void> | null = busy ? busy.then(() => give(chunk) ?? undefined) : give(chunk);
    busy = work;
    void work?.then(() => (busy = busy === work ? null : busy));
    return work;
  };
  const places = () => [...buffer.events()].map(({ bootNs }) => Number(bootNs));
  return { ingest, buffer, readers, batches, errors, losses, full, offer, places, lent: () => lent };
}

describe('a session’s ingest', () => {
  it('holds chunks until their cgroups are known, and keeps their order', async () => {
    const { ingest, offer, places } = setUp();
    const offers = [offer(chunkOf([1, 2], OURS)), offer(chunkOf([3], THEIRS)), offer(chunkOf([4], OURS))];
    expect(ingest.counts).toMatchObject({ received: 4, queued: 4, delivered: 0 });
    expect(places()).toEqual([]);
    await Promise.all(offers);
    await ingest.settled;
    expect(places()).toEqual([1, 2, 3, 4]);
    expect([ingest.counts.queued, ingest.settled]).toEqual([0, null]);
    // Everything is known by now: delivered in the same turn.
    void offer(chunkOf([5], THEIRS));
    expect(places()).toEqual([1, 2, 3, 4, 5]);
  });

  it('discards what neither its target nor its filter matches, and numbers the rest without gaps', async () => {
    const { ingest, buffer, batches, offer, places } = setUp({ target, matches: even });
    await offer(chunkOf([1, 2, 3, 4], OURS));
    await offer(chunkOf([5, 6, 7, 8], THEIRS));
    await offer(chunkOf([9, 10], OURS));
    await ingest.settled;
    expect(places()).toEqual([2, 4, 10]);
    expect(ingest.counts).toMatchObject({ received: 10, discarded: 7, delivered: 3, queued: 0 });
    expect(buffer.nextSeq).toBe(3);
    expect(batches.map(({ seq, count }) => [seq, count])).toEqual([
      [0, 2],
      [2, 1],
    ]);
  });

  it('tells the log what chunks have told also where the last count of the kernel is older: its thread has failed', async () => {
    const { ingest, losses, offer } = setUp();
    await offer(chunkOf([1], OURS, 7));
    await offer(chunkOf([2], OURS, 3));
    await ingest.end(5);
    expect(losses).toMatchObject([{ lostInAll: 7 }, { lost: 3, lostInAll: 10 }]);
  });

  it('tells of a loss though no event of the chunk is left', async () => {
    const { ingest, readers, losses, offer } = setUp({ target });
    const recorder = readers.record({
      id: 'r',
      since: '',
      queueBytes: 1 << 20,
      backlog: [],
      missing: null,
      startSeq: 0,
      where: null,
      cursorAt: String,
    });
    await offer(chunkOf([1, 2], THEIRS, 7));
    await offer(chunkOf([], THEIRS, 3));
    await ingest.settled;
    expect(ingest.lost).toBe(10);
    // The log too: at once, then a minute later or at the end. The kernel may have counted more.
    expect(losses).toMatchObject([{ lostInAll: 7 }]);
    await ingest.end(12);
    expect(losses).toMatchObject([{ lostInAll: 7 }, { lostInAll: 12 }]);
    readers.end(null);
    let told = 0;
    for await (const { gap, events } of recorder) {
      expect(events).toEqual([]);
      told += gap?.lost ?? 0;
    }
    expect(told).toBe(10);
  });

  it('delivers as many as its limit allows, discards the rest, and says so', async () => {
    const { ingest, offer, places, full } = setUp({ limit: 3, matches: even });
    await offer(chunkOf([1, 2, 3, 4], OURS));
    await ingest.settled;
    expect(full).toEqual([]);
    await offer(chunkOf([5, 6, 7, 8], OURS));
    await offer(chunkOf([10], OURS));
    expect(places()).toEqual([2, 4, 6]);
    expect(full[0]).toBe(3);
    expect(ingest.counts).toMatchObject({ received: 9, discarded: 6, delivered: 3, queued: 0 });
  });

  it('gives memory back once what holds events lets go of it', async () => {
    const { ingest, buffer, offer, lent } = setUp({ target });
    await offer(chunkOf([1], OURS));
    await offer(chunkOf([2], THEIRS));
    await ingest.settled;
    expect(lent()).toBe(1);
    buffer.clear();
    expect(lent()).toBe(0);
  });

  it('reports a filter that throws, and takes the chunks behind', async () => {
    const failure = new Error('a filter that throws');
    const { ingest, errors, offer, places } = setUp({
      matches: ({ bootNs }) => {
        if (bootNs === '1') throw failure;
        return true;
      },
    });
    await Promise.all([offer(chunkOf([1])), offer(chunkOf([2]))]);
    await ingest.settled;
    expect([errors, places()]).toEqual([[failure], [2]]);
  });

  it('takes a recording’s events as they are', () => {
    const { ingest, batches, places } = setUp({ target, matches: () => false });
    const recorded = [7, 8].map((bootNs) => batchAt(bootNs, 1).event(0));
    ingest.play(recorded, { clock, lost: 2, lostFrom: 0, lostTo: 1 });
    expect(places()).toEqual([7, 8]);
    expect(ingest.counts).toMatchObject({ received: 2, discarded: 0, delivered: 2, queued: 0 });
    expect([ingest.lost, batches]).toEqual([2, []]);
  });

  it('keeps its counts and the order, whatever comes', async () => {
    const chunk = fc.record({
      count: fc.nat(6),
      ours: fc.boolean(),
      lost: fc.constantFrom(0, 0, 2),
      waits: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(chunk, { maxLength: 12 }),
        fc.boolean(),
        fc.boolean(),
        fc.option(fc.nat(12)),
        async (chunks, targets, filters, limit) => {
          const { ingest, offer, places, buffer } = setUp({
            target: targets ? target : null,
            matches: filters ? even : null,
            limit,
          });
          let next = 0;
          const wanted: number[] = [];
          const offers: (Promise<void> | null)[] = [];
          for (const { count, ours, lost, waits } of chunks) {
            const numbers = Array.from({ length: count }, () => next++);
            if (ours || !targets) wanted.push(...numbers.filter((n) => !filters || n % 2 === 0));
            offers.push(offer(chunkOf(numbers, ours ? OURS : THEIRS, lost)));
            const { received, discarded, delivered, queued } = ingest.counts;
            expect(received).toBe(discarded + delivered + queued);
            if (waits) await ingest.settled;
          }
          await Promise.all(offers);
          await ingest.settled;
          expect(places()).toEqual(limit === null ? wanted : wanted.slice(0, limit));
          expect(buffer.nextSeq).toBe(places().length);
          expect(ingest.counts).toMatchObject({ received: next, delivered: places().length, queued: 0 });
          expect(ingest.lost).toBe(chunks.reduce((sum, { lost }) => sum + lost, 0));
        },
      ),
      { numRuns: 200 },
    );
  });
});
