import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Receiver } from '../support/receiver.js';
import { startServer, startSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';

/** Alerts of real events, over kill -9 of the real server and an outage of a receiver. */

const run = promisify(execFile);
const TOKEN = 'secret-of-the-admin';
const PLUGIN = `import { definePlugin } from 'eunomia/plugin';
export default definePlugin({ name: 'each', version: '1', summary: 'A test.', reads: { exec: ['args', 'process'] },
  onBatch(events, { alert }) {
    for (const event of events) {
      const mark = event.args?.find((arg) => arg.startsWith('alert-'));
      if (mark) alert({ severity: 'HIGH', title: mark, message: 'it ran', event, key: mark });
    }
  } });`;

const closing: (() => Promise<unknown>)[] = [];
let directory = '';
let receiver: Receiver;

beforeEach(async () => {
  const { path, remove } = await temporaryDirectory();
  directory = path;
  receiver = await Receiver.start();
  closing.push(remove, () => receiver.stop());
  writeFileSync(join(directory, 'webhooks.yaml'), `webhooks: [{ name: a, url: '${receiver.url}' }]`, { mode: 0o600 });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(): Promise<TestServer> {
  const webhooks = join(directory, 'webhooks.yaml');
  const server = await startServer(
    ['--engine', 'none', '--data-dir', directory, '--token', `admin:${TOKEN}`, '--webhooks', webhooks],
    { token: TOKEN },
  );
  await server.query('mutation ($source: String!) { loadPlugin(input: { file: "each.ts", source: $source }) { id } }', {
    source: PLUGIN,
  });
  await startSession(server, '{ trackers: [{ exec: {} }], plugins: [{ name: "each" }] }');
  return server;
}

interface Listed {
  readonly alerts: { readonly nodes: { id: string; title: string; state: string; count: string; process: object }[] };
}

const listed = async (server: TestServer) =>
  (await server.query<Listed>('{ alerts { nodes { id title state count process { pid comm } history { by } } } }'))
    .alerts.nodes;

async function alerted(server: TestServer, title: string) {
  await run('sh', ['-c', ': "$0"', title]);
  return until(`the alert ${title}`, async () => (await listed(server)).find((alert) => alert.title === title));
}

it('alerts and their webhook outlive a kill -9 of the server and an outage of the receiver', async () => {
  const first = await start();
  const one = await alerted(first, 'alert-one');
  await until('it is sent', () => receiver.taken.length === 1);
  await first.query(`mutation { acknowledgeAlert(id: "${one.id}", comment: "I look") { id } }`);
  await receiver.stop();
  await alerted(first, 'alert-two');
  const { alertStatus } = await first.query<{ alertStatus: object }>('{ alertStatus { lasting acknowledged open } }');
  expect(alertStatus).toEqual({ lasting: true, acknowledged: 1, open: 1 });
  const before = await listed(first);
  await first.end('SIGKILL');

  const second = await start();
  // How often one was raised again is written once a second.
  const uncounted = before.map(({ id, title, state }) => expect.objectContaining({ id, title, state }) as object);
  expect(await listed(second)).toEqual(uncounted);
  await alerted(second, 'alert-three');
  await receiver.start();
  await until('all is sent', () => receiver.titles().includes('alert-three'));
  expect(receiver.titles()).toEqual(['alert-one', 'alert-two', 'alert-three']);
  await second.query(`mutation { resolveAlert(id: "${one.id}") { id } }`);
  await until('its end is sent', () => receiver.taken.length === 4);
  expect(JSON.parse(receiver.taken[3]?.body ?? '')).toMatchObject({
    event: 'resolved',
    alert: { id: one.id, history: [{ action: 'ACKNOWLEDGED', comment: 'I look' }, { action: 'RESOLVED' }] },
  });
});
