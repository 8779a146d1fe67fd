import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { watermark } from './pause.js';
import { RingWatch } from './watch.js';

const BYTES = 1 << 20;

/** A ring and its watch, and where its programs would wake the thread. */
class Bench {
  now = 0;
  wakeAt = 0;
  looks = 0;
  /** Programs wake the thread for a mark once. */
  woken = false;
  readonly ring = { bytes: BYTES, waiting: 0 };
  readonly watch: RingWatch;

  constructor(delayMs: number) {
    const setWakeAt = (bytes: number): void => {
      this.wakeAt = bytes;
      this.woken = false;
    };
    this.watch = new RingWatch(this.ring, setWakeAt, delayMs, 0);
  }

  /** A program writes so much: whether it wakes the thread. */
  write(bytes: number): boolean {
    this.ring.waiting += bytes;
    const wakes = this.wakeAt === 0 || (this.ring.waiting >= this.wakeAt && !this.woken);
    this.woken ||= wakes;
    return wakes;
  }

  /** What the thread does when it is up. `busy`: the first record is still being written. */
  turn(busy = false): void {
    if (!this.watch.isCalled(this.now, false)) return;
    const { waiting } = this.ring;
    this.looks++;
    if (!busy) this.ring.waiting = 0;
    this.watch.looked(this.now, waiting, waiting > 0 && !busy);
  }

  /** Lets time go by with a timer for each time that it is due. */
  until(end: number, earlyMs = 0): void {
    while (this.watch.due <= end) {
      this.now = Math.max(this.now, this.watch.due - earlyMs);
      this.turn();
    }
    this.now = end;
  }

  get sleeps(): boolean {
    return this.watch.due === Number.POSITIVE_INFINITY;
  }
}

describe('a watched ring', () => {
  it('is read at once after a silence, and then when events have waited as long as they may', () => {
    const bench = new Bench(50);
    bench.until(200);
    expect(bench).toMatchObject({ sleeps: true, wakeAt: 0 });
    bench.ring.waiting = 100;
    bench.turn();
    expect(bench.ring.waiting).toBe(0);
    expect(bench.wakeAt).toBe(watermark(BYTES));
    bench.ring.waiting = 100;
    bench.turn();
    expect(bench.ring.waiting).toBe(100);
    bench.until(260);
    expect(bench.ring.waiting).toBe(0);
  });

  it('is read at once for somebody who has begun to read', () => {
    const bench = new Bench(1_000);
    bench.until(2_500);
    bench.ring.waiting = 100;
    bench.turn();
    bench.ring.waiting = 100;
    bench.until(2_510);
    expect(bench.ring.waiting).toBe(100);
    bench.watch.hurry(bench.now);
    bench.turn();
    expect(bench.ring.waiting).toBe(0);
    // What comes behind is gathered again.
    bench.ring.waiting = 100;
    bench.turn();
    expect(bench.ring.waiting).toBe(100);
  });

  it('is read with its next event by somebody who began to read when it was empty', () => {
    const bench = new Bench(1_000);
    bench.until(2_500);
    bench.ring.waiting = 100;
    bench.turn();
    bench.watch.hurry(bench.now);
    bench.turn();
    expect(bench.wakeAt).toBe(0);
    bench.ring.waiting = 100;
    bench.turn();
    expect(bench.ring.waiting).toBe(0);
  });

  it('is read before its time where it fills', () => {
    const bench = new Bench(10_000);
    bench.ring.waiting = 100;
    bench.turn();
    bench.ring.waiting = watermark(BYTES);
    bench.turn();
    expect(bench.ring.waiting).toBe(0);
  });

  it('that was emptied for somebody who asked is told of again where it fills', () => {
    const bench = new Bench(10_000);
    bench.ring.waiting = 100;
    bench.turn();
    expect(bench.write(watermark(BYTES))).toBe(true);
    // The thread is about to look, and does first what it was asked for.
    bench.ring.waiting = 0;
    bench.watch.emptied();
    bench.turn();
    expect(bench.write(watermark(BYTES) - 1)).toBe(false);
    expect(bench.write(1)).toBe(true);
    bench.turn();
    expect(bench.ring.waiting).toBe(0);
  });

  it('that is emptied for somebody who asked wakes the thread as before', () => {
    for (const delayMs of [0, 50]) {
      const bench = new Bench(delayMs);
      bench.until(200);
      bench.watch.emptied();
      expect(bench).toMatchObject({ sleeps: true, wakeAt: 0 });
      bench.watch.neglect(bench.now);
      bench.watch.emptied();
      expect(bench.wakeAt).toBe(Number.POSITIVE_INFINITY);
    }
  });

  it('is looked at once in each period, also by timers that fire up to a millisecond early', () => {
    for (const earlyMs of [0, 0.3, 0.7, 0.99]) {
      const bench = new Bench(50);
      for (let at = 1; at <= 3000; at++) {
        bench.ring.waiting += 10;
        bench.until(at, earlyMs);
      }
      expect(bench.looks).toBeLessThanOrEqual(62);
      expect(bench.looks).toBeGreaterThanOrEqual(58);
    }
  });

  it('does not fall asleep with a record that is still being written: its program may have seen that nobody is to be woken', () => {
    const bench = new Bench(0);
    bench.ring.waiting = 8;
    for (let i = 0; i < 20; i++) {
      bench.now += 3;
      bench.turn(true);
      expect(bench.sleeps).toBe(false);
    }
    bench.until(bench.now + 20);
    expect(bench).toMatchObject({ sleeps: true, ring: { waiting: 0 } });
  });

  it('that was neglected while it slept is looked at when somebody takes records again', () => {
    const bench = new Bench(50);
    bench.until(200);
    bench.watch.neglect(bench.now);
    expect(bench).toMatchObject({ sleeps: false, wakeAt: Number.POSITIVE_INFINITY });
    bench.until(300);
    expect(bench).toMatchObject({ sleeps: true, wakeAt: 0 });
  });

  it('wakes the thread with its next record whenever it sleeps, whatever came before', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('events' as const), bytes: fc.integer({ min: 8, max: BYTES }) }),
      fc.record({ kind: fc.constant('time' as const), ms: fc.double({ min: 0, max: 300, noNaN: true }) }),
      fc.record({ kind: fc.constant('delay' as const), ms: fc.constantFrom(0, 1, 5, 50, 10_000) }),
      fc.record({ kind: fc.constantFrom('busy' as const, 'neglect' as const, 'turn' as const, 'emptied' as const) }),
    );
    fc.assert(
      fc.property(fc.constantFrom(0, 3, 50), fc.array(step, { maxLength: 60 }), (delayMs, steps) => {
        const bench = new Bench(delayMs);
        for (const one of steps) {
          if (one.kind === 'events') bench.ring.waiting = Math.min(BYTES, bench.ring.waiting + one.bytes);
          else if (one.kind === 'time') bench.until(bench.now + one.ms, 0.5);
          else if (one.kind === 'delay') bench.watch.setDelay(one.ms, bench.now);
          else if (one.kind === 'neglect') bench.watch.neglect(bench.now);
          else if (one.kind === 'emptied') {
            bench.ring.waiting = 0;
            bench.watch.emptied();
          } else bench.turn(one.kind === 'busy');
          if (bench.sleeps) expect(bench.wakeAt).toBe(0);
        }
        // Once it is quiet it sleeps, and holds nothing.
        bench.until(bench.now + 30_000);
        bench.turn();
        bench.until(bench.now + 30_000);
        expect(bench).toMatchObject({ sleeps: true, wakeAt: 0, ring: { waiting: 0 } });
      }),
    );
  });
});
