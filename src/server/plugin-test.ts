import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { noLineage } from '../event/lineage.js';
import { FilterFields } from '../filter/index.js';
import { Reviver } from '../formats/index.js';
import { replayPlugin, type OnOutcome, type ReplayRequest, type ReplaySummary } from '../plugins/index.js';

/** Runs a plugin over a recording: needs neither BPF nor root. Rejects with BAD_PLUGIN, BAD_RECORDING or BAD_USER_INPUT. */
export async function testPlugin(request: Omit<ReplayRequest, 'revive'>, onOutcome: OnOutcome): Promise<ReplaySummary> {
  const schema = contractSchema();
  const definitions = await loadTrackers();
  const catalog = new Catalog(schema, definitions, () => false);
  catalog.lineage = noLineage('recorded events do not tell by whom their processes were started');
  const reviver = new Reviver(schema, definitions, { partial: true });
  return replayPlugin(
    { ...request, revive: (line) => reviver.event(line) },
    { catalog, fields: new FilterFields(schema, catalog) },
    onOutcome,
  );
}
