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
  await writeFile(
    join(data, 'webhooks.yaml'),
    `webhooks: [{ name: a, url: '${receiver.url}', on: [raised, resolved] }]`,
    { mode: 0o600 },
  );
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
    readonly nodes: readonly {
      id: string;
      message: string;
      state: string;
      silencedBy: { reason: string } | null;
      history: readonly { action: string; comment: string }[];
    }[];
  };
}
interface Sent {
  readonly event: string;
  readonly alert: { readonly id: string; readonly message: string };
}
const listed = async (server: TestServer) => {
  const { alerts } = await server.query<Alerts>(
    '{ alerts(first: 1000) { nodes { id message state silencedBy { reason } history { action comment } } } }',
  );
  return alerts.nodes;
};
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
  let made = 0;
  const next = (count: number): readonly string[] => {
    const names = marks(made + 1, made + count);
    made += count;
    return names;
  };
  await write(1);
  const first = await start();
  await mark(first, next(5));
  const [oldest] = (await listed(first)).toReversed();
  if (!oldest) throw new Error('no alert');
  await first.query(`mutation { acknowledgeAlert(id: "${oldest.id}", comment: "I look") { id } }`);
  await first.query(`mutation { silence(input: { rule: "quiet", for: "1h", reason: "a test" }) { id } }`);
  await mark(first, ['quiet-1']);
  // A reload in the midst of it.
  await write(2);
  await until('the rules were loaded again', async () => {
    await mark(first, next(1));
    return (await listed(first)).some(({ message }) => message.startsWith('version 2'));
  });
  await mark(first, [...next(5), 'quiet-2']);
  const before = made;
  await until('all is sent', () => receiver.taken.length === before);

  await receiver.stop();
  const down = performance.now();
  await mark(first, next(10));
  await sleep(OUTAGE_MS / 3);
  await mark(first, next(5));
  // What a crash can take are the last milliseconds.
  await sleep(1000);
  await first.end('SIGKILL');

  const second = await start();
  await mark(second, next(5));
  await mark(second, ['quiet-3']);
  await second.query(`mutation { resolveAlert(id: "${oldest.id}", comment: "it was me") { id } }`);
  await sleep(Math.max(0, OUTAGE_MS - (performance.now() - down)));
  expect(receiver.taken).toHaveLength(before);
  await receiver.start();
  // Of these, one is resolved.
  await until('all is sent', () => receiver.taken.length >= made + 1, 120_000);
  await mark(second, next(1));
  await until('the last one is sent', () => markIn(receiver.titles('message').at(-1) ?? '') === `mark-${made}`);

  // All once, in their order; what is silenced never.
  const sent = receiver.taken.map(({ body }) => JSON.parse(body) as Sent);
  const raised = sent.filter(({ event }) => event === 'raised').map(({ alert }) => alert);
  expect(raised.map(({ message }) => markIn(message))).toEqual(marks(1, made));
  expect(sent.filter(({ event }) => event !== 'raised').map(({ event, alert }) => [event, alert.id])).toEqual([
    ['resolved', oldest.id],
  ]);
  const versions = raised.map(({ message }) => message.slice(0, 9));
  expect(versions).toEqual(versions.toSorted());
  expect(new Set(versions)).toEqual(new Set(['version 1', 'version 2']));
  const ids = raised.map(({ id }) => id);
  expect(new Set(ids).size).toBe(made);
  const known = await listed(second);
  expect(known.filter(({ silencedBy }) => silencedBy === null).map(({ id }) => id)).toEqual(ids.toReversed());
  const silenced = known.filter(({ silencedBy }) => silencedBy !== null).toReversed();
  expect(silenced.map(({ message }) => markIn(message))).toEqual(['quiet-1', 'quiet-2', 'quiet-3']);
  expect(known.filter(({ history }) => history.length > 0)).toMatchObject([
    {
      id: oldest.id,
      state: 'RESOLVED',
      history: [
        { action: 'ACKNOWLEDGED', comment: 'I look' },
        { action: 'RESOLVED', comment: 'it was me' },
      ],
    },
  ]);
}, 240_000);
