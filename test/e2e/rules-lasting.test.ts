import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Receiver } from '../support/receiver.js';
import { startServer, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';

/** Alerts of rules over a reload, a silence, an outage of a webhook and a kill -9 of the server: all of them, and each once. */

const run = promisify(execFile);
const OUTAGE_MS = 60_000;

const closing: (() => Promise<unknown>)[] = [];
let data = '';
let folder = '';
let receiver: Receiver;

beforeEach(async () => {
  for (const set of [(path: string) => (data = path), (path: string) => (folder = path)]) {
    const { path, remove } = await temporaryDirectory();
    set(path);
    closing.push(remove);
  }
  receiver = await Receiver.start();
  closing.push(() => receiver.stop());
  await writeFile(join(data, 'webhooks.yaml'), `webhooks: [{ name: a, url: '${receiver.url}' }]`, { mode: 0o600 });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const ruleOf = (name: string, version: number): string => `
  - name: ${name}
    description: A marked program ran.
    severity: HIGH
    trackers: exec
    condition: 'args.exists(a, a.startsWith("${name}-"))'
    message: 'version ${version}: {args}'
    key: [process.pid, bootNs]
    interval: 0s`;
const write = (version: number): Promise<void> =>
  writeFile(join(folder, 'a.yaml'), `rules:${ruleOf('mark', version)}${ruleOf('quiet', version)}`, { mode: 0o600 });
const start = (): Promise<TestServer> =>
  startServer(['--engine', 'none', '--data-dir', data, '--rules', folder, '--webhooks', join(data, 'webhooks.yaml')]);

interface Alerts {
  readonly alerts: {
    readonly nodes: readonly { id: string; message: string; state: string; silencedBy: { reason: string } | null }[];
  };
}
const listed = async (server: TestServer) =>
  (await server.query<Alerts>('{ alerts(first: 1000) { nodes { id message state silencedBy { reason } } } }')).alerts
    .nodes;
const markIn = (message: string): string => /(mark|quiet)-\d+/.exec(message)?.[0] ?? message;
const marks = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `mark-${from + i}`);

async function mark(server: TestServer, names: readonly string[]): Promise<void> {
  for (const name of names) await run('/bin/true', [name]);
  const last = names.at(-1) ?? '';
  await until(`${last} is an alert`, async () =>
    (await listed(server)).some(({ message }) => markIn(message) === last),
  );
}

it('are told once each, and none is missing', async () => {
  await write(1);
  const first = await start();
  await mark(first, marks(1, 5));
  const [oldest] = (await listed(first)).toReversed();
  if (!oldest) throw new Error('no alert');
  await first.query(`mutation { acknowledgeAlert(id: "${oldest.id}", comment: "I look") { id } }`);
  await first.query(`mutation { silence(input: { rule: "quiet", for: "1h", reason: "a test" }) { id } }`);
  await mark(first, ['quiet-1']);
  // A reload in the midst of it.
  const marking = mark(first, marks(6, 40));
  await write(2);
  await marking;
  await until('the rules were loaded again', async () => {
    await mark(first, ['quiet-2']);
    return (await listed(first)).some(({ message }) => message.includes('version 2'));
  });
  await until('all is sent', () => receiver.taken.length === 40);

  await receiver.stop();
  const down = performance.now();
  await mark(first, marks(41, 50));
  await sleep(OUTAGE_MS / 3);
  await mark(first, marks(51, 55));
  // What a crash can take are the last milliseconds.
  await sleep(1000);
  await first.end('SIGKILL');

  const second = await start();
  await mark(second, marks(56, 60));
  await mark(second, ['quiet-3']);
  await sleep(Math.max(0, OUTAGE_MS - (performance.now() - down)));
  await receiver.start();
  await until('all is sent', () => receiver.taken.length >= 60, 120_000);
  await mark(second, marks(61, 61));
  await until('the last one is sent', () => receiver.titles('message').some((text) => markIn(text) === 'mark-61'));

  // All once, in their order; what is silenced never.
  expect(receiver.titles('message').map(markIn)).toEqual(marks(1, 61));
  const ids = receiver.titles('id');
  expect(new Set(ids).size).toBe(61);
  const known = await listed(second);
  expect(known.filter(({ silencedBy }) => silencedBy === null).map(({ id }) => id)).toEqual(ids.toReversed());
  const silenced = known.filter(({ silencedBy }) => silencedBy !== null);
  expect(new Set(silenced.map(({ message }) => markIn(message).replace(/\d+/, 'N')))).toEqual(new Set(['quiet-N']));
  expect(known.filter(({ state }) => state === 'ACKNOWLEDGED').map(({ id }) => id)).toEqual([oldest.id]);
}, 240_000);
