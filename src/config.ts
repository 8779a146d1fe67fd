/** What an administrator decides. Built by `eunomia serve` from flags and EUNOMIA_* variables; checked by `checkConfig`. */

/** Each may what those before it may. */
export const roles = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

export interface Token {
  readonly secret: string;
  readonly role: Role;
}

export interface Limits {
  /** Sessions that may run at once. */
  readonly sessions: number;
  /** Levels of nesting in a document. */
  readonly depth: number;
  /** Sum of a document's field costs (see api/limits). */
  readonly cost: number;
  readonly aliases: number;
  readonly tokens: number;
  /** Operations in one batched HTTP request. */
  readonly batch: number;
  /** Bytes of a request's body, or of a WebSocket message. */
  readonly bodyBytes: number;
  /** WebSocket connections and SSE streams at once. */
  readonly connections: number;
  /** Bytes of records that may wait for one slow subscriber, oldest dropped. */
  readonly subscriberBytes: number;
}

/** An InfluxDB that sessions may be persisted to. */
export interface InfluxConfig {
  /** http or https, without credentials. */
  readonly url: string;
  /** The protocol: 1 or 2. Null: the server is asked. */
  readonly version: 1 | 2 | null;
  readonly token: string | null;
  readonly username: string | null;
  readonly password: string | null;
  /** 2.x: its name. */
  readonly organisation: string;
  /** The bucket of 2.x, the database of 1.x. Made at the first write if it is not there. */
  readonly bucket: string;
  /** How long points are kept in a bucket or database that is made; 0 for ever. */
  readonly retentionMs: number;
  /** PEM: the authority that signed the server's certificate; null trusts the system's. */
  readonly caFile: string | null;
  /** Where points wait on disk while the database is away. */
  readonly spoolDirectory: string;
  readonly spoolBytes: number;
  /** What goes once the spool is full. */
  readonly spoolDrop: 'OLDEST' | 'NEWEST';
}

/** A collector that takes OTLP over HTTP, as protobuf. */
export interface OtlpConfig {
  /** http or https, without credentials: `/v1/logs` and `/v1/metrics` are put behind it. */
  readonly url: string;
  /** Sent with each request, and never told to anybody else. */
  readonly headers: Readonly<Record<string, string>>;
  /** PEM: the authority that signed the collector's certificate; null trusts the system's. */
  readonly caFile: string | null;
  /** Globs: the events of sessions with such a name are sent, besides those of sessions with the label otlp=true. */
  readonly events: readonly string[];
  /** Whether alerts are sent. */
  readonly alerts: boolean;
  /** How often metrics are sent; null never. */
  readonly metricsMs: number | null;
}

export interface Config {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  /** Empty: everybody who reaches the (loopback) address is an operator. */
  readonly tokens: readonly Token[];
  /** The container engine: a socket's path, "unix:///…" or "tcp://…"; null looks at DOCKER_HOST and the usual sockets; "none" asks no engine. */
  readonly engine: string | null;
  /** Where the embedded store keeps its file; null keeps no history. */
  readonly dataDirectory: string | null;
  /** Do not start without the store. */
  readonly requireHistory: boolean;
  /** Older events are deleted from the embedded store; null keeps them. */
  readonly retentionMs: number | null;
  /** Beyond this size the embedded store's oldest events are deleted; null keeps them. */
  readonly retentionBytes: number | null;
  /** Null: there is none. */
  readonly influx: InfluxConfig | null;
  /** Null: nothing is sent. */
  readonly otlp: OtlpConfig | null;
  /** Folder of the server's own plugins, which run with its rights; null when there is none. */
  readonly plugins: string | null;
  readonly logLevel: string;
  /** Replay this recording instead of watching a kernel: needs neither root nor libbpf, and starts no sessions. `speed` may be infinite. */
  readonly replay: { readonly file: string; readonly speed: number } | null;
  /** A file with aggregates to be told as metrics, and with the sessions that they need; null for none. */
  readonly metricsConfig: string | null;
  readonly limits: Limits;
}

export const defaultConfig: Config = {
  host: '127.0.0.1',
  port: 4000,
  tls: null,
  tokens: [],
  engine: null,
  dataDirectory: null,
  requireHistory: false,
  retentionMs: null,
  retentionBytes: null,
  influx: null,
  otlp: null,
  plugins: null,
  logLevel: 'info',
  replay: null,
  metricsConfig: null,
  limits: {
    sessions: 64,
    depth: 12,
    cost: 10_000,
    aliases: 30,
    tokens: 2_000,
    batch: 10,
    bodyBytes: 1 << 20,
    connections: 256,
    subscriberBytes: 16 << 20,
  },
};
