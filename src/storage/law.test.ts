import * as fc from 'fast-check';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createLog } from '../base/log.js';
import type { PersistSpec } from '../session/spec.js';
import { ended, exitEvent, sessionOf, sliceOf, storeOn, timeAt, type TestStore } from '../../test/support/influx.js';
import { playedSession } from '../../test/support/played.js';
import { openStore, temporaryDirectory } from '../../test/support/store.js';
import { until } from '../../test/support/until.js';
import type { InfluxClient } from './influx/client.js';
import { queryOf } from './query.js';
import { SessionRecorder } from './recorder.js';
import type { Store } from './store.js';

const log = createLog('silent');
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

type Mood = 'ok' | 'away' | 'rejects';

/** A database that is in some mood, and counts the events that it has: of a point of a rollup as many as it says. */
class FakeDatabase {
  mood: Mood = 'ok';
  events = 0;

  readonly client: InfluxClient = {
    product: 'a fake',
    ensure: () => Promise.resolve(),
    write: async (payload) => {
      await sleep(0);
      if (this.mood === 'away') throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
      if (this.mood === 'rejects')
        throw Object.assign(new Error('failed'), { statusCode: 400, body: 'no', headers: {} });
      for (const line of payload.toString().trimEnd().split('\n')) {
        if (line.startsWith('eunomia_exit,')) this.events++;
        const [, count] = /^eunomia_rollup_exit,\S* count=(\d+)i/.exec(line) ?? [];
        this.events += Number(count ?? 0);
      }
    },
    events: () => Promise.resolve({ rows: [], unsaid: [] }),
    records: () => Promise.resolve([]),
    aggregate: () => Promise.resolve({ rows: [], unsaid: [] }),
    forget: () => Promise.resolve(),
  };
}

async function influxOn(database: FakeDatabase, maxBytes = 1 << 20): Promise<TestStore> {
  const opened = await storeOn(database.client, { maxBytes, maxRetryMs: 4 });
  closing.push(() => opened.store.close());
  return opened;
}

async function embedded(): Promise<Store> {
  const { path, remove } = await temporaryDirectory();
  const store = openStore(path);
  closing.push(remove, () => store.close());
  return store;
}

const modes: readonly PersistSpec[] = [
  { store: 'EMBEDDED', mode: 'EVENTS' },
  { store: 'INFLUX', mode: 'EVENTS' },
  { store: 'INFLUX', mode: 'ROLLUP' },
];

describe.each(modes)('what a session hands to a store ($store, $mode)', (persist) => {
  it('is written, waits or is refused, at any time and at its end', { timeout: 120_000 }, async () => {
    const steps = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 700 }), fc.constantFrom<Mood>('ok', 'ok', 'away', 'rejects')),
      { minLength: 1, maxLength: 12 },
    );
    const one = persist.store === 'EMBEDDED' ? await embedded() : null;
    await fc.assert(
      fc.asyncProperty(steps, fc.constantFrom(1 << 14, 1 << 20), async (all, maxBytes) => {
        const database = new FakeDatabase();
        const opened = one ? null : await influxOn(database, maxBytes);
        const store = one ?? opened?.store;
        if (!store) throw new Error('there is no store');
        const { session, add } = await playedSession();
        const recording = await SessionRecorder.begin(session, persist, { store, log, collector: null });
        session.recorder = recording;
        recording.switch(true);
        let given = 0;
        const law = (): void => {
          const { written, pending, dropped } = recording.stats;
          expect(written + pending + dropped).toBe(given);
          expect(Math.min(written, pending, dropped)).toBeGreaterThanOrEqual(0);
        };
        for (const [events, mood] of all) {
          database.mood = mood;
          add(events);
          given += events;
          law();
          await sleep(1);
          law();
        }
        database.mood = 'ok';
        await session.stop('REQUESTED');
        await recording.ended;
        await until('nothing waits', () => {
          law();
          return recording.stats.pending === 0 && (opened?.sender.stats.queued ?? 0) === 0;
        });
        const { written, dropped, lagMs } = recording.stats;
        expect({ written: one ? given : database.events, lagMs: 0 }).toEqual({ written, lagMs });
        expect(dropped).toBe(given - written);
        if (one) await one.remove(session.id);
      }),
      { numRuns: one ? 5 : 40 },
    );
  });
});

/** Events, how many the kernel lost before them, and whether it is on. */
type Step = [events: number, lost: number, isOn: boolean];
const lossWhileOn: Step = [0, 1, true];
const thenOff: Step = [0, 0, false];

describe.each(modes)('a session that is switched on and off ($store, $mode)', (persist) => {
  it(
    'hands over what happens while it is on, and tells of the rest where it is missing',
    { timeout: 120_000 },
    async () => {
      const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 2 }), fc.boolean()), {
        minLength: 1,
        maxLength: 8,
      });
      const one = persist.store === 'EMBEDDED' ? await embedded() : null;
      await fc.assert(
        fc.asyncProperty(steps, async (all) => {
          const database = new FakeDatabase();
          const opened = one ? null : await influxOn(database);
          const store = one ?? opened?.store;
          if (!store) throw new Error('there is no store');
          // What an attempt that failed has left would be found by the next one.
          await one?.remove('s');
          const { session, add } = await playedSession();
          let [given, off] = [0, 0];
          let [isOn, lostOff] = [false, 0];
          add(5, 1);
          const recording = await SessionRecorder.begin(session, persist, { store, log, collector: null });
          session.recorder = recording;
          off += 5;
          lostOff += 1;
          const law = (): void => {
            const { written, pending, dropped, omitted, state } = recording.stats;
            expect({ all: written + pending + dropped, omitted }).toEqual({ all: given, omitted: off });
            if (session.stoppedAt === null) expect(state === 'OFF').toBe(!isOn);
          };
          for (const [events, lost, isNext] of all) {
            isOn = isNext;
            recording.switch(isNext);
            law();
            add(events, lost);
            if (isNext) given += events;
            else [off, lostOff] = [off + events, lostOff + lost];
            law();
            if (events % 3 === 0) await sleep(1);
          }
          await session.stop('REQUESTED');
          await recording.ended;
          await until('nothing waits', () => {
            law();
            return recording.stats.pending === 0 && (opened?.sender.stats.queued ?? 0) === 0;
          });
          expect(recording.stats).toMatchObject({ state: 'DONE', written: given, dropped: 0 });
          if (one) {
            const record = await one.session(session.id);
            expect(record).toMatchObject({
              events: given,
              missing: off,
              omitted: off,
              removed: 0,
              nextSeq: given + off,
            });
            const query = { ...queryOf({ id: session.id, trackers: ['exit'] }, null), session: session.id };
            const gaps = [];
            const places: number[] = [];
            for await (const part of one.read(query)) {
              gaps.push(...part.gaps);
              places.push(...part.events.map(({ place }) => place.seq));
            }
            const offs = gaps.filter(({ where }) => where === 'OFF');
            expect(offs.reduce((sum, { dropped }) => sum + dropped, 0)).toBe(off);
            expect(offs.reduce((sum, { lost }) => sum + lost, 0)).toBe(lostOff);
            for (const { seq, dropped } of offs)
              expect(places.filter((place) => place >= seq && place < seq + dropped)).toEqual([]);
            // In pages of any size, each gap is told once.
            const paged = [];
            for (let fromSeq = 0; fromSeq < given + off; fromSeq += 97)
              paged.push(
                ...(await one.page({ ...query, fromSeq, toSeq: fromSeq + 97, limit: 1000, backwards: false })).gaps,
              );
            expect(paged.filter(({ where, dropped }) => where === 'OFF' && dropped)).toEqual(
              offs.filter(({ dropped }) => dropped),
            );
          } else expect(database.events).toBe(given);
        }),
        { numRuns: one ? 12 : 30, examples: [[[lossWhileOn, thenOff]]] },
      );
    },
  );
});

describe('a rollup', () => {
  const at = (ms: number): ReturnType<typeof exitEvent> => exitEvent(timeAt(ms));
  const from = Math.ceil(Date.now() / 10_000) * 10_000 - 3_600_000;

  it('counts its events as written with the windows that they are in, and only what is open waits', async () => {
    const database = new FakeDatabase();
    const { store } = await influxOn(database);
    const sink = await store.record(sessionOf('ROLLUP', ['exit']));
    await sink.write([sliceOf([at(from), at(from + 9999), at(from + 10_000)], 0)], null);
    expect(sink.progress).toMatchObject({ written: 0, pending: 3, nextSeq: 0 });
    await sink.write([sliceOf([at(from + 14_000)], 3)], null);
    await until('the first window is written', () => sink.progress.written > 0);
    expect(sink.progress).toMatchObject({ written: 2, pending: 2, dropped: 0, nextSeq: 2 });
    expect(database.events).toBe(2);
    // Too late: its window is written.
    await sink.write([sliceOf([at(from + 1), at(from + 14_001)], 4)], null);
    expect(sink.progress).toMatchObject({ written: 2, pending: 3, dropped: 1 });
    await sink.finish(ended);
    await until('all is written', () => sink.progress.pending === 0);
    expect(sink.progress).toMatchObject({ written: 5, dropped: 1, nextSeq: 6 });
    expect(database.events).toBe(5);
  });

  it('that the server gives up at its end is written with the windows that were open', async () => {
    const database = new FakeDatabase();
    const { store, sender } = await influxOn(database);
    const sink = await store.record(sessionOf('ROLLUP', ['exit']));
    await sink.write([sliceOf([at(from), at(from + 1)], 0)], null);
    sink.giveUp({ ...ended }, 2, { session: sessionOf('ROLLUP', ['exit']), offs: [] });
    await sender.flush();
    await until('all is written', () => sender.stats.queued === 0);
    expect(database.events).toBe(2);
  });
});
