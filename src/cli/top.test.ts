import { expect, it } from 'vitest';
import { Groups } from './top.js';

const rows = (...counts: readonly (readonly [comm: string, count: number])[]) =>
  counts.map(([value, count]) => ({ key: [{ value }], count: String(count), other: false, values: [] }));

function counted(): Groups {
  const groups = new Groups(['process.comm'], { limit: 20 });
  groups.add({ at: '2026-01-01T00:00:01.000Z', rows: rows(['sh', 30], ['cat', 4], ['ls', 1]) }, 2);
  return groups;
}

it('has a rate from the first change on', () => {
  const table = counted().table({ width: null, height: null }, false);
  expect(table.split('\n').slice(1, 4)).toEqual([
    '30     15          sh',
    '4      2           cat',
    '1      <1          ls',
  ]);
});

it('has rates since the change before while it counts, and of the whole time at its end', () => {
  const groups = counted();
  groups.add({ at: '2026-01-01T00:00:03.000Z', rows: rows(['sh', 32]) }, 99);
  const whole = { width: null, height: null };
  expect(groups.table(whole, false)).toMatch(/^count .*\n32 +1 +sh\n4 +0 +cat\n1 +0 +ls\n$/);
  expect(groups.table(whole, true)).toMatch(/^count .*\n32 +8 +sh\n4 +1 +cat\n1 +<1 +ls\n$/);
});

it('is no higher than the terminal, and whole at its end', () => {
  const low = { width: 80, height: 4 };
  expect(counted().table(low, false).split('\n')).toHaveLength(4);
  expect(counted().table(low, false)).toMatch(/sh\n.*cat\n$/);
  expect(counted().table(low, true)).toMatch(/ls\n$/);
});
