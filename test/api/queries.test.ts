import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { refusalOf } from '../../src/access/role.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import {
  callerOf,
  createFixture,
  createServer,
  dataOf,
  keepEmitting,
  post,
  type Fixture,
  type FixtureOptions,
} from './support.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function serve(
  options: FixtureOptions = {},
): Promise<{ fixture: Fixture; url: string; end: () => Promise<void> }> {
  const fixture = await createFixture(options);
  const server = await createServer(fixture.services);
  let ended = false;
  const end = async (): Promise<void> => {
    if (ended) return;
    ended = true;
    await fixture.services.manager.close();
    await server.close();
    for (const store of fixture.services.stores.values()) await store.close();
  };
  closing.push(end);
  return { fixture, url: server.url, end };
}

async function directory(): Promise<string> {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  return path;
}

interface Saved {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly content: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const SAVED = `id name kind description version savedBy savedAt lasting content trackers queries { name kind }`;

async function save(url: string, name: string, content: object, rest: object = {}) {
  const { json } = await post<{ saveQuery: Saved | null }>(url, {
    query: `mutation ($name: String!, $content: SavedContentInput!, $description: String, $ifVersion: Int) {
      saveQuery(name: $name, content: $content, description: $description, ifVersion: $ifVersion) { ${SAVED} } }`,
    variables: { name, content, ...rest },
  });
  return json;
}

async function saved(url: string, name: string, content: object, rest: object = {}): Promise<Saved> {
  const query = dataOf(await save(url, name, content, rest)).saveQuery;
  if (!query) throw new Error(`${name} is not saved`);
  return query;
}

async function find(url: string, name: string): Promise<Saved | null> {
  const { json } = await post<{ savedQuery: Saved | null }>(url, {
    query: `query ($name: String!) { savedQuery(name: $name) { ${SAVED} } }`,
    variables: { name },
  });
  return dataOf(json).savedQuery;
}

async function remove(url: string, name: string, ifVersion: number | null = null) {
  const { json } = await post<{ deleteQuery: string | null }>(url, {
    query: 'mutation ($name: String!, $ifVersion: Int) { deleteQuery(name: $name, ifVersion: $ifVersion) }',
    variables: { name, ifVersion },
  });
  return json;
}

async function start(url: string, input: object): Promise<string> {
  const { json } = await post<{ startSession: { id: string } }>(url, {
    query: 'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
    variables: { input },
  });
  return dataOf(json).startSession.id;
}

const early = { filter: { where: { bootNs: { lt: '5' } } } };
const byName = (where: object | null = null) => ({
  aggregate: { groupBy: ['process.comm'], measures: [{ fn: 'COUNT' }], window: { size: '10s' }, where },
});
const codeOf = (json: Awaited<ReturnType<typeof save>> | Awaited<ReturnType<typeof remove>>) =>
  json.errors?.[0]?.extensions?.['code'];
const messageOf = (json: Awaited<ReturnType<typeof save>> | Awaited<ReturnType<typeof remove>>) =>
  json.errors?.[0]?.message ?? '';

describe('saved queries', () => {
  it('are read back as they were saved, by all clients, in pages and by their ids', async () => {
    const { url } = await serve();
    const filter = await saved(url, 'early', early, { description: 'the first ones' });
    expect(filter).toMatchObject({
      kind: 'FILTER',
      description: 'the first ones',
      lasting: false,
      content: early,
      trackers: null,
      queries: [],
    });
    const aggregate = await saved(url, 'by name', byName({ saved: 'early' }));
    expect(aggregate).toMatchObject({
      kind: 'AGGREGATE',
      content: { aggregate: { window: { size: '10s' }, where: { saved: 'early' } } },
    });
    const board = await saved(url, 'Überblick/1', { board: ['by name', 'early'] });
    expect(board).toMatchObject({
      kind: 'BOARD',
      queries: [
        { name: 'by name', kind: 'AGGREGATE' },
        { name: 'early', kind: 'FILTER' },
      ],
    });
    // What was read is what saves the same again.
    expect((await saved(url, 'again', aggregate.content)).content).toEqual(aggregate.content);
    const { json } = await post<{
      node: { name: string };
      savedQueries: { nodes: readonly Saved[]; totalCount: string; pageInfo: { hasNextPage: boolean } };
      filters: { nodes: readonly Saved[] };
    }>(url, {
      query: `query ($id: ID!) { node(id: $id) { ... on SavedQuery { name } }
        savedQueries(first: 3) { nodes { name } totalCount pageInfo { hasNextPage } }
        filters: savedQueries(kind: FILTER) { nodes { name } } }`,
      variables: { id: board.id },
    });
    expect(dataOf(json)).toEqual({
      node: { name: 'Überblick/1' },
      savedQueries: {
        nodes: [{ name: 'again' }, { name: 'by name' }, { name: 'early' }],
        totalCount: '4',
        pageInfo: { hasNextPage: true },
      },
      filters: { nodes: [{ name: 'early' }] },
    });
  });

  it('filter wherever a filter is given, with others, and stay what they were for what has begun', async () => {
    const { fixture, url } = await serve();
    const { version } = await saved(url, 'early', early);
    const id = await start(url, { trackers: [{ exec: {} }], where: { saved: 'early', bootNs: { gt: '1' } } });
    const other = await start(url, { trackers: [{ exec: {} }] });
    fixture.kernel.emit(10);
    const { json } = await post<{
      session: {
        events: { nodes: readonly { bootNs: string }[] };
        explain: { where: string };
        spec: { where: unknown };
      };
      other: { events: { nodes: readonly { bootNs: string }[] } };
    }>(url, {
      query: `query ($id: ID!, $other: ID!) {
        session(id: $id) { events { nodes { bootNs } } explain { where } spec { where } }
        other: session(id: $other) { events(where: { not: { saved: "early" } }) { nodes { bootNs } } } }`,
      variables: { id, other },
    });
    const data = dataOf(json);
    expect(data.session.events.nodes.map(({ bootNs }) => bootNs)).toEqual(['2', '3', '4']);
    expect(data.other.events.nodes.map(({ bootNs }) => bootNs)).toEqual(['5', '6', '7', '8', '9']);
    expect(data.session.spec.where).toEqual({ and: [{ bootNs: { lt: '5' } }, { bootNs: { gt: '1' } }] });
    await saved(url, 'early', { filter: { where: { bootNs: { lt: '100' } } } }, { ifVersion: version });
    fixture.kernel.emit(10);
    expect(fixture.services.manager.get(id)?.nextSeq).toBe(3);
  });

  it('are for their trackers only', async () => {
    const { fixture, url } = await serve();
    await saved(url, 'opens', { filter: { where: { process: { pid: { gte: 0 } } }, trackers: ['open'] } });
    await saved(url, 'all opens', { aggregate: { groupBy: [], measures: [{ fn: 'COUNT' }], trackers: ['open'] } });
    const id = await start(url, { trackers: [{ exec: {} }] });
    fixture.kernel.emit(3);
    const { json } = await post<{
      session: { events: { nodes: readonly object[] }; savedAggregate: readonly object[] };
    }>(url, {
      query: `query ($id: ID!) { session(id: $id) {
        events(where: { saved: "opens" }) { nodes { bootNs } } savedAggregate(name: "all opens") { count } } }`,
      variables: { id },
    });
    expect(dataOf(json).session).toEqual({ events: { nodes: [] }, savedAggregate: [] });
  });

  it('aggregate a session, the history and a live session by their names', async () => {
    const { fixture, url } = await serve({ dataDirectory: await directory() });
    await saved(url, 'early', early);
    await saved(url, 'count', { aggregate: { groupBy: [], measures: [{ fn: 'COUNT' }], where: { saved: 'early' } } });
    const id = await start(url, { trackers: [{ exit: {} }], persist: {} });
    const { bytes, offsets } = batchAt(0, 10);
    const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    fixture.kernel.deliver({ data, offsets });
    interface Counts {
      readonly session: { readonly a: readonly { count: string }[]; readonly b: readonly { count: string }[] };
    }
    const { json } = await post<Counts>(url, {
      query: `query ($id: ID!) { session(id: $id) { a: savedAggregate(name: "count") { count }
        b: savedAggregate(name: "count", where: { bootNs: { gt: "0" } }) { count } } }`,
      variables: { id },
    });
    expect(dataOf(json).session).toEqual({ a: [{ count: '5' }], b: [{ count: '4' }] });
    const caller = callerOf('viewer');
    const follow = (await fixture.service.sessions.need(caller, id)).follow({
      ...fixture.service.queries.aggregate(caller, 'count').input,
      where: fixture.service.queries.aggregate(caller, 'count').where,
      replay: 100,
      every: 100,
    });
    dataOf((await post(url, { query: `mutation { stopSession(id: "${id}") { id } }` })).json);
    let last: readonly { readonly count: number }[] = [];
    for await (const { rows } of follow) if (rows.length) last = rows;
    expect(last.map(({ count }) => count)).toEqual([5]);
    const { json: dated } = await post<{ session: { events: { nodes: readonly { time: string }[] } } }>(url, {
      query: `query ($id: ID!) { session(id: $id) { events(first: 1) { nodes { time } } } }`,
      variables: { id },
    });
    const from = dataOf(dated).session.events.nodes[0]?.time ?? '';
    const to = new Date(Date.parse(from) + 60_000).toISOString();
    const { json: history } = await post<{ history: { savedAggregate: readonly { count: string }[] } }>(url, {
      query: `query ($id: ID!, $from: DateTime!, $to: DateTime!) {
        history(from: $from, to: $to, sessions: [$id], where: { bootNs: { gt: "1" } }) {
          savedAggregate(name: "count") { count } } }`,
      variables: { id, from, to },
    });
    expect(dataOf(history).history.savedAggregate).toEqual([{ count: '3' }]);
    const live = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({
        query: `subscription { savedAggregate(session: "${id}", name: "count", replay: 100) { rows { count } final } }`,
      }),
    });
    expect(await live.text()).toContain('"count":"5"');
    const { json: none } = await post(url, {
      query: `query ($id: ID!) { session(id: $id) { savedAggregate(name: "early") { count } x: savedAggregate(name: "cont") { count } } }`,
      variables: { id },
    });
    expect(none.errors?.map(({ message }) => message)).toEqual([
      'name: "early" is a filter, and no aggregate',
      expect.stringMatching(/^name: there is no saved query "cont"; did you mean "count"\?/),
    ]);
  });

  it('are captured by a trace that asks for them', async () => {
    const { fixture, url } = await serve();
    await saved(url, 'by args', { aggregate: { groupBy: ['args'], where: { exec: { cwd: { isNull: false } } } } });
    const stop = keepEmitting(fixture.kernel, 4, 5);
    const { json } = await post<{ trace: { captured: readonly string[]; savedAggregate: readonly object[] } }>(url, {
      query: `mutation { trace(input: { trackers: [{ exec: {} }] }, for: "5m", limit: 4) {
        captured savedAggregate(name: "by args") { count } } }`,
    });
    stop();
    expect(dataOf(json).trace.captured).toEqual(['args', 'argsTruncated', 'cwd']);
    expect(dataOf(json).trace.savedAggregate).toHaveLength(4);
  });

  it('are not overwritten by somebody who has not seen the last version', async () => {
    const { url } = await serve();
    const first = await saved(url, 'x', early);
    const again = await save(url, 'x', early);
    expect([codeOf(again), messageOf(again)]).toEqual([
      'QUERY_CONFLICT',
      expect.stringContaining(`give ifVersion: ${first.version} to replace it`),
    ]);
    // Two who have read the same version.
    const both = await Promise.all(
      ['1', '2'].map((lt) =>
        save(url, 'x', { filter: { where: { bootNs: { lt } } } }, { ifVersion: first.version, description: lt }),
      ),
    );
    const won = both.filter((json) => !json.errors);
    expect(won).toHaveLength(1);
    expect(both.filter((json) => codeOf(json) === 'QUERY_CONFLICT')).toHaveLength(1);
    expect(await find(url, 'x')).toEqual(won[0]?.data?.saveQuery);
    // And many who save a name that is not there.
    const many = await Promise.all(Array.from({ length: 8 }, () => save(url, 'y', early)));
    expect(many.filter((json) => !json.errors)).toHaveLength(1);
    // A name that was deleted and saved again has no version of before.
    const { version } = (await find(url, 'y')) ?? { version: 0 };
    expect(codeOf(await remove(url, 'y', version + 1))).toBe('QUERY_CONFLICT');
    dataOf(await remove(url, 'y', version));
    expect(codeOf(await save(url, 'y', early, { ifVersion: version }))).toBe('QUERY_CONFLICT');
    expect((await saved(url, 'y', early)).version).toBeGreaterThan(version);
    expect(codeOf(await remove(url, 'nosuch'))).toBe('UNKNOWN_QUERY');
  });

  it('cannot be taken from those that name them, nor made wrong for them', async () => {
    const { url } = await serve();
    const { version } = await saved(url, 'early', early);
    await saved(url, 'opens', byName({ saved: 'early' }));
    await saved(url, 'board', { board: ['opens'] });
    const refused = await remove(url, 'early');
    expect([codeOf(refused), messageOf(refused)]).toEqual([
      'QUERY_IN_USE',
      expect.stringContaining('named by "opens"'),
    ]);
    expect(codeOf(await remove(url, 'opens'))).toBe('QUERY_IN_USE');
    for (const content of [byName(), { board: ['opens'] }])
      expect(messageOf(await save(url, 'early', content, { ifVersion: version }))).toContain('it has to stay one');
    for (const name of ['board', 'opens', 'early']) dataOf(await remove(url, name));
    expect(await find(url, 'early')).toBeNull();
  });

  it('cannot become what an aggregate that names it with others could not use', async () => {
    const { url } = await serve();
    const some = (count: number) => ({
      filter: { where: { or: Array.from({ length: count }, (_, i) => ({ bootNs: { lt: String(i + 5) } })) } },
    });
    const { version } = await saved(url, 'some', some(10));
    await saved(url, 'many', some(900));
    await saved(url, 'both', byName({ and: [{ saved: 'some' }, { saved: 'many' }, { bootNs: { gt: '2' } }] }));
    for (const [content, why] of [
      [some(101), 'at most 1000 are allowed'],
      [{ filter: { where: { bootNs: { lt: '2' } } } }, 'no value is in the range'],
    ] as const)
      expect(messageOf(await save(url, 'some', content, { ifVersion: version }))).toMatch(
        new RegExp(`^content.filter: the aggregate "both" names it, and would be wrong: .*${why}`),
      );
    await saved(url, 'some', some(90), { ifVersion: version });
  });

  it('are saved in turns, however many others name them', async () => {
    const { fixture } = await serve();
    const { queries } = fixture.service;
    const operator = callerOf('operator');
    const many = { or: Array.from({ length: 500 }, (_, i) => ({ process: { comm: { eq: `x${i}` } } })) };
    await queries.save(operator, { name: 'many', content: { filter: { where: many } } });
    const aggregate = { groupBy: ['process.comm'], measures: [{ fn: 'COUNT' as const }], where: { saved: 'many' } };
    for (let i = 0; i < 40; i++) await queries.save(operator, { name: `by ${i}`, content: { aggregate } });
    let laps = 0;
    const lap = (): void => void (laps++, (running = setImmediate(lap)));
    let running = setImmediate(lap);
    await queries.save(operator, { name: 'many', content: { filter: { where: many } }, ifVersion: 1 });
    clearImmediate(running);
    expect(laps).toBeGreaterThan(5);
  });

  it('are no way around the size of a request', async () => {
    const { url } = await serve();
    await saved(url, 'large', { filter: { where: { expr: `bootNs < 5${' '.repeat(9000)}` } } });
    const where = { or: Array.from({ length: 30 }, () => ({ saved: 'large' })) };
    const { json } = await post(url, {
      query: 'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
      variables: { input: { trackers: [{ exit: {} }], where } },
    });
    expect(json.errors?.[0]?.message).toMatch(
      /^input\.where\.or\[29\]\.saved: brings the saved filters that the filter names to \d+ bytes as JSON; at most 262144 are allowed$/,
    );
  });

  it.each<[object, string]>([
    [{ filter: { where: { open: { pth: { eq: 'x' } } } } }, 'pth'],
    [{ filter: { where: { expr: 'process.com == "x"' } } }, 'content.filter.where.expr'],
    [{ filter: { where: { open: { path: { prefix: '/' } } }, trackers: ['exec'] } }, 'content.filter.where.open'],
    [{ filter: { where: {} } }, 'content.filter.where: is empty; give at least one condition, or `trackers`'],
    [{ filter: { where: {}, trackers: ['nosuch'] } }, 'content.filter.trackers[0]'],
    [{ filter: { where: {}, trackers: [] } }, 'content.filter.trackers: is empty'],
    [{ filter: { where: { saved: 'there' } } }, 'content.filter.where.saved: a saved filter cannot name another one'],
    [{ filter: { where: { not: { or: [{ saved: 'x' }] } } } }, 'a saved filter cannot name another one'],
    [byName({ saved: 'nosuch' }), 'content.aggregate.where.saved: there is no saved query "nosuch"'],
    [byName({ saved: 'aggregate' }), '"aggregate" is an aggregate, and no filter'],
    [{ aggregate: { groupBy: [] } }, 'content.aggregate.groupBy: is empty'],
    [{ aggregate: { groupBy: ['time'] } }, 'content.aggregate.groupBy[0]: "time" differs for every event'],
    [{ aggregate: { groupBy: ['process.comm'], limit: 5000 } }, 'content.aggregate.limit: 5000 is out of range'],
    [{ aggregate: { groupBy: ['process.comm'], nosuch: 1 } }, 'nosuch'],
    [{ board: [] }, 'content.board: is empty'],
    [{ board: ['there', 'there'] }, 'content.board[1]: "there" is there already'],
    [{ board: ['x'] }, 'content.board[0]: is the board itself'],
    [{ board: ['nosuch'] }, 'content.board[0]: there is no saved query "nosuch"'],
    [{ board: ['board'] }, 'content.board[0]: "board" is a board'],
    [{ board: Array.from({ length: 101 }, (_, i) => String(i)) }, 'content.board: has 101 entries'],
    [{}, 'xactly one'],
    [{ ...early, board: ['there'] }, 'xactly one'],
    [
      { filter: { where: { process: { comm: { in: Array.from({ length: 1000 }, (_, i) => 'x'.repeat(90) + i) } } } } },
      'bytes as JSON',
    ],
  ])('are checked before they are saved: %j', async (content, message) => {
    const { url, fixture } = await serve();
    await saved(url, 'there', early);
    await saved(url, 'aggregate', byName());
    await saved(url, 'board', { board: ['there'] });
    expect(messageOf(await save(url, 'x', content))).toContain(message);
    expect(fixture.services.queries.queries.size).toBe(3);
  });

  it('are refused with the path of the argument, in the message and beside it', async () => {
    const { url } = await serve();
    const { errors } = await save(url, 'x', { aggregate: { groupBy: ['nosuch'] } });
    expect(errors).toMatchObject([
      {
        message: 'content.aggregate.groupBy[0]: no event has the field "nosuch"',
        extensions: { argument: 'content.aggregate.groupBy[0]' },
      },
    ]);
  });

  it.each(['', ' x', 'x ', '.x', 'a\nb', 'a\u202eb', 'é'.normalize('NFD'), 'x'.repeat(101), '__proto__', '"', '../x'])(
    'have names that can be read and written: not %j',
    async (name) => {
      const { url } = await serve();
      expect(messageOf(await save(url, name, early))).toMatch(/^name: ".*" is no name/s);
      expect(await find(url, name)).toBeNull();
    },
  );

  it('are saved by those who may, and told by whom', async () => {
    const { fixture } = await serve();
    const { queries } = fixture.service;
    const request = { name: 'x', content: { filter: { where: { bootNs: { lt: '5' } } } } };
    await expect(queries.save(callerOf('viewer'), request)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(refusalOf('deleteQuery', 'viewer')?.code).toBe('FORBIDDEN');
    const operator = callerOf('operator');
    expect((await queries.save(operator, request)).savedBy).toBe(operator.who);
    expect(queries.find(callerOf('viewer'), 'x')).toMatchObject({ name: 'x' });
    await expect(queries.delete(callerOf('viewer'), 'x', null)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  it('are bounded in number', async () => {
    const { fixture } = await serve();
    const { queries } = fixture.service;
    const content = early;
    for (let i = 0; i < 1000; i++) await queries.save(callerOf('operator'), { name: `q${i}`, content });
    await expect(queries.save(callerOf('operator'), { name: 'one more', content })).rejects.toMatchObject({
      message: 'name: there are 1000 saved queries, which is the most; delete one first',
    });
    await queries.save(callerOf('operator'), { name: 'q1', content, ifVersion: 2 });
  });
});

describe('saved queries of a server with a data directory', () => {
  it('outlive it, with their versions', async () => {
    const dataDirectory = await directory();
    const first = await serve({ dataDirectory });
    const before = await saved(first.url, 'early', early, { description: 'x' });
    expect(before).toMatchObject({ lasting: true });
    await saved(first.url, 'gone', early);
    dataOf(await remove(first.url, 'gone'));
    const board = await saved(first.url, 'board', { board: ['early'] });
    await first.end();
    expect((await stat(join(dataDirectory, 'queries.json'))).mode & 0o777).toBe(0o600);
    const second = await serve({ dataDirectory });
    expect(await find(second.url, 'early')).toEqual(before);
    expect(await find(second.url, 'board')).toEqual(board);
    expect((await saved(second.url, 'new', early)).version).toBeGreaterThan(board.version);
  });

  it.each([
    ['{"format":1,"lastVersion":1,"queries":[{', 'it is damaged; move it away'],
    ['{"format":1,"lastVersion":1,"queries":[{"name":"x"}]}', 'it is damaged'],
    ['{"format":2,"queries":{}}', 'it was written by a newer version of Eunomia (format 2'],
    [' '.repeat((1 << 20) + 1), 'is larger than'],
  ])('are refused with words where the file is not readable, which is left as it is', async (text, why) => {
    const dataDirectory = await directory();
    const path = join(dataDirectory, 'queries.json');
    await writeFile(path, text, { mode: 0o600 });
    const { url } = await serve({ dataDirectory });
    for (const json of [
      await save(url, 'x', early),
      await remove(url, 'x'),
      (await post<{ savedQuery: null }>(url, { query: '{ savedQuery(name: "x") { name } }' })).json,
    ]) {
      expect(json.errors?.[0]?.extensions?.['code']).toBe('STORE_UNAVAILABLE');
      expect(json.errors?.[0]?.message).toContain(why);
    }
    expect(await readFile(path, 'utf8')).toBe(text);
    // The rest of the server works.
    await start(url, { trackers: [{ exec: {} }] });
  });

  it('are not written over what another server has saved', async () => {
    const dataDirectory = await directory();
    const { url } = await serve({ dataDirectory });
    await saved(url, 'x', early);
    const path = join(dataDirectory, 'queries.json');
    const other = (await readFile(path, 'utf8')).replace('"x"', '"y"');
    await writeFile(path, other);
    const json = await save(url, 'z', early);
    expect([codeOf(json), messageOf(json)]).toEqual([
      'STORE_UNAVAILABLE',
      expect.stringContaining('it was changed by somebody else'),
    ]);
    expect(await readFile(path, 'utf8')).toBe(other);
    expect(await find(url, 'z')).toBeNull();
  });
});
