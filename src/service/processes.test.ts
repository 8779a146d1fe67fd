import { expect, it } from 'vitest';
import { callerOf } from '../../test/api/support.js';
import { HeldThings } from './processes.js';
import { Snapshots } from './snapshots.js';

const things = (): HeldThings => new HeldThings(callerOf('viewer'), Object.create(Snapshots.prototype) as Snapshots);

it('lists below the processes of one operation are bounded together: a few events may have as many as many events', () => {
  const held = things();
  const list = Array.from({ length: 1000 }, (_, i) => i);
  const lists = Array.from({ length: 300 }, () => held.bounded(list));
  expect(lists.findIndex((one) => one === null)).toBe(262);
  expect(held.refusal).toMatchObject({
    code: 'LIMIT_EXCEEDED',
    details: { limit: 'processEntries', maximum: 262_144, actual: 263_000 },
  });
  expect(held.bounded(null)).toBeNull();
});

it('an operation that reads the events of too many processes is refused once', () => {
  const held = things();
  expect(Array.from({ length: 25 }, () => held.countList()).indexOf(false)).toBe(20);
  expect(held.refusal).toMatchObject({ code: 'LIMIT_EXCEEDED', details: { limit: 'eventLists', actual: 21 } });
});
