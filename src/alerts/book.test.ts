import { afterEach, describe, expect, it, vi } from 'vitest';
import { AlertBook, type Alert, type NewAlert } from './book.js';

const alertOf = (number: number): NewAlert => ({
  severity: 'HIGH',
  title: `alert ${number}`,
  message: '',
  source: 'plugin:test',
  session: 's1',
  time: null,
  tracker: null,
  process: null,
  container: null,
  key: null,
});

async function next(reader: AsyncIterator<Alert, undefined>): Promise<Alert> {
  const { value } = await reader.next();
  if (!value) throw new Error('the reader has ended');
  return value;
}

afterEach(() => vi.useRealTimers());

describe('an alert', () => {
  it('is not what later ones count on when the clock is set back', () => {
    vi.useFakeTimers({ now: Date.parse('2026-03-03'), toFake: ['Date'] });
    const book = new AlertBook();
    const raise = () => book.raise({ ...alertOf(0), key: 'k' });
    const first = raise();
    expect(raise()).toBe(first);
    vi.setSystemTime(Date.parse('2026-03-01'));
    const second = raise();
    expect(second).toMatchObject({ count: 1 });
    expect(second).not.toBe(first);
    expect(raise()).toBe(second);
    vi.setSystemTime(Date.parse('2026-03-02'));
    expect(raise()).toMatchObject({ count: 1 });
  });

  it('takes memory with its key, tags and comments, too: the oldest go', async () => {
    const book = new AlertBook();
    for (let i = 0; i < 400; i++) book.raise(alertOf(i));
    for (const alert of [...book.newest()])
      for (let i = 0; i < 100; i++) await book.change(alert, 'COMMENTED', 'ada', 'x'.repeat(2000));
    expect(book.size).toBeGreaterThan(100);
    expect(book.size).toBeLessThan(350);
    for (let i = 0; i < 400; i++)
      book.raise({
        ...alertOf(i),
        tags: ['y'.repeat(100_000), 'y'.repeat(100_000)],
        key: 'z'.repeat(100_000) + String(i),
      });
    expect(book.size).toBeLessThan(250);
  });
});

describe('a reader of alerts', () => {
  it('that is slow is told with the next alert how many it has missed before it', async () => {
    const book = new AlertBook();
    const reader = book.follow(() => true);
    for (let i = 0; i < 1_300; i++) book.raise(alertOf(i));
    expect(await next(reader)).toMatchObject({ title: 'alert 300', missedBefore: 300 });
    expect(await next(reader)).toMatchObject({ title: 'alert 301', missedBefore: 0 });
    for (let i = 1_300; i < 1_310; i++) book.raise(alertOf(i));
    expect(await next(reader)).toMatchObject({ title: 'alert 310', missedBefore: 8 });
    book.end();
    let read = 3;
    let last: Alert | null = null;
    for await (const alert of reader) {
      read++;
      last = alert;
    }
    expect(last).toMatchObject({ title: 'alert 1309', missedBefore: 0 });
    expect(read + 308).toBe(1_310);
  });

  it('misses nothing while it keeps up, and a list tells of nothing missed', async () => {
    const book = new AlertBook();
    const reader = book.follow(() => true);
    for (let i = 0; i < 3_000; i++) {
      book.raise(alertOf(i));
      expect(await next(reader)).toMatchObject({ title: `alert ${i}`, missedBefore: 0 });
    }
    expect(book.list(1, () => true)).toMatchObject([{ title: 'alert 2999', missedBefore: 0 }]);
  });
});
