import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventWith } from '../../../test/support/event.js';
import { filterOf, type EventFilter } from '../../filter/index.js';
import {
  catalog,
  end,
  everything,
  fields as filterFields,
  record,
  slicesOf,
  storesOfTest,
} from '../../../test/support/store.js';
import type { Observation } from '../../event/advice.js';
import { MANY_NAMES } from '../../event/alike.js';
import { emptyObservation, merge } from '../../analysis/advice/observation.js';
import { adviceDemand, alikeFields, Observer } from '../../analysis/advice/observer.js';
import type { TraceEvent } from '../../event/event.js';
import { Missing } from '../../event/missing.js';
import { createContainer } from '../../inventory/container.js';
import { RowBatch } from '../../record/row.js';
import { tableOf, type ColumnKind } from '../../storage/duckdb/table.js';
import { storedAlike, storedParts, type StoredWhole } from '../../storage/parts.js';

const { directory, opened } = storesOfTest();
const web = createContainer('a'.repeat(64), 'docker');
const names = [...adviceDemand(catalog.trackers).keys()];
const fields = alikeFields(catalog.trackers);
const SECONDS = 1_769_847_330;

/** Few values, so that some events are alike. */
const values: Readonly<Record<string, readonly unknown[]>> = {
  errno: [null, null, 'EACCES'],
  executable: ['/bin/sh', null],
  path: ['/tmp/a', 'b', null],
  resolved: ['/tmp/a', null],
  directory: ['/srv', null],
  newPath: ['n', '/opt/n'],
  newDirectory: ['/var/lib/x', null],
  flags: [['O_RDONLY'], ['O_WRONLY', 'O_CREAT']],
  tcpOperation: ['ACCEPT', 'CONNECT', 'CONNECT_FAILED', 'CLOSE'],
  bindOperation: ['LISTEN', 'BIND'],
  protocol: ['TCP', 'UDP'],
  requestedPort: [0, 5353],
  fsopOperation: ['MKDIR', 'UNLINK', 'RENAME', 'CHMOD'],
  privilegeCall: ['PIVOT_ROOT', 'PRCTL'],
  name: ['read', 'pivot_root'],
};
const ofKind: Readonly<Record<ColumnKind, readonly unknown[]>> = {
  bool: [true, false],
  int32: [1, 2],
  uint32: [1, 2],
  int64: ['1', '3'],
  uint64: ['1', '3'],
  double: [0.5],
  text: ['A', 'B'],
  time: ['2026-01-31T08:15:30.000000000Z'],
  list: [['A'], ['A', 'B']],
  histogram: [[]],
};

/** Each field varies, also those that nobody says advice takes. */
const eventOf = fc.constantFrom(...names).chain((tracker) => {
  const own = tableOf(catalog.need(tracker)).own.filter(({ name }) => !name.includes('.'));
  return fc.record({
    tracker: fc.constant(tracker),
    own: fc.record(
      Object.fromEntries(own.map(({ name, kind }) => [name, fc.constantFrom(...(values[name] ?? ofKind[kind]))])),
    ),
    comm: fc.constantFrom('web', 'exe', 'runc:[2:INIT]'),
    mountNs: fc.constantFrom('4026531832', '4026532254'),
    uid: fc.constantFrom(0, 33),
    container: fc.constantFrom(web, web, null),
  });
});

/** What is observed of these events once they are stored: event by event, and of those that are alike as one. */
async function stored(
  events: readonly TraceEvent[],
  trackersOf: readonly (readonly string[])[] = [names],
  filter: EventFilter | null = null,
): Promise<{ readonly each: Observation; readonly alike: Observation; readonly rows: number }[]> {
  const store = opened(await directory());
  const sink = await store.record(record('a', names));
  const gap = { from: events[0]?.time ?? '', to: events[9]?.time ?? '', lost: 3, dropped: 0, where: 'KERNEL' } as const;
  const place = { clock: { seconds: SECONDS, nanoseconds: 0 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 };
  await sink.write(slicesOf([new RowBatch(events, place)]), gap);
  await sink.finish({ ...end, stopReason: 'ERROR' });
  const whole: StoredWhole = { record: (await store.session('a')) ?? expect.fail(), store };
  const from = BigInt(SECONDS) * 1_000_000_000n + 100n;
  const query = { ...everything(names), from, containers: [{ id: web.id }], filter };
  const observed = async (
    trackers: readonly string[],
    fill: (observer: Observer, missing: Missing) => Promise<unknown>,
  ): Promise<Observation> => {
    const observer = new Observer({ containers: new Set([web.id]), from: null, to: null, trackers: catalog.trackers });
    observer.begin({ id: 'a', trackers, options: {}, excluded: [], from: null, to: null });
    const missing = new Missing();
    await fill(observer, missing);
    return merge(observer.build(missing, ''), emptyObservation());
  };
  const found = (await storedAlike(whole, query, fields)) ?? expect.fail();
  const results = [];
  for (const trackers of trackersOf) {
    const each = await observed(trackers, async (observer, missing) => {
      for await (const part of storedParts(whole, query)) {
        if (part.gap) missing.add(part.gap);
        for (const event of part.events) observer.add(event);
      }
    });
    const alike = await observed(trackers, async (observer, missing) => {
      for (const one of found.gaps) missing.add(one);
      for (const { event, ...more } of found.alike) observer.add(event, more);
    });
    results.push({ each, alike, rows: found.alike.length });
  }
  return results;
}

describe('advice is the same from events that are alike and from each of them', () => {
  const events = fc
    .sample(eventOf, { numRuns: 3000, seed: 7 })
    .map(({ tracker, own, comm, mountNs, uid, container }, i): TraceEvent =>
      eventWith(tracker, {
        ...own,
        bootNs: String(i),
        time: `2026-01-31T08:15:30.${String(i).padStart(9, '0')}Z`,
        process: { comm, mountNs, uid },
        container,
      }),
    );

  it('of all trackers, and without one', async () => {
    for (const { each, alike, rows } of await stored(events, [names, names.filter((name) => name !== 'syscount')])) {
      expect(alike).toEqual(each);
      expect(each).toMatchObject({ lost: 3, uncounted: true, truncated: false });
      expect(each.events).toBeGreaterThan(1500);
      expect(rows).toBeLessThan(each.events);
    }
  });

  it('where a filter asks for their processes', async () => {
    const filter = filterOf({ process: { comm: { eq: 'web' } } }, filterFields, names);
    const [{ each, alike } = expect.fail()] = await stored(events, [names], filter);
    expect(alike).toEqual(each);
    expect(each.users.flatMap(({ comms }) => comms)).toEqual(['web', 'web']);
  });
});

it.each([
  ['temporary files, made and removed', (i: number) => `/tmp/job.${i}`, {}, 4],
  ['a hidden directory', (i: number) => `/root/.cache/${i}`, {}, 4],
  ['relative names', (i: number) => `job.${i}`, {}, 4],
  ['relative names below a directory', (i: number) => `x/job.${i}`, {}, 4],
  ['relative names that lead elsewhere', (i: number) => `../proc/${i}`, {}, 2 * MANY_NAMES],
  ['a directory that is written in many ways', (i: number) => `//proc//${i}`, {}, 4 + 2 * MANY_NAMES],
  [
    'names of which some are written twice',
    (i: number) => `/tmp/${Math.floor(i / 2)}${i % 2 ? ' (deleted)' : ''}`,
    {},
    4,
  ],
  ['too few names', (i: number) => `/tmp/${i % (MANY_NAMES - 1)}`, {}, 2 * MANY_NAMES],
  ['many paths to few names', (i: number) => `/tmp/x/${'../x/'.repeat(i % 40)}${i % 40}`, {}, 80],
  ['processes', (i: number) => `/proc/${i}`, {}, 2 * MANY_NAMES],
  ['names of the root', (i: number) => `/${i}`, {}, 2 * MANY_NAMES],
  ['what was refused', (i: number) => `/srv/${i}`, { errno: 'EACCES' }, 2 * MANY_NAMES],
])('where there are many names in a directory, too: %s', async (_, nameOf, more, most) => {
  const events = Array.from({ length: MANY_NAMES }, (__, i) => nameOf(i)).flatMap((path, i): TraceEvent[] => {
    const at = (k: number) => ({
      bootNs: String(2 * i + k),
      time: `2026-01-31T08:15:30.${String(1000 + 2 * i + k).padStart(9, '0')}Z`,
      process: { comm: 'web', mountNs: '4026532254', uid: 0 },
      container: web,
    });
    const removed = {
      fsopOperation: 'UNLINK',
      path,
      directory: '/tmp',
      newPath: null,
      newDirectory: null,
      resolved: null,
    };
    return [
      eventWith('open', {
        ...at(0),
        path,
        resolved: path.startsWith('/') ? path : `/tmp/${path}`,
        directory: '/',
        errno: null,
        flags: ['O_WRONLY'],
        ...more,
      }),
      eventWith('fsop', { ...at(1), ...removed, errno: null, ...more }),
    ];
  });
  const [{ each, alike, rows } = expect.fail()] = await stored(events);
  expect(alike).toEqual(each);
  expect(each.events).toBe(events.length);
  expect(rows).toBeLessThanOrEqual(most);
});

it('where many names in a directory were opened, counted in the kernel, each at its own times', async () => {
  const at = (ns: number): string => `2026-01-31T08:15:30.${String(ns).padStart(9, '0')}Z`;
  const events = Array.from({ length: 3 * MANY_NAMES }, (_, i): TraceEvent =>
    eventWith('opencount', {
      bootNs: String(i),
      time: at(100_000 + i),
      process: { comm: 'web', mountNs: '4026532254', uid: 0 },
      container: web,
      path: `/tmp/job.${i % (MANY_NAMES + 1)}`,
      errno: null,
      flags: ['O_RDWR'],
      count: String((i % 7) + 1),
      // The last to be read is neither the first nor the last to have been opened.
      first: at(50_000 - ((i * 7919) % 40_000)),
      last: at(60_000 + ((i * 7919) % 40_000)),
    }),
  );
  const [{ each, alike, rows } = expect.fail()] = await stored(events);
  expect(alike).toEqual(each);
  expect(rows).toBe(1);
  const count = events.reduce((sum, event) => sum + Number(Reflect.get(event, 'count')), 0);
  const [first] = events.map((event) => String(Reflect.get(event, 'first'))).sort();
  expect(each.paths.find(({ access }) => access === 'WRITE')).toMatchObject({ path: '/tmp/', first, count });
});
