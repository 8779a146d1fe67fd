import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, dataOf, post } from './support.js';
import { closing, serve, start, update, exits } from './updating.js';

interface Gap {
  readonly where: string;
  readonly lost: string;
  readonly dropped: string;
}

interface Kept {
  readonly spec: { readonly persist: object | null };
  readonly changes: readonly { readonly before: { readonly persist: object | null } }[];
  readonly persistence: Readonly<Record<string, unknown>> | null;
  readonly events: { readonly nodes: readonly { readonly bootNs: string }[]; readonly gaps: readonly Gap[] };
  readonly report: {
    readonly complete: boolean;
    readonly events: string;
    readonly dropped: string;
    readonly restricted: readonly { readonly excluded: string }[];
  };
}

async function keptOf(url: string, id: string): Promise<Kept> {
  const { json } = await post<{ session: Kept }>(url, {
    query: `query ($id: ID!) { session(id: $id) {
      spec { persist { store mode } } changes { before { persist { store } } }
      persistence { store mode state written pending dropped omitted removed }
      events(first: 10000) { nodes { bootNs } gaps { where lost dropped } }
      report { complete events dropped restricted { excluded } } } }`,
    variables: { id },
  });
  return dataOf(json).session;
}

const exec = { trackers: [{ exec: {} }] };
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const bootNsOf = ({ events }: Pick<Kept, 'events'>) => events.nodes.map(({ bootNs }) => Number(bootNs));

describe('updateSession with persist', () => {
  async function withStore(input: object = {}) {
    const { path: dataDirectory, remove } = await temporaryDirectory();
    closing.push(remove);
    const { fixture, url } = await serve({ dataDirectory });
    const id = await start(url, { trackers: [{ exit: {} }], ...input });
    let next = 0;
    const happen = (count = 10): void => {
      exits(fixture, next, count);
      next += count;
    };
    const persist = async (value: object | null) => dataOf(await update(url, id, { persist: value }));
    const stop = async () => dataOf((await post(url, { query: `mutation { stopSession(id: "${id}") { id } }` })).json);
    return { fixture, url, id, happen, persist, stop };
  }

  it('stores what happens while it is on, and says what is missing and why', async () => {
    const { fixture, url, id, happen, persist, stop } = await withStore();
    happen();
    await persist({});
    happen();
    expect((await keptOf(url, id)).persistence).toMatchObject({ state: 'WRITING', dropped: '0', omitted: '10' });
    await persist(null);
    happen();
    const off = await keptOf(url, id);
    expect(off).toMatchObject({
      spec: { persist: null },
      changes: [{ before: { persist: null } }, { before: { persist: { store: 'EMBEDDED' } } }],
      persistence: { state: 'OFF', dropped: '0', omitted: '20' },
    });
    await persist({ store: 'EMBEDDED', mode: 'EVENTS' });
    happen();
    await persist(null);
    happen(5);
    // Memory has all.
    expect(bootNsOf(await keptOf(url, id))).toEqual(range(0, 45));
    await stop();
    const live = await keptOf(url, id);
    expect(live.persistence).toMatchObject({ state: 'DONE', written: '20', pending: '0', dropped: '0', omitted: '25' });
    expect(live.report).toMatchObject({ complete: true, events: '45' });
    await fixture.services.manager.remove(id); // in memory alone
    const stored = await keptOf(url, id);
    expect(bootNsOf(stored)).toEqual([...range(10, 20), ...range(30, 40)]);
    expect(stored.events.gaps).toEqual([
      { where: 'OFF', lost: '0', dropped: '10' },
      { where: 'OFF', lost: '0', dropped: '10' },
      { where: 'OFF', lost: '0', dropped: '5' },
    ]);
    expect(stored).toMatchObject({ spec: live.spec, changes: live.changes, persistence: live.persistence });
    expect(stored.report).toMatchObject({ complete: false, events: '20', dropped: '25' });
    expect(stored.report.restricted.map(({ excluded }) => excluded)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^events that happened until \S+ were not to be stored$/),
        expect.stringMatching(/^events that happened from \S+ until \S+ were not to be stored$/),
        expect.stringMatching(/^events that happened from \S+ were not to be stored$/),
      ]),
    );
  });

  it('reads the whole from the store and from memory, where neither has it all', async () => {
    // Memory holds some hundreds of them.
    const { url, id, happen, persist, stop, fixture } = await withStore({ persist: {}, bufferBytes: 65_536 });
    const session = fixture.services.manager.get(id);
    for (let i = 0; i < 20; i++) happen(100);
    await persist(null);
    for (let i = 0; i < 3; i++) happen(100);
    await persist({});
    happen(100);
    expect(session?.oldestSeq).toBeGreaterThan(100);
    const oldest = session?.oldestSeq ?? 0;
    expect(oldest).toBeLessThan(2400);
    const places = (await keptOf(url, id)).events;
    const kept = bootNsOf({ events: places });
    const gone = oldest > 2000 ? range(2000, Math.min(oldest, 2300)) : [];
    const all = range(0, 2400).filter((place) => !gone.includes(place));
    expect(kept).toEqual(all);
    expect(places.gaps.reduce((sum, { dropped }) => sum + Number(dropped), 0)).toBe(gone.length);
    interface Page {
      readonly session: {
        readonly events: {
          readonly nodes: readonly { readonly bootNs: string }[];
          readonly pageInfo: Readonly<Record<string, string | boolean | null>>;
        };
        readonly aggregate: readonly { readonly count: string }[];
      };
    }
    const paged = async (size: number, backwards: boolean, where: object | null): Promise<number[]> => {
      const found: number[] = [];
      let cursor: string | null = null;
      for (;;) {
        const page: Awaited<ReturnType<typeof post<Page>>> = await post<Page>(url, {
          query: `query ($id: ID!, $where: EventFilter, $cursor: Cursor) { session(id: $id) {
            events(${backwards ? 'last' : 'first'}: ${size}, ${backwards ? 'before' : 'after'}: $cursor, where: $where) {
              nodes { bootNs } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
            aggregate(groupBy: [], measures: [{ fn: COUNT }], where: $where) { count } } }`,
          variables: { id, where, cursor },
        });
        const { events, aggregate } = dataOf(page.json).session;
        const nodes = events.nodes.map(({ bootNs }) => Number(bootNs));
        if (backwards) found.unshift(...nodes);
        else found.push(...nodes);
        const expected = where ? all.filter((place) => place >= 1500) : all;
        expect(aggregate.map(({ count }) => Number(count))).toEqual([expected.length]);
        const { hasNextPage, hasPreviousPage, startCursor, endCursor } = events.pageInfo;
        if (!(backwards ? hasPreviousPage : hasNextPage)) return found;
        cursor = String(backwards ? startCursor : endCursor);
      }
    };
    const since = { bootNs: { gte: '1500' } };
    for (const backwards of [false, true]) {
      expect(await paged(700, backwards, null)).toEqual(all);
      expect(await paged(300, backwards, since)).toEqual(all.filter((place) => place >= 1500));
    }
    const response = await fetch(url.replace('/graphql', `/export/${id}.ndjson`), { headers: { 'x-eunomia': '1' } });
    const lines = (await response.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { bootNs?: string });
    expect(lines.flatMap(({ bootNs }) => (bootNs === undefined ? [] : [Number(bootNs)]))).toEqual(all);
    expect((await keptOf(url, id)).report.events).toBe(String(all.length));
    const followed: number[] = [];
    const stream = (await fixture.service.sessions.need(callerOf('viewer'), id)).subscribe({
      replay: 'ALL',
      demand: new Map(),
      where: null,
    });
    await stop();
    for await (const { events } of stream) followed.push(...events.map(({ bootNs }) => Number(bootNs)));
    expect(followed).toEqual(all);
  });

  it.each([
    [{ persist: { store: 'INFLUX' } }, 'INFLUX'],
    [{ persist: { store: 'EMBEDDED', mode: 'ROLLUP' } }, 'input.persist.mode: the embedded store writes each event'],
    [{ persist: {}, where: { open: {} } }, 'input.where'],
    [{ persist: {}, target: { pids: [4194303] } }, 'input.target.pids[0]: no process 4194303 is alive'],
  ])('refuses %j, and changes nothing', async (input, message) => {
    const { fixture, url, id } = await withStore();
    expect((await update(url, id, input)).errors?.[0]?.message).toContain(message);
    expect(await keptOf(url, id)).toMatchObject({ spec: { persist: null }, changes: [], persistence: null });
    expect(await fixture.services.stores.get('EMBEDDED')?.session(id)).toBeNull();
  });

  it('leaves nothing in the store where the change fails', async () => {
    const { fixture, url, id, happen } = await withStore();
    fixture.kernel.refuse = new Error('no room');
    expect((await update(url, id, { persist: {}, target: { pids: [process.pid] } })).errors).toHaveLength(1);
    fixture.kernel.refuse = null;
    expect(await keptOf(url, id)).toMatchObject({ spec: { persist: null }, changes: [], persistence: null });
    expect(await fixture.services.stores.get('EMBEDDED')?.session(id)).toBeNull();
    expect((await update(url, id, { persist: {}, target: { pids: [process.pid] } })).errors).toBeUndefined();
    happen();
    expect((await keptOf(url, id)).persistence).toMatchObject({ state: 'WRITING', omitted: '0' });
  });

  it('is stored by a change that comes beside one that fails, however long the store takes to forget that', async () => {
    const { fixture, url, id, happen } = await withStore();
    const store = fixture.services.stores.get('EMBEDDED');
    if (!store) throw new Error('there is a store');
    const remove = store.remove.bind(store);
    let forgotten = 0;
    vi.spyOn(store, 'remove').mockImplementation(async (session) => {
      await sleep(100);
      await remove(session);
      forgotten += 1;
    });
    fixture.kernel.refuse = new Error('no room');
    const failing = update(url, id, { persist: {}, target: { pids: [process.pid] } });
    const other = update(url, id, { persist: {} });
    expect((await failing).errors).toHaveLength(1);
    expect((await other).errors).toBeUndefined();
    fixture.kernel.refuse = null;
    happen();
    await until('the store has forgotten what failed', () => forgotten > 0);
    expect(await store.session(id)).toMatchObject({ id });
    expect((await keptOf(url, id)).persistence).toMatchObject({ state: 'WRITING', dropped: '0' });
  });

  it('needs a store, and keeps to the one that it has', async () => {
    const { url } = await serve();
    const id = await start(url, exec);
    expect((await update(url, id, { persist: {} })).errors?.[0]?.extensions?.['code']).toBe('NO_STORE');
    expect((await update(url, id, { persist: null, name: 'x' })).errors).toBeUndefined();
  });

  it('loses nothing while it is switched again and again', async () => {
    const { fixture, url, id, happen, persist, stop } = await withStore();
    const on: (readonly [from: number, to: number])[] = [];
    const { manager } = fixture.services;
    const timer = setInterval(() => happen(3), 2);
    try {
      for (let i = 0; i < 8; i++) {
        await persist({});
        await persist(null);
      }
    } finally {
      clearInterval(timer);
    }
    await stop();
    const changes = (manager.get(id)?.spec.asked?.changes ?? []).map(({ seq }) => seq);
    for (let i = 0; i + 1 < changes.length; i += 2) on.push([changes[i] ?? 0, changes[i + 1] ?? 0]);
    await manager.remove(id);
    const stored = await keptOf(url, id);
    expect(bootNsOf(stored)).toEqual(on.flatMap(([from, to]) => range(from, to)));
    expect(stored.persistence).toMatchObject({ dropped: '0', removed: '0', state: 'DONE' });
  });
});
