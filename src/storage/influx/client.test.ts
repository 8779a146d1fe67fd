import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InfluxOptions } from './client.js';
import { InfluxClient1 } from './client1.js';
import { InfluxClient2 } from './client2.js';
import { InfluxClient3 } from './client3.js';
import { ConnectingClient } from './index.js';
import { HttpError, InfluxHttp } from './http.js';
import { planAggregate } from './plan.js';
import { hostileJson, mutated } from '../../../test/support/hostile-json.js';
import { catalog } from '../../../test/support/influx.js';

/** A database that sends what the test says, over a real socket. */
let answer: (response: ServerResponse, asked: string) => void = (response) => response.end();
let server: Server;
let options: InfluxOptions;

beforeAll(async () => {
  server = createServer((request, response) => {
    response.on('error', () => undefined);
    void text(request).then((asked) => answer(response, asked));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  options = {
    url: `http://127.0.0.1:${port}`,
    version: null,
    token: null,
    username: null,
    password: null,
    organisation: 'o',
    bucket: 'b',
    retentionMs: 0,
    ca: null,
  };
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const exec = catalog.need('exec');
const range = {
  trackers: [exec],
  from: 1_000_000_000_000_000_000n,
  to: 1_000_000_060_000_000_000n,
  sessions: ['abc'],
  filter: null,
};
const page = { ...range, tracker: exec, places: null, limit: 10, backwards: false };
const windows = planAggregate({ ...range, source: 'RAW', groupBy: ['errno'], measures: [], windowMs: 1000 });
const clients = (): readonly [InfluxClient1, InfluxClient2, InfluxClient3] => [
  new InfluxClient1(options, 'one'),
  new InfluxClient2(options, 'two'),
  new InfluxClient3(options, 'three'),
];

/**
 * What each question gave: rows, or an error. A row has a time that is a text, and values; a sum is a finite number in
 * a window that a date has.
 */
async function asked(client: ReturnType<typeof clients>[number]): Promise<readonly ('rows' | 'error')[]> {
  const whole = client
    .events(page)
    .then(({ rows }) =>
      rows.every(
        ({ time, columns }) =>
          typeof time === 'string' &&
          Object.values(columns).every(
            (value) => value == null || ['string', 'number', 'boolean'].includes(typeof value),
          ),
      ),
    );
  const records = client.records('gaps', range, 10).then((rows) => rows.every(({ time }) => typeof time === 'string'));
  const sums = client
    .aggregate(windows)
    .then(({ rows }) =>
      rows.every(
        ({ value, windowMs }) => Number.isFinite(value) && new Date(windowMs ?? Number.NaN).toISOString() !== '',
      ),
    );
  const made = client.ensure(new AbortController().signal).then(() => true);
  const results = await Promise.allSettled([whole, records, sums, made]);
  return results.map((result) => {
    if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(Error);
    else expect(result.value).toBe(true);
    return result.status === 'rejected' ? 'error' : 'rows';
  });
}

const sound = {
  results: [
    {
      statement_id: 0,
      series: [
        {
          name: 'exec',
          tags: { errno: 'ENOENT' },
          columns: ['time', 'p0', 'seq'],
          values: [
            ['2026-01-31T08:15:30.000000001Z', 1, 2],
            ['2026-01-31T08:15:31Z', 3, null],
          ],
        },
      ],
    },
  ],
};
const csv =
  '#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,double,string\r\n' +
  '#group,false,false,true,false,false,true\r\n#default,_result,,,,,\r\n' +
  ',result,table,_start,_time,value,errno\r\n' +
  ',p0,0,2026-01-31T08:15:30Z,2026-01-31T08:15:30.000000001Z,1,ENOENT\r\n\r\n';

/** Rows of InfluxDB 3: the columns of a table, points, a sum. */
const columns = ['time', 'session', 'seq', 'errno'].map((name) => ({ table_name: 'eunomia_exec', column_name: name }));
const points = [{ time: '2026-01-31T08:15:30.000000001', session: 'abc', seq: 1 }];
const sums = [{ w: '2026-01-31T08:15:30', k0: 'ENOENT', p0: 1 }];
const rowsFor = (asked: string): readonly object[] =>
  asked.includes('information_schema') ? columns : asked.includes('date_bin') ? sums : points;

const sends =
  (type: string, body: string, status = 200) =>
  (response: ServerResponse): void =>
    void response.writeHead(status, { 'content-type': type }).end(body);

describe('an InfluxDB that is hostile', () => {
  it('but sends what a sound one does gives rows', async () => {
    const [one, two, three] = clients();
    answer = sends('application/json', JSON.stringify(sound));
    expect((await asked(one)).slice(0, 3)).toEqual(['rows', 'rows', 'rows']);
    answer = sends('text/csv', csv);
    expect((await asked(two)).slice(0, 3)).toEqual(['rows', 'rows', 'rows']);
    answer = (response, asked) =>
      sends(
        'application/jsonl',
        rowsFor(asked)
          .map((row) => `${JSON.stringify(row)}\n`)
          .join(''),
      )(response);
    expect((await asked(three)).slice(0, 3)).toEqual(['rows', 'rows', 'rows']);
  });

  it('and sends any JSON, or a response with other values in it, costs an error or sound rows', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(hostileJson, mutated(sound), mutated({ ...columns[0], ...points[0], ...sums[0] })),
        fc.constantFrom(200, 200, 200, 400, 500, 302),
        async (json, status) => {
          answer = sends('application/json', JSON.stringify(json) ?? '', status);
          for (const client of clients()) await asked(client);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('and sends CSV with anything changed in it costs an error or sound rows', async () => {
    const change = fc.tuple(
      fc.nat(csv.length),
      fc.nat(20),
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.constantFrom('"', ',', '\r\n', '#datatype', '__proto__', 'error', 'NaN', '1e999', '', csv),
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const text = changes.reduce(
          (whole, [at, length, other]) => whole.slice(0, at) + other + whole.slice(at + length),
          csv,
        );
        answer = sends('text/csv', text);
        for (const client of clients()) await asked(client);
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ['JSON', '{"results":[{"series":[', 200],
    ['a quoted text of CSV', `${csv.slice(0, -2)},p0,0,"`, 200],
    ['rows of CSV', csv, 200],
    ['an error', '{"error":"', 500],
  ])('and never ends %s is cut off, in bounded memory', async (_what, head, status) => {
    let sent = 0;
    answer = (response) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      const part = Buffer.alloc(1 << 20, head.includes('series') ? '[1],' : head === csv ? csv : 'x');
      const more = (): void => {
        while (!response.destroyed && response.write(part)) sent += part.length;
      };
      response.on('drain', more);
      response.write(head);
      more();
    };
    for (const client of clients()) {
      sent = 0;
      await expect(client.events(page)).rejects.toThrow(Error);
      expect(sent).toBeLessThan(128 << 20);
    }
  });

  it('and sends a byte now and then, or stops in the middle, is left within the time that a request has', async () => {
    const http = new InfluxHttp({ ...options, timeoutMs: 300 });
    answer = (response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(timer));
    };
    await expect(http.text('/', { method: 'GET' })).rejects.toThrow(/no whole response within 0.3 s/);
    answer = (response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{');
      setImmediate(() => response.destroy());
    };
    for (const client of clients()) await expect(client.events(page)).rejects.toThrow(/aborted|hang up|ECONNRESET/);
  });

  it('is told by its status and its words, of which a beginning is kept', async () => {
    answer = sends('application/json', JSON.stringify({ error: 'x'.repeat(1 << 20) }), 503);
    const error: unknown = await new ConnectingClient({ ...options, version: 1 })
      .events(page)
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HttpError);
    expect(error).toMatchObject({
      statusCode: 503,
      body: expect.stringMatching(/^\{"error":"x{60000,65535}$/) as string,
    });
  });
});
