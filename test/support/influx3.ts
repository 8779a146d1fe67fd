import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';

/**
 * InfluxDB 3 Core as far as its documentation and its client describe it: /ping, /api/v3/configure/database, /api/v3/write_lp (and
 * /api/v2/write, which the client uses by default) and /api/v3/query_sql. No real one can be installed here.
 *
 * Line protocol is read strictly: a line that does not parse, and one with a column of another type, is refused in InfluxData's words. SQL
 * is really executed, by DuckDB, over what was written. DuckDB is not DataFusion. What we use of SQL means the same in both: quoted names,
 * comparisons, AND, OR, NOT, IS NULL, CAST, COUNT, SUM, MIN, MAX, GROUP BY, ORDER BY, LIMIT, UNION ALL, `$name`. Three functions are
 * DataFusion's only, and macros here: to_timestamp_nanos, date_bin, regexp_like (both engines' patterns are RE2's in what we write).
 * It differs in that names of DuckDB are the same in either case, and that a tag is a plain text, not one of a dictionary.
 */
export interface FakeInflux3 {
  readonly url: string;
  /** Method, path and body of each request. */
  readonly requests: readonly string[];
  /** Answers that, in place of all else, while it is not null. */
  outage: number | null;
  close(): Promise<void>;
}

type Kind = 'VARCHAR' | 'BIGINT' | 'UBIGINT' | 'DOUBLE' | 'BOOLEAN' | 'TAG';
const WORDS: Readonly<Record<Kind, string>> = {
  TAG: 'tag',
  VARCHAR: 'field::string',
  BIGINT: 'field::integer',
  UBIGINT: 'field::uinteger',
  DOUBLE: 'field::float',
  BOOLEAN: 'field::boolean',
};

interface Cell {
  readonly kind: Kind;
  /** As SQL has it. */
  readonly literal: string;
}

interface Table {
  readonly columns: Map<string, Kind>;
  /** By series and time: a point that is written again replaces its fields. */
  readonly points: Map<string, ReadonlyMap<string, Cell>>;
}

type Tables = Map<string, Table>;

const MACROS = [
  'CREATE MACRO to_timestamp_nanos(ns) AS make_timestamp_ns(ns)',
  "CREATE MACRO date_bin(stride, moment) AS time_bucket(stride, CAST(moment AS TIMESTAMP), TIMESTAMP '1970-01-01')",
  'CREATE MACRO regexp_like(text, pattern) AS regexp_matches(text, pattern)',
];

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

class Refusal extends Error {}

/** What is before the first of these characters that no backslash is before, and what begins there. */
function until(text: string, ends: string): readonly [string, string] {
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (ends.includes(text.charAt(at))) return [text.slice(0, at), text.slice(at)];
  }
  return [text, ''];
}

function unescaped(text: string): string {
  return text.replace(/\\([,= ])/g, '$1');
}

function fieldOf(text: string): readonly [Cell, string] {
  const string = /^"((?:[^"\\]|\\.)*)"/s.exec(text);
  if (string)
    return [
      { kind: 'VARCHAR', literal: quoted((string[1] ?? '').replace(/\\(["\\])/g, '$1')) },
      text.slice(string[0].length),
    ];
  const [word, rest] = until(text, ', ');
  const whole = /^(-?\d+)([iu])$/.exec(word);
  if (whole) {
    const [, digits = '', sign] = whole;
    const value = BigInt(digits);
    const fits = sign === 'i' ? BigInt.asIntN(64, value) === value : BigInt.asUintN(64, value) === value;
    if (!fits) throw new Refusal(`Unable to parse integer value '${digits}'`);
    return [{ kind: sign === 'i' ? 'BIGINT' : 'UBIGINT', literal: digits }, rest];
  }
  if (/^(t|T|true|True|TRUE)$/.test(word)) return [{ kind: 'BOOLEAN', literal: 'TRUE' }, rest];
  if (/^(f|F|false|False|FALSE)$/.test(word)) return [{ kind: 'BOOLEAN', literal: 'FALSE' }, rest];
  if (!/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(word)) throw new Refusal('No fields were provided');
  return [{ kind: 'DOUBLE', literal: word }, rest];
}

/** Takes one line, or throws what is wrong with it and takes nothing. */
function take(line: string, tables: Tables): void {
  const [measurement, afterName] = until(line, ', ');
  if (measurement === '') throw new Refusal('Expected measurement');
  const cells = new Map<string, Cell>();
  const add = (name: string, cell: Cell): void => {
    if (cells.has(name)) throw new Refusal(`invalid line protocol - multiple instances of '${name}' field found`);
    cells.set(name, cell);
  };
  let rest = afterName;
  while (rest.startsWith(',')) {
    const [key, value] = until(rest.slice(1), '=, ');
    if (key === '' || !value.startsWith('='))
      throw new Refusal(`Tag set malformed: could not find equals sign in \`${rest}\``);
    const [text, after] = until(value.slice(1), ',= ');
    if (text === '' || after.startsWith('=')) throw new Refusal(`Expected tag value, got \`${after}\``);
    add(unescaped(key), { kind: 'TAG', literal: quoted(unescaped(text)) });
    rest = after;
  }
  const series = [...cells].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { literal }]) => [name, literal]);
  if (!rest.startsWith(' ')) throw new Refusal('No fields were provided');
  do {
    const [key, value] = until(rest.slice(1), '=, ');
    if (key === '' || !value.startsWith('=')) throw new Refusal('No fields were provided');
    const [cell, after] = fieldOf(value.slice(1));
    add(unescaped(key), cell);
    rest = after;
  } while (rest.startsWith(','));
  const ns = /^ (-?\d+)$/.exec(rest)?.[1];
  if (ns === undefined) throw new Refusal(`Could not parse entire line. Found trailing content: \`${rest}\``);
  const name = unescaped(measurement);
  const table = tables.get(name) ?? { columns: new Map<string, Kind>(), points: new Map() };
  for (const [column, { kind }] of cells) {
    const before = table.columns.get(column);
    if (before !== undefined && before !== kind)
      throw new Refusal(
        `invalid column type for column '${column}', expected iox::column_type::${WORDS[before]}, got iox::column_type::${WORDS[kind]}`,
      );
  }
  for (const [column, { kind }] of cells) table.columns.set(column, kind);
  const key = JSON.stringify([series, ns]);
  const time: Cell = { kind: 'BIGINT', literal: `make_timestamp_ns(${ns})` };
  table.points.set(key, new Map([...(table.points.get(key) ?? []), ...cells, ['time', time]]));
  tables.set(name, table);
}

/** A database of DuckDB with these points. */
async function filled(tables: Tables): Promise<DuckDBConnection> {
  const connection = await (await DuckDBInstance.create(':memory:')).connect();
  for (const text of ['CREATE SCHEMA iox', 'USE memory.iox', ...MACROS]) await connection.run(text);
  for (const [name, { columns, points }] of tables) {
    const id = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    const typed = [...columns].map(([column, kind]) => `${id(column)} ${kind === 'TAG' ? 'VARCHAR' : kind}`);
    await connection.run(`CREATE TABLE ${id(name)} (${['time TIMESTAMP_NS', ...typed].join(', ')})`);
    const rows = [...points.values()].map(
      (cells) => `(${['time', ...columns.keys()].map((column) => cells.get(column)?.literal ?? 'NULL').join(', ')})`,
    );
    for (let at = 0; at < rows.length; at += 500)
      await connection.run(`INSERT INTO ${id(name)} VALUES ${rows.slice(at, at + 500).join(', ')}`);
  }
  return connection;
}

/** Nulls are left out, and times have no zone, as the JSON of Arrow has them. */
async function jsonLines(
  connection: DuckDBConnection,
  text: string,
  params: Readonly<Record<string, string>>,
): Promise<string> {
  const result = await connection.runAndReadAll(text, { ...params });
  const types = new Map(result.columnNames().map((name, i) => [name, String(result.columnType(i))]));
  return result
    .getRowObjectsJson()
    .map((row) => {
      const cells = Object.entries(row).flatMap(([name, value]) => {
        if (value === null) return [];
        const type = types.get(name) ?? '';
        const json = type.startsWith('TIMESTAMP')
          ? JSON.stringify(String(value).replace(' ', 'T'))
          : /^(U?BIGINT|INTEGER)$/.test(type)
            ? String(value as string)
            : JSON.stringify(value);
        return [`${JSON.stringify(name)}:${json}`];
      });
      return `{${cells.join(',')}}\n`;
    })
    .join('');
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const body = Buffer.concat(parts);
  return (request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString();
}

export async function fakeInflux3({ token = 'apiv3_secret' }: { readonly token?: string } = {}): Promise<FakeInflux3> {
  const databases = new Map<string, { readonly tables: Tables; loaded: Promise<DuckDBConnection> | null }>();
  const requests: string[] = [];
  const state: { outage: number | null } = { outage: null };
  const json = (response: ServerResponse, status: number, body: object): void =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

  const write = (response: ServerResponse, name: string, partial: boolean, body: string): void => {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_/-]*$/.test(name))
      return json(response, 400, { error: `invalid character in database name: ${name}` });
    const database = databases.get(name) ?? { tables: new Map<string, Table>(), loaded: null };
    databases.set(name, database);
    const tables: Tables = partial ? database.tables : structuredClone(database.tables);
    const data = body.split('\n').flatMap((line, i) => {
      if (line === '' || line.startsWith('#')) return [];
      try {
        take(line, tables);
        return [];
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        return [{ original_line: line.slice(0, 64), line_number: i + 1, error_message: error.message }];
      }
    });
    if (partial || !data.length) for (const [table, points] of tables) database.tables.set(table, points);
    database.loaded = null;
    if (!data.length) return void response.writeHead(204).end();
    if (partial) return json(response, 400, { error: 'partial write of line protocol occurred', data });
    json(response, 400, { error: 'parsing failed for write_lp endpoint', data: data[0] });
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await bodyOf(request);
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    requests.push(`${request.method} ${request.url} ${body}`);
    if (state.outage !== null) return json(response, state.outage, { error: 'unavailable' });
    if (![`Bearer ${token}`, `Token ${token}`].includes(request.headers.authorization ?? ''))
      return json(response, 401, { error: 'the request was not authenticated' });
    switch (`${request.method} ${pathname}`) {
      case 'GET /ping':
        response.setHeader('x-influxdb-version', '3.4.1').setHeader('x-influxdb-build', 'Core');
        return json(response, 200, { version: '3.4.1', revision: 'fixture' });
      case 'GET /health':
        return void response.end('OK');
      case 'POST /api/v3/configure/database': {
        const { db } = JSON.parse(body) as { readonly db: string };
        if (databases.has(db))
          return json(response, 409, { error: 'attempted to create a resource that already exists' });
        databases.set(db, { tables: new Map(), loaded: null });
        return void response.writeHead(200).end();
      }
      case 'POST /api/v3/write_lp': {
        if (searchParams.get('precision') !== 'nanosecond')
          return json(response, 400, { error: 'the fixture knows nanoseconds only' });
        return write(response, searchParams.get('db') ?? '', searchParams.get('accept_partial') !== 'false', body);
      }
      case 'POST /api/v2/write':
        return write(response, searchParams.get('bucket') ?? '', true, body);
      case 'POST /api/v3/query_sql': {
        const { db, q, format, params } = JSON.parse(body) as {
          readonly db: string;
          readonly q: string;
          readonly format: string;
          readonly params?: Readonly<Record<string, string>>;
        };
        const database = databases.get(db);
        if (!database) return json(response, 404, { error: `database not found: ${db}` });
        if (format !== 'jsonl') return json(response, 400, { error: 'the fixture knows jsonl only' });
        try {
          const text = await jsonLines(await (database.loaded ??= filled(database.tables)), q, params ?? {});
          return void response.writeHead(200, { 'content-type': 'application/jsonl' }).end(text);
        } catch (error) {
          return void response.writeHead(400).end(`query error: ${(error as Error).message}`);
        }
      }
      default:
        return json(response, 404, { error: 'not found' });
    }
  };

  const server: Server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => json(response, 500, { error: String(error) }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get outage() {
      return state.outage;
    },
    set outage(status) {
      state.outage = status;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
