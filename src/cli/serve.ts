import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { defaultConfig, roles, type Config, type Role, type Token } from '../config.js';
import { messageOf } from '../errors.js';
import { createLog } from '../log.js';
import { ageOf, bytesOf } from './size.js';
import type { World } from './world.js';
import { addInfluxOptions, influxOf, type InfluxFlags } from './influx.js';
import { addOtlpOptions, otlpOf, type OtlpFlags } from './otlp.js';
import { UsageError, append, wholeNumber } from './usage.js';

export interface ServeFlags extends InfluxFlags, OtlpFlags {
  readonly host: string;
  readonly port: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly token?: readonly string[];
  readonly tokensFile?: string;
  readonly engine?: string;
  readonly plugins?: string;
  readonly maxSessions: number;
  readonly dataDir?: string;
  readonly requireHistory?: boolean;
  readonly retentionAge?: number;
  readonly retentionBytes?: number;
  readonly metricsConfig?: string;
  readonly logLevel: string;
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** Smaller files would hold little but what DuckDB needs for itself. */
const MIN_RETENTION = 16 << 20;

/** By the Filesystem Hierarchy Standard for root, by the XDG base directories for others. */
function defaultDirectory(): string {
  if (process.getuid?.() === 0) return '/var/lib/eunomia';
  return join(process.env['XDG_STATE_HOME'] || join(homedir(), '.local/state'), 'eunomia');
}

export function addServe(program: Command, world: World): void {
  const port = wholeNumber('--port', 0, 65535);
  const sessions = wholeNumber('--max-sessions', 1, 10_000);
  const command = program
    .command('serve')
    .description('run the server, until SIGINT or SIGTERM')
    .addOption(
      new Option('--host <address>', 'listen here; another address than loopback needs TLS and a token')
        .default(defaultConfig.host)
        .env('EUNOMIA_HOST'),
    )
    .addOption(
      new Option('--port <number>', '0 takes a free one')
        .argParser(port)
        .default(defaultConfig.port)
        .env('EUNOMIA_PORT'),
    )
    .addOption(new Option('--tls-cert <file>', 'certificate and its chain, PEM').env('EUNOMIA_TLS_CERT'))
    .addOption(new Option('--tls-key <file>', 'its private key, PEM').env('EUNOMIA_TLS_KEY'))
    .addOption(
      new Option(
        '--token <role:secret>',
        'let in who has this secret, as viewer, operator or admin (repeatable; others see arguments: prefer --tokens-file)',
      ).argParser(append),
    )
    .addOption(
      new Option(
        '--tokens-file <file>',
        'tokens, one role:secret a line, # begins a comment; only its owner and group may read it',
      ).env('EUNOMIA_TOKENS_FILE'),
    )
    .addOption(
      new Option(
        '--engine <socket>',
        'container engine: a socket, tcp://…, or "none"; by default DOCKER_HOST or the usual sockets',
      ).env('EUNOMIA_ENGINE'),
    )
    .addOption(
      new Option(
        '--plugins <folder>',
        "load each plugin of this folder, which nobody else may write; they run with the server's rights",
      ).env('EUNOMIA_PLUGINS'),
    )
    .addOption(
      new Option('--max-sessions <number>', 'sessions that may run at once')
        .argParser(sessions)
        .default(defaultConfig.limits.sessions)
        .env('EUNOMIA_MAX_SESSIONS'),
    )
    .addOption(
      new Option('--data-dir <directory>', 'keep the history of persisted sessions here; "none" keeps none')
        .default(defaultDirectory(), 'see docs/history.md')
        .env('EUNOMIA_DATA_DIR'),
    )
    .addOption(
      new Option('--retention-age <time>', 'delete history older than this, for example 30d; by default none')
        .argParser(ageOf('--retention-age'))
        .env('EUNOMIA_RETENTION_AGE'),
    )
    .addOption(
      new Option(
        '--retention-bytes <size>',
        'delete the oldest history beyond this size, for example 10GiB; by default none',
      )
        .argParser(bytesOf('--retention-bytes', MIN_RETENTION))
        .env('EUNOMIA_RETENTION_BYTES'),
    )
    .addOption(
      new Option('--require-history', 'do not start when the data directory cannot be used').env(
        'EUNOMIA_REQUIRE_HISTORY',
      ),
    )
    .addOption(
      new Option(
        '--metrics-config <file>',
        'aggregates to be told as metrics at /metrics, and sessions that run all the time (docs/metrics.md)',
      ).env('EUNOMIA_METRICS_CONFIG'),
    )
    .addOption(
      new Option('--log-level <level>', 'log to stderr')
        .choices(levels)
        .default(defaultConfig.logLevel)
        .env('EUNOMIA_LOG_LEVEL'),
    )
    .addHelpText('after', '\nEnvironment: EUNOMIA_TOKENS holds tokens as --token does, separated by commas.')
    .action((flags: ServeFlags) => serve(flags, world));
  addInfluxOptions(command);
  addOtlpOptions(command);
}

async function serve(flags: ServeFlags, world: World): Promise<void> {
  const config = configOf(flags, process.env['EUNOMIA_TOKENS'] ?? '');
  const listener = await world.serve(config, createLog(config.logLevel));
  try {
    await world.output.write(`Eunomia listens on ${listener.url}\n`);
    if (!world.signal.aborted) await new Promise((resolve) => world.signal.addEventListener('abort', resolve));
  } finally {
    await listener.close();
  }
}

/** The configuration that flags and environment make. Throws a UsageError; whether it is a safe one, the server judges. */
export function configOf(flags: ServeFlags, tokensVariable: string): Config {
  const { tlsCert, tlsKey } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError('--tls-cert and --tls-key belong together: give both or neither');
  const fromVariable = tokensVariable
    .split(',')
    .map((text) => text.trim())
    .filter(Boolean);
  return {
    ...defaultConfig,
    host: flags.host,
    port: flags.port,
    tls: tlsCert !== undefined && tlsKey !== undefined ? { certFile: tlsCert, keyFile: tlsKey } : null,
    tokens: [
      ...(flags.token ?? []).map((text) => parseToken(text, '--token')),
      ...fromVariable.map((text) => parseToken(text, 'EUNOMIA_TOKENS')),
      ...(flags.tokensFile === undefined ? [] : readTokens(flags.tokensFile)),
    ],
    engine: flags.engine ?? null,
    dataDirectory: flags.dataDir === undefined || flags.dataDir === 'none' ? null : flags.dataDir,
    requireHistory: flags.requireHistory ?? false,
    retentionMs: flags.retentionAge ?? null,
    retentionBytes: flags.retentionBytes ?? null,
    influx: influxOf(flags, flags.dataDir === 'none' ? null : (flags.dataDir ?? null)),
    otlp: otlpOf(flags),
    plugins: flags.plugins ?? null,
    logLevel: flags.logLevel,
    metricsConfig: flags.metricsConfig ?? null,
    limits: { ...defaultConfig.limits, sessions: flags.maxSessions },
  };
}

/** Never repeats the secret: it would end in a log. */
function parseToken(text: string, where: string): Token {
  const [, role, secret] = /^([a-z]+):(\S+)$/.exec(text) ?? [];
  if (!isRole(role) || secret === undefined)
    throw new UsageError(`${where}: a token is viewer:SECRET, operator:SECRET or admin:SECRET`);
  return { role, secret };
}

function isRole(text: string | undefined): text is Role {
  return roles.some((role) => role === text);
}

function readTokens(file: string): readonly Token[] {
  let lines: readonly string[];
  try {
    if (statSync(file).mode & 0o007)
      throw new UsageError(`--tokens-file: ${file} is open to everybody; run: chmod o= ${file}`);
    lines = readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`--tokens-file: ${messageOf(error)}`);
  }
  return lines.flatMap((line, i) => {
    const text = line.trim();
    return text === '' || text.startsWith('#') ? [] : [parseToken(text, `${file}, line ${i + 1}`)];
  });
}
