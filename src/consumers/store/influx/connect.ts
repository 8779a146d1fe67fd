import { InfluxDB } from '@influxdata/influxdb-client';
import type { Answer, InfluxClient, InfluxOptions, PartialRow, StoredRow } from './client.js';
import { InfluxClient1 } from './client1.js';
import { InfluxClient2 } from './client2.js';
import type { AggregatePlan, EventPlan, Range } from './plan.js';

/** Asks the server what it is: /ping names the version, and VictoriaMetrics, which calls itself 1.8 there, tells itself at /health. */
async function detect(
  { url, ca }: InfluxOptions,
  signal: AbortSignal,
): Promise<{ readonly version: 1 | 2; readonly product: string }> {
  const { transport } = new InfluxDB({ url, transportOptions: ca === null ? {} : { ca } });
  const health: unknown = await transport
    .request('/health', '', { method: 'GET', signal, headers: { accept: 'text/plain' } })
    .catch((error: unknown) => {
      if (error instanceof Error && typeof Reflect.get(error, 'statusCode') === 'number') return '';
      throw error;
    });
  if (health === 'OK') return { version: 2, product: 'VictoriaMetrics' };
  let name = '';
  await transport
    .request('/ping', '', { method: 'GET', signal }, (headers) => (name = String(headers['x-influxdb-version'] ?? '')))
    .catch((error: unknown) => {
      if (!(error instanceof Error) || typeof Reflect.get(error, 'statusCode') !== 'number') throw error;
    });
  return { version: /^v?1\./.test(name) ? 1 : 2, product: `InfluxDB ${name.replace(/^v/, '')}`.trim() };
}

/** A client of the version that was configured, or that the server turns out to be once it answers. */
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

  async events(plan: EventPlan): Promise<Answer<StoredRow>> {
    return (await this.#need()).events(plan);
  }

  async records(
    measurement: string,
    range: Pick<Range, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredRow[]> {
    return (await this.#need()).records(measurement, range, limit);
  }

  async aggregate(plan: AggregatePlan): Promise<Answer<PartialRow>> {
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
