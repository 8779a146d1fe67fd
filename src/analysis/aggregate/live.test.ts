import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Aggregator, LiveAggregate, type AggregateChange, type AggregateSource, type AggregateSpec } from './index.js';
import type { Gap } from '../../event/event.js';
import { RecordBatch, type BatchContext } from '../../record/batch.js';
import { PlainEvent } from '../../../test/support/event.js';

const NOW = Date.parse('2026-01-31T08:15:30.000Z');

/** A batch of events at one time (milliseconds after NOW), one for each letter. */
function batchOf(comms: string, ms = 0): RecordBatch {
  const data = new ArrayBuffer(comms.length * 64);
  const view = new DataView(data);
  class View extends PlainEvent {
    constructor(_batch: RecordBatch, at: number) {
      super('exec', { process: { comm: comms[at / 64] } });
    }
  }
  for (let i = 0; i < comms.length; i++) view.setBigUint64(i * 64, BigInt(ms) * 1_000_000n, true);
  const context: BatchContext = { views: [View], containerAt: () => null };
  return new RecordBatch(
    data,
    Uint32Array.from(comms, (_, i) => i * 64),
    context,
    { clock: { seconds: NOW / 1000, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
  );
}

class FakeSource implements AggregateSource {
  readonly #queue: { slices: { batch: RecordBatch; from: number; to: number }[]; gap: Gap | null }[] = [];
  #wake: () => void = () => {};
  #ended = false;
  returned = false;
  failure: Error | null = null;

  get stats(): { queued: number } {
    return { queued: this.#queue.length };
  }

  push(batch: RecordBatch | null, gap: Partial<Gap> | null = null): void {
    const slices = batch ? [{ batch, from: 0, to: batch.count }] : [];
    this.#queue.push({ slices, gap: gap && { from: '', to: '', lost: 0, dropped: 0, where: 'QUEUE', ...gap } });
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async next(): ReturnType<AggregateSource['next']> {
    while (!this.#queue.length && !this.#ended && !this.failure)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.failure) throw this.failure;
    const value = this.#queue.shift();
    return value ? { done: false, value } : { done: true, value: undefined };
  }

  async return(): Promise<void> {
    this.returned = true;
    this.end();
  }
}

const spec: AggregateSpec = {
  groupBy: [{ path: 'process.comm', mixed: false }],
  measures: [],
  window: null,
  having: [],
  orderBy: [],
  limit: 1000,
  kernelTotals: null,
  lineage: null,
  maxGroups: 1000,
};

function open(more: Partial<AggregateSpec> = {}): { source: FakeSource; live: LiveAggregate } {
  const source = new FakeSource();
  return { source, live: new LiveAggregate(new Aggregator({ ...spec, ...more }, { live: true }), source, 1000) };
}

const counts = (change: AggregateChange | undefined) =>
  Object.fromEntries((change?.rows ?? []).map(({ key, count }) => [key[0]?.value, count]));

describe('a live aggregate', () => {
  beforeEach(() => void vi.useFakeTimers({ now: NOW, toFake: ['setInterval', 'clearInterval', 'Date'] }));
  afterEach(() => void vi.useRealTimers());

  it('tells of the rows that changed, once an interval, and nothing while nothing does', async () => {
    const { source, live } = open();
    source.push(batchOf('aab'));
    let returned = 0;
    const first = live.next().finally(() => returned++);
    await vi.advanceTimersByTimeAsync(999);
    expect(returned).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    const { value } = await first;
    expect([counts(value), value?.at, value?.events, value?.complete, value?.final]).toEqual([
      { a: 2, b: 1 },
      '2026-01-31T08:15:31.000000000Z',
      3,
      true,
      false,
    ]);

    const second = live.next().finally(() => returned++);
    await vi.advanceTimersByTimeAsync(5000);
    expect(returned).toBe(1);
    source.push(batchOf('b'));
    await vi.advanceTimersByTimeAsync(1000);
    expect(counts((await second).value)).toEqual({ b: 2 });
    await live.return();
  });

  it('is not complete at its end where its session failed: events may be missing that nobody counted', async () => {
    const source = new FakeSource();
    const live = new LiveAggregate(new Aggregator(spec, { live: true }), source, 1000, null, () => true);
    source.push(batchOf('a'));
    const running = live.next();
    await vi.advanceTimersByTimeAsync(1000);
    expect((await running).value?.complete).toBe(true);
    source.end();
    expect((await live.next()).value).toMatchObject({ lost: 0, dropped: 0, complete: false, final: true });
  });

  it('sums up for a reader that is slow', async () => {
    const { source, live } = open();
    for (let i = 0; i < 5; i++) {
      source.push(batchOf('ab'));
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(counts((await live.next()).value)).toEqual({ a: 5, b: 5 });
    await live.return();
  });

  it('tells of what was lost and dropped, also without a row', async () => {
    const { source, live } = open();
    source.push(batchOf('a'), { lost: 3 });
    source.push(null, { dropped: 4 });
    await vi.advanceTimersByTimeAsync(1000);
    expect((await live.next()).value).toMatchObject({ lost: 3, dropped: 4, missed: 0, complete: false });
    source.push(null, { dropped: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    expect((await live.next()).value).toMatchObject({ rows: [], dropped: 5, complete: false });
    await live.return();
  });

  it('closes a window once its time is over, though no event comes any more', async () => {
    const { source, live } = open({ window: { sizeMs: 2000, slideMs: 2000 } });
    source.push(batchOf('a', 500));
    await vi.advanceTimersByTimeAsync(1000);
    expect((await live.next()).value).toMatchObject({ rows: [{ count: 1 }], closed: [] });
    const closing = live.next();
    await vi.advanceTimersByTimeAsync(2000);
    expect((await closing).value).toMatchObject({
      at: '2026-01-31T08:15:33.000000000Z',
      rows: [],
      closed: [{ from: '2026-01-31T08:15:30.000000000Z', to: '2026-01-31T08:15:32.000000000Z' }],
    });
    await live.return();
  });

  it('tells the rest when the session ends, closes all windows, and ends', async () => {
    const { source, live } = open({ window: { sizeMs: 60_000, slideMs: 60_000 } });
    const pending = live.next();
    source.push(batchOf('abc'));
    source.end();
    const { value } = await pending;
    expect([counts(value), value?.closed.length, value?.final]).toEqual([{ a: 1, b: 1, c: 1 }, 1, true]);
    expect(await live.next()).toEqual({ done: true, value: undefined });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends a session without events with one last change', async () => {
    const { source, live } = open();
    source.end();
    expect((await live.next()).value).toMatchObject({ rows: [], events: 0, complete: true, final: true });
    expect((await live.next()).done).toBe(true);
  });

  it('leaves the session when its reader does, also one that waits', async () => {
    const { source, live } = open();
    const waiting = live.next();
    expect(await live.return()).toEqual({ done: true, value: undefined });
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect([source.returned, vi.getTimerCount()]).toEqual([true, 0]);
    expect((await live.next()).done).toBe(true);
  });

  it('fails for its reader when the source does', async () => {
    const { source, live } = open();
    const waiting = live.next();
    source.failure = new Error('broken');
    source.end();
    await expect(waiting).rejects.toThrow('broken');
    expect((await live.next()).done).toBe(true);
    expect(source.returned).toBe(true);
  });
});
