import { expect, it } from 'vitest';
import { batchAt } from '../../../test/support/record.js';
import type { Gap } from '../../event/event.js';
import { Delivery } from '../../record/delivery.js';
import { inParts } from './parts.js';

const gap: Gap = { from: 'a', to: 'b', lost: 1, dropped: 0, where: 'KERNEL' };

async function* payloads(all: readonly unknown[]): AsyncGenerator<unknown, void> {
  yield* all;
}

it('hands a large delivery on in parts: each event once and in order, the gap first, and the end of the delivery last', async () => {
  const large = new Delivery(
    [
      { batch: batchAt(0, 100), from: 10, to: 100 },
      { batch: batchAt(100, 5), from: 0, to: 5 },
    ],
    gap,
    'end',
  );
  const small = new Delivery([{ batch: batchAt(200, 3), from: 0, to: 3 }], null, 'small');
  const other = { not: 'a delivery' };
  const parts = inParts(payloads([large, other, small]));
  const seen: unknown[] = [];
  for (let next = await parts.next(); !next.done; next = await parts.next()) seen.push(next.value);
  const deliveries = seen.filter((one) => one instanceof Delivery);
  expect(deliveries.map(({ events }) => events.length)).toEqual([32, 32, 26, 5, 3]);
  expect(deliveries.flatMap(({ events }) => events.map(({ bootNs }) => Number(bootNs)))).toEqual([
    ...Array.from({ length: 95 }, (_, i) => 10 + i),
    ...[200, 201, 202],
  ]);
  expect(deliveries.map((one) => one.gap)).toEqual([gap, null, null, null, null]);
  expect(deliveries.slice(3).map(({ cursor }) => cursor)).toEqual(['end', 'small']);
  expect(seen[4]).toBe(other);
  expect(seen[5]).toBe(small);
});

it('hands on a delivery that only tells of a gap, and ends what it reads when it is ended', async () => {
  let ended = false;
  const empty = new Delivery([], gap, 'here');
  const source = (async function* () {
    try {
      yield empty;
      yield empty;
    } finally {
      ended = true;
    }
  })();
  const parts = inParts(source);
  expect((await parts.next()).value).toBe(empty);
  await parts.return?.();
  expect(ended).toBe(true);
});
