import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heldBytes } from '../../../test/support/memory.js';
import { turns } from '../../base/turn.js';
import { BatchBuffer } from '../../record/batch-buffer.js';
import { batchAt } from '../../../test/support/record.js';
import { EventStream, type StreamOptions } from './stream.js';
import { Thinning } from './thinning.js';

const SECOND = 1e9;

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

function holdsLaw({ stats }: EventStream): void {
  const { received, discarded, skipped, delivered, dropped, queued } = stats;
  expect(received).toBe(discarded + skipped + delivered + dropped + queued);
  for (const count of [discarded, skipped, delivered, dropped, queued]) expect(count).toBeGreaterThanOrEqual(0);
}

describe('a sample', () => {
  it('is the share that was asked for, about, wherever in a session, and a smaller one is part of a larger one', () => {
    for (const start of [0, 1e6, 2 ** 32 - 500, 2 ** 40]) {
      const kept = (sample: number): Set<number> => {
        const thinning = new Thinning({ sample, maxPerSecond: null });
        const places = Array.from({ length: 20_000 }, (_, i) => start + i);
        return new Set(places.filter((place) => thinning.keeps(place, 0)));
      };
      const [tenth, hundredth] = [kept(0.1), kept(0.01)];
      expect(tenth.size).toBeGreaterThan(1_800);
      expect(tenth.size).toBeLessThan(2_200);
      expect(hundredth.size).toBeGreaterThan(140);
      expect(hundredth.size).toBeLessThan(260);
      for (const place of hundredth) expect(tenth.has(place)).toBe(true);
      expect(kept(1).size).toBe(20_000);
    }
  });

  it('has no rhythm of its own: of every tenth event it has a tenth too', () => {
    const thinning = new Thinning({ sample: 0.1, maxPerSecond: null });
    const tenths = Array.from({ length: 10 }, (_, rest) => {
      const places = Array.from({ length: 10_000 }, (_place, i) => i * 10 + rest);
      return places.filter((place) => thinning.keeps(place, 0)).length;
    });
    for (const count of tenths) {
      expect(count).toBeGreaterThan(850);
      expect(count).toBeLessThan(1_150);
    }
  });
});

it('the smallest sample there can be keeps something', () => {
  const thinning = new Thinning({ sample: Number.MIN_VALUE, maxPerSecond: null });
  expect(thinning.keeps(2 ** 32 - 0x9e3779b9, 0)).toBe(true);
});

describe('a rate', () => {
  it('is kept in each second of the events, and a second that is over does not begin again', () => {
    const thinning = new Thinning({ sample: null, maxPerSecond: 2 });
    const seconds = [0.1, 0.2, 0.3, 1.1, 0.9, 1.2, 1.3, 2, 2.1, 2.2, 4];
    expect(seconds.filter((second, place) => thinning.keeps(place, second * SECOND))).toEqual([
      0.1, 0.2, 1.1, 0.9, 2, 2.1, 4,
    ]);
  });
});

describe('a stream that is thinned', () => {
  const steps = fc.array(
    fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({ count: fc.integer({ min: 0, max: 40 }), lost: fc.constantFrom(0, 0, 0, 2) }),
      },
      { weight: 2, arbitrary: fc.constant('READ' as const) },
    ),
    { maxLength: 25 },
  );
  const every = (n: number) => ({
    text: `every ${n}`,
    matches: ({ bootNs }: { readonly bootNs: string | bigint | number }) => Number(bootNs) % n === 0,
  });

  it.each([
    ['that keeps up', 1 << 24],
    ['that is slow', batchAt(0, 40).byteLength * 2],
  ])('tells each event that it leaves out, where it is left out, to a reader %s', async (_name, queueBytes) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 4 }),
        steps,
        fc.constantFrom(0.05, 0.5, 0.9, null),
        fc.constantFrom(null, 1, 30),
        fc.constantFrom(null, 3),
        fc.boolean(),
        async (held, list, sample, maxPerSecond, n, cut) => {
          const history = new BatchBuffer(1 << 24);
          let seq = 0;
          for (const count of held) {
            history.push(batchAt(seq, count));
            seq += count;
          }
          const where = n === null ? null : every(n);
          const thinning = new Thinning({ sample, maxPerSecond });
          const stream = streamOf({ backlog: history.slices(0), where, thinning, queueBytes, deliveryEvents: 16 });
          const reads: ReturnType<EventStream['next']>[] = [];
          for (const step of list) {
            if (step === 'READ') reads.push(stream.next());
            else {
              stream.push(batchAt(seq, step.count, step.lost));
              seq += step.count;
            }
            holdsLaw(stream);
          }
          if (cut) stream.cut();
          else stream.end();
          const story = { events: 0, skipped: 0, dropped: 0 };
          let told = 0;
          let wasCut = false;
          // Events that a filter discards are between the others: without one, places tell the story exactly.
          const exact = n === null;
          for (;;) {
            const { done, value } = await (reads.shift() ?? stream.next());
            holdsLaw(stream);
            if (done) break;
            story.events += value.events.length;
            story.skipped += value.skipped;
            story.dropped += value.gap?.dropped ?? 0;
            expect(
              value.events.length + value.skipped + (value.gap?.dropped ?? 0) + (value.gap?.lost ?? 0),
            ).toBeGreaterThan(0);
            const last = value.events.at(-1);
            if (last) expect(Number(value.cursor)).toBeGreaterThan(Number(last.bootNs));
            // What a stream that is cut tells last is behind its cursor, so that it can be asked for again.
            const isCut = cut && value.events.length === 0 && value.gap !== null;
            const { events, skipped, dropped } = story;
            if (exact) expect([events + skipped + dropped, ...(isCut ? [told] : [])]).toContain(Number(value.cursor));
            wasCut ||= isCut && Number(value.cursor) === told;
            told = Number(value.cursor);
          }
          const { stats } = stream;
          expect(story).toEqual({ events: stats.delivered, skipped: stats.skipped, dropped: stats.dropped });
          expect(stats.queued).toBe(0);
          expect(stats.received).toBe(seq);
          if (exact) expect(story.events + story.skipped + story.dropped).toBe(seq);
          if (exact && !wasCut) expect(told).toBe(seq);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('leaves the same events out that another reader of the same sample does not get, wherever it begins', async () => {
    const history = new BatchBuffer(1 << 24);
    for (let seq = 0; seq < 2_000; seq += 100) history.push(batchAt(seq, 100));
    const read = async (from: number): Promise<number[]> => {
      const thinning = new Thinning({ sample: 0.2, maxPerSecond: null });
      const stream = streamOf({ backlog: history.slices(from), startSeq: from, thinning });
      stream.push(batchAt(2_000, 100));
      stream.end();
      const places: number[] = [];
      for await (const { events } of stream) places.push(...events.map(({ bootNs }) => Number(bootNs)));
      return places;
    };
    const whole = await read(0);
    expect(whole.length).toBeGreaterThan(300);
    expect(await read(777)).toEqual(whole.filter((place) => place >= 777));
  });

  it('that is cut goes on before what was dropped, and tells all that was left out', async () => {
    const history = new BatchBuffer(1 << 24);
    for (let seq = 0; seq < 300; seq += 100) history.push(batchAt(seq, 100));
    const thinning = new Thinning({ sample: 0.5, maxPerSecond: null });
    const stream = streamOf({ backlog: history.slices(0), thinning, deliveryEvents: 16 });
    const first = (await stream.next()).value;
    stream.cut();
    const last = (await stream.next()).value;
    expect(last).toMatchObject({ events: [], cursor: first?.cursor });
    const told = [first, last].map(
      (each) => (each?.events.length ?? 0) + (each?.skipped ?? 0) + (each?.gap?.dropped ?? 0),
    );
    expect(told[0]).toBe(Number(first?.cursor));
    expect((told[0] ?? 0) + (told[1] ?? 0)).toBe(300);
  });

  it('holds little while nothing is left for a reader that does not read, and tells all of it', async () => {
    const bytes = 64 << 10;
    const stream = streamOf({ thinning: new Thinning({ sample: 1e-9, maxPerSecond: null }), queueBytes: bytes });
    const before = heldBytes();
    const count = 20_000;
    for (let seq = 0; seq < count; seq++) {
      stream.push(batchAt(seq, 1, 1));
      if (seq % 50 === 0) await turns.next();
    }
    expect(heldBytes() - before).toBeLessThan(20 * bytes);
    stream.end();
    const told = { left: 0, lost: 0 };
    for await (const { skipped, gap } of stream) {
      told.left += skipped + (gap?.dropped ?? 0);
      told.lost += gap?.lost ?? 0;
    }
    expect(told).toEqual({ left: count, lost: count });
  });

  it('goes on behind the last that was left out when nothing is left', async () => {
    const stream = streamOf({ thinning: new Thinning({ sample: 1e-9, maxPerSecond: null }) });
    stream.push(batchAt(0, 100));
    stream.end();
    expect((await stream.next()).value).toMatchObject({ events: [], gap: null, skipped: 100, cursor: '100' });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });
});
