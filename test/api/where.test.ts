import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createServer, createFixture, dataOf, post, startedId, type Fixture } from './support.js';
import { until, untilHolds } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;

beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
});

afterEach(async () => {
  await fixture.services.manager.close();
  await server.close();
});

const start = async (where: unknown, trackers: readonly object[] = [{ exec: {} }]): Promise<string> =>
  startedId(
    await post(server.url, {
      query: 'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
      variables: { input: { trackers, where, capture: 'DEMANDED' } },
    }),
  );

interface Plan {
  readonly where: string | null;
  readonly trackers: readonly Readonly<Record<string, unknown>>[];
  readonly sharing: { readonly sessions: number; readonly eventsPerSecond: number | null; readonly reason: string };
}

async function explain(id: string): Promise<Plan> {
  const answer = await post<{ session: { explain: Plan } }>(server.url, {
    query:
      `{ session(id: "${id}") { explain { where trackers { tracker inKernel inServer hooks captured } sharing { ` +
      'sessions eventsPerSecond reason } } } }',
  });
  return dataOf(answer.json).session.explain;
}

describe('a session with a filter', () => {
  it('holds what it takes, at places without gaps, and counts the rest as discarded', async () => {
    const id = await start({ expr: 'process.mountNs != null && bootNs < 10' });
    fixture.kernel.emit(20);
    interface Held {
      readonly session: {
        readonly stats: Record<string, string>;
        readonly events: {
          readonly totalCount: string | null;
          readonly nodes: object[];
          readonly pageInfo: { readonly endCursor: string };
        };
      };
    }
    const answer = await post<Held>(server.url, {
      query:
        `{ session(id: "${id}") { stats { produced lost received discarded delivered queued retained } ` +
        'events(first: 3) { totalCount nodes { process { pid } } pageInfo { endCursor } } } }',
    });
    const { session } = dataOf(answer.json);
    expect(session.stats).toEqual({
      produced: '20',
      lost: '0',
      received: '20',
      discarded: '15',
      delivered: '5',
      queued: '0',
      retained: '5',
    });
    expect(session.events.totalCount).toBe('5');
    expect(session.events.nodes).toEqual([0, 2, 4].map((pid) => ({ process: { pid } })));
    const rest = await post(server.url, {
      query: `{ session(id: "${id}") { events(after: "${session.events.pageInfo.endCursor}") { nodes { process { pid } } } } }`,
    });
    expect(rest.json.data).toEqual({ session: { events: { nodes: [6, 8].map((pid) => ({ process: { pid } })) } } });
  });

  it('captures what its filter reads, also while nobody reads the session', async () => {
    const id = await start({ exec: { args: { has: '3' } } });
    fixture.kernel.emit(10);
    const { json } = await post(server.url, {
      query: `{ session(id: "${id}") { captured events { nodes { process { pid } } } } }`,
    });
    expect(json.data).toEqual({
      session: { captured: expect.arrayContaining(['args']), events: { nodes: [{ process: { pid: 3 } }] } },
    });
  });

  it('tells of a loss where it took none of the events', async () => {
    const id = await start({ bootNs: { eq: '1000000' } });
    fixture.kernel.emit(5, { lost: 3 });
    const { json } = await post(server.url, {
      query: `{ session(id: "${id}") { stats { produced lost discarded } events { nodes { tracker } gaps { lost } } } }`,
    });
    expect(json.data).toEqual({
      session: { stats: { produced: '8', lost: '3', discarded: '5' }, events: { nodes: [], gaps: [{ lost: '3' }] } },
    });
  });

  it('serves trace, whose limit counts what it takes', async () => {
    const answer = post(server.url, {
      query:
        'mutation { trace(input: { trackers: [{ exec: {} }], where: { bootNs: { gte: 5 } } }, for: "5m", limit: ' +
        '3) { stopReason stats { delivered discarded } events { nodes { process { pid } } } } }',
    });
    await until('the trace runs', () => fixture.kernel.sources.length > 0);
    await until('it runs', () => fixture.services.manager.list()[0]?.state === 'RUNNING');
    fixture.kernel.emit(20);
    expect((await answer).json.data).toEqual({
      trace: {
        stopReason: 'LIMIT',
        stats: { delivered: '3', discarded: '17' },
        events: { nodes: [5, 6, 7].map((pid) => ({ process: { pid } })) },
      },
    });
  });

  it.each([
    ['{ process: { pid: { in: [] } } }', 'input.where.process.pid.in: is empty'],
    [
      '{ expr: "process.pid == 1 && process.pdi == 1" }',
      'input.where.expr: 1:21: no event of exec has the field "process.pdi"',
    ],
    ['{ open: {} }', 'input.where.open: the session has no tracker open; it has exec'],
    ['{ exec: { filename: { regex: "(" } } }', 'input.where.exec.filename.regex'],
  ])('is refused with %s, with its place', async (where, message) => {
    for (const field of ['startSession', 'trace']) {
      const { json } = await post(server.url, {
        query: `mutation { ${field}(input: { trackers: [{ exec: {} }], where: ${where} }) { id } }`,
      });
      expect(json.errors?.[0]).toMatchObject({
        message: expect.stringContaining(message),
        path: [field],
        extensions: { code: 'BAD_USER_INPUT' },
      });
    }
    expect(fixture.services.manager.list()).toEqual([]);
  });
});

describe('explain', () => {
  it('tells what is evaluated in the kernel, what in the server, and why by these programs', async () => {
    const id = await start({ expr: 'process.uid == 0 && exec.errno != null && exec.args.exists(a, a.contains("x"))' }, [
      { exec: {} },
      { open: {} },
    ]);
    expect(await explain(id)).toEqual({
      where: 'process.uid == 0 && exec.errno != null && exec.args.exists(x, x.contains("x"))',
      trackers: [
        {
          tracker: 'exec',
          inKernel: 'process.uid == 0 && errno != null',
          inServer: 'args.exists(x, x.contains("x"))',
          hooks: ['tp_btf/exec'],
          captured: ['args', 'argsTruncated'],
        },
        { tracker: 'open', inKernel: 'false', inServer: 'false', hooks: ['tp_btf/open'], captured: [] },
      ],
      sharing: {
        sessions: 1,
        eventsPerSecond: null,
        reason: 'no running session has programs that produce these events unfiltered',
      },
    });
    expect(fixture.kernel.sources[0]?.spec.objects.map(({ constants }) => constants)).toEqual([
      {
        eu_where: true,
        eu_where_uid: 1,
        eu_min_uid: 0n,
        eu_max_uid: 0n,
        eu_where_errno: 1,
        eu_min_errno: 1n,
        eu_max_errno: 4095n,
      },
      { eu_where: true, eu_where_none: true },
    ]);
  });

  it('tells of a session without a filter that its kind shares programs, and of how many do', async () => {
    const ids = [await start(null), await start(null)];
    expect(await explain(ids[0] ?? '')).toMatchObject({
      where: null,
      trackers: [{ inKernel: null, inServer: null }],
      sharing: { sessions: 2, reason: expect.stringContaining('it has no filter') },
    });
  });

  it('lets sessions of which the kernel evaluates the same share their programs, whatever is left to evaluate', async () => {
    const one = await start({ expr: 'process.uid == 7 && container == null' });
    const other = await start({ expr: 'process.uid == 7 && container != null' });
    const different = await start({ expr: 'process.uid == 8' });
    expect(fixture.kernel.sources).toHaveLength(2);
    expect(await explain(other)).toMatchObject({
      sharing: { sessions: 2, reason: expect.stringContaining('a running session has programs') },
      trackers: [{ inServer: 'container != null' }],
    });
    expect(await explain(one)).toMatchObject({ trackers: [{ inServer: 'container == null' }] });
    expect(await explain(different)).toMatchObject({ sharing: { sessions: 1 }, trackers: [{ inServer: null }] });
  });

  it('lets a filter share quiet programs without one, and is exact for each sharer', async () => {
    const plain = await start(null);
    await untilHolds(
      'the rate is known',
      () => explain(plain),
      ({ sharing }) => sharing.eventsPerSecond !== null,
    );
    const filtered = await start({ process: { pid: { gte: 15 } } });
    expect(fixture.kernel.sources).toHaveLength(1);
    expect(await explain(filtered)).toMatchObject({
      sharing: { sessions: 2, eventsPerSecond: 0, reason: expect.stringContaining('0 events/s, at most') },
      trackers: [{ inKernel: null, inServer: 'process.pid >= 15' }],
    });
    fixture.kernel.emit(20, { lost: 2 });
    const stats = async (id: string): Promise<object | undefined> => fixture.services.manager.get(id)?.stats();
    expect(await stats(plain)).toMatchObject({ produced: 22, lost: 2, received: 20, discarded: 0, delivered: 20 });
    expect(await stats(filtered)).toMatchObject({ produced: 22, lost: 2, received: 20, discarded: 15, delivered: 5 });
  });

  it('of a session that has ended tells how it was evaluated, and of nothing that is in use', async () => {
    const id = await start({ expr: 'process.uid == 7 && exec.args.exists(a, a == "x")' });
    const running = await explain(id);
    expect(running.trackers).toMatchObject([{ hooks: ['tp_btf/exec'], captured: ['args', 'argsTruncated'] }]);
    await fixture.services.manager.get(id)?.stop('REQUESTED');
    const { where, sharing, trackers } = running;
    expect(await explain(id)).toEqual({
      where,
      trackers: trackers.map((tracker) => ({ ...tracker, hooks: [] })),
      sharing: { sessions: 0, eventsPerSecond: null, reason: sharing.reason },
    });
  });

  it('tells the filter of each live subscriber', async () => {
    const id = await start(null);
    const session = fixture.services.manager.get(id);
    const stream = session?.subscribe({ demand: new Map(), where: { text: 'process.pid == 1', matches: () => true } });
    const { json } = await post(server.url, { query: `{ session(id: "${id}") { stats { subscribers { where } } } }` });
    expect(json.data).toEqual({ session: { stats: { subscribers: [{ where: 'process.pid == 1' }] } } });
    await stream?.return();
  });
});

describe('notices', () => {
  it("tell what a tracker does not see because the kernel's verifier refused a program, of each session that runs without it", async () => {
    const log = 'R1 invalid mem access';
    fixture.kernel.unloaded = [
      { missing: [], refused: [] },
      { missing: ['open_submit_old'], refused: [{ program: 'open_submit', errno: 'EACCES', log }] },
    ];
    const noticesOf = async (id: string): Promise<unknown> => {
      const query = `{ session(id: "${id}") { notices explain { notices } } }`;
      return (await post(server.url, { query })).json.data?.['session'];
    };
    const notices = async (trackers: readonly object[]): Promise<unknown> => noticesOf(await start(null, trackers));
    const told = [
      expect.stringMatching(
        /^open: Files that are opened through io_uring: the kernel's verifier refused the program open_submit \(EACCES\)\./,
      ) as string,
    ];
    const both = [{ exec: {} }, { open: {} }];
    expect(await notices(both)).toEqual({ notices: told, explain: { notices: told } });
    const shares = await start(null, both);
    expect(await noticesOf(shares)).toEqual({ notices: told, explain: { notices: told } }); // it shares the first one's programs
    await fixture.services.manager.get(shares)?.stop('REQUESTED');
    expect(await noticesOf(shares)).toEqual({ notices: told, explain: { notices: told } }); // its events lack the same
    // A kernel that lacks the hooks is no fault of a session's: the tracker's blind spots tell of it.
    fixture.kernel.unloaded = [{ missing: ['open_submit_old', 'open_submit'], refused: [] }];
    expect(await notices([{ open: {} }])).toEqual({ notices: [], explain: { notices: [] } });
  });
});
