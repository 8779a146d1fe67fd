import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allowedBy } from '../../src/analysis/advice/seccomp.js';
import { adviceOptions, adviceTrackers } from '../../src/cli/advise.js';
import type { Rights } from '../../src/event/advice.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, stopSession, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { scratch } from '../support/workload.js';
import { makeWorkload, workloads, type Workload } from '../support/workload-image.js';

const exec = promisify(execFile);
let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

const TOKEN = 'a'.repeat(32);

const admin = async ({ keep = false } = {}): Promise<TestServer> => {
  const server = await startServer(['--engine', docker.socket, '--token', `admin:${TOKEN}`], { keep, token: TOKEN });
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
    readonly refusals: readonly {
      readonly kind: string;
      readonly what: string;
      readonly comm: string;
      readonly stack: readonly string[] | null;
    }[];
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
      rounds { started check { passed output } refusals { kind what argument call errno time pid comm executable args stack } }
      outside { kind what refused errno observed } } }`,
    { input },
  );
  return verifyAdvice;
}

/** What `eunomia advise` shows of what a session saw of a container. */
interface Advised {
  readonly rights: Rights;
  readonly defaultCalls: number;
  readonly remainingCalls: number;
  readonly callsBeyondDefault: readonly string[];
  readonly coverage: { readonly startSeen: boolean; readonly lost: string; readonly dropped: string };
  readonly lines: readonly { readonly aspect: string; readonly what: string; readonly why: string }[];
  readonly files: readonly { readonly name: string; readonly content: string }[];
  readonly json: unknown;
}
const ADVISED = `rights defaultCalls remainingCalls callsBeyondDefault coverage { startSeen lost dropped }
  lines { aspect what why } files { name content } json`;

/** What is recommended for a container that `run` starts and uses, watched from before its start on as `eunomia advise --wait` does. */
async function advised(server: TestServer, name: string, run: () => Promise<unknown>): Promise<Advised> {
  const { startSession } = await server.query<{ startSession: { id: string } }>(
    'mutation ($input: StartSessionInput!) { startSession(input: $input) { id } }',
    {
      input: {
        trackers: adviceTrackers.map((tracker) => ({ [tracker]: adviceOptions[tracker] ?? {} })),
        target: { containers: [{ name }], waitForContainers: true },
      },
    },
  );
  const { id } = startSession;
  await run();
  await stopSession(server, id);
  const { advise } = await server.query<{ advise: Advised }>(
    `query ($input: AdviseInput!) { advise(input: $input) { ${ADVISED} } }`,
    { input: { container: name, session: id } },
  );
  await server.query('mutation ($id: ID!) { removeSession(id: $id) }', { id });
  return advise;
}

/** The files of advice, with rights that were tried. */
async function withRights(server: TestServer, advice: unknown, rights: Rights): Promise<Advised> {
  const { adviceWithRights } = await server.query<{ adviceWithRights: Advised }>(
    `query ($advice: JSON!, $rights: JSON!) { adviceWithRights(advice: $advice, rights: $rights) { ${ADVISED} } }`,
    { advice, rights },
  );
  return adviceWithRights;
}

/** Runs the line of docker-run.txt among the other files, as a user does. */
async function runFiles({ files }: Advised, name: string): Promise<void> {
  const folder = join(scratch, `advice-${name}`);
  await mkdir(folder);
  for (const file of files) await writeFile(join(folder, file.name), file.content);
  const line = files.find((file) => file.name === 'docker-run.txt')?.content ?? '';
  const started = line.replace(/^docker run /, `docker run -d --name ${name} `);
  await exec('sh', ['-c', started], { cwd: folder, env: { ...process.env, DOCKER_HOST: docker.host } });
}

/** How many capabilities the kernel lets a container's programs have. */
async function capabilitiesOf(name: string): Promise<number> {
  const pid = await docker.docker('inspect', '-f', '{{.State.Pid}}', name);
  const mask = /^CapBnd:\s*(\w+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  return [...BigInt(`0x${mask}`).toString(2)].filter((bit) => bit === '1').length;
}

const STRACE = '/usr/bin/strace';

/** The calls that strace counts of a container's programs, from their start on, while `use` uses it. Without those that always fail. */
async function countedByStrace(
  { image, command }: Workload,
  name: string,
  use: () => Promise<void>,
): Promise<string[]> {
  // A fatal signal ends strace, which then writes its table. Docker's own profile stays in force.
  const strace = ['-I', '2', '-f', '-c', '-U', 'name,calls,errors', '-o', '/strace'];
  const entry = ['--entrypoint', STRACE, '--cap-add', 'SYS_PTRACE'];
  await docker.run('-d', '--name', name, ...entry, image, ...strace, ...command);
  await use();
  await docker.docker('stop', '-t', '60', name);
  await docker.docker('cp', `${name}:/strace`, join(scratch, `strace-${name}`));
  const table = await readFile(join(scratch, `strace-${name}`), 'utf8');
  const rows = [...table.matchAll(/^(\w+) +(\d+) *(\d*)$/gm)].filter(([, call]) => call !== 'total');
  return rows.flatMap(([, call = '', count, errors]) => (count === errors ? [] : [call]));
}

/** Reasons for a call that strace does not show: it was seen of another program or run, or nobody can see it. */
const EXPLAINED = [
  'is in the rights that were tried',
  'was seen',
  'was in progress when the advice was made',
  'the runtime makes it before the first program',
  'ends or resumes a program, and cannot be observed',
];

const nothing = (): object => ({
  seccomp: {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: [{ names: ['execve', 'exit_group'], action: 'SCMP_ACT_ALLOW' }],
  },
  readOnlyRoot: true,
  tmpfs: [{ path: '/tmp', sizeBytes: 16 << 20 }],
  noNewPrivileges: true,
});

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

/** Succeeds 50 times, ten side by side. */
const often = async (one: () => Promise<unknown>): Promise<void> => {
  for (let i = 0; i < 5; i += 1) await Promise.all(Array.from({ length: 10 }, one));
};

/** The reply of redis to one command. */
const ask = (host: string, command: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(6379, host, () => socket.write(`${command}\r\n`));
    socket.setEncoding('utf8').once('data', (reply: string) => {
      socket.destroy();
      resolve(reply);
    });
    socket.on('error', reject);
  });

/** Files of its own for each shell that runs it. */
const PIPES = 'for i in 1 2 3 4 5 6 7 8 9 10; do date | sort | wc -c > /tmp/work/$$; done; test -s /tmp/work/$$';

interface Case extends Workload {
  /** What a user checks it by. */
  readonly check: { readonly command?: readonly string[]; readonly probe?: string };
  /** Does something with a container of it. */
  readonly use: (name: string) => Promise<unknown>;
  /** Does it often. */
  readonly load: (name: string) => Promise<void>;
}

const useNginx = async (name: string): Promise<void> => expect(await getSecure(await addressOf(name))).toBe('hello\n');
const useNode = async (name: string): Promise<void> =>
  expect(await get(`http://${await addressOf(name)}:8080/x`)).toMatch(/^[0-9a-f]{64}$/);
const usePython = async (name: string): Promise<void> =>
  expect(await get(`http://${await addressOf(name)}:8080/x`)).toBe('{"path": "/x"}');

const cases: Readonly<Record<string, Case>> = {
  nginx: {
    ...workloads.nginx,
    check: { probe: 'https://localhost/' },
    use: useNginx,
    load: (name) => often(() => useNginx(name)),
  },
  shell: {
    ...workloads.shell,
    check: { command: ['test', '-f', '/tmp/work/ready'] },
    use: (name) => docker.docker('exec', name, 'test', '-f', '/tmp/work/ready'),
    load: async (name) => {
      await Promise.all(Array.from({ length: 4 }, () => docker.docker('exec', name, 'sh', '-c', PIPES)));
    },
  },
  node: {
    ...workloads.node,
    check: { probe: 'http://localhost:8080/x' },
    use: useNode,
    load: (name) => often(() => useNode(name)),
  },
  python: {
    ...workloads.python,
    check: { probe: 'http://localhost:8080/x' },
    use: usePython,
    load: (name) => often(() => usePython(name)),
  },
  redis: {
    ...workloads.redis,
    check: { command: ['/usr/bin/redis-cli', 'set', 'a', 'b'] },
    use: (name) => docker.docker('exec', name, '/usr/bin/redis-cli', 'incr', 'n'),
    load: async (name) => {
      const host = await addressOf(name);
      await often(async () => expect(await ask(host, 'incr n')).toMatch(/^:\d+\r\n$/));
    },
  },
};

describe('a recommendation, tried with copies', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await admin({ keep: true });
  });
  afterAll(() => server.end('SIGTERM'));

  it.each(Object.keys(cases))('holds for %s, which passes its check and a load under it', async (name) => {
    const one = cases[name] as Case;
    await makeWorkload(docker, { ...one, programs: [...one.programs, STRACE] });
    const use = async (): Promise<void> => {
      await until('it works', () =>
        one.use(name).then(
          () => true,
          () => false,
        ),
      );
      await one.load(name);
    };
    const advice = await advised(server, name, async () => {
      const begun = performance.now();
      await docker.run('-d', '--name', name, one.image);
      await use();
      // What its start asks for was early then.
      if (name === 'python') await sleep(performance.now() - begun + 1000);
    });
    expect(advice.coverage).toEqual({ startSeen: true, lost: '0', dropped: '0' });
    const result = await verify(server, { container: name, rights: advice.rights, check: one.check });
    expect(result).toMatchObject({ problems: [], verified: true });
    const tried = await withRights(server, advice.json, result.rights);
    for (const { defaultCalls, remainingCalls } of [advice, tried])
      expect(remainingCalls * 2).toBeLessThanOrEqual(defaultCalls);
    const calls = allowedBy(result.rights.seccomp).length;
    expect(tried.remainingCalls + tried.callsBeyondDefault.length).toBe(calls);
    expect(calls * 2).toBeLessThanOrEqual(advice.defaultCalls);
    expect(result.rights.capabilities.length).toBeLessThan(await capabilitiesOf(name));
    expect(result.rights.readOnlyRoot).toBe(true);
    // The families of its sockets, and no other; what else it asks for, copies have shown.
    if (name === 'python')
      expect(
        result.rights.seccomp.syscalls.flatMap(({ names, args }) => (names.includes('socket') ? [args] : [])),
      ).toEqual([[expect.objectContaining({ valueTwo: 1 })], [expect.objectContaining({ valueTwo: 2 })]]);
    for (const attempt of result.outside) expect(attempt).toMatchObject({ refused: true, observed: true });
    expect(new Set(result.outside.map(({ kind }) => kind))).toEqual(new Set(['CALL', 'CAPABILITY', 'PATH']));
    // The original runs on as it was; nothing else is left.
    expect(await docker.docker('ps', '-q', '--filter', `name=^${name}$`)).not.toBe('');
    expect(await leftovers()).toEqual([]);
    await docker.docker('rm', '-fv', name);
    await runFiles(tried, name);
    await use();
    await docker.docker('rm', '-fv', name);
    const traced = await countedByStrace(one, name, use);
    await docker.docker('rm', '-fv', name);
    const profiled = new Set(result.rights.seccomp.syscalls.flatMap(({ names }) => names));
    expect(traced.length).toBeGreaterThan(10);
    expect(traced.filter((call) => !profiled.has(call))).toEqual([]);
    const surplus = tried.lines.filter(({ aspect, what }) => aspect === 'CALL' && !traced.includes(what));
    expect(surplus.filter(({ why }) => !EXPLAINED.some((one) => why.startsWith(one)))).toEqual([]);
    expect(tried.lines.filter(({ aspect }) => aspect === 'CALL')).toHaveLength(calls);
  });
});

describe('a verification', () => {
  const hanging = { command: ['sleep', '1000'] };

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

  it('tells of each refusal with the stack of the thread that was refused', async () => {
    const server = await admin();
    const image = 'eunomia-test/refused:1';
    const script = 'open F, ">/tmp/x"; chown 1, 1, "/tmp/x"; mkdir "/made"; sleep 100000';
    const command = ['/usr/bin/perl', '-e', script];
    await makeWorkload(docker, { image, command, programs: ['/usr/bin/perl'], files: {} });
    await docker.run('-d', '--name', 'refused', image);
    const refusals = async (rights: object, rounds: number) => {
      const input = {
        container: 'refused',
        rights,
        check: { command: ['/usr/bin/perl', '-e', '1'] },
        rounds,
        timeout: '5s',
      };
      const { rounds: tried } = await verify(server, input);
      return tried.flatMap((round) => round.refusals);
    };
    const logged = { defaultAction: 'SCMP_ACT_LOG', syscalls: [] };
    const open = { ...nothing(), seccomp: logged, capabilities: [] };
    const [chown, made] = await refusals(open, 1).then((all) => [
      all.find(({ what }) => what === 'CAP_CHOWN'),
      all.find(({ what }) => what === '/made'),
    ]);
    const calls = (await refusals(nothing(), 1)).filter(({ kind, comm }) => kind === 'CALL' && comm === 'perl');
    await docker.docker('rm', '-fv', 'refused');
    expect(calls.length).toBeGreaterThan(0);
    expect(chown?.stack?.map((frame) => frame.split('+')[0])).toEqual(expect.arrayContaining(['chown', 'main']));
    expect(made?.stack?.map((frame) => frame.split('+')[0])).toEqual(expect.arrayContaining(['mkdir', 'main']));
    for (const refusal of [chown, made])
      expect(refusal?.stack?.at(-1)).toMatch(/^_start\+0x[0-9a-f]+ \(\/usr\/bin\/perl\+0x[0-9a-f]+\)$/);
    // They end it before its libraries are there, and the copy with it: its files are read where its image has them.
    for (const { stack } of calls)
      expect(stack?.at(-1)).toMatch(/^(_start\+\w+ )?\(\S+\/(perl|ld-linux\S*)\+0x[0-9a-f]+\)$/);
  });

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
