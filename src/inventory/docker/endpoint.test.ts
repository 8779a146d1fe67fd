import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContainerRegistry } from '../registry.js';
import { dockerOptions, endpoints, parseEndpoint, type Endpoint } from './endpoint.js';
import { Engine } from './engine.js';
import type { SourceSink } from '../source.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-endpoint-'));
});
afterEach(() => rm(folder, { recursive: true }));

const at = (name: string): string => join(folder, name);
const named = (host: string): Endpoint => ({ host, presumed: false });

describe('the engines to follow', () => {
  it('are those that somebody named, whether they are there or not', () => {
    expect(endpoints(['/no/docker.sock', 'tcp://h', '/no/docker.sock'])).toEqual(
      ['/no/docker.sock', 'tcp://h'].map(named),
    );
    expect(endpoints([], { DOCKER_HOST: 'tcp://h' })).toEqual([]);
    expect(endpoints(null, { DOCKER_HOST: 'tcp://h' })).toEqual([named('tcp://h')]);
  });

  it('are else the usual sockets that are there, each once', async () => {
    await writeFile(at('podman.sock'), '');
    await symlink(at('podman.sock'), at('docker.sock'));
    expect(endpoints(null, {}, [at('docker.sock'), at('podman.sock')])).toEqual([named(`unix://${at('docker.sock')}`)]);
    expect(endpoints(null, {}, [at('none.sock'), at('podman.sock')])).toEqual([named(`unix://${at('podman.sock')}`)]);
  });

  it('are else the first of them, which may come, and is only presumed', () => {
    expect(endpoints(null, { DOCKER_HOST: '' }, [at('docker.sock'), at('podman.sock')])).toEqual([
      { host: `unix://${at('docker.sock')}`, presumed: true },
    ]);
  });
});

it.each([
  ['ssh://build%40er@h:2222', { host: 'h', port: '2222', username: 'build@er' }],
  ['ssh://h', { host: 'h', port: 22, username: userInfo().username }],
])('%s is reached as its user, with the keys of the agent', (endpoint, expected) => {
  expect(parseEndpoint(endpoint)).toEqual({
    protocol: 'ssh',
    ...expected,
    sshOptions: { agent: process.env['SSH_AUTH_SOCK'] },
  });
});

it('over SSH needs a user where that of this process has no name', () => {
  expect(dockerOptions('ssh://me@h', null)).toMatchObject({ username: 'me' });
  expect(dockerOptions('/run/docker.sock', null)).toMatchObject({ socketPath: '/run/docker.sock' });
  expect(() => dockerOptions('ssh://h', null)).toThrow('ssh://USER@h');
});

const nothing = (): undefined => undefined;
const unheard: SourceSink = { facts: nothing, listed: nothing, removed: nothing, absent: nothing, status: nothing };

describe('an engine over TCP or SSH', () => {
  const engine = (host: string): Engine =>
    new Engine({ endpoint: named(host), log: pino({ level: 'silent' }) }, unheard);
  afterEach(() => {
    delete process.env['DOCKER_CERT_PATH'];
    delete process.env['DOCKER_TLS_VERIFY'];
  });

  it('is refused with the place of the certificates where they are none', async () => {
    process.env['DOCKER_CERT_PATH'] = folder;
    process.env['DOCKER_TLS_VERIFY'] = '1';
    process.env['DOCKER_HOST'] = 'tcp://127.0.0.1:1';
    await writeFile(at('ca.pem'), 'none');
    expect(() => engine('tcp://127.0.0.1:1')).toThrow(
      expect.objectContaining({
        code: 'BAD_USER_INPUT',
        message: expect.stringContaining(`read from DOCKER_CERT_PATH (${folder})`) as string,
      }) as Error,
    );
    delete process.env['DOCKER_HOST'];
  });
});

describe('an engine whose socket is not there', () => {
  async function follow(endpoint: Endpoint): Promise<{ levels: number[]; silent: number }> {
    const levels: number[] = [];
    const log = pino(
      { level: 'debug' },
      { write: (line) => void levels.push((JSON.parse(line) as { level: number }).level) },
    );
    const registry = new ContainerRegistry({
      log: pino({ level: 'silent' }),
      cgroups: null,
      sources: [(sink) => new Engine({ log, endpoint }, sink)],
    });
    await registry.start();
    const silent = registry.silentEngines.length;
    await registry.close();
    return { levels, silent };
  }

  it('is warned about, and said to be silent, where somebody named it', async () => {
    expect(await follow(named(`unix://${at('docker.sock')}`))).toEqual({ levels: [40], silent: 1 });
  });

  it('is nothing to warn about where nobody did: there is no engine', async () => {
    expect(await follow({ host: `unix://${at('docker.sock')}`, presumed: true })).toEqual({ levels: [20], silent: 0 });
  });
});
