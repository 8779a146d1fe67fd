import { numberAt, readSeries, rowAt, windowAt, type Series } from './response.js';
import type { QueryResult, InfluxClient, InfluxOptions, PartialRow, StoredPoint, StoredValue } from './client.js';
import { OWN_TAGS } from './column.js';
import { InfluxHttp } from './http.js';
import { aggregateText, eventsText, recordsText } from './influxql.js';
import { originalTag, storedTag } from './line.js';
import type { AggregatePlan, EventPlan, PointRange } from './plan.js';
import { influxqlName, influxqlText } from './quote.js';

const RETENTION_POLICY = 'eunomia';
const nothing = { rows: [], unsaid: [] } as const;

/** InfluxDB 1.x: /write, and InfluxQL at /query. */
export class InfluxClient1 implements InfluxClient {
  readonly product: string;
  readonly #options: InfluxOptions;
  readonly #http: InfluxHttp;
  readonly #writePath: string;

  constructor(options: InfluxOptions, product: string) {
    this.product = product;
    this.#options = options;
    const { username, password, bucket } = options;
    this.#http = new InfluxHttp(
      options,
      username === null
        ? {}
        : { authorization: `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}` },
    );
    this.#writePath = `/write?${new URLSearchParams({ db: bucket, precision: 'ns' }).toString()}`;
  }

  async ensure(signal: AbortSignal): Promise<void> {
    const { bucket, retentionMs } = this.#options;
    const databases = await this.#series('SHOW DATABASES', 'GET', signal);
    if (databases.some(({ values }) => values.some(([name]) => name === bucket))) return;
    await this.#series(`CREATE DATABASE ${influxqlName(bucket)}`, 'POST', signal);
    if (retentionMs === 0) return;
    const hours = Math.max(1, Math.ceil(retentionMs / 3_600_000));
    await this.#series(
      `CREATE RETENTION POLICY ${influxqlName(RETENTION_POLICY)} ON ${influxqlName(bucket)} DURATION ${hours}h REPLICATION 1 DEFAULT`,
      'POST',
      signal,
    );
  }

  async write(lines: Buffer, signal: AbortSignal): Promise<void> {
    await this.#http.text(this.#writePath, {
      method: 'POST',
      body: lines,
      signal,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
  }

  async events(plan: EventPlan): Promise<QueryResult<StoredPoint>> {
    const query = eventsText(plan);
    return query ? { rows: rowsOf(await this.#series(query.text)), unsaid: query.unsaid } : nothing;
  }

  async records(
    measurement: string,
    range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredPoint[]> {
    const query = recordsText(measurement, range, limit);
    return query ? rowsOf(await this.#series(query.text)) : [];
  }

  async aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>> {
    const query = aggregateText(plan);
    if (!query) return nothing;
    const series = await this.#series(query.text);
    const rows = series.flatMap(({ tags, columns, values }) => {
      const key = plan.groups.map(({ name }) => (tags?.[name] ? originalTag(tags[name]) : null));
      return values.flatMap((value) => {
        const at = (name: string): StoredValue => value[columns.indexOf(name)] ?? null;
        const windowMs = plan.windowMs === null ? null : windowAt(at('time'));
        return plan.partials.flatMap(({ slot }, index) => {
          const number = numberAt(at(`p${index}`));
          return number === null ? [] : [{ key, windowMs, slot, value: number }];
        });
      });
    });
    return { rows, unsaid: query.unsaid };
  }

  async forget(session: string): Promise<void> {
    const id = influxqlText(storedTag(session));
    if (id !== null)
      await this.#series(`DROP SERIES FROM /.*/ WHERE ${influxqlName(OWN_TAGS.session)} = ${id}`, 'POST');
  }

  async #series(text: string, method: 'GET' | 'POST' = 'GET', signal?: AbortSignal): Promise<readonly Series[]> {
    const path = `/query?${new URLSearchParams({ db: this.#options.bucket, q: text }).toString()}`;
    return readSeries(await this.#http.text(path, { method, ...(signal ? { signal } : {}) }));
  }
}

function rowsOf(series: readonly Series[]): StoredPoint[] {
  return series.flatMap(({ columns, values }) =>
    values.map((value) => {
      const named = Object.fromEntries(columns.map((name, index) => [name, value[index] ?? null]));
      return rowAt(named['time'], named);
    }),
  );
}
