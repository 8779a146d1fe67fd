import { expect, it } from 'vitest';
import { catalog } from '../../../test/support/store.js';
import { Rebuilder } from './rebuild.js';

it('reads the points of an earlier version, whose fields had other names', () => {
  const renamed = catalog.trackers.filter(({ formerNames }) => Object.keys(formerNames).length);
  expect(renamed.length).toBeGreaterThan(0);
  for (const tracker of renamed) {
    const rebuilder = new Rebuilder(tracker);
    for (const [now, then] of Object.entries(tracker.formerNames)) {
      const read = (columns: Readonly<Record<string, string>>): unknown =>
        Reflect.get(rebuilder.read({ time: '2026-01-31T08:15:30.000000001Z', columns }).event, now);
      expect([tracker.name, read({ [then]: 'VALUE' }), read({ [now]: 'NEW' }), read({})]).toEqual([
        tracker.name,
        'VALUE',
        'NEW',
        null,
      ]);
    }
  }
});
