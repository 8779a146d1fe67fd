import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Row } from './rows.js';
import { Shelf } from './shelf.js';

const snapshot = (rows: number, bytes = 10) => ({
  takenAt: '2026-01-31T08:15:30.000000000Z',
  complete: true,
  rows: Array.from({ length: rows }, () => ({}) as Row),
  bytes,
});
const failing = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as string, details: { argument: 'after' } });

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

it('finds a place by its cursor, for the same request only', () => {
  const shelf = new Shelf({ keptMs: 1000, bytes: 100 });
  const kept = snapshot(5);
  const id = shelf.keep(kept, 'a');
  expect(shelf.find(shelf.cursorOf(id, 3), 'a')).toEqual({ id, snapshot: kept, at: 3 });
  expect(() => shelf.find(shelf.cursorOf(id, 3), 'b')).toThrow(
    failing('BAD_CURSOR', /another field, filter or container/),
  );
  expect(() => shelf.find(shelf.cursorOf(id, 6), 'a')).toThrow(failing('BAD_CURSOR', /only 5 rows/));
  for (const text of ['', 'nonsense', Buffer.from('1:session:3').toString('base64url')])
    expect(() => shelf.find(text, 'a')).toThrow(failing('BAD_CURSOR', /is no cursor of a snapshot/));
});

it('keeps a snapshot as long as it is read, and says so when it is gone', () => {
  const shelf = new Shelf({ keptMs: 1000, bytes: 100 });
  const cursor = shelf.cursorOf(shelf.keep(snapshot(5), 'a'), 1);
  vi.advanceTimersByTime(900);
  shelf.find(cursor, 'a');
  vi.advanceTimersByTime(900);
  shelf.find(cursor, 'a');
  vi.advanceTimersByTime(1001);
  expect(() => shelf.find(cursor, 'a')).toThrow(failing('SNAPSHOT_GONE', /not read for 1 s/));
  vi.advanceTimersByTime(1000);
  expect(vi.getTimerCount()).toBe(0); // nothing is left of it
});

it('drops those that were read least recently where memory is short, and never the newest', () => {
  const shelf = new Shelf({ keptMs: 1000, bytes: 100 });
  const [a, b] = ['a', 'b'].map((of) => shelf.cursorOf(shelf.keep(snapshot(2, 50), of), 0));
  shelf.find(a ?? '', 'a');
  shelf.keep(snapshot(2, 40), 'c');
  expect(() => shelf.find(b ?? '', 'b')).toThrow(failing('SNAPSHOT_GONE', /others needed its memory/));
  shelf.find(a ?? '', 'a');
  const large = shelf.cursorOf(shelf.keep(snapshot(2, 1000), 'd'), 0);
  expect(() => shelf.find(a ?? '', 'a')).toThrow(failing('SNAPSHOT_GONE', /./));
  shelf.find(large, 'd');
  shelf.clear();
  expect(() => shelf.find(large, 'd')).toThrow(failing('SNAPSHOT_GONE', /./));
});

it('drops those first that their first page showed as a whole', () => {
  const shelf = new Shelf({ keptMs: 1000, bytes: 100 });
  const paged = shelf.cursorOf(shelf.keep(snapshot(2, 50), 'a'), 0);
  const whole = shelf.cursorOf(shelf.keep(snapshot(2, 50), 'b', true), 0);
  shelf.find(whole, 'b');
  const newest = shelf.cursorOf(shelf.keep(snapshot(2, 30), 'c', true), 0);
  expect(() => shelf.find(whole, 'b')).toThrow(failing('SNAPSHOT_GONE', /others needed its memory/));
  shelf.find(paged, 'a');
  shelf.find(newest, 'c');
});
