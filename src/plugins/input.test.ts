import { afterEach, describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { FilterFields } from '../filter/index.js';
import type { Session } from '../session/session.js';
import { playedSession } from '../../test/support/played.js';
import { until } from '../../test/support/until.js';
import type { PluginFacts } from './definition.js';
import { PluginInput, type Part } from './input.js';

const definitions = await loadTrackers();
const schema = contractSchema();
const catalog = new Catalog(schema, definitions, () => false);
const fields = new FilterFields(schema, catalog);

const sessions: Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) await session.stop('REQUESTED');
});

async function play(trackers?: readonly string[], close?: () => Promise<void>) {
  const played = await playedSession(trackers, close);
  sessions.push(played.session);
  return played;
}

function factsOf(reads: PluginFacts['reads'] = { exit: ['process.pid'] }, where: string | null = null): PluginFacts {
  return {
    name: 'p',
    version: '1',
    summary: '',
    options: {},
    metrics: {},
    undeclared: {},
    everyMs: null,
    reads,
    where,
  };
}

function inputOf(session: Session, facts = factsOf(), fromStart = false) {
  let arrivals = 0;
  const input = new PluginInput(facts, { session, fields, fromStart, onArrival: () => arrivals++ });
  /** The next part; null at the end. */
  const next = async (): Promise<Part | null> => {
    for (;;) {
      const before = arrivals;
      const part = input.next();
      if (part) return part;
      if (input.ended) return null;
      await until('something arrives', () => arrivals > before);
    }
  };
  return { input, next };
}

const placesOf = (part: Part | null) =>
  part ? Array.from({ length: part.to - part.from }, (_, i) => Number(part.batch.event(part.from + i).bootNs)) : null;
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe('the input of a plugin', () => {
  it('has the session’s events in parts of a call’s size, each loss once, and an end', async () => {
    const { session, add } = await play();
    const { input, next } = inputOf(session);
    add(2500, 3);
    const parts: Part[] = [];
    while (parts.flatMap((part) => placesOf(part) ?? []).length < 2500) {
      const part = await next();
      if (part) parts.push(part);
    }
    expect(parts.flatMap(placesOf)).toEqual(range(0, 2500));
    expect(parts.every(({ from, to }) => to - from <= 1024)).toBe(true);
    expect(parts.map(({ gap }) => gap?.lost ?? 0).reduce((sum, lost) => sum + lost, 0)).toBe(3);
    await session.stop('REQUESTED');
    expect([await next(), input.ended, input.queued, input.dropped]).toEqual([null, true, 0, 0]);
  });

  it('begins with what the session holds where that is wanted', async () => {
    const { session, add } = await play();
    add(3);
    const [whole, rest] = [inputOf(session, factsOf(), true), inputOf(session)];
    add(2);
    expect(placesOf(await whole.next())).toEqual([0, 1, 2]);
    expect(placesOf(await whole.next())).toEqual([3, 4]);
    expect(placesOf(await rest.next())).toEqual([3, 4]);
  });

  it('has the events of the plugin’s trackers alone, and of those what its filter matches', async () => {
    const { session, add } = await play(['exit', 'exec']);
    const own = inputOf(session, factsOf({ exit: ['process.pid'] }, 'process.pid in [0, 2]'));
    const other = inputOf(session, factsOf({ exec: ['args'] }));
    add(4);
    expect(placesOf(await own.next())).toEqual([0, 2]);
    await session.stop('REQUESTED');
    expect(placesOf(await other.next())).toBe(null);
  });

  it('gives parts that were put back again, before what came after them', async () => {
    const { session, add } = await play();
    const { input, next } = inputOf(session);
    add(2);
    const first = await next();
    add(3);
    const second = await next();
    input.putBack([first, second].filter((part) => part !== null));
    expect(input.queued).toBe(5);
    expect([placesOf(await next()), placesOf(await next())]).toEqual([
      [0, 1],
      [2, 3, 4],
    ]);
  });

  it('ends when its session fails, and tells why', async () => {
    const { session, add } = await play(['exit'], () => Promise.reject(new Error('the ring is gone')));
    const { input, next } = inputOf(session);
    add(2);
    expect(placesOf(await next())).toEqual([0, 1]);
    await session.stop('REQUESTED');
    expect([await next(), input.ended, input.failure?.message]).toEqual([null, true, 'the ring is gone']);
  });

  it('goes on behind the last event that was taken when it is opened again, also after it was closed', async () => {
    const { session, add } = await play();
    const { input, next } = inputOf(session);
    add(1500);
    expect(placesOf(await next())?.at(-1)).toBeLessThan(1400);
    await input.reopen(factsOf({ exit: ['process.pid'] }, 'process.pid >= 1400'));
    expect(placesOf(await next())).toEqual(range(1400, 1500));
    add(5);
    await input.close();
    expect(input.dropped).toBe(5);
    await input.reopen(factsOf());
    expect([input.dropped, placesOf(await next())]).toEqual([0, range(1500, 1505)]);
  });

  describe('over a reload', () => {
    const over = (pid: number) => factsOf({ exit: ['process.pid'] }, `process.pid >= ${pid}`);
    /** All that it has now. */
    const rest = async ({ next }: ReturnType<typeof inputOf>, session: Session) => {
      await session.stop('REQUESTED');
      const parts: Part[] = [];
      for (let part = await next(); part; part = await next()) parts.push(part);
      const dropped = parts.reduce((sum, { gap }) => sum + (gap?.dropped ?? 0), 0);
      const lost = parts.reduce((sum, { gap }) => sum + (gap?.lost ?? 0), 0);
      return { places: parts.flatMap(placesOf), dropped, lost };
    };

    it('keeps what waits, once, where the session has evicted it', async () => {
      const { session, add } = await play();
      const reader = inputOf(session);
      add(2000, 3);
      expect(placesOf(await reader.next())?.at(-1)).toBeLessThan(1500);
      add(1000, 4);
      session.shrink(1);
      add(1000);
      await reader.input.reopen(over(1500));
      expect(reader.input.queued).toBe(1500 + 1000);
      add(10);
      expect(await rest(reader, session)).toEqual({ places: range(1500, 4010), dropped: 0, lost: 4 });
      expect([reader.input.queued, reader.input.dropped, (await session.stats()).dropped]).toEqual([0, 0, 0]);
    });

    it('reads on as before where the filter is the same, whatever else it reads', async () => {
      const { session, add } = await play();
      const reader = inputOf(session);
      add(2000);
      session.shrink(0);
      await reader.input.follow(factsOf({ exit: ['process.pid', 'process.comm'] }));
      expect(await rest(reader, session)).toEqual({ places: range(0, 2000), dropped: 0, lost: 0 });
    });

    it('begins where it was attached, though no event was taken yet', async () => {
      const { session, add } = await play();
      add(5);
      const reader = inputOf(session);
      add(20);
      await reader.input.follow(over(10));
      expect(await rest(reader, session)).toEqual({ places: range(10, 25), dropped: 0, lost: 0 });
    });

    it('tells what the filter before has left out and the session has evicted: the new one may have taken it', async () => {
      const { session, add } = await play();
      const reader = inputOf(session, over(1500));
      add(2000);
      session.shrink(0);
      add(10);
      await reader.input.follow(factsOf());
      expect(reader.input.dropped).toBe(1500);
      const read = await rest(reader, session);
      expect(read).toEqual({ places: range(1500, 2010), dropped: 1500, lost: 0 });
      expect(reader.input.dropped).toBe(1500);
    });

    it('keeps it over one after the other, and what was put back', async () => {
      const { session, add } = await play();
      const reader = inputOf(session);
      add(3000);
      const first = await reader.next();
      session.shrink(0);
      if (first) reader.input.putBack([first]);
      for (const pid of [1, 2, 3]) {
        await reader.input.reopen(factsOf({ exit: ['process.pid'] }, `process.pid != ${4000 + pid}`));
        add(100);
        session.shrink(0);
      }
      expect(await rest(reader, session)).toEqual({ places: range(0, 3300), dropped: 0, lost: 0 });
    });

    it('of a plugin that had failed, tells what the session has evicted meanwhile', async () => {
      const { session, add } = await play();
      const reader = inputOf(session);
      add(2000);
      const missing = 2000 - (placesOf(await reader.next())?.length ?? 0);
      await reader.input.close();
      session.shrink(0);
      add(5);
      await reader.input.reopen(factsOf());
      expect(await rest(reader, session)).toEqual({ places: range(2000, 2005), dropped: missing, lost: 0 });
      expect(reader.input.dropped).toBe(missing);
    });
  });

  it('tells a loss of which it had word without events with the next ones', async () => {
    const { session, add } = await play();
    const { input, next } = inputOf(session, factsOf({ exit: ['process.pid'] }, 'process.pid >= 10'));
    expect(input.next()).toBe(null);
    add(10, 7);
    await until('its filter has left them out', () => input.queued === 0);
    add(5);
    const part = await next();
    expect([placesOf(part), part?.gap]).toEqual([range(10, 15), { lost: 7, dropped: 0 }]);
  });
});
