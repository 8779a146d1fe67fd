import { timeoutSignal } from '../../base/timeout.js';
import type { QueryResult, InfluxClient, InfluxOptions, PartialRow, StoredPoint } from './client.js';
import { InfluxClient1 } from './client1.js';
import { InfluxClient2 } from './client2.js';
import { InfluxClient3 } from './client3.js';
import { failureOf } from './failure.js';
import { HttpError, InfluxHttp } from './http.js';
import type { AggregatePlan, EventPlan, PointRange } from './plan.js';

const MAX_NAME = 100;

interface Server {
  readonly version: 1 | 2 | 3;
  readonly product: string;
}

/**
 * Asks the server what it is. /ping names the version, to InfluxDB 3 only with a token; VictoriaMetrics, which calls itself 1.8 there,
 * tells itself at /health, where InfluxDB 3 says the same.
 */
async function detect(options: InfluxOptions, signal: AbortSignal): Promise<Server> {
  const { token, username } = options;
  const http = new InfluxHttp(options);
  const name =
    (await pinged(http, signal)) ??
    (token === null ? null : await pinged(new InfluxHttp(options, { authorization: `Bearer ${token}` }), signal));
  // Of the others, only a 1.x that was told to guards it.
  if (name === null)
    return username === null ? { version: 3, product: 'InfluxDB 3' } : { version: 1, product: 'InfluxDB' };
  const product = `InfluxDB ${name.replace(/^v/, '')}`.trim();
  if (/^v?3\./.test(name)) return { version: 3, product };
  const health = http.text('/health', { method: 'GET', signal, headers: { accept: 'text/plain' } });
  if ((await health.catch(refused)) === 'OK') return { version: 2, product: 'VictoriaMetrics' };
  return { version: /^v?1\./.test(name) ? 1 : 2, product };
}

/** What the server calls its version; empty when it does not say; null when it tells that to nobody without a (right) token. */
async function pinged(http: InfluxHttp, signal: AbortSignal): Promise<string | null> {
  try {
    return await http.ask('/ping', { method: 'GET', signal }, async ({ headers }) =>
      String(headers['x-influxdb-version'] ?? '').slice(0, MAX_NAME),
    );
  } catch (error) {
    refused(error);
    return error instanceof HttpError && (error.statusCode === 401 || error.statusCode === 403) ? null : '';
  }
}

/** What a server refuses is a response too; that it is busy, or that a proxy does not reach it, says nothing of what it is. */
function refused(error: unknown): string {
  if (error instanceof HttpError && failureOf(error).kind !== 'AWAY') return '';
  throw error;
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

  async events(plan: EventPlan): Promise<QueryResult<StoredPoint>> {
    return (await this.#need()).events(plan);
  }

  async records(
    measurement: string,
    range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredPoint[]> {
    return (await this.#need()).records(measurement, range, limit);
  }

  async aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>> {
    return (await this.#need()).aggregate(plan);
  }

  async forget(session: string): Promise<void> {
    await (await this.#need()).forget(session);
  }

  async #need(signal = timeoutSignal(5000)): Promise<InfluxClient> {
    if (this.#client) return this.#client;
    const { version, product } = await detect(this.#options, signal);
    return (this.#client = clientOf(this.#options, version, product));
  }
}

const CLIENTS = { 1: InfluxClient1, 2: InfluxClient2, 3: InfluxClient3 } as const;

function clientOf(options: InfluxOptions, version: Server['version'], product: string): InfluxClient {
  return new CLIENTS[version](options, product);
}
