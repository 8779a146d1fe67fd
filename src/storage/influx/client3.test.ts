import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalog } from '../../../test/support/influx.js';
import type { InfluxOptions } from './client.js';
import { InfluxClient3 } from './client3.js';
import { ConnectingClient } from './index.js';
import { planAggregate } from './plan.js';

/** What a real socket says in place of an InfluxDB. */
let answer: (request: IncomingMessage, response: ServerResponse) => void = (_, response) => response.end();
let server: Server;
let options: InfluxOptions;

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    response.on('error', () => undefined);
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  options = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
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

describe('what a database is', () => {
  const { signal } = new AbortController();
  const versions: readonly (readonly [string, string])[] = [
    ['3.4.1', '/api/v3/write_lp'],
    ['v2.7.1', '/api/v2/write'],
    ['1.6.7', '/write'],
  ];

  it.each(versions.flatMap((version) => [429, 500, 502, 503].map((status) => [status, ...version] as const)))(
    'is not known from a %i at /ping: asked again, %s gets its points at %s',
    async (status, version, path) => {
      const client = new ConnectingClient(options);
      answer = (_, response) => void response.writeHead(status).end('busy');
      await expect(client.write(Buffer.from('a b=1 1\n'), signal)).rejects.toThrow('busy');
      const paths: (string | undefined)[] = [];
      answer = ({ url }, response) => {
        paths.push(url?.split('?')[0]);
        response.writeHead(204, { 'x-influxdb-version': version }).end();
      };
      await client.write(Buffer.from('a b=1 1\n'), signal);
      expect(paths.at(-1)).toBe(path);
    },
  );

  it('is not known from a 503 at /health, where VictoriaMetrics is told from an InfluxDB 1.8', async () => {
    const client = new ConnectingClient(options);
    let status = 503;
    const paths: (string | undefined)[] = [];
    answer = ({ url }, response) => {
      paths.push(url?.split('?')[0]);
      if (url === '/health') response.writeHead(status).end('OK');
      else response.writeHead(204, { 'x-influxdb-version': '1.8.0' }).end();
    };
    await expect(client.write(Buffer.from('a b=1 1\n'), signal)).rejects.toThrow('OK');
    status = 200;
    await client.write(Buffer.from('a b=1 1\n'), signal);
    expect(paths.at(-1)).toBe('/api/v2/write');
  });
});

describe('rows of an InfluxDB 3', () => {
  const exec = catalog.need('exec');
  const range = {
    trackers: [exec],
    from: 1_000_000_000_000_000_000n,
    to: 1_000_000_060_000_000_000n,
    sessions: ['abc'],
    filter: null,
  };
  const page = { ...range, tracker: exec, places: null, limit: 10, backwards: false };
  const sums = planAggregate({ ...range, source: 'RAW', groupBy: ['errno'], measures: [], windowMs: null });
  const questions = {
    events: (client: InfluxClient3) => client.events(page),
    records: (client: InfluxClient3) => client.records('eunomia_exec', range, 10),
    aggregate: (client: InfluxClient3) => client.aggregate(sums),
  };
  const tables = ['time', 'session', 'seq', 'errno']
    .map((column) => `{"table_name":"eunomia_exec","column_name":"${column}"}\n`)
    .join('');
  const kinds = Object.keys(questions) as (keyof typeof questions)[];
  /** The first request is for the tables, unless they are what is asked about. */
  const respond = (first: string, second: string): void => {
    const bodies = [first, second];
    answer = (_, response) => void response.writeHead(200).end(bodies.shift());
  };

  it.each(
    kinds.flatMap((kind) =>
      ['{"error":"out of memory"}\n', '{}\n', '"x"\n', '<html>'].map((body) => [kind, body] as const),
    ),
  )('are not none where %s gets %j, of the table or of its columns', async (kind, body) => {
    const client = new InfluxClient3(options, 'three');
    respond(body, '');
    await expect(questions[kind](client)).rejects.toThrow(Error);
    respond(tables, body);
    // A sum of nothing is a row without numbers.
    if (kind === 'aggregate' && body === '{}\n')
      await expect(questions[kind](client)).resolves.toMatchObject({ rows: [] });
    else await expect(questions[kind](client)).rejects.toThrow(Error);
  });

  it.each(kinds)('are no more than %s asked for, also while they come', async (kind) => {
    const client = new InfluxClient3(options, 'three');
    const row = Buffer.from(
      (kind === 'aggregate' ? '{"k0":"x","p0":1}\n' : '{"time":"2026-01-31T08:15:30"}\n').repeat(10_000),
    );
    let sent = 0;
    let requests = 0;
    answer = (_, response) => {
      response.writeHead(200);
      if (requests++ === 0) return void response.end(tables);
      const more = (): void => {
        while (!response.destroyed && response.write(row)) sent += row.length;
      };
      response.on('drain', more);
      more();
    };
    await expect(questions[kind](client)).rejects.toThrow(/more than \d+ rows/);
    expect(sent).toBeLessThan(16 << 20);
  });
});
