import { writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Rights } from '../../src/event/advice.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { scratch } from '../support/workload.js';
import { makeWorkload, workloads, type Workload } from '../support/workload-image.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

const TOKEN = 'a'.repeat(32);

const admin = async (): Promise<TestServer> => {
  const server = await startServer(['--engine', docker.socket, '--token', `admin:${'a'.repeat(32)}`], {
    token: 'a'.repeat(32),
  });
  await until('the engine is connected', async () => {
    const { server: facts } = await server.query<{ server: { engine: { connected: boolean } | null } }>(
      '{ server { engine { connected } } }',
    );
    return facts.engine?.connected;
  });
  return server;
};

interface Verified {
  readonly verified: boolean;
  readonly rounds: readonly {
    readonly started: boolean;
    readonly check: { readonly passed: boolean; readonly output: string } | null;
    readonly refusals: readonly { readonly kind: string; readonly what: string; readonly comm: string }[];
  }[];
  readonly outside: readonly {
    readonly kind: string;
    readonly what: string;
    readonly refused: boolean;
    readonly observed: boolean;
  }[];
  readonly rights: Rights;
  readonly widened: readonly string[];
  readonly problems: readonly string[];
}

async function verify(server: TestServer, input: Record<string, unknown>): Promise<Verified> {
  const { verifyAdvice } = await server.query<{ verifyAdvice: Verified }>(
    `mutation ($input: VerifyAdviceInput!) { verifyAdvice(input: $input) { verified widened problems rights
      rounds { started check { passed output } refusals { kind what call errno time pid comm executable args } }
      outside { kind what refused errno observed } } }`,
    { input },
  );
  return verifyAdvice;
}

/** What the calls of a workload are under Docker's own profile: seen from its start on, with its check and a load. */
async function observed(server: TestServer, name: string, run: () => Promise<unknown>): Promise<string[]> {
  const { startSession } = await server.query<{ startSession: { id: string } }>(
    `mutation ($name: String!) { startSession(input: { trackers: [{ syscount: {} }]
      target: { containers: [{ name: $name }], waitForContainers: true } }) { id } }`,
    { name },
  );
  await run();
  const { stopSession } = await server.query<{
    stopSession: { aggregate: readonly { key: readonly { value: string | null }[] }[] };
  }>(
    `mutation ($id: ID!) { stopSession(id: $id) { aggregate(groupBy: ["name"],
      where: { not: { process: { comm: { regex: "^(runc.*|exe)$" } } } }) { key { value } } } }`,
    { id: startSession.id },
  );
  return stopSession.aggregate.flatMap(({ key }) => key[0]?.value ?? []);
}

const rightsFor = (calls: readonly string[], known: Partial<Rights>): unknown => ({
  seccomp: {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: [{ names: [...calls].sort(), action: 'SCMP_ACT_ALLOW' }],
  },
  readOnlyRoot: true,
  tmpfs: [{ path: '/tmp', sizeBytes: 16 << 20 }],
  noNewPrivileges: true,
  ...known,
});

/** `docker run` with rights: those of the report, in a user's hands. */
async function runUnder(rights: Rights, name: string, image: string): Promise<void> {
  const profile = join(scratch, `${name}.json`);
  await writeFile(profile, JSON.stringify(rights.seccomp));
  await docker.run(
    '-d',
    '--name',
    name,
    '--security-opt',
    `seccomp=${profile}`,
    '--cap-drop',
    'ALL',
    ...rights.capabilities.flatMap((capability) => ['--cap-add', capability]),
    ...(rights.noNewPrivileges ? ['--security-opt', 'no-new-privileges'] : []),
    ...(rights.readOnlyRoot ? ['--read-only'] : []),
    ...rights.tmpfs.flatMap(({ path, sizeBytes }) => ['--tmpfs', `${path}:size=${sizeBytes}`]),
    ...rights.volumes.flatMap(({ path }) => ['--volume', path]),
    image,
  );
}

/** What a rehearsal has made in the engine. */
async function leftovers(): Promise<string[]> {
  const label = ['--filter', 'label=eunomia.advice'];
  const found = await Promise.all([
    docker.docker('ps', '-aq', ...label),
    docker.docker('network', 'ls', '-q', ...label),
    docker.docker('volume', 'ls', '-q', ...label),
    docker.docker('images', '-q', ...label),
  ]);
  return found.filter((ids) => ids !== '');
}

const addressOf = (name: string): Promise<string> =>
  docker.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', name);
const get = async (url: string): Promise<string> => (await fetch(url)).text();

const getSecure = (host: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const sent = request({ host, servername: 'localhost', rejectUnauthorized: false, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => resolve(text));
    });
    sent.on('error', reject).end();
  });

/** Succeeds many times, side by side. */
const load = async (one: () => Promise<unknown>): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await Promise.all(Array.from({ length: 10 }, one));
};

interface Case extends Workload {
  /** Rights that are known from the start; what is missing is found. */
  readonly known?: Partial<Rights>;
  /** What a user checks it by. */
  readonly check: { readonly command?: readonly string[]; readonly probe?: string };
  /** Does something with a container of it. */
  readonly use: (name: string) => Promise<unknown>;
}

const cases: Readonly<Record<string, Case>> = {
  nginx: {
    ...workloads.nginx,
    known: {
      capabilities: ['CAP_CHOWN', 'CAP_SETUID'],
      tmpfs: [{ path: '/var/log/nginx', sizeBytes: 1 << 20 }],
      volumes: [{ path: '/var/lib/nginx', writable: true }],
    },
    check: { probe: 'https://localhost/' },
    use: async (name) => expect(await getSecure(await addressOf(name))).toBe('hello\n'),
  },
  shell: {
    ...workloads.shell,
    check: { command: ['test', '-f', '/tmp/work/ready'] },
    use: (name) => docker.docker('exec', name, 'test', '-f', '/tmp/work/ready'),
  },
  node: {
    ...workloads.node,
    check: { probe: 'http://localhost:8080/x' },
    use: async (name) => expect(await get(`http://${await addressOf(name)}:8080/x`)).toMatch(/^[0-9a-f]{64}$/),
  },
  python: {
    ...workloads.python,
    check: { probe: 'http://localhost:8080/x' },
    use: async (name) => expect(await get(`http://${await addressOf(name)}:8080/x`)).toBe('{"path": "/x"}'),
  },
  redis: {
    ...workloads.redis,
    check: { command: ['/usr/bin/redis-cli', 'set', 'a', 'b'] },
    use: (name) => docker.docker('exec', name, '/usr/bin/redis-cli', 'incr', 'n'),
  },
};

/** Docker 20.10's default profile allows these many calls of x86-64 without further capabilities. */
const DOCKER_CALLS = 300;

describe('a recommendation, tried with copies', () => {
  it.each(Object.keys(cases))('holds for %s, which passes its check and a load under it', async (name) => {
    const one = cases[name] as Case;
    await makeWorkload(docker, one);
    const server = await admin();
    const works = (container: string): Promise<unknown> =>
      until('it works', () =>
        one.use(container).then(
          () => true,
          () => false,
        ),
      );
    const calls = await observed(server, name, async () => {
      await docker.run('-d', '--name', name, one.image);
      await works(name);
    });
    const result = await verify(server, {
      container: name,
      rights: rightsFor(calls, one.known ?? {}),
      check: one.check,
    });
    expect(result).toMatchObject({ problems: [], verified: true });
    const allowed = result.rights.seccomp.syscalls.flatMap((rule) =>
      rule.action === 'SCMP_ACT_ALLOW' ? rule.names : [],
    );
    expect(allowed.length).toBeLessThan(DOCKER_CALLS / 2);
    expect(result.rights.capabilities.length).toBeLessThan(14);
    expect(result.rights.readOnlyRoot).toBe(true);
    for (const attempt of result.outside) expect(attempt).toMatchObject({ refused: true, observed: true });
    expect(new Set(result.outside.map(({ kind }) => kind))).toEqual(new Set(['CALL', 'CAPABILITY', 'PATH']));
    // The original runs on as it was; nothing else is left.
    expect(await docker.docker('ps', '-q', '--filter', `name=^${name}$`)).not.toBe('');
    expect(await leftovers()).toEqual([]);
    await docker.docker('rm', '-fv', name);
    await runUnder(result.rights, name, one.image);
    await works(name);
    if (one.check.probe !== undefined) await load(() => one.use(name));
    await docker.docker('rm', '-fv', name);
  });
});

describe('a verification', () => {
  const hanging = { command: ['sleep', '1000'] };
  const nothing = (): unknown => rightsFor(['execve', 'exit_group'], {});

  beforeAll(async () => {
    await docker.run(
      '-d',
      '--name',
      'idle',
      '-v',
      'kept:/kept',
      TEST_IMAGE,
      'sh',
      '-c',
      'echo x >/kept/x; sleep 100000',
    );
  });
  afterAll(() => docker.docker('rm', '-fv', 'idle'));

  it('tells of a check that hangs, and of bad input, and leaves nothing behind', async () => {
    const server = await admin();
    const asked = (input: object): Promise<string> =>
      verify(server, { container: 'idle', rights: nothing(), ...input }).then(String, String);
    expect(await asked({ check: hanging, timeout: '2s' })).toMatch(/CHECK_FAILED.*|.*it had not ended after/);
    expect(await asked({ container: 'none' })).toContain('UNKNOWN_CONTAINER');
    expect(await asked({ check: { probe: 'nowhere' } })).toContain('check.probe: \\"nowhere\\" is no URL');
    expect(await asked({ rights: { seccomp: {} } })).toContain('input.rights.seccomp.defaultAction');
    expect(await leftovers()).toEqual([]);
    expect(await docker.docker('exec', 'idle', 'ls', '/kept')).toBe('x');
  });

  it('removes its copies when its client goes away', async () => {
    const server = await admin();
    const abort = new AbortController();
    const asked = fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}` },
      body: JSON.stringify({
        query: 'mutation ($input: VerifyAdviceInput!) { verifyAdvice(input: $input) { verified } }',
        variables: { input: { container: 'idle', rights: nothing(), check: hanging } },
      }),
      signal: abort.signal,
    });
    await until(
      'a copy runs',
      async () => (await docker.docker('ps', '-q', '--filter', 'label=eunomia.advice')) !== '',
    );
    abort.abort();
    await expect(asked).rejects.toThrow();
    await until('nothing is left', async () => (await leftovers()).length === 0);
  });

  it('leaves what a killed server has made to the next one, and what another server needs alone', async () => {
    const [killed, other] = [await admin(), await admin()];
    const input = { container: 'idle', rights: nothing(), check: hanging };
    const asked = Promise.allSettled([verify(killed, input)]);
    await until('all is made', async () => (await leftovers()).length === 4);
    const alive = await admin();
    expect(await leftovers()).toHaveLength(4);
    await Promise.all([other.end('SIGTERM'), alive.end('SIGTERM')]);
    expect(await leftovers()).toHaveLength(4);
    await killed.end('SIGKILL');
    await asked;
    await admin();
    await until('nothing is left', async () => (await leftovers()).length === 0);
  });
});
