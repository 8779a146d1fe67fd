import { describe, expect, it } from 'vitest';
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
