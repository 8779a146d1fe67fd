/**
 * Every error code of Eunomia, once: its type, the HTTP status it is sent with, and docs/errors.md come from this table.
 * A code never changes its meaning, and none is removed while clients may ask for it.
 */

export interface ErrorEntry {
  /** What has happened. A sentence without a full stop, as the page shows it. */
  readonly meaning: string;
  /** How to fix it. */
  readonly remedy: string;
  /** Of a response that has this error instead of a result. Null: no HTTP response is refused with it. */
  readonly status: number | null;
  /** Where one code stands for several limits: the statuses of those whose status differs, by `details.limit`. */
  readonly statuses?: Readonly<Record<string, number>>;
  /** Also an error inside of a result gives the whole response this status. */
  readonly wholeResponse?: true;
}

export const errorTable = {
  // Requests: refused before anything is executed.
  BAD_REQUEST: {
    status: 400,
    meaning: 'the request is not valid HTTP or has no valid GraphQL parameters',
    remedy: 'send what the message asks for',
  },
  UNAUTHENTICATED: {
    status: 401,
    wholeResponse: true,
    meaning: 'nothing identifies the client, or its token is unknown',
    remedy: 'send `Authorization: Bearer TOKEN` (over WebSocket in `connectionParams`)',
  },
  FORBIDDEN: {
    status: 403,
    wholeResponse: true,
    meaning: 'the role of the client does not permit this, or the request came from a foreign web page',
    remedy: 'use a token with the role, or the address, named in the message',
  },
  CSRF_PREVENTED: {
    status: 403,
    meaning: 'any web page could have made a browser send this request (CSRF)',
    remedy: 'send `application/json`, or the header `x-eunomia: 1`',
  },
  NOT_FOUND: {
    status: 404,
    meaning: 'the server has nothing at this address',
    remedy: 'GraphQL is at `/graphql`, exactly',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    meaning: 'the address, or the operation (a mutation), does not accept this HTTP method',
    remedy: 'use a method listed in the header `Allow`',
  },
  NOT_ACCEPTABLE: {
    status: 406,
    meaning: 'the header `Accept` allows no type in which the server can respond',
    remedy: 'accept the type that the message names',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    meaning: 'the request did not arrive in time',
    remedy: 'send headers and body without delay',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    meaning: "the request's body has a type, charset or compression that the server does not accept",
    remedy: 'send `application/json` in UTF-8, not compressed',
  },
  EXPECTATION_FAILED: {
    status: 417,
    meaning: 'the header `Expect` has a value other than `100-continue`',
    remedy: 'leave the header out',
  },
  UPGRADE_REQUIRED: {
    status: 426,
    meaning: 'the address accepts only WebSocket connections',
    remedy: 'send `Upgrade: websocket`',
  },
  STARTING: {
    status: 503,
    meaning: 'the server is starting: it is still loading its programs',
    remedy: 'retry after the number of seconds in `Retry-After`',
  },
  LIMIT_EXCEEDED: {
    status: 400,
    statuses: {
      batch: 413,
      bodyBytes: 413,
      chunkExtensions: 413,
      headers: 431,
      bodies: 503,
      responses: 503,
      connections: 503,
      identityConnections: 503,
      backups: 503,
      verifications: 503,
    },
    meaning: 'the request exceeds a limit of the server: `extensions.limit` names it, with `maximum` and `actual`',
    remedy:
      'request less, or split the request; limits that are in the section `limits` of the [configuration](configuration.md) can be ' +
      'raised, others are fixed',
  },

  // Operations.
  PERSISTED_QUERY_NOT_FOUND: {
    status: 404,
    meaning:
      'the server does not know, or no longer knows, the document that the request names (`extensions.persistedQuery` or `documentId`)',
    remedy: 'send the text of the document with its hash, as clients of automatic persisted queries do by themselves',
  },
  UNTRUSTED_DOCUMENT: {
    status: 403,
    meaning: 'the server executes only documents that its administrator has listed',
    remedy:
      'have the document listed (`--trusted-documents`, [configuration](configuration.md)), or use a token of an administrator',
  },
  GRAPHQL_PARSE_FAILED: {
    status: 400,
    meaning: 'the operation is not valid GraphQL syntax',
    remedy: 'correct it at the position in `locations`',
  },
  GRAPHQL_VALIDATION_FAILED: {
    status: 400,
    meaning: 'the operation does not match the schema',
    remedy: 'correct it at the position in `locations`',
  },
  BAD_USER_INPUT: {
    status: 400,
    meaning: 'an argument has an invalid value; `extensions.argument` is its path',
    remedy: 'use a value that the message describes',
  },
  BAD_SELECTOR: {
    status: 400,
    meaning: 'a container selector is malformed',
    remedy: 'use one of the forms in the message',
  },
  BAD_CURSOR: {
    status: 400,
    meaning: 'a cursor belongs to another session or snapshot, or is malformed',
    remedy: 'use a cursor of the same session or snapshot, or omit it',
  },
  SNAPSHOT_GONE: {
    status: 400,
    meaning: 'the snapshot of the cursor is no longer kept: it was not read for a minute, or others needed its memory',
    remedy: 'omit the cursor to take a new snapshot, and read its pages without delay, or request larger ones',
  },
  UNKNOWN_SESSION: {
    status: 404,
    meaning: 'there is no such session: it never existed, or was removed',
    remedy: '`sessions` lists the sessions',
  },
  UNKNOWN_TRACKER: {
    status: 400,
    meaning: 'there is no tracker of this name',
    remedy: '`trackers` lists the trackers',
  },
  UNKNOWN_CONTAINER: {
    status: 400,
    meaning: 'no container matches',
    remedy: 'correct the name, or set `waitForContainers`',
  },
  AMBIGUOUS_CONTAINER: {
    status: 400,
    meaning: 'a name or an id prefix matches several containers',
    remedy: 'use more digits of the id',
  },
  UNKNOWN_CGROUP: {
    status: 400,
    meaning: 'there is no such cgroup v2 directory',
    remedy: "use the inode number of the cgroup's directory",
  },
  TOO_MANY_SESSIONS: {
    status: 400,
    meaning: 'the maximum number of sessions is running',
    remedy: 'stop one, or start the server with a larger `--max-sessions` ([configuration](configuration.md))',
  },
  CHECK_FAILED: {
    status: 400,
    meaning: 'the check of a verification fails for a copy of the container under its own rights',
    remedy: 'correct the check: a copy has no other container and no network to talk to',
  },
  NO_ENGINE: {
    status: 400,
    meaning: 'the operation makes containers, and the engine that knows the container is not connected',
    remedy:
      'name the engine with `--engine` ([configuration](configuration.md)), and see `Server.engines` for what is wrong with it',
  },
  ENGINE_REFUSED: {
    status: 502,
    meaning: 'the container engine refused a request, or did not respond to it in time',
    remedy: 'the message has the words of the engine',
  },
  NOT_RUNNING: {
    status: 400,
    meaning: 'the session is not running, but the operation requires it',
    remedy: 'start a session',
  },
  STOPPED: {
    status: 400,
    meaning: 'the session was stopped while it was starting',
    remedy: 'nothing, unless somebody else stopped it',
  },
  CANCELLED: { status: 400, meaning: 'the client disconnected before the result was available', remedy: 'retry' },
  SHUTTING_DOWN: {
    status: 503,
    meaning: 'the server is shutting down and starts nothing new',
    remedy: 'retry when it has restarted',
  },
  NO_KERNEL: {
    status: 400,
    meaning: 'the server is replaying a recording: it cannot start sessions or take snapshots',
    remedy: 'use a server started with `eunomia serve`',
  },
  NO_STORE: {
    status: 400,
    meaning: 'the server does not store history',
    remedy: 'start it with `--data-dir` ([configuration](configuration.md))',
  },
  STORE_UNAVAILABLE: {
    status: 503,
    meaning: 'the history cannot be read or written at the moment',
    remedy: 'follow the message: free disk space, repair the file, or start the database',
  },

  // Plugins.
  UNKNOWN_PLUGIN: {
    status: 400,
    meaning: 'there is no plugin of this name, or the session does not have it',
    remedy: '`plugins` lists the plugins',
  },
  PLUGIN_EXISTS: {
    status: 400,
    meaning: 'a plugin of this name is loaded',
    remedy: 'use another name, or `replace: true`',
  },
  UNKNOWN_ALERT: {
    status: 400,
    meaning: 'there is no alert of this id, or not any more',
    remedy: '`alerts` lists those there are',
  },
  UNKNOWN_SILENCE: {
    status: 400,
    meaning: 'there is no silence of this id, or not any more',
    remedy: '`silences` lists those there are',
  },
  ALERT_RESOLVED: {
    status: 400,
    meaning: 'the alert is resolved, and cannot be acknowledged',
    remedy: 'reopen it first',
  },
  UNKNOWN_QUERY: {
    status: 400,
    meaning: 'there is no saved query of this name',
    remedy: '`savedQueries` lists those there are',
  },
  QUERY_CONFLICT: {
    status: 400,
    meaning:
      'a saved query is of another version than the one that was to be replaced or deleted: somebody has saved it meanwhile',
    remedy: 'read it again, and give its version as `ifVersion`',
  },
  QUERY_IN_USE: {
    status: 400,
    meaning: 'a saved query is named by others, which would be wrong without it',
    remedy: 'delete or change those first; the message names them',
  },
  ALREADY_ATTACHED: { status: 400, meaning: 'the plugin is attached to this session', remedy: 'detach it first' },
  TOO_MANY_PLUGINS: {
    status: 400,
    meaning: 'the maximum number of plugins is loaded or attached',
    remedy: 'unload or detach one',
  },
  BAD_PLUGIN: {
    status: 400,
    meaning: 'the file is not a valid plugin, or it failed while it was loaded',
    remedy: 'correct it at the position in the message',
  },
  PLUGIN_FAILED: {
    status: null,
    meaning: '`eunomia plugin test`: the plugin threw',
    remedy: 'correct it at the position in the message',
  },
  UNSAFE_PLUGINS: {
    status: null,
    meaning: 'other users could change the plugin folder or a file in it',
    remedy: 'change its owner or mode as the message says',
  },

  // The kernel.
  KERNEL_ERROR: {
    status: 500,
    meaning: 'a kernel operation failed; `extensions.operation` and `extensions.errno` identify it and the reason',
    remedy: 'follow the advice in parentheses in the message',
  },
  KERNEL_THREAD_ENDED: {
    status: 500,
    meaning: 'the thread that reads from the kernel ended; the server exits as well',
    remedy: 'restart the server; report it',
  },
  NOT_PRIVILEGED: {
    status: 500,
    meaning: 'the process may not load BPF programs',
    remedy: 'run as root, or with CAP_BPF and CAP_PERFMON',
  },
  NO_CGROUP_ROOT: {
    status: 500,
    meaning: 'the root of the cgroup v2 hierarchy is not visible, to which programs of cgroups attach',
    remedy:
      'mount the hierarchy, or start the container with the cgroup namespace of the host (Docker: `cgroupns=host`)',
  },
  NO_BTF: {
    status: 500,
    meaning: 'the kernel provides no BTF type information',
    remedy: 'use a kernel with CONFIG_DEBUG_INFO_BTF=y',
  },
  NO_LIBBPF: { status: 500, meaning: 'libbpf is not installed', remedy: '`apt-get install libbpf1`' },
  LIBBPF_TOO_OLD: {
    status: 500,
    meaning: 'libbpf is older than 1.0',
    remedy: '`apt-get install libbpf1`, on Debian 12, Ubuntu 24.04 or later',
  },
  BAD_OBJECT: {
    status: 500,
    meaning: 'a compiled BPF object is missing or does not match this build',
    remedy: '`npm run build`',
  },
  BAD_TRACKER: {
    status: null,
    meaning: 'a tracker does not match the schema',
    remedy: 'correct its definition or schema.graphql',
  },
  BAD_SCHEMA: {
    status: null,
    meaning: 'schema.graphql lacks something that the server needs',
    remedy: 'correct it and rebuild',
  },

  // Start and configuration.
  BAD_CONFIG: {
    status: null,
    meaning: 'a configuration value is invalid; for a file, the message gives line and column',
    remedy: 'use a value that the message describes ([configuration](configuration.md))',
  },
  BAD_METRICS_CONFIG: {
    status: null,
    meaning: 'the file given by `--metrics-config` is invalid at this line and column',
    remedy: 'use a value that the message describes ([metrics](metrics.md))',
  },
  BAD_WEBHOOKS: {
    status: null,
    meaning: 'the file given by `--webhooks` is invalid at this line and column',
    remedy: 'use a value that the message describes ([alerts](alerts.md#webhooks))',
  },
  BAD_RULES: {
    status: null,
    meaning:
      'a set of rules is invalid at the lines and columns in the message; the rules that were in force still are',
    remedy: 'correct what the message describes ([rules](rules.md))',
  },
  SESSION_OF_RULES: {
    status: null,
    meaning: 'the session belongs to the rules of the server: clients read it, and do not change, stop or remove it',
    remedy: 'change the rules instead ([rules](rules.md#in-a-server))',
  },
  BAD_TRUSTED_DOCUMENTS: {
    status: null,
    meaning: 'the file given by `--trusted-documents` is invalid, or a document in it does not match the schema',
    remedy: 'correct what the message describes ([documents](api.md#persisted-documents))',
  },
  BAD_OTLP: {
    status: null,
    meaning: 'the file given by `--otlp-ca` cannot be used',
    remedy: 'use a PEM file that the server can read ([configuration](configuration.md))',
  },
  BAD_TLS: {
    status: null,
    meaning: 'the certificate or key cannot be used',
    remedy: 'use a certificate and its key in PEM format ([configuration](configuration.md))',
  },
  BAD_TOKEN_FILE: {
    status: null,
    meaning: "other users could have read or written the server's own token file",
    remedy: 'remove it, or use `--tokens-file` ([configuration](configuration.md))',
  },
  UNSAFE_FILE: {
    status: 400,
    meaning: 'other users could change a file, or everybody can access it',
    remedy: 'run the command in the message',
  },
  UNSAFE_LISTENER: {
    status: null,
    meaning: 'the server would accept connections from other machines without TLS or without a token',
    remedy:
      'use `--tls-cert`, `--tls-key` and `--tokens-file`, or listen on loopback ([configuration](configuration.md))',
  },
  PORT_IN_USE: {
    status: null,
    meaning: 'another program is listening on this port',
    remedy: 'choose another `--port` ([configuration](configuration.md)), or stop that program',
  },
  CANNOT_LISTEN: {
    status: null,
    meaning: 'the server cannot listen on the address',
    remedy:
      'use a free port and an address of this machine for `--host` ([configuration](configuration.md)), or `--listen` of `eunomia mcp`',
  },
  SPOOL_LOCKED: {
    status: null,
    meaning: 'another process is using the spool directory for InfluxDB',
    remedy: 'give each server its own `--influx-spool` ([configuration](configuration.md))',
  },
  SPOOL_UNUSABLE: {
    status: null,
    meaning: 'the spool directory for InfluxDB cannot be used',
    remedy: 'choose another `--influx-spool` ([configuration](configuration.md))',
  },

  // The command line, and recordings.
  BAD_RECORDING: {
    status: 400,
    meaning: 'the file is not a recording, or is damaged at this line',
    remedy: 'record it again with `eunomia export`',
  },
  UNREACHABLE: {
    status: null,
    meaning: 'no Eunomia server responds at `--server`',
    remedy: 'correct the address, or start the server',
  },
  SERVER_ERROR: {
    status: null,
    meaning: 'the server returned an error whose code this version does not know',
    remedy: 'see the message',
  },
  INTERNAL_SERVER_ERROR: {
    status: 500,
    meaning: 'a bug in Eunomia; the log contains the cause',
    remedy: 'report it with the log',
  },
} as const satisfies Readonly<Record<string, ErrorEntry>>;

export type ErrorCode = keyof typeof errorTable;

export const errorCodes: readonly ErrorCode[] = Object.keys(errorTable).filter(isErrorCode);

export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(errorTable, text);
}

/** The HTTP status of a response that consists of this error. `details` are its own: `limit` tells which limit was exceeded. */
export function statusOf({
  code,
  details,
}: {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
}): number {
  const { status, statuses }: ErrorEntry = errorTable[code];
  const { limit } = details;
  return (typeof limit === 'string' ? statuses?.[limit] : undefined) ?? status ?? 500;
}

/** The status that an error inside of a result gives the whole response; null when it gives none. */
export function wholeResponseStatus(code: unknown): number | null {
  const entry: ErrorEntry | null = isErrorCode(code) ? errorTable[code] : null;
  return entry?.wholeResponse ? entry.status : null;
}
