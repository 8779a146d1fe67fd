import { chunksToLines, linesToTables } from '@influxdata/influxdb-client';
import * as v from 'valibot';
import { isTime } from '../facts.js';
import type { StoredPoint, StoredValue } from './client.js';

/**
 * What a database's responses must look like before anything reads them. It is another program, of any version, perhaps
 * no InfluxDB at all. A response of another form is an error as a whole: rows left out would pass for all there are.
 */

/** The library copies what it has of a line with each part that comes. */
const MAX_LINE_BYTES = 4 << 20;
const LINE_FEED = 0x0a;

const name = v.pipe(v.string(), v.maxLength(1024));
/** Checked by a plain function: there may be millions. */
const cells = v.custom<readonly (readonly StoredValue[])[]>(
  (rows) => Array.isArray(rows) && rows.every((row: unknown) => Array.isArray(row) && row.every(isValue)),
  'is no table of values',
);
const series = v.object({
  tags: v.optional(v.record(name, v.string())),
  columns: v.array(name),
  values: v.optional(cells, []),
});
const results = v.object({
  results: v.optional(
    v.array(v.object({ series: v.optional(v.array(series), []), error: v.optional(v.string()) })),
    [],
  ),
  error: v.optional(v.string()),
});
const buckets = v.object({ buckets: v.optional(v.array(v.unknown()), []) });
const organisations = v.object({
  orgs: v.optional(v.array(v.object({ id: v.pipe(v.string(), v.maxLength(256)) })), []),
});

export type Series = v.InferOutput<typeof series>;
export type FluxRow = Readonly<Record<string, StoredValue | undefined>>;

/** The series of a response to InfluxQL. Throws for what is none; what the database says of an error has a `statusCode`. */
export function readSeries(text: string): readonly Series[] {
  const response = read(results, json(text));
  const failed = response.error ?? response.results.find(({ error }) => error !== undefined)?.error;
  if (failed !== undefined)
    throw Object.assign(new Error(failed), { statusCode: failed.startsWith('database not found') ? 404 : 400 });
  return response.results.flatMap((result) => result.series);
}

export function readBuckets(response: unknown): readonly unknown[] {
  return read(buckets, response).buckets;
}

/** The id of the first organisation. */
export function readOrganisation(response: unknown): string | null {
  return read(organisations, response).orgs[0]?.id ?? null;
}

/** Throws a SyntaxError for what is no JSON. */
export function json(text: string): unknown {
  return JSON.parse(text) as unknown;
}

/**
 * The rows of a response to Flux, while it comes. Rejects for what is no annotated CSV, and with the database's words
 * where it broke off.
 */
export async function readTables(body: AsyncIterable<Buffer>): Promise<FluxRow[]> {
  const rows: FluxRow[] = [];
  let failed: Error | null = null;
  const fail = (error: Error): void => void (failed ??= error);
  let pending = 0;
  const tables = linesToTables({
    next: (cells, table) => {
      const row: unknown = table.toObject(cells);
      if (!isRow(row)) return fail(odd('a row has a cell that is no value'));
      // A query that fails after its first rows ends with a table of this form.
      const { error, reference } = row;
      if (typeof error === 'string' && reference !== undefined)
        return fail(Object.assign(new Error(error), { statusCode: 400 }));
      rows.push(row);
    },
    error: fail,
    complete: () => undefined,
  });
  const lines = chunksToLines({ ...tables, next: (line) => ((pending = 0), tables.next(line)) });
  for await (const part of body) {
    pending += part.length;
    lines.next(part);
    if (failed) throw failed;
    if (pending > MAX_LINE_BYTES) throw odd(`a line has more than ${MAX_LINE_BYTES >> 20} MiB`);
  }
  lines.complete();
  if (failed) throw failed;
  return rows;
}

/** The rows of a response to SQL, an object a line, read while they come. Rejects for what is none, and beyond `most` (null: any). */
export async function readJsonLines<Row>(
  body: AsyncIterable<Buffer>,
  most: number | null,
  rowOf: (row: FluxRow) => Row,
): Promise<Row[]> {
  const rows: Row[] = [];
  const take = (line: Buffer): void => {
    const text = line.toString().trim();
    if (text === '') return;
    const row = json(text);
    if (!isRow(row)) throw odd('a row has a cell that is no value');
    if (rows.length === most) throw odd(`it has more than ${most} rows`);
    rows.push(rowOf(row));
  };
  let rest: Buffer = Buffer.alloc(0);
  for await (const part of body) {
    let from = 0;
    for (let at = part.indexOf(LINE_FEED); at !== -1; at = part.indexOf(LINE_FEED, from)) {
      take(Buffer.concat([rest, part.subarray(from, at)]));
      rest = Buffer.alloc(0);
      from = at + 1;
    }
    rest = Buffer.concat([rest, part.subarray(from)]);
    if (rest.length > MAX_LINE_BYTES) throw odd(`a line has more than ${MAX_LINE_BYTES >> 20} MiB`);
  }
  take(rest);
  return rows;
}

/** A time of SQL, which is in UTC and does not say so. */
export function zoned(time: unknown): unknown {
  return typeof time === 'string' && !time.endsWith('Z') ? `${time}Z` : time;
}

/** A row of SQL that has the required columns, as texts, and none but `known` (null: any): an error may come as a success. */
export function needColumns(row: FluxRow, required: readonly string[], known: ReadonlySet<string> | null): FluxRow {
  const missing = required.find((name) => typeof row[name] !== 'string');
  if (missing !== undefined) throw odd(`a row has no "${missing}"`);
  const more = known && Object.keys(row).find((name) => !known.has(name));
  if (more != null) throw odd(`a row has "${more}", which nobody asked for`);
  return row;
}

/** A row of events or records. The store passes over one without a time: another program's. */
export function rowAt(time: unknown, columns: FluxRow): StoredPoint {
  return { time: typeof time === 'string' ? time : '', columns };
}

/** Where a window begins, in milliseconds since 1970. */
export function windowAt(time: unknown): number {
  if (!isTime(time)) throw odd('a window has no time');
  return Date.parse(time);
}

/** A number of an aggregate; null where the database has none. */
export function numberAt(value: unknown): number | null {
  if (value === null || value === undefined) return null;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw odd('a sum is no number');
  return value;
}

function isValue(value: unknown): value is StoredValue {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function isRow(row: unknown): row is FluxRow {
  return (
    typeof row === 'object' &&
    row !== null &&
    !Array.isArray(row) &&
    Object.values(row).every((value) => value === undefined || isValue(value))
  );
}

function read<const Schema extends v.GenericSchema>(schema: Schema, value: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw odd(`${v.getDotPath(issue) ?? 'it'}: ${issue.message}`);
}

function odd(what: string): Error {
  return new Error(`the response is not of InfluxDB's form: ${what.slice(0, 200)}`);
}
