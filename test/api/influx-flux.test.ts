import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { filterOf } from '../../src/filter/index.js';
import { SPOOL } from '../../src/storage/influx/column.js';
import {
  aggregate,
  catalog,
  ended,
  execEvent,
  fields,
  openStore,
  sessionOf,
  sliceOf,
  timeAt,
  type TestStore,
} from '../support/influx.js';
import { until } from '../support/until.js';

/**
 * Flux and the API of 2.x against a contract: no InfluxDB 2 can be installed here. A server of this test checks the
 * text of each query and the requests around it against what is written here, and returns as the reference of InfluxDB
 * 2.7 shows annotated CSV. What this shows: which requests are made, that they are well formed and escaped, and how
 * answers are read. What it cannot show: that a real InfluxDB 2 takes this Flux, answers it with these tables, or how
 * long that takes.
 */
interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly token: string;
}

let server: Server;
let requests: Request[];
interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly body: string;
}
let answers: Map<string, (request: Request) => Answer | Promise<Answer>>;
let opened: TestStore;

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return (request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString();
}

beforeEach(async () => {
  requests = [];
  answers = new Map();
  server = createServer((request, response) => {
    void read(request).then(async (body) => {
      const asked = {
        method: request.method ?? '',
        path: request.url ?? '',
        body,
        token: request.headers.authorization ?? '',
      };
      requests.push(asked);
      const [path = ''] = asked.path.split('?');
      const answer = (await answers.get(`${asked.method} ${path}`)?.(asked)) ?? { status: 204, body: '' };
      response.writeHead(answer.status ?? 200, { 'content-type': answer.type ?? 'application/json' }).end(answer.body);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened = await openStore(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    version: 2,
    token: 'secret',
    organisation: 'org & co',
    bucket: 'a "bucket"',
    retentionMs: 3_600_000,
  });
});

afterEach(async () => {
  await opened.store.close();
  server.closeAllConnections();
  server.close();
});

const csv = (...lines: string[]): string => `${lines.join('\r\n')}\r\n\r\n`;
const flux = (request: Request): string => (JSON.parse(request.body) as { query: string }).query;
const queries = (): string[] => requests.filter(({ path }) => path.startsWith('/api/v2/query')).map(flux);

const SESSION = csv(
  '#datatype,string,long,dateTime:RFC3339,string,string,string,string,string,string,string,string,string,long,long,string,string',
  '#group,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false',
  '#default,_result,,,,,,,,,,,,,,,',
  ',result,table,_time,_measurement,host,session,name,labels,trackers,capture,mode,state,events,nextSeq,createdAt,stoppedAt',
  `,,0,${timeAt(1_700_000_000_000)},eunomia.session,h,s1,"a ` +
    `""name""",[],"[""exec""]",DEFAULT,EVENTS,STOPPED,2,2,${timeAt(1_700_000_000_000)},${timeAt(1_700_000_060_000)}`,
);

/** The response to a query for sessions: these run, by their ids and with the spools of their servers. There are no events. */
function running(request: Request, spools: Readonly<Record<string, string>>): { type: string; body: string } {
  const time = timeAt(1_700_000_000_000);
  const rows = Object.entries(spools).map(
    ([id, spool]) => `,,0,${time},eunomia.session,h,${id},"[""exec""]",EVENTS,RUNNING,${time},${spool}`,
  );
  return {
    type: 'text/csv',
    body: flux(request).includes('eunomia.session')
      ? csv(
          '#datatype,string,long,dateTime:RFC3339,string,string,string,string,string,string,string,string',
          '#group,false,false,false,false,false,false,false,false,false,false,false',
          '#default,_result,,,,,,,,,,',
          `,result,table,_time,_measurement,host,session,trackers,mode,state,createdAt,${SPOOL}`,
          ...rows,
        )
      : '\r\n',
  };
}

const written = (): string[] =>
  requests.filter(({ path }) => path.startsWith('/api/v2/write')).flatMap(({ body }) => body.trimEnd().split('\n'));

describe('InfluxDB 2.x', () => {
  it('gets a bucket at the first write, and points in nanoseconds with the token', async () => {
    answers.set('GET /api/v2/buckets', () => ({ body: '{"buckets":[]}' }));
    answers.set('GET /api/v2/orgs', () => ({ body: '{"orgs":[{"id":"0123"}]}' }));
    answers.set('POST /api/v2/buckets', () => ({ status: 201, body: '{}' }));
    const sink = await opened.store.record(sessionOf('EVENTS', ['exec'], 's1'));
    await sink.write([sliceOf([execEvent(timeAt(1_700_000_000_000, 5))], 0)], null);
    await sink.finish(ended);
    const [find, org, make, write] = requests;
    expect(find?.path).toBe('/api/v2/buckets?org=org+%26+co&name=a+%22bucket%22');
    expect(org?.path).toBe('/api/v2/orgs?org=org+%26+co');
    expect(JSON.parse(make?.body ?? '')).toMatchObject({
      orgID: '0123',
      name: 'a "bucket"',
      retentionRules: [{ type: 'expire', everySeconds: 3600 }],
    });
    expect(write).toMatchObject({
      method: 'POST',
      path: '/api/v2/write?org=org+%26+co&bucket=a+%22bucket%22&precision=ns',
      token: 'Token secret',
    });
    expect(requests.map(({ body }) => body).join('')).toContain(
      'eunomia_exec,host=test-host,session=s1,tracker=exec seq=0i,',
    );
    expect(opened.sender.stats).toMatchObject({ state: 'CONNECTED', written: 3 });
  });

  it('says what it refuses', async () => {
    answers.set('GET /api/v2/buckets', () => ({
      status: 401,
      body: '{"code":"unauthorized","message":"unauthorized access"}',
    }));
    answers.set('POST /api/v2/write', () => ({
      status: 401,
      body: '{"code":"unauthorized","message":"unauthorized access"}',
    }));
    const sink = await opened.store.record(sessionOf('EVENTS', ['exec'], 's1'));
    await sink.flush();
    expect(await opened.store.status()).toMatchObject({
      state: 'FAILED',
      problem: expect.stringContaining('HTTP 401: unauthorized access') as string,
    });
  });

  it('returns aggregates, windows by the start of each', async () => {
    answers.set('POST /api/v2/query', (request) => {
      if (flux(request).includes('eunomia.session')) return { type: 'text/csv', body: SESSION };
      const table = (name: string, value: string) =>
        csv(
          '#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,string,long',
          '#group,false,false,false,false,false,false',
          `#default,${name},,,,,`,
          ',result,table,_start,_stop,errno,eunomia_value',
          `,,0,2023-11-14T22:13:20Z,2023-11-14T22:13:30Z,ENOENT,${value}`,
          `,,0,2023-11-14T22:13:30Z,2023-11-14T22:13:40Z,,${value}1`,
        );
      return { type: 'text/csv', body: table('p0', '4') + table('p1', '900') };
    });
    const filter = filterOf({ container: { name: { eq: 'a "b" ${c}' } } }, fields, ['exec']);
    const rows = await aggregate(
      opened,
      { sessions: ['s1'], trackers: ['exec'], from: null, to: null, containers: null, filter },
      shapeOf(),
    );
    expect(rows).toMatchObject([
      {
        key: [{ field: 'errno', value: 'ENOENT' }],
        count: 4,
        values: [{ name: 'largest', number: 900 }],
        window: { from: '2023-11-14T22:13:20.000000000Z', to: '2023-11-14T22:13:30.000000000Z' },
      },
      { key: [{ field: 'errno', value: null }], count: 41, values: [{ number: 9001 }] },
    ]);
    expect(queries().at(-1)).toBe(`import "regexp"

data = from(bucket: "a \\"bucket\\"")
  |> range(start: 2023-11-14T22:12:20.000000000Z, stop: 2023-11-14T22:15:20.000000000Z)
  |> filter(fn: (r) => r._measurement == "eunomia_exec")
  |> filter(fn: (r) => r["session"] == "s1")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => (exists r["container_name"] and (r["container_name"] == "a \\"b\\" \\\${c}")))

data
  |> filter(fn: (r) => exists r["seq"])
  |> group(columns: ["errno"])
  |> window(every: 10000ms)
  |> map(fn: (r) => ({r with eunomia_value: r["seq"]}))
  |> count(column: "eunomia_value")
  |> group()
  |> limit(n: 20001)
  |> yield(name: "p0")

data
  |> filter(fn: (r) => exists r["process_pid"])
  |> group(columns: ["errno"])
  |> window(every: 10000ms)
  |> map(fn: (r) => ({r with eunomia_value: r["process_pid"]}))
  |> max(column: "eunomia_value")
  |> group()
  |> limit(n: 20001)
  |> yield(name: "p1")`);
  });

  it('gives events back, typed', async () => {
    answers.set('POST /api/v2/query', (request) => {
      const text = flux(request);
      if (text.includes('eunomia.session')) return { type: 'text/csv', body: SESSION };
      if (text.includes('eunomia.gap')) return { type: 'text/csv', body: '\r\n' };
      return {
        type: 'text/csv',
        body: csv(
          '#datatype,string,long,dateTime:RFC3339,string,string,long,long,string,boolean,string,string,long',
          '#group,false,false,false,false,false,false,false,false,false,false,false,false',
          '#default,_result,,,,,,,,,,,',
          ',result,table,_time,session,errno,seq,process_pid,filename,argsTruncated,args,container_id,netNs',
          ',,0,2023-11-14T22:13:20.000000005Z,s1,ENOENT,0,7,"/bin/""x"", y",true,"[""a"",""b""]",cc,4026531840',
        ),
      };
    });
    const page = await opened.store.history(
      {
        sessions: ['s1'],
        trackers: ['exec'],
        from: 1_700_000_000_000_000_000n,
        to: 1_700_000_060_000_000_000n,
        containers: null,
        filter: null,
      },
      { after: null, before: null, limit: 10, backwards: false },
    );
    expect(page.events).toMatchObject([
      {
        event: {
          __typename: 'ExecEvent',
          tracker: 'exec',
          time: timeAt(1_700_000_000_000, 5),
          errno: 'ENOENT',
          filename: '/bin/"x", y',
          argsTruncated: true,
          args: ['a', 'b'],
          netNs: '4026531840',
          process: { pid: 7 },
          container: { id: 'cc' },
          cwd: null,
        },
        place: { session: 's1', seq: 0, time: 1_700_000_000_000_000_005n },
      },
    ]);
  });

  it('has sessions of two servers: one that nobody ended was interrupted if it is its own, and others are told', async () => {
    answers.set('POST /api/v2/query', (request) =>
      running(request, { own: opened.sender.spoolId, others: 'another spool' }),
    );
    const told = (await opened.store.sessions()).map(({ id, state, stopReason }) => [id, state, stopReason]);
    expect(told).toEqual([
      ['own', 'STOPPED', 'INTERRUPTED'],
      ['others', 'RUNNING', null],
    ]);
    await until('the session is in the database', () => opened.sender.stats.written === 1);
    expect(written()).toEqual([
      expect.stringMatching(
        /^eunomia\.session,host=h,session=own state="STOPPED",stopReason="INTERRUPTED",.*,events=0i,nextSeq=0i 1700000000000000000$/,
      ),
    ]);
  });

  it.each(['while the database takes no points', 'while the database is asked'])(
    'does not call a session interrupted that ends %s',
    async (when) => {
      const { store, sender } = opened;
      const sink = await store.record(sessionOf('EVENTS', ['exec'], 's1'));
      await until('the session is in the database', () => sender.stats.written === 1);
      if (when.endsWith('no points')) {
        answers.set('POST /api/v2/write', () => ({ status: 503, body: '{}' }));
        await sink.finish(ended);
      }
      let ending: Promise<void> | null = null;
      answers.set('POST /api/v2/query', async (request) => {
        if (!when.endsWith('no points')) await (ending ??= sink.finish(ended));
        return running(request, { s1: sender.spoolId });
      });
      await (when.endsWith('no points') ? store.session('s1') : store.sessions());
      answers.delete('POST /api/v2/write');
      await until('all is sent', () => sender.stats.queued === 0);
      const reasons = written().flatMap((line) => /stopReason="(\w+)"/.exec(line)?.slice(1) ?? []);
      expect(new Set(reasons)).toEqual(new Set(['REQUESTED']));
    },
  );

  it('deletes a session by its tag', async () => {
    await opened.store.remove('a"b');
    expect(requests.at(-1)?.path).toBe('/api/v2/delete?org=org+%26+co&bucket=a+%22bucket%22');
    expect(JSON.parse(requests.at(-1)?.body ?? '')).toMatchObject({ predicate: 'session="a\\"b"' });
  });
});

function shapeOf() {
  return {
    groupBy: ['errno'],
    measures: [{ fn: 'MAX' as const, field: 'process.pid', name: 'largest' }],
    window: { size: 10_000 },
  };
}

it('has the tracker that it is tested with', () => expect(catalog.get('exec')).toBeDefined());
