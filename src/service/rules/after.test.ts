import { afterEach, expect, it, vi } from 'vitest';
import { at, ruleContext } from '../../../test/support/rules.js';
import type { Alert, NewAlert } from '../../alerts/alert.js';
import { AlertBook } from '../../alerts/book.js';
import { evidenceOf } from '../../alerts/evidence.js';
import { EventsAfterAlerts } from './after.js';

const web = { id: 'aa11', name: 'web', image: 'nginx:1', labels: {} };
const startTime = '2026-01-31T08:15:00.000000000Z';

const newAlert = (rule: string, container: object | null, pid = 7): NewAlert => ({
  severity: 'HIGH',
  title: 'one',
  message: 'x',
  source: `rule:${rule}`,
  rule,
  session: null,
  time: null,
  tracker: 'exec',
  process: { pid, comm: 'sh', startTime },
  container,
  key: null,
  evidence: { event: {} },
});

function raisedIn(book: AlertBook, rule = 'a', container: object | null = web, pid = 7): Alert {
  const alert = book.raise(newAlert(rule, container, pid));
  if (!alert) throw new Error('no alert was made');
  return alert;
}

const told = (alert: Alert | undefined) => {
  const { eventsAfter = [], gathering, eventsAfterProblem } = (alert && evidenceOf(alert)) ?? {};
  return {
    names: eventsAfter.map((event) => Reflect.get(event, 'filename') as unknown),
    gathering,
    eventsAfterProblem,
  };
};

const open = (i: number, fields: object = { container: web }) => at(i, 'exec', { filename: `${i}`, ...fields });

afterEach(() => void vi.useRealTimers());

it('are those of the container, until there are enough, and the alert tells meanwhile that they are gathered', () => {
  const book = new AlertBook();
  const after = new EventsAfterAlerts(book, ruleContext);
  after.see(open(0));
  const alert = raisedIn(book);
  after.begin(alert);
  expect(told(alert)).toEqual({ names: [], gathering: true, eventsAfterProblem: null });
  for (let i = 1; i <= 30; i++) {
    after.see(open(i));
    after.see(open(i, { container: { ...web, id: 'bb22' } }));
    after.see(open(i, { container: null, process: { pid: 7, startTime } }));
  }
  const names = Array.from({ length: 20 }, (_, i) => `${i + 1}`);
  expect(told(alert)).toEqual({ names, gathering: false, eventsAfterProblem: null });
});

it('outside of containers are those of the process, for as long as they are gathered', () => {
  vi.useFakeTimers();
  const book = new AlertBook();
  const after = new EventsAfterAlerts(book, ruleContext);
  const alert = raisedIn(book, 'a', null);
  after.begin(alert);
  after.see(open(1, { process: { pid: 7, startTime } }));
  after.see(open(2, { process: { pid: 7, startTime: '2026-01-31T08:15:01.000000000Z' } }));
  after.see(open(3, { process: { pid: 8, startTime } }));
  vi.advanceTimersByTime(5000);
  after.see(open(4, { process: { pid: 7, startTime } }));
  expect(told(alert)).toEqual({ names: ['1'], gathering: false, eventsAfterProblem: null });
});

it('are bounded: in number, in size, of one rule and of all, and the alert says so', () => {
  const book = new AlertBook();
  const after = new EventsAfterAlerts(book, ruleContext);
  const storm = Array.from({ length: 9 }, () => raisedIn(book, 'storm'));
  for (const alert of storm) after.begin(alert);
  expect(told(storm[7])).toMatchObject({ gathering: true });
  expect(told(storm[8])).toMatchObject({
    gathering: false,
    eventsAfterProblem: expect.stringContaining('8 alerts of a rule'),
  });
  const others = Array.from({ length: 25 }, (_, i) => raisedIn(book, `other-${i}`));
  for (const alert of others) after.begin(alert);
  expect(told(others[23])).toMatchObject({ gathering: true });
  expect(told(others[24])).toMatchObject({ eventsAfterProblem: expect.stringContaining('32 alerts at once') });
  expect(after.skipped).toBe(2);
  for (let i = 1; i <= 20; i++) after.see(open(i, { container: web, args: ['é'.repeat(2000)] }));
  expect(told(others[0])).toMatchObject({
    names: ['1', '2', '3', '4', '5', '6', '7'],
    gathering: false,
    eventsAfterProblem: 'only the first 7 are kept: all have more than 32 KiB',
  });
  const next = raisedIn(book, 'next');
  after.begin(next);
  after.see(open(99));
  after.close();
  expect(told(next)).toEqual({
    names: ['99'],
    gathering: false,
    eventsAfterProblem: 'the server ended before they were gathered',
  });
});
