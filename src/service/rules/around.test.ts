import { expect, it } from 'vitest';
import { at } from '../../../test/support/rules.js';
import { RowBatch } from '../../record/row.js';
import { BatchBuffer } from '../../record/batch-buffer.js';
import { eventsBefore } from './around.js';

const web = { id: 'aa11', name: 'web', image: 'nginx:1', labels: {} };
const db = { id: 'bb22', name: 'db', image: 'postgres:1', labels: {} };

/** 2,000 events in batches of 7: every second one of `web`, the others of `db` or of processes of the host. */
const events = Array.from({ length: 2000 }, (_, i) =>
  at(i, 'exec', {
    filename: `/bin/${i}`,
    container: i % 2 === 0 ? web : i % 4 === 1 ? db : null,
    process: { pid: 100 + (i % 8) },
  }),
);
const buffer = new BatchBuffer(1 << 30);
for (let i = 0; i < events.length; i += 7) {
  const clock = { seconds: 0, nanoseconds: 0 };
  buffer.push(new RowBatch(events.slice(i, i + 7), { clock, seq: i, lost: 0, lostFrom: 0, lostTo: 0 }));
}
const before = (place: number, count: number) => buffer.slices(Math.max(0, place - count), place);
const placesOf = (place: number): number[] => {
  const event = events[place];
  if (!event) throw new RangeError(`no event ${place}`);
  return eventsBefore(event, place, before)().map((found) => events.indexOf(found));
};

it('are the last ones of the container, the oldest first', () => {
  expect(placesOf(1000)).toEqual(Array.from({ length: 20 }, (_, i) => 960 + 2 * i));
  expect(placesOf(4)).toEqual([0, 2]);
  expect(placesOf(0)).toEqual([]);
});

it('outside of containers are those of the process', () => {
  expect(placesOf(1003)).toEqual(Array.from({ length: 20 }, (_, i) => 843 + 8 * i));
});

it('are looked for among the last 500 only', () => {
  const alone = at(1999, 'exec', { container: { ...web, id: 'cc33' } });
  let seen = 0;
  eventsBefore(alone, 1999, (place, count) => {
    seen = count;
    return before(place, count);
  })();
  expect(seen).toBe(500);
});
