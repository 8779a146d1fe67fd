import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchBuffer, type Slice } from './batch-buffer.js';
import { batchAt } from '../../test/support/record.js';

const placesOf = (slices: readonly Slice[]) =>
  slices.flatMap(({ batch, from, to }) => Array.from({ length: to - from }, (_, i) => batch.seq + from + i));
const pushes = fc.array(
  fc
    .record({ count: fc.integer({ min: 0, max: 7 }), lost: fc.integer({ min: 0, max: 2 }) })
    .filter(({ count, lost }) => count + lost > 0),
  { maxLength: 30 },
);

function fill(history: BatchBuffer, list: readonly { readonly count: number; readonly lost: number }[]) {
  let seq = 0;
  return list.map(({ count, lost }) => {
    const batch = batchAt(seq, count, lost);
    history.push(batch);
    seq += count;
    return batch;
  });
}

describe('what a session holds', () => {
  it('is, between any two places, what a plain list would give', () => {
    fc.assert(
      fc.property(pushes, fc.nat({ max: 120 }), fc.nat({ max: 120 }), (list, from, length) => {
        const history = new BatchBuffer(1 << 24);
        fill(history, list);
        const all = Array.from({ length: list.reduce((sum, { count }) => sum + count, 0) }, (_, i) => i);
        expect(placesOf(history.slices(from, from + length))).toEqual(all.slice(from, from + length));
        expect(placesOf(history.slices(from))).toEqual(all.slice(from));
        for (const slice of history.slices(from, from + length)) {
          expect(slice.from).toBeGreaterThanOrEqual(0);
          expect(slice.to).toBeLessThanOrEqual(slice.batch.count);
          expect(slice.to).toBeGreaterThanOrEqual(slice.from);
        }
        expect([history.firstSeq, history.nextSeq, history.retained, history.evicted]).toEqual([
          0,
          all.length,
          all.length,
          0,
        ]);
      }),
      { numRuns: 300 },
    );
  });

  it('is bounded in bytes: the oldest go first, are counted, and the rest is whole', () => {
    fc.assert(
      fc.property(pushes, fc.integer({ min: 1, max: 5000 }), (list, budget) => {
        const history = new BatchBuffer(budget);
        const batches = fill(history, list);
        // The naive model: the shortest end of the list that is over the budget by its oldest batch alone, or all.
        let kept = batches;
        const weight = () => kept.reduce((sum, batch) => sum + batch.byteLength, 0);
        while (weight() > budget && kept.length > 1) kept = kept.slice(1);
        const places = kept.flatMap((batch) => Array.from({ length: batch.count }, (_, i) => batch.seq + i));
        expect(placesOf(history.slices(history.firstSeq))).toEqual(places);
        expect([history.bytes, history.retained]).toEqual([weight(), places.length]);
        expect(history.evicted + history.retained).toBe(history.nextSeq);
        expect(history.firstSeq).toBe(kept[0]?.seq ?? 0);
      }),
      { numRuns: 300 },
    );
  });

  it('gives each loss once to a reader that pages through', () => {
    fc.assert(
      fc.property(pushes, fc.integer({ min: 1, max: 9 }), (list, size) => {
        const history = new BatchBuffer(1 << 24);
        fill(history, [...list, { count: 1, lost: 0 }]);
        let lost = 0;
        for (let at = 0; at < history.nextSeq; at += size) {
          for (const { batch, from } of history.slices(at, Math.min(at + size, history.nextSeq)))
            if (from === 0) lost += batch.lost;
        }
        expect(lost).toBe(list.reduce((sum, batch) => sum + batch.lost, 0));
      }),
      { numRuns: 300 },
    );
  });

  it('keeps the newest batch even when that alone is too large', () => {
    const history = new BatchBuffer(1);
    history.push(batchAt(0, 10));
    history.push(batchAt(10, 10));
    expect([history.firstSeq, history.retained, history.evicted]).toEqual([10, 10, 10]);
  });

  it('is nothing once it was forgotten', () => {
    const history = new BatchBuffer(1 << 20);
    history.push(batchAt(0, 10));
    history.clear();
    expect([history.slices(0), history.bytes, history.retained]).toEqual([[], 0, 0]);
  });
});
