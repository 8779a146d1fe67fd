import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { finish, inTurns, Line, sorted, Turns, turns, type Work } from './turn.js';

function spend(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until;);
}

const nextPoll = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Promises alone, as a socket has it that takes all at once: the event loop never polls in between. */
async function readWithoutEnd(shared: Turns, pieces: string[], name: string, until: () => boolean): Promise<void> {
  while (!until()) {
    if (!shared.isOpen) await shared.next();
    pieces.push(name);
    spend(1);
    await Promise.resolve();
  }
}

describe('turns', () => {
  it('let timers in between work that goes on in promises alone', async () => {
    const shared = new Turns(5);
    let ticked = false;
    const timer = setTimeout(() => (ticked = true), 1);
    const deadline = performance.now() + 20_000;
    await readWithoutEnd(shared, [], 'one', () => ticked || performance.now() > deadline);
    clearTimeout(timer);
    expect(ticked).toBe(true);
  });

  it('are shared: twenty that work do not make a turn twenty times as long', async () => {
    const shared = new Turns(5);
    let done = false;
    const pieces: string[] = [];
    const work = Array.from({ length: 20 }, (_, i) => readWithoutEnd(shared, pieces, String(i), () => done));
    let most = 0;
    for (let i = 0; i < 20; i++) {
      const before = pieces.length;
      await nextPoll();
      most = Math.max(most, pieces.length - before);
    }
    done = true;
    await Promise.all(work);
    // Pieces of a millisecond at least: five of them fill a turn, and two turns may lie between two looks.
    expect(most).toBeLessThanOrEqual(12);
  });

  it('go round: each that waits has one before any has its second', async () => {
    const shared = new Turns(0); // each turn has room for one
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 5 }, async (_, i) => {
        for (let round = 0; round < 4; round++) {
          await shared.next();
          order.push(i);
        }
      }),
    );
    for (let round = 0; round < 4; round++)
      expect(order.slice(round * 5, round * 5 + 5).sort()).toEqual([0, 1, 2, 3, 4]);
  });

  it('are one for the next of a client that has sent many, and in the order that they came', async () => {
    const shared = new Turns(0);
    expect([shared.isOpen, shared.isOpen]).toEqual([true, false]);
    const order: string[] = [];
    const line = new Line(shared);
    const parts = Array.from({ length: 50 }, async (_, i) => {
      await line.next();
      order.push(`${i}`);
    });
    await shared.next();
    order.push('another');
    await Promise.all(parts);
    expect(order.indexOf('another')).toBeLessThan(3);
    expect(order.filter((each) => each !== 'another')).toEqual(Array.from({ length: 50 }, (_, i) => `${i}`));
  });

  it('begin at once for what a client sends where nothing waits', async () => {
    const shared = new Turns(1000);
    const line = new Line(shared);
    expect(line.next()).toBeNull();
    expect(line.next()).toBeNull();
  });

  it('go to each lane in turn, however many wait in the others', async () => {
    for (const lane of ['REQUEST', 'FLOW', 'FILE'] as const) {
      const shared = new Turns(0);
      let done = false;
      let served = 0;
      const others = (['REQUEST', 'FLOW', 'FILE'] as const).filter((other) => other !== lane);
      const crowd = others.flatMap((other) =>
        Array.from({ length: 50 }, async () => {
          while (!done) {
            await shared.next(other);
            served++;
          }
        }),
      );
      await nextPoll();
      const before = served;
      for (let piece = 0; piece < 10; piece++) await shared.next(lane);
      const between = served - before;
      done = true;
      await Promise.all(crowd);
      // With one queue for all, each piece would wait for all hundred.
      expect(between).toBeLessThanOrEqual(30);
      expect(between).toBeGreaterThan(0);
    }
  });

  it('begin anew once the event loop has polled', async () => {
    const shared = new Turns(2);
    expect(shared.isOpen).toBe(true);
    spend(3);
    expect(shared.isOpen).toBe(false);
    await nextPoll();
    expect(shared.isOpen).toBe(true);
  });
});

describe('work in pieces', () => {
  function* counting(pieces: number): Work<number> {
    for (let i = 0; i < pieces; i++) {
      spend(1);
      yield;
    }
    return pieces;
  }

  it('gives the same at once and in turns, and others come in between in turns', async () => {
    expect(finish(counting(3))).toBe(3);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    expect(await inTurns(counting(60))).toBe(60);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(2);
  });

  it('rejects with what it throws, and ends when its signal aborts', async () => {
    function* failing(): Work<void> {
      yield;
      throw new RangeError('no');
    }
    await expect(inTurns(failing())).rejects.toThrow(RangeError);
    const gone = new AbortController();
    const waiting = inTurns(counting(1_000_000), gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    expect(turns).toBeInstanceOf(Turns);
  });

  it('sorts as Array.sort does, equal ones in their order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ key: fc.nat(5), place: fc.nat() }), { maxLength: 3000, size: 'max' }),
        (items) => {
          const compare = (a: { key: number }, b: { key: number }): number => a.key - b.key;
          expect(finish(sorted(items, compare))).toEqual([...items].sort(compare));
        },
      ),
      { numRuns: 40 },
    );
  });
});
