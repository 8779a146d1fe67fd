import { EunomiaError } from '../../base/errors.js';
import type { QueryResult, InfluxClient, PartialRow, StoredPoint } from './client.js';
import { failureOf } from './failure.js';
import type { AggregatePlan, EventPlan } from './plan.js';

/** What is asked of a database. Rejects with STORE_UNAVAILABLE, in the database's words, where it does not respond. */
export class Database {
  readonly #client: InfluxClient;
  readonly #location: string;

  /** `location` is for people, and without secrets. */
  constructor(client: InfluxClient, location: string) {
    this.#client = client;
    this.#location = location;
  }

  events(plan: EventPlan): Promise<QueryResult<StoredPoint>> {
    return this.#asked(this.#client.events(plan));
  }

  records(...question: Parameters<InfluxClient['records']>): Promise<readonly StoredPoint[]> {
    return this.#asked(this.#client.records(...question));
  }

  aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>> {
    return this.#asked(this.#client.aggregate(plan));
  }

  forget(session: string): Promise<void> {
    return this.#asked(this.#client.forget(session));
  }

  async #asked<Value>(work: Promise<Value>): Promise<Value> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof EunomiaError) throw error;
      const { message } = failureOf(error);
      throw new EunomiaError('STORE_UNAVAILABLE', `a request to InfluxDB at ${this.#location} failed: ${message}`, {
        cause: error,
      });
    }
  }
}
