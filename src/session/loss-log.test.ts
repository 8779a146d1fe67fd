import { expect, it } from 'vitest';
import { LossLog } from './loss-log.js';

it('tells of a loss at once, then once a minute, and of the rest at the end', () => {
  const lines: object[] = [];
  let now = 0;
  const losses = new LossLog('s', { warn: (line) => void lines.push(line) }, () => now);
  losses.look(0);
  expect(lines).toEqual([]);
  for (const lost of [1, 5, 5]) losses.look(lost);
  expect(lines).toEqual([{ session: 's', lost: 1, lostInAll: 1 }]);
  now = 60_000;
  for (const lost of [5, 9]) losses.look(lost);
  expect(lines.slice(1)).toEqual([{ session: 's', lost: 4, lostInAll: 5 }]);
  losses.end(9);
  losses.end(9);
  expect(lines.slice(2)).toEqual([{ session: 's', lost: 4, lostInAll: 9 }]);
});
