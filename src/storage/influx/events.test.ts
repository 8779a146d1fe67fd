import { expect, it, vi } from 'vitest';
import { catalog, fields } from '../../../test/support/store.js';
import { turns } from '../../base/turn.js';
import { nanosOf } from '../../record/nanos.js';
import { filterOf } from '../../filter/index.js';
import type { StoredRecord } from '../store.js';
import type { InfluxClient, StoredPoint } from './client.js';
import { Database } from './database.js';
import { InfluxEvents } from './events.js';
import { SEQ } from './column.js';
import type { EventPlan } from './plan.js';
import type { InfluxSessions } from './sessions.js';

const COUNT = 30_000;

const rowAt = (seq: number): StoredPoint => ({
  time: `2026-01-31T08:15:${String(30 + Math.floor(seq / 1e4)).padStart(2, '0')}.${String(seq % 1e4).padStart(4, '0')}Z`,
  columns: { session: 'a', [SEQ]: seq, process_pid: seq, exitCode: seq },
});

/** A database with so many events of one session, and what it was asked for. `share`: one of so many passes its filter. */
function readerOf(share = 1): { readonly reader: InfluxEvents; readonly plans: EventPlan[] } {
  const plans: EventPlan[] = [];
  const client = {
    events: async (plan: EventPlan) => {
      plans.push(plan);
      const { from, to } = plan.places ?? { from: 0, to: COUNT };
      const rows = Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
        .filter((seq) => seq % share === 0)
        .map(rowAt)
        .filter(({ time }) => plan.places || (nanosOf(time) >= plan.from && nanosOf(time) < plan.to));
      return { rows: (plan.backwards ? rows.reverse() : rows).slice(0, plan.limit), unsaid: [] };
    },
    records: async () => [],
  } as Partial<InfluxClient> as InfluxClient;
  const record = { id: 'a', mode: 'EVENTS', nextSeq: COUNT, createdAt: '2026-01-31T08:00:00Z', stoppedAt: null };
  const sessions = { find: async () => record as StoredRecord } as Partial<InfluxSessions> as InfluxSessions;
  return { reader: new InfluxEvents(new Database(client, 'here'), sessions, catalog, fields), plans };
}

const pageOf = (more: object) => ({
  ...{ session: 'a', sessions: null, trackers: ['exit'], from: null, to: null, containers: null, filter: null },
  ...{ fromSeq: 0, toSeq: null, limit: 100, backwards: false },
  ...more,
});

const seqsOf = ({ events }: Awaited<ReturnType<InfluxEvents['page']>>) => events.map(({ place }) => place.seq);
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

it.each([
  ['forwards', { fromSeq: 5, limit: 20_000 }, range(5, 20_005)],
  ['to the end', { limit: 100_000 }, range(0, COUNT)],
  ['backwards', { backwards: true, limit: 20_000 }, range(10_000, COUNT)],
])('reads a long page in parts of which each is one short reply: %s', async (_name, more, expected) => {
  const { reader, plans } = readerOf();
  expect(seqsOf(await reader.page(pageOf(more)))).toEqual(expected);
  expect(Math.max(...plans.map(({ limit }) => limit))).toBeLessThanOrEqual(5002);
});

it('goes through a history in parts, forwards and backwards, and lies between two places', async () => {
  const { reader } = readerOf();
  const [from, to] = ['2026-01-31T08:00:00Z', '2026-01-31T09:00:00Z'].map(nanosOf);
  const query = {
    sessions: null,
    trackers: ['exit'],
    from: from ?? null,
    to: to ?? null,
    containers: null,
    filter: null,
  };
  const part = { after: null, before: null, limit: 7000, backwards: false };
  const forwards: number[] = [];
  const backwards: number[] = [];
  for (let page = await reader.history(query, part); ;) {
    forwards.push(...seqsOf(page));
    expect(page.hasPrevious).toBe(forwards.length > page.events.length);
    if (!page.hasNext) break;
    page = await reader.history(query, { ...part, after: page.events.at(-1)?.place ?? null });
  }
  for (let page = await reader.history(query, { ...part, backwards: true }); ;) {
    expect(page.hasNext).toBe(backwards.length > 0);
    backwards.unshift(...seqsOf(page));
    if (!page.hasPrevious) break;
    page = await reader.history(query, { ...part, backwards: true, before: page.events[0]?.place ?? null });
  }
  expect(forwards).toEqual(range(0, COUNT));
  expect(backwards).toEqual(range(0, COUNT));
  const { events } = await reader.history(query, part);
  const between = { after: events[10]?.place ?? null, before: events[50]?.place ?? null, limit: 5 };
  expect(seqsOf(await reader.history(query, { ...between, backwards: false }))).toEqual(range(11, 16));
  expect(seqsOf(await reader.history(query, { ...between, backwards: true }))).toEqual(range(45, 50));
});

it('looks through more places at once where a filter leaves few of them', async () => {
  const { reader, plans } = readerOf(1000);
  const filter = filterOf({ process: { pid: { gte: 0 } } }, fields, ['exit']);
  expect(seqsOf(await reader.page(pageOf({ filter, limit: 25 })))).toEqual(range(0, 25).map((i) => i * 1000));
  expect(plans.length).toBeLessThan(20);
});

it('makes its events in turns', async () => {
  const { reader } = readerOf();
  const pieces = vi.spyOn(turns, 'isOpen', 'get');
  await reader.page(pageOf({ limit: 5000 }));
  expect(pieces.mock.calls.length).toBeGreaterThan(200);
  pieces.mockRestore();
});
