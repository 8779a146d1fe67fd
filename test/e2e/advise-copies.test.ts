import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { scratch } from '../support/workload.js';

const exec = promisify(execFile);
const [ADMIN, OPERATOR] = ['a'.repeat(32), 'b'.repeat(32)];
/** More than a copy gets of a mount. */
const LARGE = (1 << 30) + (64 << 20);

let docker: TestDocker;
let server: TestServer;
let folder: string;

/** All calls are allowed: what is tried here is not the profile. */
const open = (more: object = {}): object => ({
  seccomp: { defaultAction: 'SCMP_ACT_LOG', syscalls: [{ names: ['vhangup'], action: 'SCMP_ACT_ERRNO' }] },
  capabilities: ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_NET_RAW'],
  ...more,
});

interface Verified {
  readonly verified: boolean;
  readonly problems: readonly string[];
  readonly rounds: readonly { readonly check: { readonly passed: boolean; readonly output: string } | null }[];
}

const ask = (container: string, check: readonly string[], more: object = {}): Promise<Verified> =>
  server
    .query<{ verifyAdvice: Verified }>(
      `mutation ($input: VerifyAdviceInput!) { verifyAdvice(input: $input) { verified problems rounds { check { passed output } } } }`,
      { input: { container, rights: open(), check: { command: check }, timeout: '5s', ...more } },
    )
    .then(({ verifyAdvice }) => verifyAdvice);

const shell = (script: string): readonly string[] => ['sh', '-c', script];

async function leftovers(): Promise<string[]> {
  const label = ['--filter', 'label=eunomia.advice'];
  const lists = [
    ['ps', '-aq'],
    ['network', 'ls', '-q'],
    ['volume', 'ls', '-q'],
    ['images', '-q'],
  ];
  const found = await Promise.all(lists.map((list) => docker.docker(...list, ...label)));
  return found.flatMap((ids) => ids.split('\n')).filter(Boolean);
}

const connected = (): Promise<unknown> =>
  until('the engine is connected', async () => {
    const { server: facts } = await server.query<{ server: { engine: { connected: boolean } | null } }>(
      '{ server { engine { connected } } }',
    );
    return facts.engine?.connected;
  });

beforeAll(async () => {
  docker = await startDocker();
  folder = await mkdtemp(join(scratch, 'large-'));
  await writeFile(join(folder, 'file'), '');
  await truncate(join(folder, 'file'), LARGE);
  server = await startServer(
    ['--engine', docker.host, '--token', `admin:${ADMIN}`, '--token', `operator:${OPERATOR}`],
    { keep: true, token: ADMIN },
  );
  await connected();
  await docker.run('-d', '--name', 'idle', TEST_IMAGE, 'sleep', '100000');
});
afterAll(async () => {
  await server.end('SIGTERM');
  await docker.stop();
  await rm(folder, { recursive: true });
});
afterEach(() => until('nothing is left', async () => (await leftovers()).length === 0));

describe('a copy', () => {
  it('writes to nothing below a large mount of the original', async () => {
    await exec('mkdir', [join(folder, 'inner')]);
    await exec('mount', ['-t', 'tmpfs', 'inner', join(folder, 'inner')]);
    try {
      await docker.run('-d', '--name', 'large', '-v', `${folder}:/data`, TEST_IMAGE, 'sleep', '100000');
      await ask('large', shell('touch /data/inner/x /data/x; true'));
      expect((await exec('find', [folder, '-name', 'x'])).stdout).toBe('');
    } finally {
      await docker.docker('rm', '-fv', 'large');
      await exec('umount', [join(folder, 'inner')]);
    }
  });

  it('reaches no program of the host', async () => {
    let reached = 0;
    const listener: Server = createServer((socket) => {
      reached += 1;
      socket.end();
    }).listen(0, '0.0.0.0');
    try {
      await until('it listens', () => listener.listening);
      const { port } = listener.address() as { port: number };
      const script = `a=$(hostname -i); ping -c1 -w2 \${a%.*}.1; echo | nc -w2 \${a%.*}.1 ${port}; true`;
      const { verified } = await ask('idle', shell(script), { timeout: '20s' });
      expect(verified).toBe(true);
      expect(reached).toBe(0);
    } finally {
      listener.close();
    }
  });

  it('has its output read to the end, and kept in part', async () => {
    const { verified, rounds } = await ask('idle', shell('yes | head -c 64000000'), { timeout: '60s' });
    expect(verified).toBe(true);
    expect(rounds[0]?.check?.output.length).toBeLessThanOrEqual(64 << 10);
  });

  it('may have written more than anybody reads', async () => {
    await docker.run('-d', '--name', 'loud', TEST_IMAGE, 'sh', '-c', 'head -c 20000000 /dev/zero; sleep 100000');
    await expect(ask('loud', ['false'], { timeout: '3s' })).rejects.toThrow(/CHECK_FAILED|the check \(false\) fails/);
    await docker.docker('rm', '-fv', 'loud');
  });

  it('is removed with its copies of mounts, round by round', async () => {
    await docker.run('-d', '--name', 'kept', '-v', 'kept:/kept', TEST_IMAGE, 'sleep', '100000');
    let most = 0;
    const counting = setInterval(() => {
      void docker
        .docker('volume', 'ls', '-q', '--filter', 'label=eunomia.advice')
        .then((ids) => (most = Math.max(most, ids.split('\n').length)))
        .catch(() => undefined);
    }, 100);
    try {
      const narrow = open({ readOnlyRoot: true, capabilities: [] });
      const script = shell('chown 1 /kept && touch /opt/x/y 2>/dev/null; mkdir -p /srv/a/b && chown 2 /srv/a');
      await ask('kept', script, { rights: narrow, rounds: 3, timeout: '2s' }).catch(() => undefined);
    } finally {
      clearInterval(counting);
    }
    expect(most).toBeLessThanOrEqual(2);
    await docker.docker('rm', '-fv', 'kept');
  });
});

describe('a verification', () => {
  it('is told at once that it cannot be done', async () => {
    const cli = (token: string, ...args: string[]): Promise<string> =>
      exec(
        process.execPath,
        [join(root, 'dist/main.js'), 'advise', '--server', server.url.replace('/graphql', ''), ...args],
        {
          env: { ...process.env, EUNOMIA_TOKEN: token },
          timeout: 100_000,
        },
      ).then(
        ({ stderr }) => stderr,
        (error: unknown) => String(Reflect.get(Object(error), 'stderr')),
      );
    const watching = ['idle', '--for', '1h', '--verify'];
    expect(await cli(OPERATOR, ...watching)).toMatch(/admin/);
    expect(await cli(ADMIN, ...watching, '--probe', 'nowhere')).toMatch(/"nowhere" is no URL/);
    expect(await cli(ADMIN, ...watching, '--check-timeout', '1h')).toMatch(/timeout/);
  });

  it('starts nothing with no rounds', async () => {
    expect(await ask('idle', ['true'], { rounds: 0 })).toMatchObject({ verified: false, rounds: [] });
    const more = { rounds: 0, rights: open({ capabilities: ['CAP_SYS_ADMIN'] }) };
    await expect(ask('idle', ['true'], more)).rejects.toThrow(/the container itself does not have CAP_SYS_ADMIN/);
    await expect(ask('none', ['true'], { rounds: 0 })).rejects.toThrow(/UNKNOWN_CONTAINER|no container "none"/);
  });

  it('is one of four at once', async () => {
    const all = Array.from({ length: 5 }, () =>
      ask('idle', ['sleep', '4'], { timeout: '20s' }).then(() => 'done', String),
    );
    const results = await Promise.all(all);
    expect(results.filter((result) => result === 'done')).toHaveLength(4);
    expect(results.find((result) => result !== 'done')).toMatch(/4 verifications are running already/);
  });

  it('ends with its server while a probe gets no answer', async () => {
    const other = await startServer(['--engine', docker.host, '--token', `admin:${ADMIN}`], { token: ADMIN });
    await docker.run('-d', '--name', 'silent', TEST_IMAGE, 'sh', '-c', 'while :; do nc -l -p 80 >/dev/null; done');
    const known = await until('it is known', () =>
      other
        .query('mutation ($input: VerifyAdviceInput!) { verifyAdvice(input: $input) { verified } }', {
          input: { container: 'silent', rights: open(), rounds: 0 },
        })
        .then(
          () => true,
          () => false,
        ),
    );
    expect(known).toBe(true);
    const asked = other
      .query('mutation ($input: VerifyAdviceInput!) { verifyAdvice(input: $input) { verified } }', {
        input: { container: 'silent', rights: open(), check: { probe: 'http://x/' }, timeout: '5m' },
      })
      .then(() => '', String);
    await until(
      'a copy runs',
      async () => (await docker.docker('ps', '-q', '--filter', 'label=eunomia.advice')) !== '',
    );
    await until('the probe has connected to its port 80', async () =>
      /^ *\d+: \S+ \S+:0050 01 /m.test(await readFile('/proc/net/tcp', 'utf8')),
    );
    const before = Date.now();
    await other.end('SIGTERM');
    expect(Date.now() - before).toBeLessThan(30_000);
    await asked;
    await docker.docker('rm', '-fv', 'silent');
  });

  it('has what it made removed once the engine is back that went away in the middle', async () => {
    const asked = ask('idle', ['sleep', '1000'], { timeout: '30s' }).then(() => '', String);
    await until(
      'a copy runs',
      async () => (await docker.docker('ps', '-q', '--filter', 'label=eunomia.advice')) !== '',
    );
    await docker.kill();
    expect(await asked).toMatch(/ENGINE_REFUSED|the copy/);
    await docker.restart();
    await connected();
    await until('nothing is left', async () => (await leftovers()).length === 0);
  });
});
