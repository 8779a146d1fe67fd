import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SpareMemory } from '../kernel/spare.js';
import { RecordBatch } from './batch.js';
import { BatchBuffer } from './batch-buffer.js';
import { Lease } from './lease.js';
import type { Delivery } from './delivery.js';
import { EventStream, type StreamOptions } from '../session/stream/stream.js';
import { batchAt } from '../../test/support/record.js';

/** Batches whose memory is taken away when it is given back, as the kernel thread does. */
class Lender {
  returned = 0;
  next = 0;

  /** Hands a batch to its readers as the pool does. */
  offer(count: number, readers: readonly { push(batch: RecordBatch): void }[]): void {
    const { bytes, offsets, context, clock, seq, lost, lostFrom, lostTo } = batchAt(this.next, count);
    const lease = new Lease(() => {
      this.returned += 1;
      structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
    });
    lease.hold();
    const batch = new RecordBatch(bytes, offsets, context, { clock, seq, lost, lostFrom, lostTo }, null, lease);
    for (const reader of readers) reader.push(batch);
    lease.release();
    this.next += count;
  }
}

const batchBytes = batchAt(0, 4).byteLength;
const streamOf = (options: Partial<StreamOptions>) =>
  new EventStream({
    id: '1',
    since: '',
    queueBytes: 1 << 24,
    backlog: [],
    missing: null,
    cursorAt: String,
    startSeq: 0,
    where: null,
    onClose: () => undefined,
    ...options,
  });
const even = { text: 'even', matches: ({ process }: { process: { pid: number } }) => process.pid % 2 === 0 };

/** Places of the events, read from their records. */
const read = ({ slices }: Pick<Delivery, 'slices'>) =>
  slices.flatMap(({ batch, from, to }) => Array.from({ length: to - from }, (_, i) => batch.bootNsAt(from + i)));

describe('memory of records', () => {
  it('goes back once nobody reads it, and not before, whoever reads how slowly', async () => {
    const step = fc.oneof(
      fc.record({ push: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ take: fc.constantFrom(0, 1, 2) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 6 }), async (steps, budget) => {
        const lender = new Lender();
        const history = new BatchBuffer(budget * batchBytes);
        const queueBytes = 4 * batchBytes;
        const streams = [
          streamOf({ lends: true, queueBytes, deliveryEvents: 5 }),
          streamOf({ lends: true, queueBytes, where: even }),
          streamOf({ queueBytes }),
        ];
        const lasting: { readonly delivery: Delivery; readonly places: number[] }[] = [];
        for (const each of steps) {
          if ('push' in each) lender.offer(each.push, [history, ...streams]);
          const stream = 'take' in each ? streams[each.take] : undefined;
          if (!stream?.stats.queued) continue;
          const { value } = await stream.next();
          if (!value) throw new Error('the stream has ended');
          const places = read(value);
          expect(places.length).toBeGreaterThan(0);
          expect(places).toEqual([...places].sort((a, b) => a - b));
          expect(places.every((place) => place < lender.next)).toBe(true);
          if (stream === streams[2]) lasting.push({ delivery: value, places });
        }
        // Of a reader to whom nothing is lent all stays readable.
        for (const { delivery, places } of lasting) expect(read(delivery)).toEqual(places);
        expect(read({ slices: history.slices(history.firstSeq) })).toEqual(
          Array.from({ length: history.retained }, (_, i) => history.firstSeq + i),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('goes back when the session has let go of it and its reader asks for more', async () => {
    const lender = new Lender();
    const history = new BatchBuffer(1);
    const stream = streamOf({ lends: true });
    lender.offer(4, [history, stream]);
    const { value: first } = await stream.next();
    lender.offer(4, [history, stream]);
    expect(lender.returned).toBe(0); // the first is still read
    expect(first && read(first)).toEqual([0, 1, 2, 3]);
    await stream.next();
    expect(lender.returned).toBe(1);
    history.clear();
    expect(lender.returned).toBe(1); // the second is lent
  });

  it('stays with events that were made, and with what was taken from the history', async () => {
    const lender = new Lender();
    const history = new BatchBuffer(1);
    const stream = streamOf({ lends: true });
    lender.offer(2, [history, stream]);
    const { value } = await stream.next();
    const events = value?.events ?? [];
    lender.offer(2, [history]);
    const slices = history.slices(0);
    lender.offer(2, [history]);
    await stream.return();
    expect(lender.returned).toBe(0);
    expect(events.map(({ bootNs }) => bootNs)).toEqual(['0', '1']);
    expect(read({ slices })).toEqual([2, 3]);
  });

  it('stays with a delivery that is being read when its stream is ended by another', async () => {
    const lender = new Lender();
    const stream = streamOf({ lends: true });
    lender.offer(3, [stream]);
    const { value } = await stream.next();
    await stream.return();
    expect(value && read(value)).toEqual([0, 1, 2]);
  });

  it('fails where it is read after it went back, and shows nobody anything else', () => {
    const batches: RecordBatch[] = [];
    const lender = new Lender();
    lender.offer(1, [{ push: (batch) => batches.push(batch) }]);
    expect(lender.returned).toBe(1);
    expect(() => batches[0]?.event(0).bootNs).toThrow(TypeError);
  });
});

describe('spare memory', () => {
  it('is used again for what is not much smaller', () => {
    const memory = new SpareMemory();
    const large = memory.take(300_000);
    expect(large.byteLength).toBe(5 * 65_536);
    memory.give(large);
    expect(memory.take(100_000)).not.toBe(large);
    expect(memory.take(200_000)).toBe(large);
    expect(memory.take(200_000)).not.toBe(large);
  });

  it('makes small memory as small as asked for, and keeps none of it', () => {
    const memory = new SpareMemory();
    const small = memory.take(100);
    expect(small.byteLength).toBe(100);
    memory.give(small);
    expect(memory.take(100)).not.toBe(small);
  });

  it('keeps no more than 16 MiB: the newest', () => {
    const memory = new SpareMemory();
    const all = Array.from({ length: 20 }, () => memory.take(1 << 20));
    for (const each of all) memory.give(each);
    const kept = all.map(() => memory.take(1 << 20)).filter((each) => all.includes(each));
    expect(kept).toEqual(all.slice(4));
  });
});
