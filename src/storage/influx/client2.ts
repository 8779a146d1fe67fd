import {
  json,
  numberAt,
  readBuckets,
  readOrganisation,
  readTables,
  rowAt,
  windowAt,
  type FluxRow,
} from './response.js';
import type { QueryResult, InfluxClient, InfluxOptions, PartialRow, StoredPoint } from './client.js';
import { OWN_TAGS } from './column.js';
import { aggregateText, eventsText, recordsText, RESULT } from './flux.js';
import { HttpError, InfluxHttp } from './http.js';
import { originalTag, storedTag } from './line.js';
import type { AggregatePlan, EventPlan, PointRange } from './plan.js';
import { predicateText } from './quote.js';

const nothing = { rows: [], unsaid: [] } as const;
const JSON_BODY = { 'content-type': 'application/json; charset=utf-8' };
/** Annotated CSV. */
const DIALECT = {
  header: true,
  delimiter: ',',
  quoteChar: '"',
  commentPrefix: '#',
  annotations: ['datatype', 'group', 'default'],
};

/** InfluxDB 2.x, and what takes its /api/v2/write: points through that, queries in Flux. */
export class InfluxClient2 implements InfluxClient {
  readonly product: string;
  readonly #options: InfluxOptions;
  readonly #http: InfluxHttp;
  readonly #writePath: string;

  constructor(options: InfluxOptions, product: string) {
    this.product = product;
    this.#options = options;
    const { token, organisation, bucket } = options;
    this.#http = new InfluxHttp(options, token === null ? {} : { authorization: `Token ${token}` });
    this.#writePath = `/api/v2/write?${new URLSearchParams({ org: organisation, bucket, precision: 'ns' }).toString()}`;
  }

  /** A server that has no buckets, as VictoriaMetrics, needs none. */
  async ensure(signal: AbortSignal): Promise<void> {
    const { organisation, bucket, retentionMs } = this.#options;
    const found = await this.#ask(
      'GET',
      `/api/v2/buckets?${new URLSearchParams({ org: organisation, name: bucket }).toString()}`,
      '',
      signal,
    );
    if (found === null || readBuckets(found).length) return;
    const organisations = await this.#ask(
      'GET',
      `/api/v2/orgs?${new URLSearchParams({ org: organisation }).toString()}`,
      '',
      signal,
    );
    const orgID = organisations === null ? null : readOrganisation(organisations);
    if (orgID === null) return; // the write says what is wrong
    const retentionRules = retentionMs === 0 ? [] : [{ type: 'expire', everySeconds: Math.ceil(retentionMs / 1000) }];
    await this.#ask(
      'POST',
      '/api/v2/buckets',
      JSON.stringify({ orgID, name: bucket, retentionRules, description: 'Kernel events of Eunomia' }),
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
    const query = eventsText(this.#options.bucket, plan);
    return query ? { rows: await this.#rows(query.text), unsaid: query.unsaid } : nothing;
  }

  async records(
    measurement: string,
    range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredPoint[]> {
    const query = recordsText(this.#options.bucket, measurement, range, limit);
    return query ? this.#rows(query.text) : [];
  }

  async aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>> {
    const query = aggregateText(this.#options.bucket, plan);
    if (!query) return nothing;
    const rows = await this.#flux(query.text);
    const { windowMs: size } = plan;
    return {
      rows: rows.flatMap((row) => {
        const slot = plan.partials[Number(String(row['result']).slice(1))]?.slot;
        const value = numberAt(row[RESULT]);
        if (slot === undefined || value === null) return [];
        // The first window starts with the range, not where it would.
        const windowMs = size === null ? null : Math.floor(windowAt(row['_start']) / size) * size;
        return [
          {
            key: plan.groups.map(({ name }) =>
              row[name] == null || row[name] === '' ? null : originalTag(String(row[name])),
            ),
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
    const id = predicateText(storedTag(session));
    if (id === null) return;
    const predicate = `${OWN_TAGS.session}=${id}`;
    const range = { start: '1970-01-01T00:00:00Z', stop: '2262-01-01T00:00:00Z' };
    await this.#http.text(`/api/v2/delete?${new URLSearchParams({ org: organisation, bucket }).toString()}`, {
      method: 'POST',
      body: JSON.stringify({ ...range, predicate }),
      headers: JSON_BODY,
    });
  }

  async #rows(text: string): Promise<StoredPoint[]> {
    return (await this.#flux(text)).map((row) => rowAt(row['_time'], row));
  }

  #flux(text: string): Promise<FluxRow[]> {
    const path = `/api/v2/query?${new URLSearchParams({ org: this.#options.organisation }).toString()}`;
    const body = JSON.stringify({ query: text, dialect: DIALECT, type: 'flux' });
    return this.#http.ask(path, { method: 'POST', body, headers: { ...JSON_BODY, accept: 'text/csv' } }, (reply) =>
      readTables(reply.body),
    );
  }

  /** Null where the server has no such thing, or the token may not ask for it: what is there may be written to all the same. */
  async #ask(method: 'GET' | 'POST', path: string, body: string, signal: AbortSignal): Promise<unknown> {
    try {
      return json(
        await this.#http.text(path, { method, body, signal, headers: { ...JSON_BODY, accept: 'application/json' } }),
      );
    } catch (error) {
      const status = error instanceof HttpError ? error.statusCode : null;
      if (status === 404) return { buckets: [], orgs: [] };
      if (status !== null && status >= 400 && status < 500 && status !== 429 && status !== 408) return null;
      // A response that is no JSON is of another kind of server.
      if (error instanceof SyntaxError) return null;
      throw error;
    }
  }
}
