import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { AlertBook } from '../../src/alerts/book.js';
import { PluginHost, type Attachment, type HostOptions } from '../../src/plugins/index.js';
import { FilterFields } from '../../src/filter/index.js';
import { createLog } from '../../src/base/log.js';
import { Catalog } from '../../src/catalog/catalog.js';
import type { Harness } from './session.js';
import { until } from './until.js';

/** Real plugins on the real sessions of a harness. */
export interface PluginHarness {
  readonly host: PluginHost;
  readonly alerts: AlertBook;
  /** The directory of trusted plugins, watched. */
  readonly directory: string;
  /** Writes a plugin's file, and waits until it is loaded. */
  trust(file: string, source: string): Promise<void>;
  close(): Promise<void>;
}

export async function createPlugins(
  { manager, trackers }: Harness,
  options: Partial<HostOptions> = {},
): Promise<PluginHarness> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'eunomia-plugins-')));
  const schema = contractSchema();
  const catalog = new Catalog(
    schema,
    [...trackers.values()].map(({ definition }) => definition),
    (tracker, field) => trackers.get(tracker)?.onDemand.includes(field) ?? false,
  );
  const alerts = new AlertBook();
  const host = new PluginHost({
    vocabulary: { catalog, fields: new FilterFields(schema, catalog) },
    log: createLog('silent'),
    session: (id) => manager.get(id),
    raise: (alert, plugin, session) => alerts.raise({ ...alert, source: `plugin:${plugin}`, session }),
    ...options,
    directory,
  });
  await host.open();
  return {
    host,
    alerts,
    directory,
    trust: async (file, source) => {
      const path = join(directory, file);
      await writeFile(path, source, { mode: 0o644 });
      await until(`${file} is loaded`, () => host.list().some((plugin) => plugin.source.file === path));
    },
    close: async () => {
      await host.close();
      if (!options.directory) await rm(directory, { recursive: true });
    },
  };
}

/** What a plugin has emitted, as values. */
export function found(attachment: Attachment): Record<string, unknown>[] {
  return attachment.results.held.map(({ json }) => JSON.parse(json) as Record<string, unknown>);
}

/** A plugin's source from its essentials. */
export function pluginSource(
  name: string,
  body: string,
  reads = "{ exec: ['args', 'process.pid', 'process.comm', 'container.name'] }",
  more = '',
): string {
  return `import { definePlugin } from 'eunomia/plugin';
export default definePlugin({ name: '${name}', version: '1', summary: 'A test.', reads: ${reads}, ${more}
${body}
});
`;
}
