import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { adviceOptions, adviceTrackers } from '../../src/cli/advise.js';
import type { Rights } from '../../src/event/advice.js';
import { startServer, stopSession } from '../support/server.js';
import { until } from '../support/until.js';
import { ended, scratch } from '../support/workload.js';

const exec = promisify(execFile);
const TOKEN = 'p'.repeat(32);
const NAME = 'listing';
const socket = `unix://${scratch}/podman.sock`;
/** Debian's crun refuses the hybrid of cgroup v1 and v2 that some machines have. */
const ENGINE = [
  ...['--root', join(scratch, 'store'), '--runroot', join(scratch, 'run'), '--storage-driver', 'vfs'],
  ...['--runtime', 'runc', '--cgroup-manager', 'cgroupfs', '--events-backend', 'file'],
];
let service: ChildProcess;

/** Limits that it sets by default may be above those of this machine. */
const environment = { ...process.env, CONTAINERS_CONF: join(scratch, 'containers.conf') };
const podman = (...args: readonly string[]) => exec('podman', [...ENGINE, ...args], { env: environment });

beforeAll(async () => {
  await writeFile(
    environment.CONTAINERS_CONF,
    '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n',
  );
  await mkdir(join(scratch, 'root/bin'), { recursive: true });
  await mkdir(join(scratch, 'root/tmp'));
  await copyFile('/bin/busybox', join(scratch, 'root/bin/busybox'));
  for (const name of ['sh', 'ls', 'sleep']) await symlink('busybox', join(scratch, 'root/bin', name));
  await exec('tar', ['-C', join(scratch, 'root'), '-cf', join(scratch, 'root.tar'), '.']);
  await podman('import', join(scratch, 'root.tar'), NAME);
  service = spawn('podman', [...ENGINE, 'system', 'service', '--time', '0', socket], {
    stdio: 'ignore',
    env: environment,
  });
});

afterAll(async () => {
  await podman('rm', '--force', '--time', '0', '--all').catch(() => undefined);
  service.kill('SIGTERM');
  await ended(service);
});

it('advice is tried with copies in Podman, which leaves nothing of them', async () => {
  const server = await startServer(['--engine', socket, '--token', `admin:${TOKEN}`], { token: TOKEN });
  await until('Podman is connected', async () => {
    const { server: facts } = await server.query<{ server: { engine: { connected: boolean; kind: string } | null } }>(
      '{ server { engine { connected kind } } }',
    );
    return facts.engine?.connected && facts.engine.kind === 'podman';
  });
  const { startSession } = await server.query<{ startSession: { id: string } }>(
    'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
    {
      input: {
        trackers: adviceTrackers.map((tracker) => ({ [tracker]: adviceOptions[tracker] ?? {} })),
        target: { containers: [{ name: NAME }], waitForContainers: true },
      },
    },
  );
  const { id } = startSession;
  await podman(
    ...[
      'run',
      '--detach',
      '--network',
      'none',
      '--ulimit',
      'nofile=1024:1024',
      '--ulimit',
      'nproc=1000:1000',
      '--name',
      NAME,
      `localhost/${NAME}`,
    ],
    ...['sh', '-c', 'while true; do ls / > /tmp/listed; sleep 0.1; done'],
  );
  await until('it has listed', async () =>
    podman('exec', NAME, 'ls', '/tmp/listed').then(
      () => true,
      () => false,
    ),
  );
  await stopSession(server, id);
  const { advise } = await server.query<{ advise: { rights: Rights } }>(
    'query ($input: AdviseInput!) { advise(input: $input) { rights } }',
    { input: { container: NAME, session: id } },
  );
  const { verifyAdvice } = await server.query<{
    verifyAdvice: { outside: readonly { kind: string; refused: boolean }[] };
  }>(
    `mutation ($input: VerifyAdviceInput!) { verifyAdvice(input: $input) {
      verified problems rights rounds { started check { passed output } } outside { kind what refused } } }`,
    { input: { container: NAME, rights: advise.rights, check: { command: ['ls', '/tmp/listed'] } } },
  );
  expect(verifyAdvice).toMatchObject({
    verified: true,
    problems: [],
    rights: { readOnlyRoot: true, capabilities: [] },
  });
  expect(verifyAdvice.outside.every(({ refused }) => refused)).toBe(true);
  expect(new Set(verifyAdvice.outside.map(({ kind }) => kind))).toEqual(new Set(['CALL', 'CAPABILITY', 'PATH']));
  const { stdout } = await podman('ps', '--all', '--format', '{{.Names}}');
  expect(stdout.trim()).toBe(NAME);
  const images = await podman('images', '--format', '{{.Repository}}');
  expect(images.stdout.trim()).toBe(`localhost/${NAME}`);
  expect((await podman('volume', 'ls', '--quiet')).stdout.trim()).toBe('');
});
