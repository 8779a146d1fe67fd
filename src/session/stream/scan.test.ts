import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TraceEvent } from '../../event/event.js';
import type { EventBatch } from '../../record/batch.js';
import { BatchBuffer } from '../../record/batch-buffer.js';
import { scan } from './scan.js';
import type { Selection } from './selection.js';
import { EventStream, type StreamOptions } from './stream.js';
import { batchAt } from '../../../test/support/record.js';

const every = (n: number, rest = 0) => ({
  text: `bootNs % ${n} == ${rest}`,
  matches: (event: TraceEvent) => Number(event.bootNs) % n === rest,
});

function streamOf(options: Partial<StreamOptions>): EventStream {
  return new EventStream({
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
}

function spend(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until;);
}

async function drain(stream: EventStream): Promise<{ places: number[]; lost: number; cursor: string | null }> {
  const places: number[] = [];
  let lost = 0;
  let cursor: string | null = null;
  for await (const delivery of stream) {
    places.push(...delivery.events.map((event) => Number(event.bootNs)));
    lost += delivery.gap?.lost ?? 0;
    cursor = delivery.cursor;
    const { received, discarded, delivered, dropped, queued } = stream.stats;
    expect(received).toBe(discarded + delivered + dropped + queued);
  }
  return { places, lost, cursor };
}

describe('a reader with a filter', () => {
  it('gets what matches, live and held, with every loss, and counts the rest as discarded', async () => {
    const batch = fc.record({ count: fc.integer({ min: 0, max: 9 }), lost: fc.constantFrom(0, 0, 3) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(batch, { maxLength: 8 }),
        fc.array(batch, { maxLength: 8 }),
        fc.integer({ min: 1, max: 7 }),
        fc.nat(8),
        async (held, live, n, skip) => {
          const history = new BatchBuffer(1 << 24);
          let seq = 0;
          const next = ({ count, lost }: { count: number; lost: number }): EventBatch => {
            const made = batchAt(seq, count, lost);
            seq += count;
            return made;
          };
          for (const one of held) history.push(next(one));
          const from = Math.min(skip, seq);
          const backlog = history.slices(from);
          const stream = streamOf({ backlog, startSeq: from, where: every(n) });
          for (const one of live) stream.push(next(one));
          stream.end();
          const { places, lost, cursor } = await drain(stream);
          const expected = Array.from({ length: seq - from }, (_, i) => from + i).filter((place) => place % n === 0);
          expect(places).toEqual(expected);
          expect(lost).toBe(
            [
              ...backlog.filter((slice) => slice.from === 0).map((slice) => slice.batch.lost),
              ...live.map((one) => one.lost),
            ].reduce((a, b) => a + b, 0),
          );
          expect(stream.stats).toMatchObject({
            received: seq - from,
            delivered: expected.length,
            discarded: seq - from - expected.length,
            dropped: 0,
            queued: 0,
          });
          const last = expected.at(-1);
          // Behind the last event, or behind a loss that came after it.
          expect(Number(cursor ?? seq)).toBeGreaterThanOrEqual(last === undefined ? from : last + 1);
          expect(Number(cursor ?? seq)).toBeLessThanOrEqual(seq);
        },
      ),
    );
  });

  it('shares what equal filters leave of a batch', async () => {
    let calls = 0;
    const counting = { text: 'same', matches: () => ++calls > 0 };
    const streams = [
      streamOf({ where: counting }),
      streamOf({ where: { ...counting } }),
      streamOf({ where: every(2) }),
    ];
    const shared = new Map<string, Selection>();
    for (const stream of streams) stream.push(batchAt(0, 10), shared);
    const deliveries = await Promise.all(streams.map((stream) => stream.next()));
    expect(calls).toBe(10);
    expect(deliveries.map(({ value }) => value?.events.length)).toEqual([10, 10, 5]);
  });

  it('lets timers in while many events come whose filters are slow, keeps the law, and hands on every one that matches', async () => {
    const slow = (n: number) => ({
      text: `slow ${n}`,
      matches: (event: TraceEvent) => (spend(0.02), Number(event.bootNs) % 2 === 0),
    });
    const streams = Array.from({ length: 5 }, (_, i) => streamOf({ where: slow(i) }));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    const read = streams.map(drain);
    for (let seq = 0; seq < 2000; seq += 500) {
      const shared = new Map<string, Selection>();
      const batch = batchAt(seq, 500);
      for (const stream of streams) stream.push(batch, shared);
      for (const { stats } of streams)
        expect(stats.received).toBe(stats.discarded + stats.delivered + stats.dropped + stats.queued);
    }
    for (const stream of streams) stream.end();
    const results = await Promise.all(read);
    clearInterval(timer);
    for (const { places } of results) expect(places).toEqual(Array.from({ length: 1000 }, (_, i) => i * 2));
    expect(ticks).toBeGreaterThan(5);
  });

  it('that cannot evaluate as fast as events come loses the oldest, and is told of it though nothing else matches', async () => {
    const size = batchAt(0, 500).byteLength;
    const stream = streamOf({ queueBytes: 2 * size, where: { text: 'none', matches: () => (spend(0.02), false) } });
    for (let seq = 0; seq < 5000; seq += 500) stream.push(batchAt(seq, 500));
    expect(stream.stats.dropped).toBeGreaterThan(0);
    stream.end();
    let told = 0;
    for await (const { gap, events } of stream) {
      expect(events).toEqual([]);
      told += gap?.dropped ?? 0;
    }
    const { received, discarded, dropped } = stream.stats;
    expect({ told, sum: discarded + dropped }).toEqual({ told: dropped, sum: received });
  });

  it('holds little memory for a few events of many', () => {
    const batch = batchAt(0, 1000);
    const few = batch.only(every(100).matches);
    expect(few.count).toBe(10);
    expect(few.byteLength).toBeLessThan(batch.byteLength / 50);
    expect(Array.from({ length: 10 }, (_, i) => [Number(few.event(i).bootNs), few.placeOf(i)])).toEqual(
      Array.from({ length: 10 }, (_, i) => [i * 100, i * 100]),
    );
    expect(batch.only(() => true)).toBe(batch);
  });

  it('lets others have a turn while few events of a long backlog match', async () => {
    const stream = streamOf({
      backlog: Array.from({ length: 100 }, (_, i) => ({ batch: batchAt(i * 8000, 8000), from: 0, to: 8000 })),
      where: every(799_999, 799_998),
    });
    stream.end();
    let turns = 0;
    const ticking = setInterval(() => turns++, 0);
    const { places } = await drain(stream);
    clearInterval(ticking);
    expect(places).toEqual([799_998]);
    expect(turns).toBeGreaterThan(2);
  });
});

describe('a page with a filter', () => {
  const slices = [0, 100, 200].map((seq) => ({ batch: batchAt(seq, 100, seq), from: seq === 0 ? 50 : 0, to: 100 }));

  it('has the first that match, and says whether there are more', async () => {
    const { found, scanned, more } = await scan(slices, every(20), 3);
    expect([found.map(({ place }) => place), scanned.length, more]).toEqual([[60, 80, 100], 2, true]);
    expect((await scan(slices, every(150), 3)).more).toBe(false);
  });

  it('has the last that match, oldest first', async () => {
    const { found, scanned, more } = await scan([...slices].reverse(), every(50), 3, true);
    expect([found.map(({ place }) => place), scanned.map(({ batch }) => batch.seq), more]).toEqual([
      [150, 200, 250],
      [100, 200],
      true,
    ]);
  });
});
