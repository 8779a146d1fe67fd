/** What an administrator decides. Built from the table of settings (src/options/). */

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
  /** Sessions besides these that may collect evidence for rules at once. */
  readonly evidenceSessions: number;
  /** Sessions that have stopped and stay in memory, and bytes of events that these retain together. */
  readonly stoppedSessions: number;
  readonly stoppedBytes: number;
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
  /** WebSocket connections, SSE streams and downloads at once, of clients that may come in. */
  readonly connections: number;
  /** Of these, those of one token, or of all who need none: so that a client cannot take every place. */
  readonly identityConnections: number;
  /** Operations under way on one WebSocket connection. */
  readonly operations: number;
  /** Connections at once whose client has not said yet who it is; one more ends the oldest of the address that has most. */
  readonly strangers: number;
  /** How long a client may take to say who it is: for its TLS handshake, a request's headers, `connection_init`. */
  readonly identifyMs: number;
  /** How long a client may take nothing of what waits for it, before its connection is ended. */
  readonly stalledMs: number;
  /** How long readers have, at the end of the server or of a session that is removed, for what they have not read. */
  readonly drainMs: number;
  /** Bytes of records that may wait for one slow subscriber, oldest dropped. */
  readonly subscriberBytes: number;
}

/** An InfluxDB that sessions may be persisted to. */
export interface InfluxConfig {
  /** http or https, without credentials. */
  readonly url: string;
  /** The protocol: 1 or 2. Null: the server is asked. */
  readonly version: 1 | 2 | 3 | null;
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

export const ruleActionModes = ['off', 'dry-run', 'on'] as const;
export type RuleActionMode = (typeof ruleActionModes)[number];

export interface Config {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  /** Empty: a connection's owner decides who is an operator (`Peers`), or `localToken` does. */
  readonly tokens: readonly Token[];
  /** The secret of an operator beside the owners of connections; null when there is none. Counts only without `tokens`. */
  readonly localToken: string | null;
  /** Without `tokens`: everybody who reaches the (loopback) address is an operator. */
  readonly insecureNoAuth: boolean;
  /** Origins of web pages that may use the server with a token, besides its own: "https://app.example.com". Empty without `tokens`. */
  readonly allowedOrigins: readonly string[];
  /**
   * The container engines: each a socket's path, "unix:///…" or "tcp://…"; none when empty; null looks at DOCKER_HOST,
   * else the usual sockets.
   */
  readonly engines: readonly string[] | null;
  /** Where the embedded store keeps its file; null keeps no history. */
  readonly dataDirectory: string | null;
  /** Do not start without the store. */
  readonly requireHistory: boolean;
  /** Older events are deleted from the embedded store; null keeps them. */
  readonly retentionMs: number | null;
  /** Beyond this size the embedded store's oldest events are deleted; null keeps them. */
  readonly retentionBytes: number | null;
  /** What DuckDB may use for queries and its cache of the file. */
  readonly storeMemoryBytes: number;
  /** Null: there is none. */
  readonly influx: InfluxConfig | null;
  /** Null: nothing is sent. */
  readonly otlp: OtlpConfig | null;
  /** Folder of the server's own plugins, which run with its rights; null when there is none. */
  readonly plugins: string | null;
  /** Folders of rule files, or "builtin" for those of the package. */
  readonly rules: readonly string[];
  /** Whether rules may send signals to processes, and pause and stop containers. */
  readonly ruleActions: RuleActionMode;
  readonly logLevel: string;
  /** Replay this recording instead of watching a kernel: needs neither root nor libbpf, and starts no sessions. `speed` may be infinite. */
  readonly replay: { readonly file: string; readonly speed: number } | null;
  /** False: loads no BPF program, so that it needs no rights; knows this machine's containers and trackers, and starts no sessions. */
  readonly watches: boolean;
  /** A file with aggregates to be told as metrics, and with the sessions that they need; null for none. */
  readonly metricsConfig: string | null;
  /** A file with where alerts are sent; null for nowhere. */
  readonly webhooks: string | null;
  /** What people call this server among others; null is the host's name. */
  readonly nodeName: string | null;
  /** Memory of the table of processes; 0 keeps none. */
  readonly processTableBytes: number;
  /** Whether responses are compressed for clients that accept it. */
  readonly compression: boolean;
  /** A file of documents that clients may name instead of sending them; `only` these are executed. Null: there is none. */
  readonly trustedDocuments: { readonly file: string; readonly only: boolean } | null;
  readonly limits: Limits;
}

export const defaultConfig: Config = {
  host: '127.0.0.1',
  port: 4000,
  tls: null,
  tokens: [],
  localToken: null,
  insecureNoAuth: false,
  allowedOrigins: [],
  engines: null,
  dataDirectory: null,
  requireHistory: false,
  retentionMs: null,
  retentionBytes: null,
  storeMemoryBytes: 256 << 20,
  influx: null,
  otlp: null,
  plugins: null,
  rules: [],
  ruleActions: 'off',
  logLevel: 'info',
  replay: null,
  watches: true,
  metricsConfig: null,
  webhooks: null,
  nodeName: null,
  processTableBytes: 32 << 20,
  compression: true,
  trustedDocuments: null,
  limits: {
    sessions: 64,
    evidenceSessions: 4,
    stoppedSessions: 1_000,
    stoppedBytes: 512 << 20,
    depth: 12,
    cost: 10_000,
    aliases: 30,
    tokens: 2_000,
    batch: 10,
    bodyBytes: 1 << 20,
    connections: 256,
    identityConnections: 192,
    operations: 100,
    strangers: 128,
    identifyMs: 5_000,
    stalledMs: 60_000,
    drainMs: 1_500,
    subscriberBytes: 16 << 20,
  },
};
