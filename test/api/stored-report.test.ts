import { afterAll, describe, expect, it } from 'vitest';
import type { DuckStore } from '../../src/storage/duckdb/index.js';
import type { SessionEnd, SessionRecord } from '../../src/storage/store.js';
import type { Gap } from '../../src/event/event.js';
import type { BehaviourReport } from '../../src/event/report.js';
import { askedOf } from '../support/asked.js';
import { batchAt } from '../support/record.js';
import { end, openStore, record, slicesOf, temporaryDirectory } from '../support/store.js';
import { createServer, createFixture, dataOf, post } from './support.js';

const closing: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const gap = (lost: number, dropped: number): Gap => ({
  from: '1970-01-01T00:00:00.000000001Z',
  to: '1970-01-01T00:00:00.000000002Z',
  lost,
  dropped,
  where: dropped ? 'STORE' : 'KERNEL',
});

interface Server {
  readonly url: string;
  readonly store: DuckStore;
  /** Stores a session of exits: one each nanosecond from 1970 on, in packets of these sizes. */
  add(
    id: string,
    packets: readonly { readonly events: number; readonly gap?: Gap }[],
    facts?: Partial<SessionRecord>,
    ending?: Partial<SessionEnd>,
  ): Promise<void>;
}

/** One for all tests that name their sessions; opening a store takes a second. */
let shared: Promise<Server> | null = null;
const server = (): Promise<Server> => (shared ??= begin());

async function begin(): Promise<Server> {
  const made = await serve();
  await made.add('stored', [{ events: 1 }]);
  return made;
}

async function serve(): Promise<Server> {
  const { services } = await createFixture();
  const { path, remove } = await temporaryDirectory();
  const store = openStore(path);
  const server = await createServer({ ...services, stores: new Map([['EMBEDDED', store]]) });
  closing.push(
    remove,
    () => store.close(),
    () => server.close(),
  );
  return {
    url: server.url,
    store,
    add: async (id, packets, facts = {}, ending = {}) => {
      const sink = await store.record({
        ...record(id, ['exit']),
        createdAt: '1970-01-01T00:00:00.000000000Z',
        startedAt: '1970-01-01T00:00:00.000000000Z',
        ...facts,
      });
      let seq = 0;
      for (const packet of packets) {
        await sink.write(packet.events ? slicesOf([batchAt(seq, packet.events)]) : [], packet.gap ?? null);
        seq += packet.events;
      }
      await sink.finish({ ...end, stoppedAt: '1970-01-01T00:01:00.000000000Z', received: seq, ...ending });
    },
  };
}

const ask = async (url: string, query: string) => (await post(url, { query })).json;
const FIELDS =
  'session sessions { id trackers from to } events lost dropped complete restrictions restricted { section ' +
  'restriction excluded value } doubled programs { entries { path } } exits { entries { count } other { count } } missing { section ' +
  'problem }';

async function report(url: string, args = '', id = 'stored'): Promise<BehaviourReport> {
  const query = `{ session(id: "${id}") { report${args && `(${args})`} { ${FIELDS} } } }`;
  return dataOf((await post<{ session: { report: BehaviourReport } }>(url, { query })).json).session.report;
}

const RANGE = 'from: "1970-01-01T00:00:00Z", to: "1970-01-02T00:00:00Z"';
async function overTime(url: string, history = RANGE, args = ''): Promise<BehaviourReport> {
  const query = `{ history(${history}) { report${args && `(${args})`} { ${FIELDS} } } }`;
  return dataOf((await post<{ history: { report: BehaviourReport } }>(url, { query })).json).history.report;
}

describe('the report of a stored session', () => {
  it('sums up all of its events, part by part, and what is missing', async () => {
    const { url, add } = await server();
    await add('s1', [{ events: 6000 }, { events: 3000, gap: gap(7, 0) }], { options: { exit: { failedOnly: true } } });
    const made = await report(url, '', 's1');
    expect(made).toMatchObject({
      session: 's1',
      events: '9000',
      lost: '7',
      dropped: '0',
      complete: false,
      restrictions: ['exit.failedOnly'],
      restricted: [
        {
          section: 'exits',
          restriction: 'exit.failedOnly',
          excluded: 'processes that exit with code 0 are excluded',
          value: 'true',
        },
      ],
      doubled: [],
      programs: null,
    });
    expect(made.sessions).toEqual([
      { id: 's1', trackers: ['exit'], from: '1970-01-01T00:00:00.000000000Z', to: '1970-01-01T00:01:00.000000000Z' },
    ]);
    expect(made.exits?.entries.reduce((sum, { count }) => sum + Number(count), Number(made.exits.other.count))).toBe(
      9000,
    );
  });

  it('says what was not observed, and why', async () => {
    const { url, add } = await server();
    await add('s2', [{ events: 1 }]);
    expect((await report(url, '', 's2')).missing).toEqual(
      expect.arrayContaining([
        { section: 'programs', problem: 'not observed: the session ran without the tracker exec' },
        { section: 'dnsNames', problem: 'not observed: the session ran without the tracker dns' },
      ]),
    );
  });

  it('is of a part of its time, with the losses of that part', async () => {
    const { url, add } = await server();
    await add('s3', [
      { events: 6000 },
      {
        events: 3000,
        gap: { ...gap(7, 0), from: '1970-01-01T00:00:00.000005999Z', to: '1970-01-01T00:00:00.000006000Z' },
      },
    ]);
    expect(await report(url, 'to: "1970-01-01T00:00:00.000001000Z"', 's3')).toMatchObject({
      events: '1000',
      lost: '0',
      complete: true,
    });
    expect(await report(url, 'from: "1970-01-01T00:00:00.000005000Z"', 's3')).toMatchObject({
      events: '4000',
      lost: '7',
      complete: false,
    });
  });

  it('is not complete when the store dropped events, the server was killed, or the session failed', async () => {
    const { url, add } = await server();
    await add('s4', [{ events: 10 }, { events: 10, gap: gap(0, 25) }]);
    expect(await report(url, '', 's4')).toMatchObject({ events: '20', dropped: '25', complete: false });
    for (const stopReason of ['INTERRUPTED', 'ERROR'] as const) {
      await add(stopReason, [{ events: 10 }], {}, { stopReason });
      expect(await report(url, '', stopReason)).toMatchObject({
        events: '10',
        lost: '0',
        dropped: '0',
        complete: false,
      });
    }
  });

  it('names the filter and target that the session had, and its comparison is not certain', async () => {
    const { url, add } = await server();
    await add('all', [{ events: 10 }]);
    await add('filtered', [{ events: 2 }], { asked: askedOf(['exit'], {}, { where: 'process.pid < 2' }) });
    await add('targeted', [{ events: 2 }], { asked: askedOf(['exit'], { target: { uids: [0] } }) });
    await add('old', [{ events: 10 }], { asked: null });
    for (const [id, restriction, value] of [
      ['filtered', 'session.where', 'process.pid < 2'],
      ['targeted', 'session.target', '{"uids":[0]}'],
      ['old', 'session.spec', 'null'],
    ] as const) {
      const made = await report(url, '', id);
      expect(made).toMatchObject({ complete: false, restrictions: [restriction] });
      expect(made.restricted).toEqual([
        { section: 'exits', restriction, value, excluded: expect.any(String) as string },
      ]);
      const { data } = await ask(
        url,
        `{ compareReports(before: { session: "all" }, after: { session: "${id}" }) { certain } }`,
      );
      expect(data).toEqual({ compareReports: { certain: false } });
    }
    expect(await report(url, '', 'all')).toMatchObject({ complete: true, restrictions: [] });
    const told = await ask(
      url,
      '{ filtered: session(id: "filtered") { spec { where } explain { where } } ' +
        'old: session(id: "old") { spec { where } explain { where } } }',
    );
    expect(told.data).toEqual({
      filtered: { spec: { where: null }, explain: { where: 'process.pid < 2' } },
      old: { spec: null, explain: { where: null } },
    });
  });

  it('says of which sections fields may be missing that were captured only while somebody read them', async () => {
    const { url, add } = await server();
    const [trackers, capture] = [['exit', 'exec'], 'DEMANDED'] as const;
    const fields = ['executable', 'filename', 'args', 'parentComm'];
    await add('usual', [{ events: 2 }], { trackers, asked: askedOf(trackers) });
    await add('some', [{ events: 2 }], { trackers, asked: askedOf(trackers, { capture, fields: ['filename'] }) });
    await add('enough', [{ events: 2 }], { trackers, asked: askedOf(trackers, { capture, fields }) });
    const made = await report(url, '', 'some');
    expect(made).toMatchObject({ complete: false, restrictions: ['session.capture'] });
    expect(made.restricted).toEqual([
      {
        section: 'programs',
        restriction: 'session.capture',
        excluded: 'fields that nobody read were not captured',
        value: '{"capture":"DEMANDED","fields":["filename"]}',
      },
    ]);
    expect(await report(url, '', 'enough')).toMatchObject({ complete: true, restrictions: [] });
    const { data } = await ask(
      url,
      '{ some: compareReports(before: { session: "usual" }, after: { session: "some" }) { certain } ' +
        'enough: compareReports(before: { session: "usual" }, after: { session: "enough" }) { certain } }',
    );
    expect(data).toEqual({ some: { certain: false }, enough: { certain: true } });
  });

  it.each([
    ['container: "nobody"', /^container: no event that was recorded is of a container "nobody"; there are none/],
    ['container: ""', /^container: is empty/],
    ['container: "a", host: true', /^host: cannot be joined/],
    ['top: 0', /^top: 0 is out of range; give 1 to 10,000 entries/],
    ['from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z"', /^to: .* is not after `from`/],
  ])('is refused with what would be right: %s', async (args, message) => {
    const { url } = await server();
    expect((await ask(url, `{ session(id: "stored") { report(${args}) { events } } }`)).errors?.[0]?.message).toMatch(
      message,
    );
  });
});

describe('the report of a range of time', () => {
  it('is of all sessions that ran in it, and names them', async () => {
    const { url, add } = await serve();
    await add('first', [{ events: 100 }]);
    await add(
      'second',
      [{ events: 50 }],
      { startedAt: '1970-01-01T01:00:00.000000000Z' },
      { stoppedAt: '1970-01-01T02:00:00.000000000Z' },
    );
    await add(
      'later',
      [{ events: 10 }],
      { startedAt: '1971-01-01T01:00:00.000000000Z' },
      { stoppedAt: '1971-01-01T02:00:00.000000000Z' },
    );
    const made = await overTime(url);
    expect(made).toMatchObject({ session: null, events: '150', complete: true, doubled: [] });
    expect(made.sessions.map(({ id }) => id)).toEqual(['first', 'second']);
    expect(made.missing).toContainEqual({
      section: 'programs',
      problem: 'not observed: no session that was read ran with the tracker exec',
    });
    expect(await overTime(url, `${RANGE}, sessions: ["second"]`)).toMatchObject({ events: '50' });
  });

  it('says which trackers saw things more than once, and what was left out', async () => {
    const { url, add } = await serve();
    await add('one', [{ events: 20 }]);
    await add('two', [{ events: 20 }]);
    expect(await overTime(url, `${RANGE}, where: { bootNs: { lt: "5" } }`)).toMatchObject({
      events: '10',
      doubled: ['exit'],
      restrictions: ['history.where'],
    });
  });

  it('of a time when nothing was recorded says that nothing was observed', async () => {
    const { url } = await serve();
    const query = `{ history(${RANGE}) { report { sessions { id } exits { entries { count } } missing { section } markdown } } }`;
    const answer = await post<{ history: { report: BehaviourReport & { markdown: string } } }>(url, { query });
    const { report: made } = dataOf(answer.json).history;
    expect(made).toMatchObject({ sessions: [], exits: null });
    expect(made.missing).toContainEqual({ section: 'exits' });
    expect(made.markdown).toContain('No session was recorded in this time: nothing was observed');
  });

  it('is compared with another, or with a session', async () => {
    const { url, add } = await serve();
    await add('stored', [{ events: 5 }]);
    const { data, errors } = await ask(
      url,
      '{ compareReports(before: { from: "1970-01-01T00:00:00Z", to: "1970-01-02T00:00:00Z" }, after: { session: ' +
        '"stored" }) { added { what } gone { what } certain } }',
    );
    expect(errors).toBeUndefined();
    expect(data).toEqual({ compareReports: { added: [], gone: [], certain: true } });
  });

  it.each([
    [
      'history(containers: [{ name: "*" }]) { report(container: "a") { events } }',
      /^container: cannot be joined with `containers`/,
    ],
    ['history(sessions: ["nobody"]) { report { events } }', /has no session "nobody"/],
    [
      'compareReports(before: { session: "stored", store: INFLUX }, after: { session: "stored" }) { certain }',
      /^before\.store: belongs to a range of time/,
    ],
    [
      'compareReports(before: { store: INFLUX }, after: { session: "stored" }) { certain }',
      /this server has no INFLUX store/,
    ],
    [
      'compareReports(before: { session: "nobody" }, after: { session: "stored" }) { certain }',
      /there is no session "nobody"/,
    ],
  ])('is refused with what would be right: %s', async (query, message) => {
    const { url } = await server();
    expect((await ask(url, `{ ${query} }`)).errors?.[0]?.message).toMatch(message);
  });
});

describe('the export of a stored session', () => {
  it('has its events, with what is missing where it is missing', async () => {
    const { url, add } = await server();
    await add('s11', [{ events: 2 }, { events: 3, gap: gap(7, 0) }, { events: 0, gap: gap(1, 0) }]);
    const response = await fetch(url.replace('/graphql', '/export/s11.ndjson'), { headers: { 'x-eunomia': '1' } });
    expect(response.status).toBe(200);
    const [head, ...lines] = (await response.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, Record<string, unknown>>);
    expect(head).toMatchObject({
      eunomia: { session: { id: 's11', state: 'STOPPED', stopReason: 'REQUESTED', trackers: ['exit'] } },
    });
    expect(lines.map((line) => line['gap']?.['lost'] ?? line['bootNs'] ?? line['end'])).toEqual([
      '0',
      '1',
      '7',
      '2',
      '3',
      '4',
      '1',
      { items: '5', lost: '8', dropped: '0', complete: false, state: 'STOPPED' },
    ]);
  });

  it('is filtered, or an aggregate', async () => {
    const { url, add } = await server();
    await add('s12', [{ events: 6000 }]);
    const get = async (query: string): Promise<string> =>
      (await fetch(url.replace('/graphql', `/export/s12.csv?${query}`), { headers: { 'x-eunomia': '1' } })).text();
    expect(await get(`fields=bootNs&where=${encodeURIComponent('bootNs > "5997"')}`)).toBe(
      'bootNs\r\n5998\r\n5999\r\n',
    );
    expect(await get('groupBy=tracker&measures=max(process.pid)')).toBe(
      'tracker,other,count,max(process.pid)\r\nexit,false,6000,5999\r\n',
    );
  });

  it('of sums, or of nothing, is refused', async () => {
    const { url, add } = await server();
    await add('rolled', [], { mode: 'ROLLUP' });
    const get = async (path: string) => {
      const response = await fetch(url.replace('/graphql', `/export/${path}`), { headers: { 'x-eunomia': '1' } });
      return { status: response.status, text: await response.text() };
    };
    expect(await get('nobody.csv')).toMatchObject({
      status: 404,
      text: expect.stringContaining('there is no session'),
    });
    expect(await get('rolled.csv')).toMatchObject({ status: 400, text: expect.stringContaining('stored as rollups') });
  });
});
