import { describe, expect, it } from 'vitest';
import type { TraceEvent } from '../event/event.js';
import { batchAt } from '../../test/support/record.js';
import { SessionBuffer } from './buffer.js';
import type { Page } from './stream/reading.js';

const SINCE = '2026-01-01T00:00:00.000000000Z';
const size = batchAt(0, 10).byteLength;

/** Holds `batches` of ten events each, of which the newest `kept` are retained. An event's place is its bootNs. */
function filled(batches: number, kept = batches, lost = 0): SessionBuffer {
  const buffer = new SessionBuffer({ session: 's1', bytes: kept * size, since: () => SINCE });
  for (let i = 0; i < batches; i++) buffer.push(batchAt(i * 10, 10, i === 0 ? 0 : lost));
  return buffer;
}

const placesOf = (events: Iterable<TraceEvent>) => [...events].map(({ bootNs }) => Number(bootNs));
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const every = (n: number) => ({ text: `every ${n}`, matches: ({ bootNs }: TraceEvent) => Number(bootNs) % n === 0 });

function after(page: Page): string {
  return page.cursorAfter(page.events.length - 1);
}

describe('a page', () => {
  it('follows on the one before by its cursor, to the last event', () => {
    const buffer = filled(3);
    const places: number[] = [];
    for (let page = buffer.page({ first: 7 }); ; page = buffer.page({ first: 7, after: after(page) })) {
      places.push(...placesOf(page.events));
      expect([page.total, page.hasPrevious]).toEqual([30, places.length > 7]);
      if (!page.hasNext) break;
    }
    expect(places).toEqual(range(0, 30));
  });

  it('has the newest where they are asked for', () => {
    const page = filled(3).page({ last: 4 });
    expect([placesOf(page.events), page.hasNext, page.hasPrevious]).toEqual([range(26, 30), false, true]);
  });

  it('goes back from a cursor to the oldest event, and lies between two', () => {
    const buffer = filled(3);
    const places: number[] = [];
    for (let page = buffer.page({ last: 7 }); ; page = buffer.page({ last: 7, before: page.cursorAfter(0) })) {
      expect([page.hasNext, page.hasPrevious]).toEqual([places.length > 0, places.length < 23]);
      places.unshift(...placesOf(page.events));
      if (!page.hasPrevious) break;
    }
    expect(places).toEqual(range(0, 30));
    const [five, twenty] = [5, 20].map((i) => buffer.page({ first: 30 }).cursorAfter(i));
    const between = { after: five, before: twenty };
    const pages = [buffer.page({ first: 4, ...between }), buffer.page({ last: 4, ...between })];
    expect(pages.map(({ events, hasNext, hasPrevious }) => [placesOf(events), hasNext, hasPrevious])).toEqual([
      [range(6, 10), true, true],
      [range(16, 20), true, true],
    ]);
    const nothing = { events: [], gaps: [], hasNext: true, hasPrevious: true };
    expect(buffer.page({ after: twenty, before: five })).toMatchObject(nothing);
    expect(filled(4, 1).page({ last: 5, before: filled(1).page({}).cursorAfter(3) })).toMatchObject({
      ...nothing,
      hasPrevious: false,
    });
  });

  it('says what was evicted behind its cursor, since the session began', () => {
    const cursor = filled(1).page({ first: 3 }).cursorAfter(2);
    const page = filled(4, 2).page({ first: 5, after: cursor });
    expect(placesOf(page.events)).toEqual(range(20, 25));
    expect(page.gaps).toEqual([{ from: SINCE, to: page.events[0]?.time, lost: 0, dropped: 17, where: 'CLIENT' }]);
  });

  it('has no gap of evicted events without a cursor, nor among the newest', () => {
    const buffer = filled(4, 2);
    const cursor = filled(1).page({ first: 3 }).cursorAfter(2);
    expect(buffer.page({ first: 5 }).gaps).toEqual([]);
    expect(buffer.page({ last: 5, after: cursor }).gaps).toEqual([]);
  });

  it('has each loss before its events, also one that no event has followed', () => {
    const buffer = filled(3, 3, 2);
    buffer.push(batchAt(30, 0, 5));
    expect(buffer.page({ first: 20 }).gaps.map(({ lost }) => lost)).toEqual([2]);
    expect(buffer.page({ first: 30 }).gaps.map(({ lost }) => lost)).toEqual([2, 2, 5]);
  });

  it('refuses the cursor of another session, and of a place that is not reached', () => {
    const buffer = filled(1);
    expect(() => buffer.page({ after: 'x' })).toThrow('is not a cursor');
    expect(() => buffer.page({ before: 'x' })).toThrow(/^before: "x" is not a cursor/);
    expect(() => buffer.page({ after: filled(2).page({}).cursorAfter(19) })).toThrow('has not reached');
    expect(() => buffer.startOf({ after: Buffer.from('1:s2:0').toString('base64url') })).toThrow('of the session s2');
  });
});

describe('a filtered page', () => {
  it('follows on the one before by its cursor, and has what matches alone', async () => {
    const buffer = filled(4);
    const places: number[] = [];
    for (let cursor: string | null = null; ;) {
      const page = await buffer.pageWhere({ first: 3, after: cursor, where: every(4) });
      places.push(...placesOf(page.events));
      expect(page.total).toBeNull();
      if (!page.hasNext) break;
      cursor = after(page);
    }
    expect(places).toEqual(range(0, 10).map((i) => i * 4));
  });

  it('goes back from a cursor to the oldest event that matches', async () => {
    const buffer = filled(4);
    const places: number[] = [];
    for (let cursor: string | null = null; ;) {
      const page = await buffer.pageWhere({ last: 3, before: cursor, where: every(4) });
      expect(page.hasNext).toBe(cursor !== null);
      places.unshift(...placesOf(page.events));
      if (!page.hasPrevious) break;
      cursor = page.cursorAfter(0);
    }
    expect(places).toEqual(range(0, 10).map((i) => i * 4));
  });

  it('has the newest that match, and says what was evicted behind its cursor', async () => {
    const buffer = filled(4, 2);
    const newest = await buffer.pageWhere({ last: 2, where: every(9) });
    expect([placesOf(newest.events), newest.hasPrevious, newest.gaps]).toEqual([[27, 36], false, []]);
    const cursor = filled(1).page({ first: 3 }).cursorAfter(2);
    const page = await buffer.pageWhere({ first: 1, after: cursor, where: every(9) });
    expect([placesOf(page.events), page.gaps]).toMatchObject([[27], [{ dropped: 17, where: 'CLIENT' }]]);
  });
});

describe('a subscriber starts', () => {
  const placesOfStart = (request: Parameters<SessionBuffer['startOf']>[0], buffer = filled(4, 2)) => {
    const { backlog, missing, startSeq } = buffer.startOf(request);
    const places = backlog.flatMap(({ batch, from, to }) => range(from, to).map((i) => batch.placeOf(i)));
    return { places, missing: missing?.count ?? 0, startSeq };
  };

  it('with the next event, or with the last so many', () => {
    expect(placesOfStart({})).toEqual({ places: [], missing: 0, startSeq: 40 });
    expect(placesOfStart({ replay: 3 })).toEqual({ places: [37, 38, 39], missing: 0, startSeq: 37 });
    expect(placesOfStart({ replay: 1000 })).toEqual({ places: range(20, 40), missing: 0, startSeq: 20 });
  });

  it('behind a cursor, and is told how many are missing there', () => {
    const cursor = (place: number) => filled(4).cursorAt(place);
    expect(placesOfStart({ after: cursor(30) })).toEqual({ places: range(30, 40), missing: 0, startSeq: 30 });
    expect(placesOfStart({ after: cursor(5) })).toEqual({ places: range(20, 40), missing: 15, startSeq: 20 });
    expect(placesOfStart({ after: cursor(40) })).toEqual({ places: [], missing: 0, startSeq: 40 });
  });
});

it('counts what is retained and evicted, and evicts everything when it is cleared', () => {
  const buffer = filled(4, 2);
  expect(buffer.counts).toEqual({ retained: 20, evicted: 20, retainedBytes: 2 * size });
  expect([buffer.oldestSeq, buffer.nextSeq, placesOf(buffer.events())]).toEqual([20, 40, range(20, 40)]);
  buffer.clear();
  // Who begins to read it now is told that they are missing.
  expect([buffer.counts, buffer.slices()]).toEqual([{ retained: 0, evicted: 40, retainedBytes: 0 }, []]);
});

it('what is evicted to the last event is told as missing, and places stay what they were', () => {
  const buffer = filled(3);
  const [first, end] = [buffer.page({ first: 1 }), buffer.page({})];
  buffer.shrink(size);
  expect(buffer.counts).toEqual({ retained: 10, evicted: 20, retainedBytes: size });
  buffer.shrink(0);
  expect(buffer.counts).toEqual({ retained: 0, evicted: 30, retainedBytes: 0 });
  expect([buffer.oldestSeq, buffer.nextSeq]).toEqual([30, 30]);
  const behind = buffer.page({ after: after(first) });
  expect(behind).toMatchObject({ events: [], hasNext: false, hasPrevious: false, gaps: [{ dropped: 29 }] });
  expect(buffer.page({ after: after(end) })).toMatchObject({ events: [], gaps: [] });
  expect(buffer.startOf({ replay: 5 })).toMatchObject({ backlog: [], missing: null, startSeq: 30 });
  expect(buffer.startOf({ after: after(first) })).toMatchObject({ backlog: [], missing: { count: 29 }, startSeq: 30 });
});
