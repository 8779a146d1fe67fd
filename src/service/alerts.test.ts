import { afterEach, expect, it, vi } from 'vitest';
import { callerOf } from '../../test/api/support.js';
import type { NewAlert } from '../alerts/alert.js';
import { AlertBook } from '../alerts/book.js';
import { createLog } from '../base/log.js';
import type { AlertFilter } from '../generated/schema.js';
import { Alerts } from './alerts.js';

afterEach(() => void vi.restoreAllMocks());

const caller = callerOf('viewer');
const book = new AlertBook();
const alerts = new Alerts({
  alerts: book,
  webhooks: { stats: () => [] },
  log: createLog('silent'),
});
const alertOf = (i: number): NewAlert => ({
  severity: i % 2 ? 'HIGH' : 'LOW',
  title: `${i}`,
  message: '',
  source: 'rule:shell',
  rule: `rule-${i}`,
  session: null,
  time: null,
  tracker: null,
  process: null,
  container: null,
  key: null,
  tags: [`tag-${i % 3}`],
  attack: [['T1059.004'], ['T1059'], ['T10591', 'TA0002']][i % 3] ?? [],
});
for (let i = 0; i < 1200; i++) book.raise(alertOf(i));

const page = (where: AlertFilter) => alerts.page(caller, { severity: null, session: null, where, first: 1 });
const counts = (where: AlertFilter) => alerts.counts(caller, { by: ['RULE'], where, limit: 1 });

it.each([
  ['a page', page],
  ['counts', counts],
] as const)('%s of many alerts leaves turns to others meanwhile', async (_what, read) => {
  let now = 0;
  // Each look at the clock takes a millisecond: a turn of 5 ms has some five pieces.
  vi.spyOn(performance, 'now').mockImplementation(() => now++);
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    if (isOver) return;
    turns++;
    setImmediate(count);
  };
  setImmediate(count);
  await read({});
  isOver = true;
  expect(turns).toBeGreaterThan(1);
});

it.each([
  [{ attack: ['T1059'] }, 800],
  [{ attack: ['T1059.004', 'TA0002'] }, 800],
  [{ attack: ['T105', 'T1059.'] }, 0],
  [{ tags: ['tag-1', 'none'] }, 400],
  [{ rules: ['rule-7', 'rule-8'] }, 2],
  [{ sources: ['rule:shell'], states: ['OPEN'], severity: 'HIGH' }, 600],
  [{ states: ['RESOLVED'] }, 0],
] satisfies [AlertFilter, number][])('%j matches %i alerts', async (where, total) => {
  expect((await page(where)).total).toBe(total);
});

it('refuses what it cannot read, before it looks at any alert', async () => {
  await expect(page({ tags: [] })).rejects.toMatchObject({ code: 'BAD_USER_INPUT' });
  await expect(counts({ container: {} })).rejects.toMatchObject({ code: 'BAD_USER_INPUT' });
});
