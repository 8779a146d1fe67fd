import type { OtlpConfig } from '../base/config.js';
import { compileGlob } from '../base/glob.js';
import { headersOf, isHeader, NOT_A_HEADER } from '../base/headers.js';
import { UsageError } from '../base/usage.js';
import { fail, list, onOff, path, secret, text, whole, type SettingKind } from './kind.js';
import { setting } from './setting.js';
import type { SettingSources } from './sources.js';
import { address } from './url.js';

const MAX_GLOB = 256;
const MAX_SECONDS = 86_400;

/** An OpenTelemetry collector. */
export const otlpSettings = {
  otlpUrl: setting({
    flag: 'otlp-url',
    key: 'otlp.url',
    kind: collectorAddress(),
    default: null,
    text:
      'send alerts, metrics, and events of the sessions that ask for it, to this OpenTelemetry collector, at ' +
      '/v1/logs and /v1/metrics below the address (docs/otlp.md)',
    example: 'https://127.0.0.1:4318',
  }),
  otlpToken: setting({
    flag: 'otlp-token',
    key: 'otlp.token',
    kind: secret('<token>'),
    default: null,
    secret: true,
    text: 'sent as "Authorization: Bearer …" (other users see arguments: prefer the variable)',
    example: 'otlp-secret',
  }),
  otlpHeadersFile: setting({
    flag: 'otlp-headers-file',
    key: 'otlp.headersFile',
    kind: path(),
    default: null,
    text: 'headers of each request, one "Name: value" a line, # begins a comment; only its owner and group may read it',
    example: 'otlp-headers',
  }),
  otlpCa: setting({
    flag: 'otlp-ca',
    key: 'otlp.ca',
    kind: path(),
    default: null,
    text: 'the authority that signed its certificate, PEM',
    example: 'otlp-ca.pem',
  }),
  otlpEvents: setting({
    flag: 'otlp-events',
    key: 'otlp.events',
    kind: list(globKind()),
    default: [],
    text: 'send the events of sessions with such a name, besides those with the label otlp=true (repeatable)',
    example: ['audit-*'],
  }),
  otlpAlerts: setting({
    flag: 'otlp-alerts',
    key: 'otlp.alerts',
    kind: onOff(),
    default: true,
    text: 'send alerts',
    example: false,
  }),
  otlpMetricsSeconds: setting({
    flag: 'otlp-metrics-seconds',
    key: 'otlp.metricsSeconds',
    kind: whole(0, MAX_SECONDS),
    default: 60,
    text: 'how often metrics are sent, in seconds; 0 for never',
    example: 15,
  }),
};

/** The OpenTelemetry collector that is set; null without an address. Errors never repeat a secret. */
export function otlpOf(sources: SettingSources): OtlpConfig | null {
  const { otlpUrl, otlpToken, otlpHeadersFile, otlpCa, otlpAlerts } = otlpSettings;
  const url = sources.value(otlpUrl);
  const alerts = sources.value(otlpAlerts);
  if (url === null) {
    const other = Object.values(otlpSettings).find(
      (each) => sources.from(each) !== null && !(each === otlpAlerts && alerts),
    );
    if (other) throw sources.error(other, 'needs --otlp-url as well');
    return null;
  }
  const caFile = sources.value(otlpCa);
  if (caFile !== null && !url.startsWith('https:'))
    throw sources.error(otlpCa, 'only an https:// address has a certificate');
  const [token, file] = [sources.value(otlpToken), sources.value(otlpHeadersFile)];
  const headers =
    file === null ? {} : headersOf(sources.secretLines(otlpHeadersFile, file), (message) => new UsageError(message));
  if (token !== null) {
    if ('authorization' in headers)
      throw sources.error(otlpToken, `${file} has the header Authorization as well; give one of them`);
    headers['authorization'] = `Bearer ${token}`;
    if (!isHeader('authorization', headers['authorization'])) throw sources.error(otlpToken, NOT_A_HEADER);
  }
  const seconds = sources.value(otlpSettings.otlpMetricsSeconds);
  return {
    url,
    headers,
    caFile,
    events: sources.value(otlpSettings.otlpEvents),
    alerts,
    metricsMs: seconds === 0 ? null : seconds * 1000,
  };
}

function globKind(): SettingKind<string> {
  const right = `the name of a session or a glob of 1 to ${MAX_GLOB} characters, for example "audit-*"`;
  return text('<glob>', right, (value) => {
    if (value.length > MAX_GLOB) fail(`give ${right}`);
    compileGlob(value, fail);
    return value;
  });
}

function collectorAddress(): SettingKind<string> {
  const kind = address(
    'http://127.0.0.1:4318',
    'give EUNOMIA_OTLP_TOKEN or --otlp-headers-file',
    ' (OTLP over HTTP; gRPC, at 4317, is not supported)',
  );
  const check = (url: string): string => {
    const ending = /\/v1\/(?:logs|metrics|traces)$/.exec(url);
    return ending ? fail(`/v1/logs and /v1/metrics are appended to it; give ${url.slice(0, ending.index)}`) : url;
  };
  return {
    ...kind,
    parse: (value) => check(kind.parse(value)),
    read: (value, folder) => check(kind.read(value, folder)),
  };
}
