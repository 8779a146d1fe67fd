import { expect, it } from 'vitest';
import { StoppedSessions } from './stopped.js';

class Stopped {
  constructor(
    public retainedBytes: number,
    readonly isUnwritten = false,
  ) {}

  /** Batches have 10 bytes each. */
  shrink(bytes: number): void {
    while (this.retainedBytes > bytes) this.retainedBytes = Math.max(0, this.retainedBytes - 10);
  }
}

it('evicts what the first ones to stop retain, and no more than it must', () => {
  const all = [100, 100, 100].map((bytes) => new Stopped(bytes));
  const sessions = new StoppedSessions<Stopped>({ sessions: 10, bytes: 250 });
  for (const one of all) expect(sessions.add(one)).toEqual([]);
  expect(all.map(({ retainedBytes }) => retainedBytes)).toEqual([50, 100, 100]);
  const last = new Stopped(120);
  sessions.add(last);
  expect([...all, last].map(({ retainedBytes }) => retainedBytes)).toEqual([0, 30, 100, 120]);
  expect(sessions.bytes).toBe(250);
});

it('leaves the newest its events, however many, until another one stops', () => {
  const [large, next] = [new Stopped(1_000), new Stopped(10)];
  const sessions = new StoppedSessions<Stopped>({ sessions: 10, bytes: 100 });
  sessions.add(large);
  expect(large.retainedBytes).toBe(1_000);
  sessions.add(next);
  expect([large.retainedBytes, next.retainedBytes]).toEqual([90, 10]);
});

it('says which are too many, and forgets those that are removed', () => {
  const [a, b, c, d] = [1, 2, 3, 4].map((bytes) => new Stopped(bytes));
  if (!a || !b || !c || !d) throw new Error('not four');
  const sessions = new StoppedSessions<Stopped>({ sessions: 2, bytes: 100 });
  expect([sessions.add(a), sessions.add(b), sessions.add(c)]).toEqual([[], [], [a]]);
  sessions.delete(a);
  sessions.delete(b);
  expect([sessions.add(d), sessions.bytes]).toEqual([[], 7]);
});

it('spares those that their store has yet to write, as long as there are others', () => {
  const [a, b, c, d] = [true, false, false, false].map((isUnwritten) => new Stopped(100, isUnwritten));
  if (!a || !b || !c || !d) throw new Error('not four');
  const sessions = new StoppedSessions<Stopped>({ sessions: 3, bytes: 150 });
  for (const one of [a, b, c]) expect(sessions.add(one)).toEqual([]);
  expect([a, b, c].map(({ retainedBytes }) => retainedBytes)).toEqual([50, 0, 100]);
  expect(sessions.add(d)).toEqual([b]);
});
