import type { InfluxConfig } from '../../base/config.js';
import type { AggregatePlan, EventPlan, PointRange } from './plan.js';
import type { LineWriter } from './sender.js';

export type StoredValue = string | number | boolean | null;

/** A point: its tags and fields by their names; what is absent is undefined or null. */
export interface StoredPoint {
  /** RFC 3339; nanoseconds as far as they are not 0. */
  readonly time: string;
  readonly columns: Readonly<Record<string, StoredValue | undefined>>;
}

/** What the database made of one group of one measurement. */
export interface PartialRow {
  /** In the order of the plan's groups. */
  readonly key: readonly (string | null)[];
  /** Milliseconds since 1970; null without windows. */
  readonly windowMs: number | null;
  readonly slot: string;
  readonly value: number;
}

export interface QueryResult<Row> {
  readonly rows: readonly Row[];
  /** Parts of the filter that could not be said to the database, by their paths: there are more rows than it would take. */
  readonly unsaid: readonly string[];
}

/** A database of one protocol. Rejects with what its library throws, which `failureOf` classifies. */
export interface InfluxClient extends LineWriter {
  /** "InfluxDB 1.6.7", for people. */
  readonly product: string;
  events(plan: EventPlan): Promise<QueryResult<StoredPoint>>;
  /** The points of a measurement that is no tracker's, oldest first. */
  records(
    measurement: string,
    range: Pick<PointRange, 'from' | 'to' | 'sessions'>,
    limit: number,
  ): Promise<readonly StoredPoint[]>;
  aggregate(plan: AggregatePlan): Promise<QueryResult<PartialRow>>;
  /** Deletes all points of a session. */
  forget(session: string): Promise<void>;
}

export interface InfluxOptions extends Pick<
  InfluxConfig,
  'url' | 'version' | 'token' | 'username' | 'password' | 'organisation' | 'bucket' | 'retentionMs'
> {
  /** PEM: the authority of a server whose certificate is not of a known one. */
  readonly ca: string | null;
}

/** Of a query. */
export const QUERY_TIMEOUT_MS = 30_000;
/** Smaller bodies are not worth it. */
export const GZIP_BYTES = 1400;
