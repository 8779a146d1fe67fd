import type { AggregatePlan, EventPlan, Range } from './plan.js';
import type { Writer } from './sender.js';

export type StoredValue = string | number | boolean | null;

/** A point: its tags and fields by their names; what is absent is undefined or null. */
export interface StoredRow {
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

export interface Answer<Row> {
  readonly rows: readonly Row[];
  /** Parts of the filter that could not be said to the database, by their paths: there are more rows than it would take. */
  readonly unsaid: readonly string[];
}

/** A database of one protocol. Rejects with what its library throws, which `failureOf` judges. */
export interface InfluxClient extends Writer {
  /** "InfluxDB 1.6.7", for people. */
  readonly product: string;
  events(plan: EventPlan): Promise<Answer<StoredRow>>;
  /** The points of a measurement that is no tracker's, oldest first. */
  records(measurement: string, range: Pick<Range, 'from' | 'to' | 'sessions'>, limit: number): Promise<readonly StoredRow[]>;
  aggregate(plan: AggregatePlan): Promise<Answer<PartialRow>>;
  /** Deletes all points of a session. */
  forget(session: string): Promise<void>;
}

export interface InfluxOptions {
  readonly url: string;
  /** Null: the server is asked. */
  readonly version: 1 | 2 | null;
  readonly token: string | null;
  readonly username: string | null;
  readonly password: string | null;
  /** 2.x: its name. */
  readonly organisation: string;
  /** The bucket of 2.x, the database of 1.x. */
  readonly bucket: string;
  /** How long points are kept where the bucket or database is made by us; 0 for ever. */
  readonly retentionMs: number;
  /** PEM: the authority of a server whose certificate is not of a known one. */
  readonly ca: string | null;
}

/** Of a query. */
export const QUERY_TIMEOUT_MS = 30_000;
/** Smaller bodies are not worth it. */
export const GZIP_BYTES = 1400;
