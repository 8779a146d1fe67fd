import { Delivery } from '../../record/delivery.js';
import { placeOf } from '../../record/place.js';
import { eventCursorOf } from '../../service/nodes.js';

/** Events of one result: with their processes' ancestors some milliseconds of work, which is done in one piece. */
const PART = 32;

/**
 * A subscription's payloads, of which large deliveries are handed on in parts: for operations that are executed in one piece, and take long
 * for each event.
 */
export function inParts(payloads: AsyncIterator<unknown>): AsyncIterator<unknown> {
  let waiting: Delivery[] = [];
  const parts: AsyncIterator<unknown> & { readonly startCursor?: unknown } = {
    // What tells where a stream begins.
    ...('startCursor' in payloads ? { startCursor: payloads.startCursor } : {}),
    async next() {
      const part = waiting.shift();
      if (part) return { done: false, value: part };
      const { done, value } = await payloads.next();
      if (done || !(value instanceof Delivery)) return { done: done ?? false, value };
      const [first, ...rest] = partsOf(value);
      waiting = rest;
      return { done: false, value: first };
    },
    return: async (value) => (await payloads.return?.(value)) ?? { done: true, value: undefined },
  };
  return parts;
}

function partsOf(delivery: Delivery): Delivery[] {
  const { slices, gap, cursor } = delivery;
  const parts: Delivery[] = [];
  for (const { batch, from, to } of slices) {
    // Later parts are read when others have been: their memory is kept, as by any reader of events.
    batch.lease?.keep();
    for (let at = from; at < to; at += PART) {
      const end = Math.min(to, at + PART);
      const place = placeOf(batch.event(end - 1));
      parts.push(
        new Delivery([{ batch, from: at, to: end }], parts.length ? null : gap, place ? eventCursorOf(place) : cursor),
      );
    }
  }
  return parts.length > 1 ? [...parts.slice(0, -1), lastOf(parts, cursor)] : [delivery];
}

/** It ends where the delivery does: what a filter left out behind it is not sent again. */
function lastOf(parts: readonly Delivery[], cursor: string): Delivery {
  const last = parts.at(-1);
  return new Delivery(last?.slices ?? [], last?.gap ?? null, cursor);
}
