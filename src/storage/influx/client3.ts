import { EunomiaError, invalid } from '../../base/errors.js';
import type { QueryResult, InfluxClient, InfluxOptions, PartialRow, StoredPoint } from './client.js';
import { measurementOf } from './column.js';
import { HttpError, InfluxHttp } from './http.js';
import { originalTag } from './line.js';
import type { AggregatePlan, EventPlan, PointRange } from './plan.js';
import { needColumns, numberAt, readJsonLines, rowAt, windowAt, zoned, type FluxRow } from './response.js';
import {
  aggregateText,
  eventsText,
  keyOf,
  recordsText,
  resultOf,
  tablesText,
  WINDOW,
  type SqlText,
  type SqlTables,
} from './sql.js';

const nothing = { rows: [], unsaid: [] } as const;
const JSON_BODY = { 'content-type': 'application/json; charset=utf-8' };
/** Of the response to a write: it repeats each line that was refused, of a request of some more than a megabyte. */
const MAX_REFUSAL_BYTES = 16 << 20;
/** What says that the database is there, or that a token may write to it and not make it: the write tells what is wrong. */
const GO_ON: ReadonlySet<number> = new Set([401, 403, 404, 405, 409]);

/** InfluxDB 3: /api/v3/write_lp, and SQL at /api/v3/query_sql. */
export class InfluxClient3 implements InfluxClient {
  readonly product: string;
  readonly #options: InfluxOptions;
  readonly #http: InfluxHttp;
  readonly #writePath: string;

  constructor(options: InfluxOptions, product: string) {
    this.product = product;
    this.#options = options;
    const { token, bucket } = options;
    this.#http = new InfluxHttp(options, token === null ? {} : { authorization: `Bearer ${token}` });
    // A line that is refused does not take the others along, and each is listed: so it is known how many were written.
    const query = { db: bucket, precision: 'nanosecond', accept_partial: 'true', no_sync: 'false' };
    this.#writePath = `/api/v3/write_lp?${new URLSearchParams(query).toString()}`;
  }

  async ensure(signal: AbortSignal): Promise<void> {
    const { bucket, retentionMs } = this.#options;
    const kept = retentionMs === 0 ? {} : { retention_period: `${Math.max(1, Math.ceil(retentionMs / 3_600_000))}h` };
    try {
      const body = JSON.stringify({ db: bucket, ...kept });
      await this.#http.text('/api/v3/configure/database', { method: 'POST', body, headers: JSON_BODY, signal });
    } catch (error) {
      if (!(error instanceof HttpError) || !GO_ON.has(error.statusCode)) throw error;
    }
  }

  async write(lines: Buffer, signal: AbortSignal): Promise<void> {
    await this.#http.text(this.#writePath, {
      method: 'POST',
      body: lines,
      signal,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      errorBytes: MAX_REFUSAL_BYTES,
    });
  }

  async events(plan: EventPlan): Promise<QueryResult<StoredPoint>> {
    const query = eventsText(plan, await this.#tables([measurementOf(plan.tracker.name)]));
    return query ? { rows: await this.#points(query), unsaid: query.unsaid } : nothing;
  }

  async records(
    measurement: string,
    range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredPoint[]> {
    const query = recordsText(measurement, range, limit, await this.#tables([measurement]));
    return query ? this.#points(query) : [];
  }

  async aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>> {
    if (plan.partials.some(({ fn }) => fn === 'quantile'))
      throw invalid('measures', 'the SQL of InfluxDB 3 estimates a QUANTILE; it is made of the events');
    const query = aggregateText(plan, await this.#tables(plan.measurements));
    if (!query) return nothing;
    const known = new Set([
      WINDOW,
      ...plan.groups.map((_, i) => keyOf(i)),
      ...plan.partials.map((_, i) => resultOf(i)),
    ]);
    const required = plan.windowMs === null ? [] : [WINDOW];
    const found = await this.#rows(query, (row) => needColumns(row, required, known));
    const rows = found.flatMap((row) => {
      const key = plan.groups.map((_, i) => {
        const value = row[keyOf(i)];
        return value == null || value === '' ? null : originalTag(String(value));
      });
      const windowMs = plan.windowMs === null ? null : windowAt(zoned(row[WINDOW]));
      return plan.partials.flatMap(({ slot }, i) => {
        const value = numberAt(row[resultOf(i)]);
        return value === null ? [] : [{ key, windowMs, slot, value }];
      });
    });
    return { rows, unsaid: query.unsaid };
  }

  forget(): Promise<void> {
    return Promise.reject(
      new EunomiaError(
        'STORE_UNAVAILABLE',
        'InfluxDB 3 deletes no single points, so that a session stays until the retention of its database ends it',
      ),
    );
  }

  async #tables(names: readonly string[]): Promise<SqlTables> {
    const tables = new Map<string, Set<string>>();
    const rows = await this.#rows(tablesText(names), (row) => needColumns(row, ['table_name', 'column_name'], null));
    for (const { table_name: table, column_name: column } of rows) {
      const columns = tables.get(String(table)) ?? new Set();
      tables.set(String(table), columns.add(String(column)));
    }
    return tables;
  }

  #points(query: SqlText): Promise<StoredPoint[]> {
    return this.#rows(query, (row) => rowAt(zoned(needColumns(row, ['time'], null)['time']), row));
  }

  #rows<Row>({ text, params, most }: SqlText, rowOf: (row: FluxRow) => Row): Promise<Row[]> {
    const body = JSON.stringify({ db: this.#options.bucket, q: text, format: 'jsonl', params });
    return this.#http.ask('/api/v3/query_sql', { method: 'POST', body, headers: JSON_BODY }, (reply) =>
      readJsonLines(reply.body, most, rowOf),
    );
  }
}
