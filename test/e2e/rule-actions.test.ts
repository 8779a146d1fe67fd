import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';

/** What rules do besides raising alerts, to real processes and containers of a real engine. */

const closing: (() => Promise<unknown>)[] = [];
let docker: TestDocker;
let data = '';
let folder = '';

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

beforeEach(async () => {
  for (const set of [(path: string) => (data = path), (path: string) => (folder = path)]) {
    const { path, remove } = await temporaryDirectory();
    set(path);
    closing.push(remove);
  }
  await writeFile(
    join(folder, 'actions.yaml'),
    `rules:
${[
  ['killed', 'killed', 'kill'],
  ['paused', 'paused', 'log, pause'],
  ['stopped', 'stopped', 'stop'],
  ['looked-into', 'looked', '{ collect: { trackers: [exec, open], for: 60s, events: 1000 } }'],
]
  .map(
    ([name, comm, actions]) => `  - name: ${name}
    description: A test.
    severity: HIGH
    trackers: exec
    condition: container != null && process.comm == "${comm}"
    message: '{process.comm} in {container.name}'
    key: [container.id]
    actions: [${actions}]`,
  )
  .join('\n')}`,
    { mode: 0o600 },
  );
  // Its first program would not hear SIGTERM: an engine waits for ten seconds then.
  await docker.run('-d', '--name', 'web', '--stop-signal', 'SIGKILL', TEST_IMAGE, 'sleep', '600');
  closing.push(() => docker.docker('rm', '-f', 'web'));
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const start = (mode: string): Promise<TestServer> =>
  startServer(['--engine', docker.socket, '--data-dir', data, '--rules', folder, '--rule-actions', mode]);
/** Runs a program of this name in the container until `finish`, unless it is ended before. Resolves with how it ended. */
const act = (comm: string): Promise<string> =>
  docker
    .docker(
      'exec',
      'web',
      'sh',
      '-c',
      `cd /tmp; printf '#!/bin/sh\\nwhile [ ! -e over ]; do sleep 0.3; done' > ${comm}; chmod +x ${comm}; exec ./${comm}`,
    )
    .then(() => 'ended by itself', String);
const finish = (): Promise<string> => docker.docker('exec', 'web', 'touch', '/tmp/over');
const isRunning = async (): Promise<string> =>
  (await docker.docker('inspect', '-f', '{{.State.Status}}', 'web')).trim();

interface Told {
  readonly id: string;
  readonly history: readonly { readonly action: string; readonly by: string; readonly comment: string }[];
  readonly evidenceSession: {
    readonly id: string;
    readonly name: string;
    readonly events: { readonly nodes: readonly { readonly filename?: string }[] };
  } | null;
}
const alertOf = async (server: TestServer, rule: string): Promise<Told | undefined> => {
  const { alerts } = await server.query<{ alerts: { nodes: readonly Told[] } }>(
    `{ alerts(where: { rules: ["${rule}"] }) { nodes { id history { action by comment }
       evidenceSession { id name events(first: 1000) { nodes { ... on ExecEvent { filename } } } } } } }`,
  );
  return alerts.nodes[0];
};
const acted = (server: TestServer, rule: string): Promise<Told> =>
  until(`${rule} has acted`, async () => {
    const alert = await alertOf(server, rule);
    return alert && alert.history.length > 0 ? alert : undefined;
  });

it('kill the process, pause and stop the container, and tell it', async () => {
  const server = await start('on');
  const ended = act('killed');
  const killed = await acted(server, 'killed');
  expect(killed.history).toEqual([
    {
      action: 'ACTED',
      by: 'rule:killed',
      comment: expect.stringMatching(/^kill: sent SIGKILL to process \d+ \(killed\)$/),
    },
  ]);
  expect(await ended).toContain('Command failed');
  void act('paused');
  const paused = await acted(server, 'paused');
  expect(paused.history[0]?.comment).toBe('pause: paused container web');
  expect(await isRunning()).toBe('paused');
  await docker.docker('unpause', 'web');
  void act('stopped');
  expect((await acted(server, 'stopped')).history[0]?.comment).toBe('stop: stopped container web');
  expect(await isRunning()).toBe('exited');
  expect(await server.query('{ rules { actions { mode taken failed skipped } } }')).toEqual({
    rules: { actions: { mode: 'ON', taken: '3', failed: '0', skipped: '0' } },
  });
});

it('only say what they would do in a dry run', async () => {
  const server = await start('dry-run');
  const ended = [act('killed'), act('stopped')];
  expect((await acted(server, 'killed')).history[0]?.comment).toMatch(/^kill: dry run: would send SIGKILL to process/);
  expect((await acted(server, 'stopped')).history[0]?.comment).toBe('stop: dry run: would stop container web');
  expect(await isRunning()).toBe('running');
  await finish();
  expect(await Promise.all(ended)).toEqual(['ended by itself', 'ended by itself']);
});

it('collect what the container does afterwards, also for the server after a kill -9', async () => {
  const first = await start('off');
  const ended = act('looked');
  const told = await acted(first, 'looked-into');
  expect(told.history[0]?.comment).toBe(`collect: session ${told.evidenceSession?.id}`);
  expect(told.evidenceSession).toMatchObject({ name: 'evidence of looked-into' });
  await docker.docker('exec', 'web', 'cat', '/etc/hostname');
  const filenames = async (server: TestServer) =>
    (await alertOf(server, 'looked-into'))?.evidenceSession?.events.nodes.map(({ filename }) => filename) ?? [];
  await until('it is collected', async () => (await filenames(first)).includes('/bin/cat'));
  expect(await first.query('{ rules { actions { mode taken collecting } } }')).toEqual({
    rules: { actions: { mode: 'OFF', taken: '1', collecting: 1 } },
  });
  await finish();
  expect(await ended).toBe('ended by itself');
  await until('it is stored', async () => {
    const { session } = await first.query<{
      session: { stats: { delivered: string }; persistence: { written: string } | null };
    }>(`{ session(id: "${told.evidenceSession?.id}") { stats { delivered } persistence { written } } }`);
    return session.persistence?.written === session.stats.delivered;
  });
  await first.end('SIGKILL');
  const second = await start('off');
  expect(await filenames(second)).toContain('/bin/cat');
});
