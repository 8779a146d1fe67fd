import { InfluxDB as Http } from '@influxdata/influxdb-client';
import { InfluxDB } from 'influx';
import {
  GZIP_BYTES,
  QUERY_TIMEOUT_MS,
  type Answer,
  type InfluxClient,
  type InfluxOptions,
  type PartialRow,
  type StoredRow,
  type StoredValue,
} from './client.js';
import { OWN_TAGS } from './column.js';
import { aggregateText, eventsText, identifier, literal, recordsText } from './influxql.js';
import { storedTag } from './line.js';
import type { AggregatePlan, EventPlan, Range } from './plan.js';

interface Series {
  readonly tags?: Readonly<Record<string, string>>;
  readonly columns: readonly string[];
  readonly values: readonly (readonly StoredValue[])[];
}

const RETENTION_POLICY = 'eunomia';
const nothing = { rows: [], unsaid: [] } as const;

/**
 * InfluxDB 1.x: /write and InfluxQL. Queries go through the package `influx`; points through the transport of 2.x's client, since `influx`
 * takes objects and would format them itself, and spooled points are lines already.
 */
export class InfluxClient1 implements InfluxClient {
  readonly product: string;
  readonly #options: InfluxOptions;
  readonly #influx: InfluxDB;
  readonly #http: Http;
  readonly #writePath: string;

  constructor(options: InfluxOptions, product: string) {
    this.product = product;
    this.#options = options;
    const { url, username, password, bucket, ca } = options;
    const { protocol, hostname, port, pathname } = new URL(url);
    const secure = protocol === 'https:';
    this.#influx = new InfluxDB({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (secure ? 443 : 80),
      path: pathname === '/' ? '' : pathname,
      protocol: secure ? 'https' : 'http',
      username: username ?? '',
      password: password ?? '',
      database: bucket,
      options: ca === null ? {} : { ca },
      // When to try again the sender decides.
      pool: { requestTimeout: QUERY_TIMEOUT_MS, maxRetries: 0, backoff: noBackoff },
    });
    const credentials: Record<string, string> =
      username === null
        ? {}
        : { authorization: `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}` };
    this.#http = new Http({ url, headers: credentials, transportOptions: ca === null ? {} : { ca } });
    this.#writePath = `/write?${new URLSearchParams({ db: bucket, precision: 'ns' }).toString()}`;
  }

  async ensure(): Promise<void> {
    const { bucket, retentionMs } = this.#options;
    const names = await this.#tried(this.#influx.getDatabaseNames());
    if (names.includes(bucket)) return;
    await this.#tried(this.#influx.createDatabase(bucket));
    if (retentionMs === 0) return;
    const hours = Math.max(1, Math.ceil(retentionMs / 3_600_000));
    await this.#tried(
      this.#influx.createRetentionPolicy(RETENTION_POLICY, {
        database: bucket,
        duration: `${hours}h`,
        replication: 1,
        isDefault: true,
      }),
    );
  }

  async write(lines: Buffer, signal: AbortSignal): Promise<void> {
    await this.#http.transport.request(this.#writePath, lines.toString(), {
      method: 'POST',
      gzipThreshold: GZIP_BYTES,
      signal,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
  }

  async events(plan: EventPlan): Promise<Answer<StoredRow>> {
    const query = eventsText(plan);
    return query ? { rows: rowsOf(await this.#series(query.text)), unsaid: query.unsaid } : nothing;
  }

  async records(
    measurement: string,
    range: Pick<Range, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredRow[]> {
    const query = recordsText(measurement, range, limit);
    return query ? rowsOf(await this.#series(query.text)) : [];
  }

  async aggregate(plan: AggregatePlan): Promise<Answer<PartialRow>> {
    const query = aggregateText(plan);
    if (!query) return nothing;
    const series = await this.#series(query.text);
    const rows = series.flatMap(({ tags, columns, values }) => {
      const key = plan.groups.map(({ name }) => tags?.[name] || null);
      return values.flatMap((value) => {
        const at = (name: string): StoredValue => value[columns.indexOf(name)] ?? null;
        const windowMs = plan.windowMs === null ? null : Date.parse(String(at('time')));
        return plan.partials.flatMap(({ slot }, index) => {
          const number = at(`p${index}`);
          return typeof number === 'number' ? [{ key, windowMs, slot, value: number }] : [];
        });
      });
    });
    return { rows, unsaid: query.unsaid };
  }

  async forget(session: string): Promise<void> {
    await this.#series(
      `DROP SERIES FROM /.*/ WHERE ${identifier(OWN_TAGS.session)} = ${literal(storedTag(session))}`,
      'POST',
    );
  }

  async #series(text: string, method: 'GET' | 'POST' = 'GET'): Promise<readonly Series[]> {
    const answer = (await this.#tried(this.#influx.queryRaw(text, { method, database: this.#options.bucket }))) as {
      results?: readonly { series?: readonly Series[]; error?: string }[];
    };
    const failed = answer.results?.find(({ error }) => error !== undefined)?.error;
    if (failed !== undefined)
      throw Object.assign(new Error(failed), { statusCode: failed.startsWith('database not found') ? 404 : 400 });
    return answer.results?.flatMap(({ series }) => series ?? []) ?? [];
  }

  /** The package's errors hold the status inside the response. */
  async #tried<Value>(work: Promise<Value>): Promise<Value> {
    try {
      return await work;
    } catch (error) {
      const response: unknown = error instanceof Error ? Reflect.get(error, 'res') : null;
      const status: unknown =
        typeof response === 'object' && response !== null ? Reflect.get(response, 'statusCode') : undefined;
      throw typeof status === 'number' && error instanceof Error ? Object.assign(error, { statusCode: status }) : error;
    }
  }
}

interface Backoff {
  getDelay(): number;
  next(): Backoff;
  reset(): Backoff;
}

const noBackoff: Backoff = { getDelay: () => 0, next: () => noBackoff, reset: () => noBackoff };

function rowsOf(series: readonly Series[]): StoredRow[] {
  return series.flatMap(({ columns, values }) =>
    values.map((value) => {
      const named = Object.fromEntries(columns.map((name, index) => [name, value[index] ?? null]));
      return { time: String(named['time']), columns: named };
    }),
  );
}
