import { afterEach, describe, expect, it } from 'vitest';
import type { DuckStore } from '../../src/storage/duckdb/index.js';
import { batchAt } from '../support/record.js';
import { end, openStore, record, slicesOf, temporaryDirectory } from '../support/store.js';
import { createServer, createFixture, dataOf, post } from './support.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function serve(withStore: boolean): Promise<{ url: string; store: DuckStore | null }> {
  const { services } = await createFixture();
  let store: DuckStore | null = null;
  if (withStore) {
    const { path, remove } = await temporaryDirectory();
    store = openStore(path);
    const opened = store;
    closing.push(remove, () => opened.close());
    const sink = await store.record(record('stored', ['exit']));
    await sink.write(slicesOf([batchAt(0, 250)]), {
      from: '1970-01-01T00:00:00.000000000Z',
      to: '1970-01-01T00:00:00.000000001Z',
      lost: 7,
      dropped: 0,
      where: 'KERNEL',
    });
    await sink.finish({ ...end, lost: 7, received: 250 });
  }
  const server = await createServer({ ...services, stores: new Map(store ? [['EMBEDDED', store]] : []) });
  closing.push(() => server.close());
  return { url: server.url, store };
}

const ask = async <Data = Record<string, never>>(url: string, query: string, variables: object = {}) =>
  (await post<Data>(url, { query, variables })).json;

describe('a stored session', () => {
  it('is listed, read, filtered, grouped and removed like any other', async () => {
    const { url } = await serve(true);
    const { data, errors } = await ask(
      url,
      `{ sessions { nodes { id state } } session(id: "stored") { origin explain { where } trackers
        persistence { state written } stats { produced lost retained }
        events(first: 2) { totalCount nodes { bootNs } gaps { lost where } pageInfo { hasNextPage } }
        last: events(last: 1, where: { bootNs: { lt: "100" } }) { nodes { bootNs } }
        aggregate(groupBy: ["tracker"], measures: [{ fn: MAX, field: "process.pid" }]) { key { value } count values { text } }
        sketched: aggregate(groupBy: [], measures: [{ fn: QUANTILE, field: "process.pid", q: 1 }]) { count } } }`,
    );
    expect(errors).toBeUndefined();
    expect(data).toEqual({
      sessions: { nodes: [{ id: 'stored', state: 'STOPPED' }] },
      session: {
        origin: 'LIVE',
        explain: { where: null },
        trackers: ['exit'],
        persistence: { state: 'DONE', written: '250' },
        stats: { produced: '257', lost: '7', retained: '250' },
        events: {
          totalCount: '250',
          nodes: [{ bootNs: '0' }, { bootNs: '1' }],
          gaps: [{ lost: '7', where: 'KERNEL' }],
          pageInfo: { hasNextPage: true },
        },
        last: { nodes: [{ bootNs: '99' }] },
        aggregate: [{ key: [{ value: 'exit' }], count: '250', values: [{ text: '249' }] }],
        sketched: [{ count: '250' }],
      },
    });
    const exported = await fetch(new URL('/export/stored.ndjson?groupBy=tracker&measures=count', url), {
      headers: { 'x-eunomia': '1' },
    });
    const [end] = (await exported.text()).trim().split('\n').reverse();
    expect(JSON.parse(end ?? '')).toMatchObject({ end: { items: '1', lost: '7', complete: false } });
    expect(await ask(url, 'mutation { removeSession(id: "stored") }')).toEqual({ data: { removeSession: 'stored' } });
    expect(await ask(url, '{ session(id: "stored") { id } }')).toEqual({ data: { session: null } });
  });
});

describe('history', () => {
  it.each([
    ['from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z"', /^from: 2026-01-02.* is not before 2026-01-01/],
    ['from: "1970-01-01T00:00:00Z"', /^from: the range has more than 366 days/],
    ['trackers: ["opne"]', /^trackers\[0\]: there is no tracker "opne"; did you mean "open"\?/],
    ['trackers: []', /^trackers: is empty/],
    ['sessions: ["nobody"]', /has no session "nobody"/],
    ['where: { open: { path: { regex: "(" } } }', /^where\.open\.path\.regex: /],
    ['store: INFLUX', /this server has no INFLUX store \(it has EMBEDDED\)/],
  ])('refuses %s', async (args, message) => {
    const { url } = await serve(true);
    const { errors } = await ask(url, `{ history(${args}) { events { nodes { time } } } }`);
    expect(errors?.[0]?.message).toMatch(message);
  });

  it('pages by its own cursors, and refuses others', async () => {
    const { url } = await serve(true);
    interface Page {
      readonly history: {
        readonly events: {
          readonly edges: object[];
          readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string };
        };
      };
    }
    const page = (after: string) =>
      ask<Page>(
        url,
        `{ history(from: "1970-01-01T00:00:00Z", to: "1970-01-02T00:00:00Z") { events(first: 200${after}) { ` +
          'edges { session { id } node { bootNs } cursor } pageInfo { hasNextPage endCursor } } } }',
      );
    const { edges, pageInfo } = dataOf(await page('')).history.events;
    expect([edges.length, pageInfo.hasNextPage]).toEqual([200, true]);
    const rest = dataOf(await page(`, after: "${pageInfo.endCursor}"`));
    expect(rest.history.events.edges).toHaveLength(50);
    expect((await page(', after: "bm8"')).errors?.[0]).toMatchObject({ extensions: { code: 'BAD_CURSOR' } });
  });

  it('has the same events in pages of any length, forwards and backwards, as its session has', async () => {
    const { url } = await serve(true);
    interface Events {
      readonly nodes: readonly { readonly bootNs: string }[];
      readonly pageInfo: {
        readonly hasNextPage: boolean;
        readonly hasPreviousPage: boolean;
        readonly startCursor: string;
        readonly endCursor: string;
      };
    }
    const all = Array.from({ length: 24 }, (_, i) => String(i * 10));
    const where = `{ bootNs: { in: ${JSON.stringify(all)} }, process: { comm: { regex: "^$" } } }`;
    const fields = '{ nodes { bootNs } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }';
    interface Args {
      readonly first?: number;
      readonly last?: number;
      readonly before?: string;
      readonly after?: string | null;
    }
    // As clients page: with variables. A text of its own for each page is compiled each time.
    const page = '(first: $first, last: $last, before: $before, after: $after';
    const head = 'query ($first: Int, $last: Int, $before: Cursor, $after: Cursor)';
    const places: Readonly<Record<string, (args: Args) => Promise<Events>>> = {
      session: async (args) =>
        dataOf(
          await ask<{ session: { events: Events } }>(
            url,
            `${head} { session(id: "stored") { events${page}, where: ${where}) ${fields} } }`,
            args,
          ),
        ).session.events,
      history: async (args) =>
        dataOf(
          await ask<{ history: { events: Events } }>(
            url,
            `${head} { history(from: "1970-01-01T00:00:00Z", to: "1970-01-02T00:00:00Z", where: ${where}) ` +
              `{ events${page}) ${fields} } }`,
            args,
          ),
        ).history.events,
    };
    const ofAll = (events: Events) => events.nodes.map(({ bootNs }) => bootNs);
    for (const read of Object.values(places)) {
      for (const size of [1, 5, 24, 100]) {
        const forwards: string[] = [];
        for (let page = await read({ first: size }); ;) {
          forwards.push(...ofAll(page));
          expect(page.pageInfo.hasPreviousPage).toBe(forwards.length > page.nodes.length);
          if (!page.pageInfo.hasNextPage) break;
          page = await read({ first: size, after: page.pageInfo.endCursor });
        }
        const backwards: string[] = [];
        for (let page = await read({ last: size }); ;) {
          expect(page.pageInfo.hasNextPage).toBe(backwards.length > 0);
          backwards.unshift(...ofAll(page));
          if (!page.pageInfo.hasPreviousPage) break;
          page = await read({ last: size, before: page.pageInfo.startCursor });
        }
        expect([forwards, backwards]).toEqual([all, all]);
      }
      const { startCursor, endCursor } = (await read({ first: 10, after: null })).pageInfo;
      expect(ofAll(await read({ first: 100, after: startCursor, before: endCursor }))).toEqual(all.slice(1, 9));
      expect(ofAll(await read({ last: 3, after: startCursor, before: endCursor }))).toEqual(all.slice(6, 9));
      expect(ofAll(await read({ before: endCursor }))).toEqual(all.slice(0, 9));
    }
    const refused = await ask(url, '{ history { events(before: "bm8") { nodes { time } } } }');
    expect(refused.errors?.[0]?.message).toMatch(/^before: "bm8" is no place in a history/);
    expect(
      (await ask(url, '{ session(id: "stored") { events(before: "bm8") { nodes { time } } } }')).errors?.[0],
    ).toMatchObject({
      message: expect.stringMatching(/^before: "bm8" is not a cursor/) as string,
      extensions: { code: 'BAD_CURSOR', argument: 'before' },
    });
    expect(
      (await ask(url, '{ history { events(first: 1, last: 1) { nodes { time } } } }')).errors?.[0]?.message,
    ).toMatch(/^last: cannot be joined with `first`/);
  });

  it('counts its events where nothing has to be evaluated, the same on every page', async () => {
    const { url } = await serve(true);
    const from = 'from: "1970-01-01T00:00:00Z"';
    const count = async (args: string, page = '') => {
      const query = `{ history(${args}) { events${page} { totalCount nodes { bootNs } } } }`;
      const { data, errors } = await ask<{ history: { events: { totalCount: string | null } } }>(url, query);
      expect(errors).toBeUndefined();
      return data?.history.events.totalCount;
    };
    const whole = `${from}, to: "1970-01-02T00:00:00Z"`;
    expect(await count(whole)).toBe('250');
    expect(await count(whole, '(first: 1)')).toBe('250');
    expect(await count(whole, '(last: 10000)')).toBe('250');
    expect(await count(`${from}, to: "1970-01-01T00:00:00.000000100Z"`)).toBe('100');
    expect(await count(`${whole}, sessions: ["stored"]`)).toBe('250');
    expect(await count(`${whole}, trackers: ["open"]`)).toBe('0');
    expect(await count(`${whole}, containers: [{ name: "web-*" }]`)).toMatch(/^\d+$/);
    expect(await count(`${whole}, where: { bootNs: { lt: "5" } }`)).toBeNull();
  });

  it('without a store is refused, as is a session that persists', async () => {
    const { url } = await serve(false);
    expect((await ask(url, '{ history { events { nodes { time } } } }')).errors?.[0]).toMatchObject({
      extensions: { code: 'NO_STORE' },
      message: expect.stringContaining('--data-dir'),
    });
    expect(
      (await ask(url, 'mutation { startSession(input: { trackers: [{ exec: {} }], persist: {} }) { id } }'))
        .errors?.[0],
    ).toMatchObject({ extensions: { code: 'NO_STORE' } });
    expect(
      (
        await ask(
          url,
          'mutation { startSession(input: { trackers: [{ exec: {} }], persist: { mode: ROLLUP } }) { id } }',
        )
      ).errors?.[0]?.message,
    ).toMatch(/^input\.persist\.mode: /);
  });
});
