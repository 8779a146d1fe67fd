import { afterEach, beforeEach, expect, it } from 'vitest';
import { compileSource } from '../../src/plugins/source.js';
import { defaultLimits, PluginDied, PluginThread } from '../../src/plugins/thread.js';
import { createFixture, type Fixture } from './support.js';

let fixture: Fixture;

beforeEach(async () => {
  fixture = await createFixture();
});

afterEach(async () => {
  await fixture.services.plugins.close();
  await fixture.services.manager.close();
});

const ANSWER = '{ type: "reply", id: 2, body: { outcome: { alerts: 5 }, error: null, busyMs: 0 } }';

it.each([
  [ANSWER, 'its thread sent what is no reply to a call'],
  ['{ type: "note", kind: "dead", body: 5 }', 'its thread sent what is no reply to a call'],
  ['null', 'its thread ended: it sent what its channel does not know'],
])('a trusted plugin that sends %s itself is ended, and the server is not', async (message, why) => {
  const { catalog, fields } = fixture.services;
  const source = `import { definePlugin } from 'eunomia/plugin';
export default definePlugin({ name: 'p', version: '1.0.0', summary: 'A test.', reads: { exec: ['process'] },
  onStart() { process.getBuiltinModule('node:worker_threads').parentPort.postMessage(${message}); }, onBatch() {} });`;
  const { thread, facts } = await PluginThread.load(
    await compileSource('p.ts', source),
    'TRUSTED',
    defaultLimits.TRUSTED,
    {
      catalog,
      fields,
    },
  );
  const call = thread.call('start', { facts, options: {}, session: { id: 's', name: null }, trackers: ['exec'] });
  await expect(call).rejects.toThrow(PluginDied);
  await expect(call).rejects.toThrow(why);
  await thread.end();
});
