import { readFileSync, statSync } from 'node:fs';
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { Option, type Command } from 'commander';
import type { OtlpConfig } from '../config.js';
import { messageOf } from '../errors.js';
import { append, UsageError, wholeNumber } from './usage.js';

/** The options of `eunomia serve` for an OpenTelemetry collector. */
export interface OtlpFlags {
  readonly otlpUrl?: string;
  readonly otlpToken?: string;
  readonly otlpHeadersFile?: string;
  readonly otlpCa?: string;
  readonly otlpEvents?: readonly string[];
  /** False for --no-otlp-alerts. */
  readonly otlpAlerts?: boolean;
  readonly otlpMetricsSeconds?: number;
}

const MAX_SECONDS = 86_400;
const DEFAULT_SECONDS = 60;
const MAX_GLOB = 256;
/** Ours to say. */
const OWN = /^(content-|transfer-|host$|connection$)/;

export function addOtlpOptions(command: Command): void {
  command
    .addOption(
      new Option(
        '--otlp-url <url>',
        'send alerts, metrics, and events of the sessions that ask for it, to this OpenTelemetry collector, at /v1/logs and /v1/metrics below the address (docs/otlp.md)',
      ).env('EUNOMIA_OTLP_URL'),
    )
    .addOption(
      new Option(
        '--otlp-token <token>',
        'sent as "Authorization: Bearer …" (others see arguments: prefer the variable)',
      ).env('EUNOMIA_OTLP_TOKEN'),
    )
    .addOption(
      new Option(
        '--otlp-headers-file <file>',
        'headers of each request, one "Name: value" a line, # begins a comment; only its owner and group may read it',
      ).env('EUNOMIA_OTLP_HEADERS_FILE'),
    )
    .addOption(new Option('--otlp-ca <file>', 'the authority that signed its certificate, PEM').env('EUNOMIA_OTLP_CA'))
    .addOption(
      new Option(
        '--otlp-events <glob>',
        'send the events of sessions with such a name, besides those with the label otlp=true (repeatable)',
      ).argParser(append),
    )
    .addOption(new Option('--no-otlp-alerts', 'send no alerts'))
    .addOption(
      new Option('--otlp-metrics-seconds <number>', 'how often metrics are sent, 0 for never (default: 60)')
        .argParser(wholeNumber('--otlp-metrics-seconds', 0, MAX_SECONDS))
        .env('EUNOMIA_OTLP_METRICS_SECONDS'),
    );
}

/** What the flags say; null without an address. Throws a UsageError, which never repeats a secret. */
export function otlpOf(flags: OtlpFlags): OtlpConfig | null {
  const {
    otlpUrl,
    otlpToken,
    otlpHeadersFile,
    otlpCa,
    otlpEvents = [],
    otlpAlerts = true,
    otlpMetricsSeconds = DEFAULT_SECONDS,
  } = flags;
  if (otlpUrl === undefined) {
    const other = Object.entries(flags).find(
      ([name, value]) => name.startsWith('otlp') && value !== undefined && value !== true,
    )?.[0];
    if (other === undefined) return null;
    const flag =
      other === 'otlpAlerts' ? 'no-otlp-alerts' : other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(`--${flag} needs --otlp-url as well`);
  }
  const url = urlOf(otlpUrl);
  if (otlpCa !== undefined && !url.startsWith('https:'))
    throw new UsageError('--otlp-ca: only an https:// address has a certificate');
  const headers = otlpHeadersFile === undefined ? {} : readHeaders(otlpHeadersFile);
  if (otlpToken !== undefined) {
    if ('authorization' in headers)
      throw new UsageError(`--otlp-token: ${otlpHeadersFile} has the header Authorization as well; give one of them`);
    headers['authorization'] = header('--otlp-token', 'authorization', `Bearer ${otlpToken}`);
  }
  for (const glob of otlpEvents) {
    if (glob === '' || glob.length > MAX_GLOB)
      throw new UsageError(
        `--otlp-events: give the name of a session or a glob of 1 to ${MAX_GLOB} characters, for example "audit-*"`,
      );
  }
  return {
    url,
    headers,
    caFile: otlpCa ?? null,
    events: otlpEvents,
    alerts: otlpAlerts,
    metricsMs: otlpMetricsSeconds === 0 ? null : otlpMetricsSeconds * 1000,
  };
}

function urlOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new UsageError(
      '--otlp-url: give an address like http://127.0.0.1:4318 (OTLP over HTTP; gRPC, at 4317, is not spoken)',
    );
  if (url.username || url.password)
    throw new UsageError(
      '--otlp-url: holds a name or a password, which would be logged; give EUNOMIA_OTLP_TOKEN or --otlp-headers-file',
    );
  if (url.search || url.hash)
    throw new UsageError('--otlp-url: ends with a query or a fragment; give the address alone');
  if (/\/v1\/(logs|metrics|traces)\/*$/.test(url.pathname))
    throw new UsageError(
      `--otlp-url: /v1/logs and /v1/metrics are put behind it; give ${text.replace(/\/v1\/\w+\/*$/, '')}`,
    );
  return text.replace(/\/+$/, '');
}

function readHeaders(file: string): Record<string, string> {
  let lines: readonly string[];
  try {
    if (statSync(file).mode & 0o007)
      throw new UsageError(`--otlp-headers-file: ${file} is open to everybody; run: chmod o= ${file}`);
    lines = readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`--otlp-headers-file: ${messageOf(error)}`);
  }
  const headers: Record<string, string> = {};
  for (const [i, line] of lines.entries()) {
    const text = line.trim();
    if (text === '' || text.startsWith('#')) continue;
    const where = `${file}, line ${i + 1}`;
    const [, name, value] = /^([^:\s]+)\s*:\s*(.+)$/.exec(text) ?? [];
    if (name === undefined || value === undefined)
      throw new UsageError(`${where}: a header is written as "Name: value"`);
    const key = name.toLowerCase();
    if (OWN.test(key)) throw new UsageError(`${where}: ${name} is set by the export itself`);
    if (key in headers) throw new UsageError(`${where}: ${name} is there a second time`);
    headers[key] = header(where, key, value);
  }
  return headers;
}

/** Node's own messages hold the value, which may be a secret. */
function header(where: string, name: string, value: string): string {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return value;
  } catch {
    throw new UsageError(`${where}: a header's name or its value has characters that HTTP does not allow there`);
  }
}
