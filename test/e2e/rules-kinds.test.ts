import { afterEach, beforeEach, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';

/** Rules that look at more than one event, sent by a client, on what a real container does. */

const TOKEN = 'secret-of-the-admin';
const closing: (() => Promise<unknown>)[] = [];
let docker: TestDocker;
let server: TestServer;

beforeEach(async () => {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  docker = await startDocker();
  closing.push(() => docker.stop());
  await docker.run('-d', '--name', 'web', TEST_IMAGE, 'sleep', '600');
  server = await startServer(['--engine', docker.socket, '--data-dir', path, '--token', `admin:${TOKEN}`], {
    token: TOKEN,
  });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const rule = (name: string, more: string): string => `
  - name: ${name}
    description: A test.
    severity: LOW
    message: '{process.comm} {filename} in {container.name}'
    key: [container.id, filename]
${more.replace(/^/gm, '    ')}`;
const exec = (condition: string, more: string): string => `trackers: exec
condition: 'container != null && ${condition}'
${more}`;
const RULES = `rules:${[
  rule('rated', exec('args.exists(a, a == "rated")', 'rate: { count: 5, within: 1m, by: [container.id] }')),
  rule(
    'loaded',
    `sequence:
  within: 1m
  by: tree
  steps:
    - { trackers: open, condition: 'container != null && path == "/tmp/loaded" && "O_CREAT" in flags' }
    - { trackers: exec, condition: 'filename == "/tmp/loaded"' }`,
  ),
  rule(
    'hanging',
    exec(
      'process.comm in ["hanging", "brief"]',
      `absence: { trackers: exit, condition: 'true', within: 2s, by: process }`,
    ),
  ),
  rule(
    'unseen',
    exec('errno == null', 'firstSeen: { values: [filename], for: [container.image], learn: 0s, baseline: 1h }'),
  ),
].join('')}`;

const act = (script: string): Promise<string> => docker.docker('exec', 'web', 'sh', '-c', script);
const messagesOf = async (name: string): Promise<readonly string[]> => {
  const { alerts } = await server.query<{ alerts: { nodes: readonly { message: string; count: string }[] } }>(
    `{ alerts(first: 1000, where: { rules: ["${name}"] }) { nodes { message count } } }`,
  );
  return alerts.nodes.map(({ message, count }) => `${count} ${message}`);
};

it('find a rate, a sequence, an absence, and what the history has not seen', async () => {
  const session = await startSession(
    server,
    '{ trackers: [{ exec: {} }], persist: { store: EMBEDDED }, target: { containers: [{ name: "web" }] } }',
  );
  await act('/bin/cat /etc/hostname');
  await until('it is stored', async () => {
    const { session: told } = await server.query<{ session: { persistence: { written: string } } }>(
      `{ session(id: "${session}") { persistence { written } } }`,
    );
    return Number(told.persistence.written) >= 2;
  });
  await stopSession(server, session);

  const input = { name: 'kinds', source: RULES };
  const { checkRules } = await server.query<{ checkRules: object }>(
    'query ($input: LoadRulesInput!) { checkRules(input: $input) { valid problem rules { name } } }',
    { input },
  );
  expect(checkRules).toMatchObject({ valid: true, problem: null });
  await server.query('mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name } }', { input });

  await act('for i in 1 2 3 4; do /bin/true rated; done');
  await act('cp /bin/busybox /tmp/loaded; /tmp/loaded true; true');
  await act(`cd /tmp; printf '#!/bin/sh\\nsleep 4' > hanging; printf '#!/bin/sh\\ntrue' > brief; chmod +x hanging brief
    ./brief; ./hanging`);
  expect(await messagesOf('rated')).toEqual([]);
  await act('/bin/true rated');
  await until('the rate is told', async () => (await messagesOf('rated')).length > 0);
  await until('the absence is told', async () => (await messagesOf('hanging')).length > 0);
  expect(await messagesOf('rated')).toEqual(['1 true /bin/true in web']);
  expect(await messagesOf('loaded')).toEqual(['1 loaded /tmp/loaded in web']);
  expect(await messagesOf('hanging')).toEqual(['1 hanging ./hanging in web']);

  let tries = 0;
  await until('what is new is told once the history was read', async () => {
    const name = `/tmp/new${tries++}`;
    await act(`cp /bin/busybox ${name}; ${name} true; true`);
    return (await messagesOf('unseen')).some((message) => message.includes('/tmp/new'));
  });
  await act('/bin/cat /etc/hostname');
  await act('/bin/ls');
  await until('the last one is told', async () => (await messagesOf('unseen')).includes('1 ls /bin/ls in web'));
  // The history has them.
  expect((await messagesOf('unseen')).filter((message) => /\/bin\/(cat|sh)\b|\ssh\b/.test(message))).toEqual([]);
  expect(await server.query('{ rules { missed problem } }')).toEqual({ rules: { missed: '0', problem: null } });
}, 120_000);
