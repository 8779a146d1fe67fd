/** What an administrator decides. Built by `eunomia serve` from flags and EUNOMIA_* variables; checked by `checkConfig`. */

export type Role = 'viewer' | 'operator';

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

export interface Config {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  /** Empty: everybody who reaches the (loopback) address is an operator. */
  readonly tokens: readonly Token[];
  /** The container engine: a socket's path, "unix:///…" or "tcp://…"; null looks at DOCKER_HOST and the usual sockets; "none" asks no engine. */
  readonly engine: string | null;
  readonly logLevel: string;
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
  logLevel: 'info',
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
