import { join } from 'node:path';
import { Option, type Command } from 'commander';
import type { InfluxConfig } from '../config.js';
import { UsageError, wholeNumber } from './usage.js';

/** The options of `eunomia serve` for an InfluxDB. */
export interface InfluxFlags {
  readonly influxUrl?: string;
  readonly influxVersion?: '1' | '2';
  readonly influxToken?: string;
  readonly influxUser?: string;
  readonly influxPassword?: string;
  readonly influxOrg?: string;
  readonly influxBucket?: string;
  readonly influxRetentionHours?: number;
  readonly influxCa?: string;
  readonly influxSpool?: string;
  readonly influxSpoolMib?: number;
  readonly influxSpoolDrop?: 'oldest' | 'newest';
}

const MAX_HOURS = 24 * 366 * 100;

export function addInfluxOptions(command: Command): void {
  command
    .addOption(
      new Option(
        '--influx-url <url>',
        'an InfluxDB, or what takes its protocol, for sessions that persist to INFLUX',
      ).env('EUNOMIA_INFLUX_URL'),
    )
    .addOption(
      new Option(
        '--influx-version <number>',
        'its protocol: 1 (/write, InfluxQL) or 2 (/api/v2, Flux); by default the server is asked',
      )
        .choices(['1', '2'])
        .env('EUNOMIA_INFLUX_VERSION'),
    )
    .addOption(
      new Option('--influx-token <token>', 'of 2.x (others see arguments: prefer the variable)').env(
        'EUNOMIA_INFLUX_TOKEN',
      ),
    )
    .addOption(new Option('--influx-user <name>', 'of 1.x').env('EUNOMIA_INFLUX_USER'))
    .addOption(
      new Option('--influx-password <text>', 'of 1.x (others see arguments: prefer the variable)').env(
        'EUNOMIA_INFLUX_PASSWORD',
      ),
    )
    .addOption(
      new Option('--influx-org <name>', 'the organisation of 2.x (default: "eunomia")').env('EUNOMIA_INFLUX_ORG'),
    )
    .addOption(
      new Option(
        '--influx-bucket <name>',
        'the bucket of 2.x, or database of 1.x; made if it is not there (default: "eunomia")',
      ).env('EUNOMIA_INFLUX_BUCKET'),
    )
    .addOption(
      new Option(
        '--influx-retention-hours <number>',
        'how long a bucket or database that is made keeps points; 0 for ever (default: 720)',
      )
        .argParser(wholeNumber('--influx-retention-hours', 0, MAX_HOURS))
        .env('EUNOMIA_INFLUX_RETENTION_HOURS'),
    )
    .addOption(
      new Option('--influx-ca <file>', 'the authority that signed its certificate, PEM').env('EUNOMIA_INFLUX_CA'),
    )
    .addOption(
      new Option(
        '--influx-spool <directory>',
        'where points wait while it is away (default: "influx-spool" in the data directory)',
      ).env('EUNOMIA_INFLUX_SPOOL'),
    )
    .addOption(
      new Option('--influx-spool-mib <number>', 'how much may wait there (default: 1024)')
        .argParser(wholeNumber('--influx-spool-mib', 1, 1 << 20))
        .env('EUNOMIA_INFLUX_SPOOL_MIB'),
    )
    .addOption(
      new Option('--influx-spool-drop <which>', 'what goes once that is full (default: "oldest")')
        .choices(['oldest', 'newest'])
        .env('EUNOMIA_INFLUX_SPOOL_DROP'),
    );
}

/** What the flags say; null without an address. Throws a UsageError, which never repeats a secret. */
export function influxOf(flags: InfluxFlags, dataDirectory: string | null): InfluxConfig | null {
  if (flags.influxUrl === undefined) {
    const [other] = Object.keys(flags).filter(
      (name) => name.startsWith('influx') && Reflect.get(flags, name) !== undefined,
    );
    if (other !== undefined)
      throw new UsageError(
        `--${other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} needs --influx-url as well`,
      );
    return null;
  }
  const url = urlOf(flags.influxUrl);
  if (flags.influxCa !== undefined && !url.startsWith('https:'))
    throw new UsageError('--influx-ca: only an https:// address has a certificate');
  if (flags.influxPassword !== undefined && flags.influxUser === undefined)
    throw new UsageError('--influx-password needs --influx-user');
  const spoolDirectory = flags.influxSpool ?? (dataDirectory === null ? null : join(dataDirectory, 'influx-spool'));
  if (spoolDirectory === null)
    throw new UsageError(
      '--influx-url without a data directory needs --influx-spool: points wait there while the database is away',
    );
  return {
    url,
    version: flags.influxVersion === undefined ? null : flags.influxVersion === '1' ? 1 : 2,
    token: flags.influxToken ?? null,
    username: flags.influxUser ?? null,
    password: flags.influxPassword ?? null,
    organisation: flags.influxOrg ?? 'eunomia',
    bucket: flags.influxBucket ?? 'eunomia',
    retentionMs: (flags.influxRetentionHours ?? 720) * 3_600_000,
    caFile: flags.influxCa ?? null,
    spoolDirectory,
    spoolBytes: (flags.influxSpoolMib ?? 1024) * 2 ** 20,
    spoolDrop: flags.influxSpoolDrop === 'newest' ? 'NEWEST' : 'OLDEST',
  };
}

function urlOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new UsageError('--influx-url: give an address like http://127.0.0.1:8086 or https://influx.example');
  if (url.username || url.password)
    throw new UsageError(
      '--influx-url: holds a name or a password, which would be logged; give --influx-user, and EUNOMIA_INFLUX_PASSWORD',
    );
  if (url.search || url.hash)
    throw new UsageError('--influx-url: ends with a query or a fragment; give the address alone');
  return text.replace(/\/+$/, '');
}
