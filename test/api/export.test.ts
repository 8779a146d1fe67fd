import { contractSchema } from '../../src/api/graphql/schema.js';
import { assertInterfaceType, assertObjectType, getNamedType, isObjectType, type GraphQLField } from 'graphql';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { parse } from 'csv-parse/sync';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createServer, createFixture, dataOf, post, startedId, type Fixture, type FixtureOptions } from './support.js';
import { createReplay, type RecordedEntry } from '../../src/session/replay.js';
import { dataFields } from '../../src/event/data-field.js';
import { heldBytes } from '../support/memory.js';
import { batchAt } from '../support/record.js';
import { specOf } from '../support/spec.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;
const opened: ApiServer[] = [];

async function open(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
  opened.push(server);
}

beforeEach(() => open());
afterEach(async () => {
  await fixture.services.manager.close();
  await Promise.all(opened.splice(0).map((each) => each.close()));
});

const EVENTS = 'trackers: [{ exec: {} }, { open: {} }], bufferBytes: 67108864';

async function start(input = EVENTS): Promise<string> {
  return startedId(await post(server.url, { query: `mutation { startSession(input: { ${input} }) { id } }` }));
}

function download(path: string, headers: Record<string, string> = { 'x-eunomia': '1' }): Promise<Response> {
  return fetch(server.url.replace('/graphql', `/export/${path}`), { headers });
}

async function lines(path: string): Promise<Record<string, never>[]> {
  const response = await download(path);
  expect(response.status).toBe(200);
  return (await response.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, never>);
}

/** All fields without arguments of an event type, and of the objects in it. */
function selectionOf(name: string): { readonly shared: string; readonly own: string } {
  const schema = contractSchema();
  const textOf = (fields: readonly GraphQLField<unknown, unknown>[]): string =>
    fields
      .filter(({ args }) => args.length === 0)
      .map((field) => {
        const type = getNamedType(field.type);
        return isObjectType(type) ? `${field.name} { ${textOf(dataFields(type))} }` : field.name;
      })
      .join(' ');
  const event = assertObjectType(schema.getType(name));
  const shared = assertInterfaceType(schema.getType('TraceEvent')).getFields();
  const fields = dataFields(event);
  return {
    shared: textOf(fields.filter((field) => field.name in shared)),
    own: textOf(fields.filter((field) => !(field.name in shared))),
  };
}

describe('an export as NDJSON', () => {
  it('has the session first, then each event with the fields of its type as GraphQL returns them, then the end', async () => {
    const id = await start();
    fixture.kernel.emit(6, { cgroupId: 4242 });
    const [head, ...rest] = await lines(`${id}.ndjson`);
    const end = rest.pop();
    expect(head).toMatchObject({
      eunomia: { recording: 1, fields: null, session: { id, trackers: ['exec', 'open'], state: 'RUNNING' } },
    });
    expect(end).toEqual({ end: { items: '6', lost: '0', dropped: '0', complete: true, state: 'RUNNING' } });
    const { shared, own } = selectionOf('ExecEvent');
    const answer = await post<{ session: { events: { nodes: Record<string, unknown>[] } } }>(server.url, {
      query:
        `{ session(id: "${id}") { events { nodes { ${shared} ... on ExecEvent { ${own} } ... on OpenEvent { ` +
        'openErrno: errno fd path flags } } } } }',
    });
    const { nodes } = dataOf(answer.json).session.events;
    expect(rest.filter(({ tracker }) => tracker === 'exec')).toEqual(nodes.filter(({ tracker }) => tracker === 'exec'));
    expect(
      rest
        .filter(({ tracker }) => tracker === 'open')
        .map(({ errno, fd, path, flags }) => ({ openErrno: errno, fd, path, flags })),
    ).toEqual(
      nodes
        .filter(({ tracker }) => tracker === 'open')
        .map(({ openErrno, fd, path, flags }) => ({ openErrno, fd, path, flags })),
    );
  });

  it('tells of a loss where it happened, and of events that the session no longer holds', async () => {
    const id = await start('trackers: [{ exec: {} }], bufferBytes: 65536');
    fixture.kernel.emit(700);
    fixture.kernel.emit(700, { lost: 5 });
    const [, evicted, lost, ...events] = await lines(`${id}.ndjson`);
    expect(evicted).toMatchObject({ gap: { lost: '0', dropped: '700', where: 'CLIENT' } });
    expect(lost).toMatchObject({ gap: { lost: '5', dropped: '0', where: 'KERNEL' } });
    expect(events.pop()).toMatchObject({ end: { items: '700', lost: '5', dropped: '700', complete: false } });
    expect(events).toHaveLength(700);
  });

  it('has only the events and fields that were asked for', async () => {
    const id = await start();
    fixture.kernel.emit(12);
    const [head, ...events] = await lines(
      `${id}.ndjson?fields=process.pid,args&where=${encodeURIComponent('tracker == "exec" && errno == "ENOENT"')}`,
    );
    events.pop();
    expect(head).toMatchObject({
      eunomia: { fields: ['process.pid', 'args'], where: 'tracker == "exec" && errno == "ENOENT"' },
    });
    expect(events).toEqual(
      [0, 6].map((pid) => ({
        tracker: 'exec',
        time: expect.any(String),
        process: { pid },
        args: ['run', String(pid)],
      })),
    );
  });

  it('follows a session to its end', async () => {
    const id = await start();
    fixture.kernel.emit(2);
    const response = await download(`${id}.ndjson?follow=true`);
    await until('a reader', () => fixture.services.manager.get(id)?.hasReaders === true);
    fixture.kernel.emit(2);
    await post(server.url, { query: `mutation { stopSession(id: "${id}") { id } }` });
    const all = (await response.text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, never>);
    expect(all).toHaveLength(6);
    expect(all.at(-1)).toMatchObject({ end: { items: '4', complete: true, state: 'STOPPED' } });
  });

  it.each([
    ['was cut', false],
    ['cannot be read on', true],
  ])('followed to its end, is not complete where a recording %s', async (problem, broken) => {
    let goOn = (): void => undefined;
    const followed = new Promise<void>((resolve) => (goOn = resolve));
    const { id } = await fixture.services.manager.replay(
      specOf([{ name: 'exec', options: {} }]),
      createReplay({
        startedAt: null,
        entries: (async function* (): AsyncGenerator<RecordedEntry> {
          await followed;
          yield { kind: 'event', event: batchAt(1, 1).event(0) };
          if (broken) throw new Error(problem);
        })(),
        problem: () => problem,
        speed: Number.POSITIVE_INFINITY,
      }),
    );
    const response = await download(`${id}.ndjson?follow=true&fields=tracker`);
    goOn();
    const all = (await response.text()).trimEnd().split('\n');
    expect(JSON.parse(all.at(-2) ?? '')).toMatchObject({ gap: { lost: '0', dropped: '0' } });
    expect(JSON.parse(all.at(-1) ?? '')).toMatchObject({ end: { items: '1', complete: false } });
  });

  it('ends when its reader leaves', async () => {
    const id = await start();
    const { hostname, port } = new URL(server.url);
    const client = request({ hostname, port, path: `/export/${id}.ndjson?follow=true`, headers: { 'x-eunomia': '1' } });
    client.on('error', () => undefined).end();
    await until('a reader', () => fixture.services.manager.get(id)?.hasReaders === true);
    client.destroy();
    await until('no reader', () => fixture.services.manager.get(id)?.hasReaders === false);
  });

  it('waits for a reader that takes nothing, in bounded memory', async () => {
    const id = await start('trackers: [{ exec: {} }], bufferBytes: 67108864');
    for (let i = 0; i < 40; i++) fixture.kernel.emit(5000);
    const { hostname, port } = new URL(server.url);
    const before = heldBytes();
    const client = request(
      { hostname, port, path: `/export/${id}.ndjson`, headers: { 'x-eunomia': '1' } },
      (response) => response.pause(),
    );
    client.on('error', () => undefined).end();
    await once(client, 'response');
    await new Promise((resolve) => setTimeout(resolve, 300)); // in which it may read on
    expect(heldBytes() - before).toBeLessThan(100 << 20); // the whole is 200,000 lines of some 600 bytes
    client.destroy();
  });
});

describe('an export as CSV', () => {
  it('is read back by a parser of RFC 4180, a text that looks like a formula defused', async () => {
    const id = await start('trackers: [{ exec: {} }]');
    fixture.kernel.emit(4, { cgroupId: 4242 });
    const response = await download(
      `${id}.csv?fields=process.pid,process.mountNs,filename,args,container.name,container.labels.tier,errno`,
    );
    expect(response.headers.get('content-type')).toContain('text/csv');
    expect(response.headers.get('content-disposition')).toBe(`attachment; filename="eunomia-${id}-events.csv"`);
    const rows = parse(await response.text(), { columns: true, relax_column_count: false }) as Record<string, string>[];
    expect(rows).toHaveLength(4);
    expect(rows[1]).toEqual({
      'process.pid': '1',
      'process.mountNs': '',
      filename: '/bin/"quoted"/1',
      args: '["run","1"]',
      'container.name': 'web-1',
      'container.labels.tier': 'front',
      errno: '',
    });
  });
});

describe('an export as Parquet', () => {
  it('has typed columns that DuckDB reads', async () => {
    const id = await start('trackers: [{ exec: {} }, { open: {} }]');
    fixture.kernel.emit(10_000, { cgroupId: 4242 });
    const folder = await mkdtemp(join(tmpdir(), 'eunomia-export-'));
    try {
      const file = join(folder, 'events.parquet');
      await writeFile(file, Buffer.from(await (await download(`${id}.parquet`)).arrayBuffer()));
      const connection = await (await DuckDBInstance.create(':memory:')).connect();
      const query = async (sql: string) =>
        (await connection.runAndReadAll(sql.replace('FILE', `'${file}'`))).getRowObjectsJson();
      const types = Object.fromEntries(
        (await query('DESCRIBE SELECT * FROM FILE')).map(({ column_name: name, column_type: type }) => [name, type]),
      );
      expect(types).toMatchObject({
        tracker: 'VARCHAR',
        bootNs: 'UBIGINT',
        'process.pid': 'INTEGER',
        'process.uid': 'UINTEGER',
        args: 'VARCHAR[]',
        argsTruncated: 'BOOLEAN',
        'container.name': 'VARCHAR',
      });
      expect(types['time']).toMatch(/^TIMESTAMP/);
      expect(
        await query(
          'SELECT count(*) n, sum("process.pid") pids, max(bootNs) boot, count(args) args, count(DISTINCT ' +
            '"container.name") containers FROM FILE',
        ),
      ).toEqual([{ n: '10000', pids: String((9999 * 10_000) / 2), boot: '9999', args: '5000', containers: '1' }]);
      expect(
        await query('SELECT args, epoch_ns(time) % 1000000000 AS ns FROM FILE WHERE "process.pid" = 9998'),
      ).toEqual([{ args: ['run', '9998'], ns: '9998' }]);
      const [facts] = await query(
        "SELECT decode(value) AS value FROM parquet_kv_metadata(FILE) WHERE decode(key) = 'eunomia.end'",
      );
      expect(JSON.parse(String(facts?.['value']))).toMatchObject({ items: 10_000, lost: 0, complete: true });
      connection.closeSync();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('an export of an aggregate', () => {
  const query = 'groupBy=process.comm&measures=count,sum(process.pid),top(process.pid)&limit=2';

  it('has a row for each group, the rest as "other"', async () => {
    const id = await start('trackers: [{ exec: {} }]');
    fixture.kernel.emit(8);
    const [head, first, , other, end] = await lines(`${id}.ndjson?${query}`);
    expect(head).toMatchObject({ eunomia: { aggregate: true, fields: ['process.comm'] } });
    expect(first).toMatchObject({ 'process.comm': 'worker-0', count: '2', 'sum(process.pid)': 4, other: false });
    expect(other).toMatchObject({ 'process.comm': null, count: '4', other: true });
    expect(end).toMatchObject({ end: { items: '3' } });
    const rows = parse(await (await download(`${id}.csv?${query}`)).text(), { columns: true }) as Record<
      string,
      string
    >[];
    expect(rows[0]).toMatchObject({ 'process.comm': 'worker-0', count: '2', 'sum(process.pid)': '4', other: 'false' });
  });
});

describe('a download that is refused', () => {
  it.each([
    ['nothing.ndjson', 404, /there is no session "nothing"/],
    ['ID.xml', 400, /\.ndjson, \.csv, \.parquet or \.pcapng/],
    ['ID.pcapng', 400, /format: pcapng has packets, which are events of the tracker packet; the session has exec/],
    ['ID.csv?fields=process.com', 400, /fields\[0\]: .*did you mean "process.comm"/],
    ['ID.csv?field=x', 400, /no parameter of a download; did you mean "fields"/],
    ['ID.csv?where=pid%20%3D%3D', 400, /where\.expr/],
    ['ID.csv?follow=1', 400, /follow: is "1"/],
    ['ID.csv?groupBy=process.comm&follow=true', 400, /follow: belongs to an export of events/],
    [
      'ID.csv?groupBy=process.comm&measures=p101(process.pid)',
      400,
      /measures\[0\]: "p101\(process.pid\)" is no measure/,
    ],
    ['ID.csv?limit=3', 400, /limit: belongs to an aggregate/],
  ])('%s: %i', async (path, status, message) => {
    const id = await start();
    const response = await download(path.replace('ID', id));
    const { errors } = (await response.json()) as { errors: { message: string }[] };
    expect(response.status).toBe(status);
    expect(errors[0]?.message).toMatch(message);
  });

  it('needs the header that no foreign page can send, and a token where the server has any', async () => {
    const id = await start();
    expect((await download(`${id}.csv`, {})).status).toBe(403);
    await open({ tokens: [{ secret: 'view', role: 'viewer' }] });
    expect((await download('x.csv')).status).toBe(401);
    expect((await download('x.csv', { authorization: 'Bearer view' })).status).toBe(404);
  });
});
