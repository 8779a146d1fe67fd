import { InfluxDB } from '@influxdata/influxdb-client';
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
import { aggregateText, eventsText, recordsText, RESULT } from './flux.js';
import { storedTag } from './line.js';
import type { AggregatePlan, EventPlan, Range } from './plan.js';

type FluxRow = Readonly<Record<string, StoredValue | undefined>>;

const nothing = { rows: [], unsaid: [] } as const;

/** InfluxDB 2.x, and what takes its /api/v2/write: points through that, queries in Flux. */
export class InfluxClient2 implements InfluxClient {
  readonly product: string;
  readonly #options: InfluxOptions;
  readonly #influx: InfluxDB;
  readonly #writePath: string;

  constructor(options: InfluxOptions, product: string) {
    this.product = product;
    this.#options = options;
    const { url, token, organisation, bucket, ca } = options;
    this.#influx = new InfluxDB({
      url,
      timeout: QUERY_TIMEOUT_MS,
      ...(token === null ? {} : { token }),
      transportOptions: ca === null ? {} : { ca },
    });
    this.#writePath = `/api/v2/write?${new URLSearchParams({ org: organisation, bucket, precision: 'ns' }).toString()}`;
  }

  /** A server that has no buckets, as VictoriaMetrics, needs none. */
  async ensure(signal: AbortSignal): Promise<void> {
    const { organisation, bucket, retentionMs } = this.#options;
    const found = (await this.#ask(
      'GET',
      `/api/v2/buckets?${new URLSearchParams({ org: organisation, name: bucket }).toString()}`,
      '',
      signal,
    )) as { buckets?: readonly unknown[] } | null;
    if (found === null || found.buckets?.length) return;
    const { orgs } = ((await this.#ask(
      'GET',
      `/api/v2/orgs?${new URLSearchParams({ org: organisation }).toString()}`,
      '',
      signal,
    )) ?? {}) as { orgs?: readonly { id: string }[] };
    const orgID = orgs?.[0]?.id;
    if (orgID === undefined) return; // the write says what is wrong
    const retentionRules = retentionMs === 0 ? [] : [{ type: 'expire', everySeconds: Math.ceil(retentionMs / 1000) }];
    await this.#ask(
      'POST',
      '/api/v2/buckets',
      JSON.stringify({ orgID, name: bucket, retentionRules, description: 'Kernel events of Eunomia' }),
      signal,
    );
  }

  async write(lines: Buffer, signal: AbortSignal): Promise<void> {
    await this.#influx.transport.request(this.#writePath, lines.toString(), {
      method: 'POST',
      gzipThreshold: GZIP_BYTES,
      signal,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
  }

  async events(plan: EventPlan): Promise<Answer<StoredRow>> {
    const query = eventsText(this.#options.bucket, plan);
    return query ? { rows: await this.#rows(query.text), unsaid: query.unsaid } : nothing;
  }

  async records(
    measurement: string,
    range: Pick<Range, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredRow[]> {
    const query = recordsText(this.#options.bucket, measurement, range, limit);
    return query ? this.#rows(query.text) : [];
  }

  async aggregate(plan: AggregatePlan): Promise<Answer<PartialRow>> {
    const query = aggregateText(this.#options.bucket, plan);
    if (!query) return nothing;
    const rows = await this.#flux(query.text);
    const { windowMs: size } = plan;
    return {
      rows: rows.flatMap((row) => {
        const slot = plan.partials[Number(String(row['result']).slice(1))]?.slot;
        const value = row[RESULT];
        if (slot === undefined || typeof value !== 'number') return [];
        // The first window starts with the range, not where it would.
        const windowMs = size === null ? null : Math.floor(Date.parse(String(row['_start'])) / size) * size;
        return [
          {
            key: plan.groups.map(({ name }) => (row[name] == null || row[name] === '' ? null : String(row[name]))),
            windowMs,
            slot,
            value,
          },
        ];
      }),
      unsaid: query.unsaid,
    };
  }

  async forget(session: string): Promise<void> {
    const { organisation, bucket } = this.#options;
    const predicate = `${OWN_TAGS.session}="${storedTag(session).replaceAll('"', '\\"')}"`;
    const range = { start: '1970-01-01T00:00:00Z', stop: '2262-01-01T00:00:00Z' };
    await this.#influx.transport.request(
      `/api/v2/delete?${new URLSearchParams({ org: organisation, bucket }).toString()}`,
      JSON.stringify({ ...range, predicate }),
      { method: 'POST' },
    );
  }

  async #rows(text: string): Promise<StoredRow[]> {
    return (await this.#flux(text)).map((row) => ({ time: String(row['_time']), columns: row }));
  }

  #flux(text: string): Promise<FluxRow[]> {
    return this.#influx.getQueryApi({ org: this.#options.organisation }).collectRows<FluxRow>(text);
  }

  /** Null where the server has no such thing, or the token may not ask for it: what is there may be written to all the same. */
  async #ask(method: string, path: string, body: string, signal: AbortSignal): Promise<unknown> {
    try {
      return (await this.#influx.transport.request(path, body, {
        method,
        signal,
        headers: { accept: 'application/json' },
      })) as unknown;
    } catch (error) {
      const status: unknown = error instanceof Error ? Reflect.get(error, 'statusCode') : undefined;
      if (status === 404) return { buckets: [], orgs: [] };
      if (typeof status === 'number' && status >= 400 && status < 500 && status !== 429 && status !== 408) return null;
      // An answer that is no JSON is of another kind of server.
      if (error instanceof SyntaxError) return null;
      throw error;
    }
  }
}
