import { join } from 'node:path';
import type { InfluxConfig } from '../base/config.js';
import { choice, path, secret, text, whole } from './kind.js';
import { setting } from './setting.js';
import type { SettingSources } from './sources.js';
import { address } from './url.js';

const CENTURY_HOURS = 24 * 366 * 100;
const HOUR_MS = 3_600_000;
const MIB = 2 ** 20;

/** An InfluxDB that sessions may be persisted to. */
export const influxSettings = {
  influxUrl: setting({
    flag: 'influx-url',
    key: 'influx.url',
    kind: address('http://127.0.0.1:8086', 'give --influx-user, and EUNOMIA_INFLUX_PASSWORD'),
    default: null,
    text: 'an InfluxDB, or what takes its protocol, for sessions that persist to INFLUX (docs/influxdb.md)',
    example: 'https://127.0.0.1:8086',
  }),
  influxVersion: setting({
    flag: 'influx-version',
    key: 'influx.version',
    kind: choice(['1', '2', '3'], '<number>'),
    default: null,
    defaultText: 'the server is asked',
    text: 'its protocol: 1 (/write, InfluxQL), 2 (/api/v2, Flux) or 3 (/api/v3, SQL)',
    example: 2,
  }),
  influxToken: setting({
    flag: 'influx-token',
    key: 'influx.token',
    kind: secret('<token>'),
    default: null,
    secret: true,
    text: 'the token for 2.x and 3.x (other users see arguments: prefer the variable)',
    example: 'influx-secret',
  }),
  influxUser: setting({
    flag: 'influx-user',
    key: 'influx.user',
    kind: text('<name>', 'a name'),
    default: null,
    text: 'the user of 1.x',
    example: 'eunomia',
  }),
  influxPassword: setting({
    flag: 'influx-password',
    key: 'influx.password',
    kind: secret('<text>'),
    default: null,
    secret: true,
    text: 'the password for 1.x (other users see arguments: prefer the variable)',
    example: 'influx password',
  }),
  influxOrg: setting({
    flag: 'influx-org',
    key: 'influx.org',
    kind: text('<name>', 'a name'),
    default: 'eunomia',
    text: 'the organisation of 2.x',
    example: 'operations',
  }),
  influxBucket: setting({
    flag: 'influx-bucket',
    key: 'influx.bucket',
    kind: text('<name>', 'a name'),
    default: 'eunomia',
    text: 'the bucket of 2.x, or database of 1.x; made if it does not exist',
    example: 'kernel',
  }),
  influxRetentionHours: setting({
    flag: 'influx-retention-hours',
    key: 'influx.retentionHours',
    kind: whole(0, CENTURY_HOURS),
    default: 720,
    text: 'how long a bucket or database that is made keeps points; 0 for ever',
    example: 24,
  }),
  influxCa: setting({
    flag: 'influx-ca',
    key: 'influx.ca',
    kind: path(),
    default: null,
    text: 'the authority that signed its certificate, PEM',
    example: 'influx-ca.pem',
  }),
  influxSpool: setting({
    flag: 'influx-spool',
    key: 'influx.spool',
    kind: path('<directory>'),
    default: null,
    defaultText: '"influx-spool" in the data directory',
    text: 'where points wait while it is away',
    example: 'spool',
  }),
  influxSpoolMib: setting({
    flag: 'influx-spool-mib',
    key: 'influx.spoolMib',
    kind: whole(1, 1 << 20),
    default: 1024,
    text: 'how many MiB may wait there',
    example: 64,
  }),
  influxSpoolDrop: setting({
    flag: 'influx-spool-drop',
    key: 'influx.spoolDrop',
    kind: choice(['oldest', 'newest'], '<which>'),
    default: 'oldest',
    text: 'which points are dropped once that is full',
    example: 'newest',
  }),
};

/** The InfluxDB that is set; null without an address. Errors never repeat a secret. */
export function influxOf(sources: SettingSources, dataDirectory: string | null): InfluxConfig | null {
  const { influxUrl, influxCa, influxPassword, influxUser, influxSpool } = influxSettings;
  const url = sources.value(influxUrl);
  if (url === null) {
    const other = Object.values(influxSettings).find((each) => sources.from(each) !== null);
    if (other) throw sources.error(other, 'needs --influx-url as well');
    return null;
  }
  const caFile = sources.value(influxCa);
  if (caFile !== null && !url.startsWith('https:'))
    throw sources.error(influxCa, 'only an https:// address has a certificate');
  const [username, password] = [sources.value(influxUser), sources.value(influxPassword)];
  if (password !== null && username === null) throw sources.error(influxPassword, 'needs --influx-user');
  const inData = dataDirectory === null ? null : join(dataDirectory, 'influx-spool');
  const spoolDirectory = sources.value(influxSpool) ?? inData;
  if (spoolDirectory === null)
    throw sources.error(
      influxUrl,
      'without a data directory needs --influx-spool: points wait there while the database is away',
    );
  const version = sources.value(influxSettings.influxVersion);
  return {
    url,
    version: version === null ? null : (Number(version) as 1 | 2 | 3),
    token: sources.value(influxSettings.influxToken),
    username,
    password,
    organisation: sources.value(influxSettings.influxOrg),
    bucket: sources.value(influxSettings.influxBucket),
    retentionMs: sources.value(influxSettings.influxRetentionHours) * HOUR_MS,
    caFile,
    spoolDirectory,
    spoolBytes: sources.value(influxSettings.influxSpoolMib) * MIB,
    spoolDrop: sources.value(influxSettings.influxSpoolDrop) === 'newest' ? 'NEWEST' : 'OLDEST',
  };
}
