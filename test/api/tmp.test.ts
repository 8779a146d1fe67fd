import { it } from 'vitest';
import { createSchema } from '../../src/api/schema.js';
import { Catalog } from '../../src/trackers/catalog.js';
import { loadTrackers } from '../../src/trackers/load.js';
import { printType } from 'graphql';
it('x', async () => {
  const schema = createSchema();
  console.log(schema.getType('Duration')?.description, printType(schema.getType('TrackerInput')!), (schema.getType('TrackerInput') as any).isOneOf);
  const c = new Catalog(schema, await loadTrackers(), (t, f) => f === 'args');
  console.log(JSON.stringify(c.get('exec'), null, 0));
  for (const f of ['procss.comm', 'process', 'container', 'args', 'path', 'container.labels', 'container.labels.x', 'container.imagee']) try { c.checkField(f, ['exec'], 'groupBy[0]'); console.log('ok', f); } catch (e) { console.log(String(e)); }
  for (const o of [{ faild: true }, { failed: 'x' }, {}]) try { console.log(c.checkOptions('exec', o)); } catch (e) { console.log(String(e)); }
});
