import { defaultConfig, roles, ruleActionModes, type Role, type Token } from '../base/config.js';
import { defaultDataDirectory } from '../access/access-token.js';
import { endpointForms, parseEndpoint } from '../inventory/docker/endpoint.js';
import {
  choice,
  fail,
  list,
  onOff,
  path,
  secret,
  size,
  sizeOrNone,
  sizeText,
  text,
  time,
  whole,
  type SettingKind,
} from './kind.js';
import { setting } from './setting.js';
import { origin } from './url.js';

/** Characters of a token's secret: random ones of so many cannot be guessed. */
const MIN_SECRET = 16;
const DAY = 86_400_000;
/** Smaller files would hold little but what DuckDB needs for itself. */
const MIN_RETENTION = 16 << 20;
/** With so much, events were stored as fast as a process made them, and grouped by the million; less was not tried. */
const MIN_STORE_MEMORY = 64 << 20;

/** Room for some thousand processes. */
const MIN_PROCESS_TABLE = 1 << 20;

/** Where the server listens, and who may use it. */
export const accessSettings = {
  host: setting({
    flag: 'host',
    key: 'host',
    kind: text('<address>', 'an address or a name'),
    default: defaultConfig.host,
    text: 'listen here; another address than loopback needs TLS and a token',
    example: 'localhost',
  }),
  port: setting({
    flag: 'port',
    key: 'port',
    kind: whole(0, 65_535),
    default: defaultConfig.port,
    text: 'listen on this port; 0 takes a free one',
    example: 4433,
  }),
  tlsCert: setting({
    flag: 'tls-cert',
    key: 'tls.cert',
    kind: path(),
    default: null,
    text: 'certificate and its chain, PEM',
    example: 'tls/cert.pem',
  }),
  tlsKey: setting({
    flag: 'tls-key',
    key: 'tls.key',
    kind: path(),
    default: null,
    text: 'its private key, PEM',
    example: 'tls/key.pem',
  }),
  tokens: setting({
    flag: 'token',
    key: 'tokens',
    variable: 'EUNOMIA_TOKENS',
    kind: list(tokenKind()),
    default: [],
    secret: true,
    text: 'let in who has this secret, as viewer, operator or admin (repeatable; other users see arguments: prefer --tokens-file)',
    example: ['viewer:2b7e151628aed2a6', 'operator:3ad77bb40d7a3660'],
  }),
  tokensFile: setting({
    flag: 'tokens-file',
    key: 'tokensFile',
    kind: path(),
    default: null,
    text: 'more tokens, one role:secret a line, # begins a comment; only its owner and group may read it',
    example: 'tokens',
  }),
  insecureNoAuth: setting({
    flag: 'insecure-no-auth',
    key: 'insecureNoAuth',
    kind: onOff(),
    default: false,
    text:
      'let every user and every container with the network of this machine watch all of it and start sessions, ' +
      'without a token; on loopback only',
    example: true,
  }),
  allowedOrigins: setting({
    flag: 'allow-origin',
    key: 'allowedOrigins',
    kind: list(origin()),
    default: [],
    text: 'let web pages of this origin use the server with a token (repeatable; docs/api.md)',
    example: ['https://app.example.com'],
  }),
  trustedDocuments: setting({
    flag: 'trusted-documents',
    key: 'trustedDocuments.file',
    kind: path(),
    default: null,
    text: 'documents that clients may name instead of sending them: JSON, { "ID": "TEXT" } or a manifest of Apollo (docs/api.md)',
    example: 'documents.json',
  }),
  trustedDocumentsOnly: setting({
    flag: 'trusted-documents-only',
    key: 'trustedDocuments.only',
    kind: onOff(),
    default: false,
    text: 'refuse all other documents, but of administrators',
    example: true,
  }),
  compression: setting({
    flag: 'compression',
    key: 'compression',
    kind: onOff(),
    default: defaultConfig.compression,
    text: 'compress results, exports and metrics for clients that accept it (docs/decisions/107-compression.md)',
    example: false,
  }),
};

/** What the server watches with, and what it tells. */
export const generalSettings = {
  engines: setting({
    flag: 'engine',
    key: 'engines',
    kind: list(engineKind(), { commas: true }),
    default: null,
    defaultText: 'DOCKER_HOST, or the usual sockets that exist',
    text: 'a container engine: a socket, tcp://…, or "none" (repeatable)',
    example: ['/run/docker.sock', 'tcp://127.0.0.1:2375'],
  }),
  plugins: setting({
    flag: 'plugins',
    key: 'plugins',
    kind: path('<folder>'),
    default: null,
    text: "load each plugin of this folder, which nobody else may write; they run with the server's rights",
    example: 'plugins',
  }),
  rules: setting({
    flag: 'rules',
    key: 'rules',
    kind: list(path('<folder>', 'builtin'), { commas: true }),
    default: [],
    text: 'raise alerts by the rules in this folder, or the "builtin" ones; changed files are loaded at once (repeatable; docs/rules.md)',
    example: ['builtin'],
  }),
  ruleActions: setting({
    flag: 'rule-actions',
    key: 'ruleActions',
    kind: choice(ruleActionModes, '<mode>'),
    default: defaultConfig.ruleActions,
    text: 'whether rules may send signals, and pause and stop containers; "dry-run" only tells what they would do (docs/rules.md#actions)',
    example: 'dry-run',
  }),
  metricsConfig: setting({
    flag: 'metrics-config',
    key: 'metricsConfig',
    kind: path(),
    default: null,
    text: 'aggregates that /metrics exposes, and sessions that run all the time (docs/metrics.md)',
    example: 'metrics.yaml',
  }),
  webhooks: setting({
    flag: 'webhooks',
    key: 'webhooks',
    kind: path(),
    default: null,
    text: 'where alerts are sent by HTTP; only its owner and group may read the file (docs/alerts.md#webhooks)',
    example: 'webhooks.yaml',
  }),
  nodeName: setting({
    flag: 'node-name',
    key: 'nodeName',
    kind: text('<name>', 'a name of at most 253 characters', (name) =>
      name.length <= 253 ? name : fail(`has ${name.length} characters; at most 253 are allowed`),
    ),
    default: null,
    defaultText: 'the host name',
    text: 'what this server is called among others (Server.node.name)',
    example: 'web-1',
  }),
  processTable: setting({
    flag: 'process-table',
    key: 'processTable',
    kind: sizeOrNone(MIN_PROCESS_TABLE),
    default: defaultConfig.processTableBytes,
    defaultText: sizeText(defaultConfig.processTableBytes),
    text: 'memory for the processes that exist and have ended, of which events show parents and programs; 0 keeps no table',
    example: '128MiB',
  }),
  logLevel: setting({
    flag: 'log-level',
    key: 'logLevel',
    kind: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], '<level>'),
    default: defaultConfig.logLevel,
    text: 'log to stderr from this level on',
    example: 'debug',
  }),
};

/** The embedded history. */
export const historySettings = {
  dataDir: setting({
    flag: 'data-dir',
    key: 'dataDir',
    kind: path('<directory>', 'none'),
    default: defaultDataDirectory(),
    defaultText: '/var/lib/eunomia for root, otherwise eunomia in XDG_STATE_HOME',
    text: 'keep the history of persisted sessions here; "none" keeps none (docs/history.md)',
    example: 'data',
  }),
  requireHistory: setting({
    flag: 'require-history',
    key: 'requireHistory',
    kind: onOff(),
    default: false,
    text: 'do not start when the data directory cannot be used',
    example: true,
  }),
  retentionAge: setting({
    flag: 'retention-age',
    key: 'retention.age',
    kind: time(60_000, 36_600 * DAY, '30d'),
    default: null,
    text: 'delete history that is older',
    example: '30d',
  }),
  retentionBytes: setting({
    flag: 'retention-bytes',
    key: 'retention.bytes',
    kind: size(MIN_RETENTION),
    default: null,
    text: 'delete the oldest history beyond this size',
    example: '10GiB',
  }),
  storeMemory: setting({
    flag: 'store-memory',
    key: 'storeMemory',
    kind: size(MIN_STORE_MEMORY),
    default: defaultConfig.storeMemoryBytes,
    defaultText: sizeText(defaultConfig.storeMemoryBytes),
    text: 'what the embedded store may use for queries and its cache; what a query needs beyond it goes to temporary files',
    example: '1GiB',
  }),
};

function tokenKind(): SettingKind<Token> {
  const right = 'viewer:SECRET, operator:SECRET or admin:SECRET';
  const long = `at least ${MIN_SECRET} characters`;
  return secret('<role:secret>', `${right}, the secret with ${long}`, (value) => {
    const [, name, own] = /^([a-z]+):(\S+)$/.exec(value) ?? [];
    const role = roles.find((each): each is Role => each === name);
    if (role === undefined || own === undefined) return fail(`a token is ${right}`);
    const problem = /^[\x21-\x7e]+$/.test(own)
      ? own.length < MIN_SECRET && `could be guessed: give it ${long}`
      : 'has characters that no header can have: give it letters, digits and signs of ASCII';
    if (problem) return fail(`the secret of a token ${problem}; make one, for example with: openssl rand -hex 32`);
    return { role, secret: own };
  });
}

function engineKind(): SettingKind<string> {
  return text('<socket>', `${endpointForms}, or "none"`, (value) =>
    value === 'none' || parseEndpoint(value)
      ? value
      : fail(`${JSON.stringify(value)} is no engine's address; give ${endpointForms}, or "none"`),
  );
}
