import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StatsHistory, STEP_MS, STEPS, type Counted } from './stats-history.js';

function counting() {
  let now = 5000;
  let ahead = 1_000_000;
  let received = 0;
  const counts = (): Counted => ({
    received,
    discarded: 0,
    delivered: received,
    lost: 0,
    dropped: 0,
    receivedBytes: 8 * received,
  });
  const history = new StatsHistory({ read: counts, now: () => now, date: () => now + ahead });
  return {
    history,
    pass: (ms: number): void => void (now += ms),
    /** The machine sleeps, or its clock is set. */
    shift: (ms: number): void => void (ahead += ms),
    dates: (): number[] =>
      history.points({ lastMs: STEPS * STEP_MS, everyMs: STEP_MS }, counts()).map(({ atMs }) => atMs - 1_005_000),
    count: (events: number): void => {
      history.note();
      received += events;
    },
    received: (lastMs = STEPS * STEP_MS, everyMs = STEP_MS): number[] =>
      history.points({ lastMs, everyMs }, counts()).map((point) => point.received),
    times: (lastMs: number, everyMs: number): number[] => {
      const points = history.points({ lastMs, everyMs }, counts());
      return points.map(({ atMs }) => atMs - (points[0]?.atMs ?? 0));
    },
  };
}

describe('the counts of a session over time', () => {
  it('are 0 at its beginning, then those at the end of each step, also of those in which nothing happened', () => {
    const { count, pass, received, times } = counting();
    expect(received()).toEqual([0, 0]);
    pass(1000);
    count(3);
    pass(30_000);
    expect(received()).toEqual([0, 3, 3, 3, 3]);
    count(4);
    pass(1000);
    expect(received()).toEqual([0, 3, 3, 3, 7]);
    pass(10_000);
    expect(received()).toEqual([0, 3, 3, 3, 7, 7]);
    expect(times(3_600_000, 20_000)).toEqual([0, 20_000, 40_000, 42_000]);
    expect(received(3_600_000, 20_000)).toEqual([0, 3, 7, 7]);
    expect(received(10_000)).toEqual([7, 7]);
  });

  it('have differences that sum up to what happened, at any time and interval, in bounded memory', () => {
    const steps = fc.array(fc.tuple(fc.nat(400_000), fc.nat(9)), { maxLength: 200 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 360 }), fc.integer({ min: 1, max: 360 }), (all, last, every) => {
        const { history, count, pass } = counting();
        const log: { readonly at: number; readonly total: number }[] = [];
        let [now, total] = [0, 0];
        for (const [ms, events] of all) {
          pass(ms);
          count(events);
          [now, total] = [now + ms, total + events];
          log.push({ at: now, total });
        }
        const latest = {
          received: total,
          discarded: 0,
          delivered: total,
          lost: 0,
          dropped: 0,
          receivedBytes: 8 * total,
        };
        const points = history.points({ lastMs: last * STEP_MS, everyMs: every * STEP_MS }, latest);
        const [first] = points;
        expect(points.length).toBeLessThanOrEqual(STEPS + 2);
        expect(points.at(-1)).toMatchObject(latest);
        const begin = (points.at(-1)?.atMs ?? 0) - now;
        for (const [i, point] of points.entries()) {
          const at = point.atMs - begin;
          expect(point.received).toBe(
            i === points.length - 1 ? total : (log.findLast((each) => each.at < at)?.total ?? 0),
          );
        }
        const sum = points.reduce((all, { received }, i) => all + received - (points[i - 1]?.received ?? received), 0);
        expect(sum).toBe(total - (first?.received ?? 0));
        if (now < last * STEP_MS) expect(sum).toBe(total);
      }),
      { numRuns: 300 },
    );
  });

  it('keep their times when the machine sleeps or its clock is set afterwards', () => {
    const { count, pass, shift, dates, history } = counting();
    count(1);
    pass(10_000);
    count(1);
    pass(10_000);
    count(1);
    expect(dates()).toEqual([0, 10_000, 20_000]);
    shift(3_600_000);
    pass(10_000);
    count(1);
    pass(5000);
    expect(dates()).toEqual([0, 10_000, 20_000, 3_630_000, 3_635_000]);
    history.end();
    shift(-7_200_000);
    pass(60_000);
    expect(dates()).toEqual([0, 10_000, 20_000, 3_630_000, 3_635_000]);
  });

  it('keep their times also behind what is forgotten', () => {
    const { count, pass, shift, dates } = counting();
    count(1);
    pass(10_000);
    shift(500_000);
    for (let i = 0; i < 400; i++) {
      count(1);
      pass(10_000);
    }
    const all = dates();
    expect(all).toEqual(all.map((_, i) => 4_510_000 - (all.length - 1 - i) * 10_000));
  });

  it('end with the session', () => {
    const { count, pass, history, received } = counting();
    count(1);
    pass(25_000);
    history.end();
    pass(7_200_000);
    expect(received()).toEqual([0, 1, 1, 1]);
    expect(received(10_000)).toEqual([1, 1]);
  });
});
