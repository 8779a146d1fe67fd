import { randomUUID } from 'node:crypto';
import { hostname, machine, release } from 'node:os';
import type { OtlpConfig } from '../base/config.js';
import { EunomiaError, messageOf } from '../base/errors.js';
import { readTrusted } from '../base/file.js';
import { OtlpExporter, type ExporterOptions } from '../telemetry/otlp/index.js';

/** Rejects with BAD_OTLP when the authority's file cannot be read. */
export async function createExporter(
  config: OtlpConfig,
  { catalog, version, log, families }: Pick<ExporterOptions, 'catalog' | 'version' | 'log' | 'families'>,
): Promise<OtlpExporter> {
  const ca = config.caFile === null ? null : readAuthority(config.caFile);
  const architecture = { x86_64: 'amd64', aarch64: 'arm64' }[machine()] ?? machine();
  const resource = {
    'service.name': 'eunomia',
    'service.version': version,
    'service.instance.id': randomUUID(),
    'host.name': hostname(),
    'host.arch': architecture,
    'os.type': 'linux',
    'os.version': release(),
  };
  return new OtlpExporter({ config, ca, catalog, version, log, families, resource });
}

function readAuthority(file: string): string {
  try {
    return readTrusted(file, 'CONFIG').toString();
  } catch (error) {
    throw new EunomiaError('BAD_OTLP', `--otlp-ca ${file}: cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
