import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchBuffer } from '../../record/batch-buffer.js';
import type { Delivery } from '../../record/delivery.js';
import { EventStream, type StreamOptions } from './stream.js';
import { batchAt } from '../../../test/support/record.js';

const roomy = 1 << 24;
const batchBytes = batchAt(0, 4).byteLength;

function streamOf(options: Partial<StreamOptions> = {}): { stream: EventStream; closed: () => number } {
  let closes = 0;
  const stream = new EventStream({
    id: '1',
    since: '',
    queueBytes: roomy,
    backlog: [],
    missing: null,
    cursorAt: String,
    startSeq: 0,
    where: null,
    onClose: () => closes++,
    ...options,
  });
  return { stream, closed: () => closes };
}

const placesOf = (delivery: Delivery) => delivery.events.map((event) => Number(event.bootNs));

async function take(stream: EventStream): Promise<Delivery> {
  const { value } = await stream.next();
  if (!value) throw new Error('the stream has ended');
  return value;
}

function holdsLaw(stream: EventStream): void {
  const { received, discarded, delivered, dropped, queued } = stream.stats;
  expect(received).toBe(discarded + delivered + dropped + queued);
  for (const count of [received, discarded, delivered, dropped, queued]) expect(count).toBeGreaterThanOrEqual(0);
}

/** What a reader was told so far. */
interface Story {
  at: number;
  dropped: number;
  lost: number;
}

const storyFrom = (at: number): Story => ({ at, dropped: 0, lost: 0 });

/** Checks that deliveries and gaps make one story: each event once, each missing one in the gap where it is missing. */
function goOn(story: Story, delivery: Delivery): void {
  const places = placesOf(delivery);
  const { dropped = 0, lost = 0 } = delivery.gap ?? {};
  story.dropped += dropped;
  story.lost += lost;
  story.at += dropped;
  expect(places).toEqual(places.map((_, i) => story.at + i));
  story.at += places.length;
  expect(delivery.cursor).toBe(String(story.at));
  expect(places.length + dropped + lost).toBeGreaterThan(0);
  expect(places.length).toBeLessThanOrEqual(1024);
}

type Step =
  | { readonly do: 'push'; readonly count: number; readonly lost: number }
  | { readonly do: 'next' }
  | { readonly do: 'end' }
  | { readonly do: 'return' };
const push = fc
  .record({
    do: fc.constant('push' as const),
    count: fc.integer({ min: 0, max: 6 }),
    lost: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 9 })),
  })
  .filter((step) => step.count + step.lost > 0);
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: push as fc.Arbitrary<Step> },
    { weight: 4, arbitrary: fc.constant<Step>({ do: 'next' }) },
  ),
  { maxLength: 40 },
);
const lastStep = fc.constantFrom<Step>({ do: 'end' }, { do: 'return' });

describe('a reader of a session', () => {
  it('keeps the law received = discarded + delivered + dropped + queued after every step, and tells one story', async () => {
    await fc.assert(
      fc.asyncProperty(steps, lastStep, fc.integer({ min: 1, max: 5 }), async (list, last, capacity) => {
        const { stream, closed } = streamOf({ queueBytes: capacity * batchBytes });
        const story = storyFrom(0);
        const reads: Promise<void>[] = [];
        let [seq, lost] = [0, 0];
        for (const step of [...list, last]) {
          if (step.do === 'push') {
            stream.push(batchAt(seq, step.count, step.lost));
            seq += step.count;
            lost += step.lost;
          } else if (step.do === 'next')
            reads.push(stream.next().then(({ value }) => void (value && goOn(story, value))));
          else if (step.do === 'end') stream.end();
          else await stream.return();
          holdsLaw(stream);
          expect(stream.stats.received).toBe(seq);
        }
        await Promise.all(reads);
        if (last.do === 'end') for await (const delivery of stream) goOn(story, delivery);
        holdsLaw(stream);
        const { received, delivered, dropped, queued } = stream.stats;
        expect({ received, queued, closes: closed() }).toEqual({ received: seq, queued: 0, closes: 1 });
        expect(delivered).toBe(story.at - story.dropped);
        if (last.do === 'end') {
          expect(story.at).toBe(seq);
          expect(story.dropped).toBe(dropped);
          expect(story.lost).toBe(lost);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('gets the backlog, then what is live, without gap or duplicate, wherever it starts', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(push, { maxLength: 20 }),
        fc.nat({ max: 60 }),
        fc.array(push, { maxLength: 20 }),
        fc.boolean(),
        async (before, replay, after, readFirst) => {
          const history = new BatchBuffer(roomy);
          let seq = 0;
          const next = ({ count, lost }: { count: number; lost: number }) => {
            const batch = batchAt(seq, count, lost);
            seq += count;
            return batch;
          };
          for (const step of before) history.push(next(step));
          const start = Math.max(0, seq - replay);
          const { stream } = streamOf({
            backlog: start < seq ? history.slices(start) : [],
            startSeq: start,
            queueBytes: roomy,
          });
          const story = storyFrom(start);
          if (readFirst && start < seq) goOn(story, await take(stream));
          for (const step of after) stream.push(next(step));
          stream.end();
          for await (const delivery of stream) goOn(story, delivery);
          expect(story).toMatchObject({ at: seq, dropped: 0 });
          holdsLaw(stream);
          expect(stream.stats).toMatchObject({ received: seq - start, delivered: seq - start, dropped: 0 });
        },
      ),
      { numRuns: 300 },
    );
  });

  it('sums up all losses of the kernel that stand at one place', async () => {
    const { stream } = streamOf();
    stream.push(batchAt(0, 0, 3)); // a chunk that only tells of a loss
    stream.push(batchAt(0, 0, 4));
    stream.push(batchAt(0, 2, 5));
    const { gap, events } = await take(stream);
    expect(events).toHaveLength(2);
    expect(gap).toMatchObject({ lost: 12, dropped: 0, where: 'KERNEL' });
  });

  it('finds a loss in the kernel just before the events that follow it, and a delivery of its own', async () => {
    const { stream } = streamOf();
    for (const batch of [batchAt(0, 3), batchAt(3, 2), batchAt(5, 4, 7), batchAt(9, 1)]) stream.push(batch);
    const [first, second] = [await take(stream), await take(stream)];
    expect([placesOf(first), first.gap]).toEqual([[0, 1, 2, 3, 4], null]);
    expect(placesOf(second)).toEqual([5, 6, 7, 8, 9]);
    expect(second.gap).toEqual({
      from: '1970-01-01T00:00:00.000000004Z',
      to: '1970-01-01T00:00:00.000000009Z',
      lost: 7,
      dropped: 0,
      where: 'KERNEL',
    });
  });

  it('that is slow loses its oldest events, and their gap says when', async () => {
    const { stream } = streamOf({ queueBytes: 2 * batchBytes });
    for (let seq = 0; seq < 20; seq += 4) stream.push(batchAt(seq, 4, seq === 4 ? 9 : 0));
    expect(stream.stats).toMatchObject({ received: 20, dropped: 12, queued: 8, delivered: 0 });
    const delivery = await take(stream);
    expect(placesOf(delivery)).toEqual([12, 13, 14, 15, 16, 17, 18, 19]);
    expect(delivery.gap).toEqual({
      from: '1970-01-01T00:00:00.000000000Z',
      to: '1970-01-01T00:00:00.000000011Z',
      lost: 9,
      dropped: 12,
      where: 'QUEUE',
    });
    stream.push(batchAt(20, 1));
    expect((await take(stream)).gap).toBeNull();
  });

  it('loses nothing of its backlog, and the gap stands between that and what is live', async () => {
    const history = new BatchBuffer(roomy);
    history.push(batchAt(0, 4));
    const { stream } = streamOf({ queueBytes: batchBytes, backlog: history.slices(0) });
    for (let seq = 4; seq < 20; seq += 4) stream.push(batchAt(seq, 4));
    const [first, second] = [await take(stream), await take(stream)];
    expect([placesOf(first), first.gap]).toEqual([[0, 1, 2, 3], null]);
    expect(placesOf(second)).toEqual([16, 17, 18, 19]);
    expect(second.gap).toMatchObject({ dropped: 12, where: 'QUEUE' });
  });

  it('is told of what it asked for and the session no longer holds', async () => {
    const { stream } = streamOf({ startSeq: 10, missing: { count: 10, from: 'a', to: 'b' } });
    expect(stream.stats).toMatchObject({ received: 10, dropped: 10 });
    stream.push(batchAt(10, 1, 2));
    const delivery = await take(stream);
    expect(placesOf(delivery)).toEqual([10]);
    expect(delivery.gap).toMatchObject({ from: 'a', dropped: 10, lost: 2, where: 'CLIENT' });
  });

  it('gets no more than 1024 events at once, also of one batch, and every one', async () => {
    const { stream } = streamOf();
    stream.push(batchAt(0, 20_000, 1));
    stream.end();
    const story = storyFrom(0);
    const sizes: number[] = [];
    for await (const delivery of stream) {
      goOn(story, delivery);
      sizes.push(delivery.events.length);
    }
    expect(sizes).toEqual([...Array.from({ length: 19 }, () => 1024), 544]);
    expect(story).toMatchObject({ at: 20_000, lost: 1 });
  });

  it('gets fewer at once where they are large: a delivery is a message, which is made in one piece', async () => {
    const { stream } = streamOf();
    const large = batchAt(0, 100);
    Object.defineProperty(large, 'byteLength', { value: 100 * (40 << 10) });
    stream.push(large);
    stream.end();
    const sizes: number[] = [];
    for await (const { events } of stream) sizes.push(events.length);
    expect(Math.max(...sizes)).toBe(3);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(100);
  });

  it('lets timers and requests in while it drains what is queued as fast as it can, and so do twenty', async () => {
    const readers = Array.from({ length: 20 }, () => streamOf().stream);
    for (const stream of readers) {
      for (let seq = 0; seq < 4096 * 10; seq += 4096) stream.push(batchAt(seq, 4096));
      stream.end();
    }
    let polls = 0;
    let reading = true;
    const poll = (): void => {
      polls++;
      if (reading) setImmediate(poll);
    };
    setImmediate(poll);
    const delivered = await Promise.all(
      readers.map(async (stream) => {
        let count = 0;
        for await (const { events } of stream) {
          count += events.length;
          for (const until = performance.now() + 1; performance.now() < until;); // what is made of a delivery; the socket takes it at once
        }
        return count;
      }),
    );
    reading = false;
    expect(delivered).toEqual(readers.map(() => 40_960));
    // 200 deliveries of a millisecond at least: a turn has room for five.
    expect(polls).toBeGreaterThan(20);
  });

  it('waits for events, several times at once, and ends for all', async () => {
    const { stream, closed } = streamOf();
    const waiting = [stream.next(), stream.next(), stream.next()];
    stream.push(batchAt(0, 1));
    stream.push(batchAt(1, 1));
    stream.end();
    const results = await Promise.all(waiting);
    // Both in one delivery where the second came before the reader's turn.
    expect(results.flatMap(({ value }) => (value ? placesOf(value) : []))).toEqual([0, 1]);
    expect(results.at(-1)?.done).toBe(true);
    stream.push(batchAt(2, 1)); // after the end
    expect(stream.stats).toMatchObject({ received: 2, delivered: 2 });
    expect(closed()).toBe(1);
  });

  it('that leaves ends those who wait, and counts what it never read as dropped', async () => {
    const { stream, closed } = streamOf();
    stream.push(batchAt(0, 5));
    await stream.return();
    await stream.return();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(stream.stats).toMatchObject({ received: 5, dropped: 5, queued: 0 });
    expect(closed()).toBe(1);
  });
});
