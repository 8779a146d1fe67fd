import type { QueryResult, InfluxClient, InfluxOptions, PartialRow, StoredRow } from './client.js';
import { InfluxClient1 } from './client1.js';
import { InfluxClient2 } from './client2.js';
import { HttpError, InfluxHttp } from './http.js';
import type { AggregatePlan, EventPlan, Range } from './plan.js';

const MAX_NAME = 100;

/** Asks the server what it is: /ping names the version, and VictoriaMetrics, which calls itself 1.8 there, tells itself at /health. */
async function detect(
  options: InfluxOptions,
  signal: AbortSignal,
): Promise<{ readonly version: 1 | 2; readonly product: string }> {
  const http = new InfluxHttp(options);
  if (
    (await saidOrRefused(http.text('/health', { method: 'GET', signal, headers: { accept: 'text/plain' } }))) === 'OK'
  )
    return { version: 2, product: 'VictoriaMetrics' };
  const name = await saidOrRefused(
    http.ask('/ping', { method: 'GET', signal }, async ({ headers }) =>
      String(headers['x-influxdb-version'] ?? '').slice(0, MAX_NAME),
    ),
  );
  return { version: /^v?1\./.test(name) ? 1 : 2, product: `InfluxDB ${name.replace(/^v/, '')}`.trim() };
}

/** What a server refuses is a response too. */
async function saidOrRefused(response: Promise<string>): Promise<string> {
  try {
    return await response;
  } catch (error) {
    if (error instanceof HttpError) return '';
    throw error;
  }
}

/** A client of the version that was configured, or that the server turns out to be once it responds. */
export class ConnectingClient implements InfluxClient {
  readonly #options: InfluxOptions;
  #client: InfluxClient | null = null;

  constructor(options: InfluxOptions) {
    this.#options = options;
    if (options.version !== null) this.#client = clientOf(options, options.version, `InfluxDB ${options.version}.x`);
  }

  get product(): string {
    return this.#client?.product ?? 'InfluxDB';
  }

  async ensure(signal: AbortSignal): Promise<void> {
    await (await this.#need(signal)).ensure(signal);
  }

  async write(lines: Buffer, signal: AbortSignal): Promise<void> {
    await (await this.#need(signal)).write(lines, signal);
  }

  async events(plan: EventPlan): Promise<QueryResult<StoredRow>> {
    return (await this.#need()).events(plan);
  }

  async records(
    measurement: string,
    range: Pick<Range, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredRow[]> {
    return (await this.#need()).records(measurement, range, limit);
  }

  async aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>> {
    return (await this.#need()).aggregate(plan);
  }

  async forget(session: string): Promise<void> {
    await (await this.#need()).forget(session);
  }

  async #need(signal = AbortSignal.timeout(5000)): Promise<InfluxClient> {
    if (this.#client) return this.#client;
    const { version, product } = await detect(this.#options, signal);
    return (this.#client = clientOf(this.#options, version, product));
  }
}

function clientOf(options: InfluxOptions, version: 1 | 2, product: string): InfluxClient {
  return version === 1 ? new InfluxClient1(options, product) : new InfluxClient2(options, product);
}
